//! Values of options that many commands take.

use clap::ValueEnum;

/// How to print a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs; has a `schema_version`.
    Json,
}

/// Reads `90s`, `10m`, `1h30m` into milliseconds.
///
/// # Errors
/// What is wrong with it, and how to write it.
pub fn parse_duration_ms(text: &str) -> Result<u64, String> {
    petctl_spec::parse_duration_ms(text)
        .map_err(|why| format!("{why}; write it like 90s, 10m or 1h30m"))
}
