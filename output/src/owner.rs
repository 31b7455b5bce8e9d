//! Whose results an output holds: a record at the output itself, so that one job never writes over another's.
//!
//! It lies at [`Layout::owner`](crate::layout::Layout::owner) of a folder and at
//! [`blob::OWNER`](crate::layout::blob::OWNER) below an output root.

use serde::{Deserialize, Serialize};

/// Name of the record's file, in petctl's own folder of the output.
pub const FILE_NAME: &str = "job.json";

/// The job whose results an output holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerRecord {
    /// Name of the job.
    pub job: String,
    /// Hex of the job's fingerprint.
    pub fingerprint: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{self, MAX_BYTES};

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = OwnerRecord {
            job: "resim".to_owned(),
            fingerprint: "ab".repeat(32),
        };
        let bytes = record::to_bytes(&record).unwrap();
        assert!(bytes.starts_with(b"{\n  \"job\": \"resim\",\n") && bytes.ends_with(b"}\n"));
        assert_eq!(record::from_bytes(&bytes), Some(record));
    }

    #[test]
    fn what_is_no_record_is_none() {
        let long = " ".repeat(MAX_BYTES) + "{}";
        for text in ["", "{", "[]", "{\"job\": \"a\"}", long.as_str()] {
            assert_eq!(record::from_bytes::<OwnerRecord>(text.as_bytes()), None);
        }
    }
}
