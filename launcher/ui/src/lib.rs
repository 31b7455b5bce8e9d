//! What a person meets: the terminal with its tables and bars, errors with their fixes, exit codes, and the few kinds
//! of values that many commands take.
//!
//! stdout is data, stderr is progress and hints.

pub mod arguments;
pub mod error;
pub mod exit;
pub mod mistyped;
pub mod program;
pub mod runtime;
pub mod shell;
pub mod signals;
pub mod terminal;

pub use error::{Code, Error, Result};
pub use exit::Exit;
