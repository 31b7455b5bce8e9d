//! Who works on an output now: a record beside the owner's, renewed by the run that wrote it. Of two runs one has it.
//!
//! It keeps a second run from working beside a first one. That no mix of both comes of it, whatever becomes of this
//! record, is the commit's business: `petctl_commit`.

use serde::{Deserialize, Serialize};

/// Name of the record's file, in petctl's own folder of the output.
pub const FILE_NAME: &str = "run.json";
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
    /// The event log that gives out its leases, as 16 hex digits; empty before the job is submitted to it.
    #[serde(default)]
    pub lineage: String,
    /// Who started it: a user and a host.
    pub who: String,
    /// When it started, in ms since 1970, by its own clock.
    pub since_ms: u64,
    /// When it was last heard of, in ms since 1970, by its own clock.
    pub renewed_ms: u64,
    /// Whoever started it has left: its workers renew the record, and take it away when the job has ended.
    #[serde(default)]
    pub left: bool,
}

impl RunRecord {
    /// Whether its run is one whose state `keeper` keeps, or that gets its leases from `lineage`; 0: nobody knows.
    #[must_use]
    pub fn is_of(&self, keeper: &str, lineage: u64) -> bool {
        self.keeper == keeper || self.is_of_lineage(lineage)
    }

    /// Whether its run gets its leases from `lineage`; 0: nobody knows.
    #[must_use]
    pub fn is_of_lineage(&self, lineage: u64) -> bool {
        lineage != 0 && self.lineage == format!("{lineage:016x}")
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
    use crate::record::{self, MAX_BYTES};

    #[test]
    fn a_record_is_read_as_it_was_written_and_ages() {
        let record = RunRecord {
            job: "resim".to_owned(),
            keeper: "host:/home/me/.petctl/jobs/resim".to_owned(),
            lineage: "00000000000000ff".to_owned(),
            who: "me@host".to_owned(),
            since_ms: 1_000,
            renewed_ms: 100_000,
            left: false,
        };
        let bytes = record::to_bytes(&record).unwrap();
        assert_eq!(record::from_bytes(&bytes), Some(record.clone()));
        assert!(record.is_fresh(100_000) && record.is_fresh(0) && record.is_fresh(159_999));
        assert!(!record.is_fresh(160_000));
        assert!(record.is_of("host:/home/me/.petctl/jobs/resim", 0) && record.is_of("", 255));
        let unknown = RunRecord {
            lineage: String::new(),
            ..record
        };
        assert!(!unknown.is_of("", 0) && !unknown.is_of_lineage(0));
        let long = " ".repeat(MAX_BYTES) + "{}";
        for text in ["", "{", "{\"job\": \"a\"}", long.as_str()] {
            assert_eq!(record::from_bytes::<RunRecord>(text.as_bytes()), None);
        }
    }
}
