//! Colours, where they are wanted.

/// Colours text, or leaves it as it is.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    on: bool,
}

impl Style {
    /// With escape sequences, or without.
    pub fn new(on: bool) -> Self {
        Self { on }
    }

    /// Bold.
    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// Red, for errors.
    pub fn red(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    /// Green, for what went well and for fixes.
    pub fn green(self, text: &str) -> String {
        self.wrap("1;32", text)
    }

    /// Yellow, for warnings.
    pub fn yellow(self, text: &str) -> String {
        self.wrap("1;33", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}
