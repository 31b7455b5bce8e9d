//! stdout is data, stderr is progress and hints.

mod progress;
mod quantity;
mod status;
mod style;
mod table;
mod training;
mod transfer;

pub use progress::Progress;
pub use quantity::{
    ago, bytes, clock, count, duration, mean_seconds, number, seconds, shards, thousands,
};
pub use status::{
    allowed_failures, committed, describe_submission, exit_hint, job_state, member_state, notices,
    shard_state, show_status, show_table, verdict, verdict_line,
};
pub use style::Style;
pub use table::{Table, printable};
pub use training::{is_active as is_training, show_causes, show_training};
pub use transfer::{Meter, TransferProgress};

use crate::error::{Code, Error};
use petctl_text::obstacle::Obstacle;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Both of a command's streams.
#[derive(Debug)]
pub struct Output {
    /// Data goes to stderr too: the command runs in the background and stdout is for its parent.
    detached: bool,
    quiet: bool,
    stdout_closed: AtomicBool,
    /// Why data could not be written, where somebody wanted it.
    stdout_failure: OnceLock<io::Error>,
    stdout_style: Style,
    stderr_style: Style,
    stderr_is_terminal: bool,
}

/// The error for a stdout that does not take what was asked for.
#[must_use]
pub fn unwritten(cause: &io::Error) -> Error {
    Error::new(
        Code::StdoutUnwritable,
        "what was asked for could not be written to stdout whole",
    )
    .because(cause)
    .fix(format!(
        "{}; then give the same command again",
        Obstacle::of(cause).fix_writing("look at where it goes")
    ))
}

impl Output {
    /// `detached`: the command runs in the background, and stdout is for its parent.
    pub fn new(quiet: bool, detached: bool) -> Self {
        let able = colors_are_wanted();
        let stderr_is_terminal = io::stderr().is_terminal() && !detached;
        Self {
            detached,
            quiet,
            stdout_closed: AtomicBool::new(false),
            stdout_failure: OnceLock::new(),
            stdout_style: Style::new(able && io::stdout().is_terminal() && !detached),
            stderr_style: Style::new(able && stderr_is_terminal),
            stderr_is_terminal,
        }
    }

    /// Writes data. Once nobody reads it any more (`| head`), or it can't be written, this does nothing; see
    /// [`Self::failure`].
    pub fn data(&self, text: &[u8]) {
        if self.is_closed() {
            return;
        }
        let written = if self.detached {
            io::stderr().lock().write_all(text)
        } else {
            let mut stdout = io::stdout().lock();
            stdout.write_all(text).and_then(|()| stdout.flush())
        };
        if let Err(error) = written {
            self.stdout_closed.store(true, Ordering::Relaxed);
            if error.kind() != io::ErrorKind::BrokenPipe {
                let _later = self.stdout_failure.set(error);
            }
        }
    }

    /// The error for data that could not be written; `None` where all was, or whoever read it wanted no more.
    pub fn failure(&self) -> Option<Error> {
        self.stdout_failure.get().map(unwritten)
    }

    /// Writes a line of data.
    pub fn line(&self, text: &str) {
        self.data(format!("{text}\n").as_bytes());
    }

    /// Writes a document of JSON, indented.
    pub fn json(&self, document: &impl Serialize) {
        self.written(serde_json::to_string_pretty(document));
    }

    /// Writes a document of JSON on one line.
    pub fn json_line(&self, document: &impl Serialize) {
        self.written(serde_json::to_string(document));
    }

    fn written(&self, document: serde_json::Result<String>) {
        match document {
            Ok(text) => self.line(&text),
            Err(error) => {
                self.error(
                    &Error::new(Code::Bug, "can't write the result as JSON").because(&error),
                );
            }
        }
    }

    /// Whether nobody reads the data any more.
    pub fn is_closed(&self) -> bool {
        self.stdout_closed.load(Ordering::Relaxed)
    }

    /// Says something to a person: progress, hints. Left out when `--quiet`.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            self.write_stderr(text);
        }
    }

    /// Says something that matters even when `--quiet`.
    pub fn warn(&self, text: &str) {
        self.write_stderr(&format!("{} {text}", self.stderr_style.yellow("warning:")));
    }

    /// Writes to a person as it is, even when `--quiet`.
    pub fn say_always(&self, text: &str) {
        self.write_stderr(text);
    }

    /// Prints an error: the one place where errors become text.
    pub fn error(&self, error: &Error) {
        for block in error.blocks() {
            let head = self.stderr_style.red(&format!("error[{}]:", block.code));
            self.write_stderr(&format!("{head} {}", block.text));
            for cause in &block.causes {
                self.write_stderr(&format!("  because: {cause}"));
            }
            if !block.fix.is_empty() {
                self.write_stderr(&format!(
                    "  {} {}",
                    self.stderr_style.green("fix:"),
                    block.fix
                ));
            }
        }
    }

    /// Whether a person can be asked.
    pub fn can_ask(&self) -> bool {
        self.stderr_is_terminal && io::stdin().is_terminal()
    }

    /// Asks a yes or no question on the terminal.
    pub fn ask(&self, question: &str) -> bool {
        let mut stderr = io::stderr().lock();
        if write!(stderr, "{question} [y/N] ")
            .and_then(|()| stderr.flush())
            .is_err()
        {
            return false;
        }
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
    }

    /// A bar on a terminal, lines elsewhere, nothing when quiet.
    pub fn progress(&self) -> Progress {
        Progress::new(self.quiet, self.draws())
    }

    /// The same for a transfer.
    pub fn transfer_progress(&self) -> TransferProgress {
        TransferProgress::new(self.quiet, self.draws())
    }

    /// How data is coloured.
    pub fn style(&self) -> Style {
        self.stdout_style
    }

    /// Whether lines on stderr may be drawn over.
    fn draws(&self) -> bool {
        self.stderr_is_terminal && !terminal_is_dumb()
    }

    fn write_stderr(&self, text: &str) {
        // A terminal that was closed takes nothing more; the job goes on without it.
        let _closed = writeln!(
            io::stderr().lock(),
            "{}",
            petctl_text::secrets::masked(text)
        );
    }
}

/// Whether lines on stderr may be coloured.
pub fn stderr_has_colors() -> bool {
    colors_are_wanted() && io::stderr().is_terminal()
}

fn colors_are_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && !terminal_is_dumb()
}

fn terminal_is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}
