//! An error with what is behind it.

use std::error::Error;

/// What an error says, and what those behind it say beyond that: libraries often say no more than "transport error"
/// themselves, and often repeat what is behind.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let said = source.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = source.source();
    }
    text
}
