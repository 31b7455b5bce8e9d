//! What every command works with.

use crate::home::Home;
use petctl_ui::terminal::Output;
use petctl_ui::{Code, Error, Result};
use std::path::PathBuf;

/// The terminal, petctl's folder and its version.
#[derive(Debug)]
pub struct Context {
    /// The terminal.
    pub out: Output,
    /// Version and commit, as `--version` prints them.
    pub version: &'static str,
    home: Option<PathBuf>,
}

impl Context {
    /// `home` is what `--home` says.
    #[must_use]
    pub fn new(out: Output, home: Option<PathBuf>, version: &'static str) -> Self {
        Self { out, version, home }
    }

    /// petctl's folder. Commands that need none work without one.
    ///
    /// # Errors
    /// Where none is named, and there is no home folder.
    pub fn home(&self) -> Result<Home> {
        Home::find(self.home.clone())
    }

    /// Whether to go on with something that destroys.
    ///
    /// # Errors
    /// [`Code::NotConfirmed`] where nobody says yes.
    pub fn confirm(&self, yes: bool, question: &str) -> Result<()> {
        if yes || (self.out.can_ask() && self.out.ask(question)) {
            return Ok(());
        }
        let (what, fix) = if self.out.can_ask() {
            (
                "was not answered with yes; nothing was changed",
                "answer y, or give --yes",
            )
        } else {
            (
                "needs a yes, and there is no terminal to ask on; nothing was changed",
                "give --yes",
            )
        };
        Err(Error::new(Code::NotConfirmed, format!("\"{question}\" {what}")).fix(fix))
    }
}
