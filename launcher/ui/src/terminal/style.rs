//! Colours, where they are wanted.

use anstyle::{AnsiColor, Effects};

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
        self.wrap(Effects::BOLD.into(), text)
    }

    /// Red, for errors.
    pub fn red(self, text: &str) -> String {
        self.wrap(AnsiColor::Red.on_default().bold(), text)
    }

    /// Green, for what went well and for fixes.
    pub fn green(self, text: &str) -> String {
        self.wrap(AnsiColor::Green.on_default().bold(), text)
    }

    /// Yellow, for warnings.
    pub fn yellow(self, text: &str) -> String {
        self.wrap(AnsiColor::Yellow.on_default().bold(), text)
    }

    fn wrap(self, style: anstyle::Style, text: &str) -> String {
        if self.on {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_coloured_where_that_is_wanted_and_ends_as_it_began() {
        let red = Style::new(true).red("x");
        assert_eq!(red, "\u{1b}[1m\u{1b}[31mx\u{1b}[0m");
        assert_eq!(Style::new(false).red("x"), "x");
    }
}
