//! Small records at an output, as JSON: whose it is, and who works on it.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest record that is read, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;

/// Reads a record; `None` where it can't be understood, which is as good as none.
#[must_use]
pub fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    (bytes.len() <= MAX_BYTES)
        .then(|| serde_json::from_slice(bytes).ok())
        .flatten()
}

/// A record as its file holds it.
///
/// # Errors
/// Where it is no JSON; it always is.
pub fn to_bytes(record: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut text = serde_json::to_vec_pretty(record)?;
    text.push(b'\n');
    Ok(text)
}
