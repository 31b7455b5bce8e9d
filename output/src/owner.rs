//! Whose results an output holds: a record at the output itself, so that one job never writes over another's.
//!
//! It lies at [`Layout::owner`](crate::layout::Layout::owner) of a folder and at
//! [`blob::OWNER`](crate::layout::blob::OWNER) below an output root.

use serde::{Deserialize, Serialize};

/// Name of the record's file, in petctl's own folder of the output.
pub const FILE_NAME: &str = "job.json";
/// Largest record that is read, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;

/// The job whose results an output holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerRecord {
    /// Name of the job.
    pub job: String,
    /// Hex of the job's fingerprint.
    pub fingerprint: String,
}

impl OwnerRecord {
    /// Reads a record; `None` where it can't be understood, which is as good as none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= MAX_BYTES)
            .then(|| serde_json::from_slice(bytes).ok())
            .flatten()
    }

    /// The record as its file holds it.
    ///
    /// # Errors
    /// Where it is no JSON; it always is.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = OwnerRecord {
            job: "resim".to_owned(),
            fingerprint: "ab".repeat(32),
        };
        let bytes = record.to_bytes().unwrap();
        assert!(bytes.starts_with(b"{\n  \"job\": \"resim\",\n") && bytes.ends_with(b"}\n"));
        assert_eq!(OwnerRecord::from_bytes(&bytes), Some(record));
    }

    #[test]
    fn what_is_no_record_is_none() {
        let long = " ".repeat(MAX_BYTES) + "{}";
        for text in ["", "{", "[]", "{\"job\": \"a\"}", long.as_str()] {
            assert_eq!(OwnerRecord::from_bytes(text.as_bytes()), None);
        }
    }
}
