//! Who works on an output now: a record beside the owner's, renewed by the run that wrote it. Of two runs one has it.
//!
//! It keeps a second run from working beside a first one. That no mix of both comes of it, whatever becomes of this
//! record, is the commit's business: `petctl_commit`.

use serde::{Deserialize, Serialize};

/// Name of the record's file, in petctl's own folder of the output.
pub const FILE_NAME: &str = "run.json";
/// Largest record that is read, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;
/// How often a run renews its record.
pub const RENEWED_EVERY_MS: u64 = 10_000;
/// A record that was not renewed for this long is of a run that died without a word.
pub const STALE_AFTER_MS: u64 = 60_000;

/// The run that works on an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Name of the job.
    pub job: String,
    /// Where what the run knows is kept, one run at a time: the job's state folder on a host, or a coordinator.
    pub keeper: String,
    /// Who started it: a user and a host.
    pub who: String,
    /// When it started, in ms since 1970, by its own clock.
    pub since_ms: u64,
    /// When it was last heard of, in ms since 1970, by its own clock.
    pub renewed_ms: u64,
}

impl RunRecord {
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

    /// Whether its run was heard of lately, by a clock that says `now_ms`. Clocks differ: a record that looks old may be
    /// renewed in the next moment.
    #[must_use]
    pub fn is_fresh(&self, now_ms: u64) -> bool {
        self.renewed_ms.saturating_add(STALE_AFTER_MS) > now_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_ages() {
        let record = RunRecord {
            job: "resim".to_owned(),
            keeper: "host:/home/me/.petctl/jobs/resim".to_owned(),
            who: "me@host".to_owned(),
            since_ms: 1_000,
            renewed_ms: 100_000,
        };
        let bytes = record.to_bytes().unwrap();
        assert_eq!(RunRecord::from_bytes(&bytes), Some(record.clone()));
        assert!(record.is_fresh(100_000) && record.is_fresh(0) && record.is_fresh(159_999));
        assert!(!record.is_fresh(160_000));
        let long = " ".repeat(MAX_BYTES) + "{}";
        for text in ["", "{", "{\"job\": \"a\"}", long.as_str()] {
            assert_eq!(RunRecord::from_bytes(text.as_bytes()), None);
        }
    }
}
