//! Where commits and data are below a job's output root in a container.
//!
//! ```text
//! <stage>/<key>/manifest.json                 the shard's register: a commit, or a claim
//! <stage>/<key>/<attempt>/<file>              the data of an attempt; it counts only if the commit names it
//! .petctl/job.json                            whose results these are
//! .petctl/logs/<stage>/<key>/<attempt>.log    log of an attempt
//! ```
//!
//! Attempts are spelled as in folders: `<n>-<lineage>-<lease>`.

use crate::layout::{AttemptName, NamedLease, lease_of_suffix, suffix};
use crate::manifest::FILE_NAME;

/// The record of the job whose results are below an output root.
pub const OWNER: &str = ".petctl/job.json";
/// What all names of petctl's own things start with.
pub const OWN_PREFIX: &str = ".petctl/";
/// What the names of all logs start with.
pub const LOGS_PREFIX: &str = ".petctl/logs/";

/// The name of a shard's register.
#[must_use]
pub fn register(stage: &str, key: &str) -> String {
    format!("{stage}/{key}/{FILE_NAME}")
}

/// What the names of the logs of a shard's attempts start with.
#[must_use]
pub fn logs(stage: &str, key: &str) -> String {
    format!("{LOGS_PREFIX}{stage}/{key}/")
}

/// The log of one attempt.
#[must_use]
pub fn log(name: AttemptName<'_>) -> String {
    format!("{}{}.log", logs(name.stage, name.key), attempt(name))
}

/// What the names of an attempt's files start with.
#[must_use]
pub fn data(name: AttemptName<'_>) -> String {
    format!("{}/{}/{}/", name.stage, name.key, attempt(name))
}

/// `<n>-<lineage>-<lease>`.
#[must_use]
pub fn attempt(name: AttemptName<'_>) -> String {
    suffix(name)
}

/// The lease of a part that is spelled as [`attempt`] does.
#[must_use]
pub fn lease_of(part: &str) -> Option<NamedLease> {
    lease_of_suffix(part)
}

/// What a name below the output root is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A shard's register.
    Register {
        /// Name of the stage.
        stage: &'a str,
        /// Key of the shard.
        key: &'a str,
    },
    /// A file of an attempt.
    Data {
        /// Name of the stage.
        stage: &'a str,
        /// Key of the shard.
        key: &'a str,
        /// `<n>-<lineage>-<lease>`.
        attempt: &'a str,
        /// The lease under which it ran.
        lease: NamedLease,
    },
}

/// Tells data from registers; everything else is not petctl's.
#[must_use]
pub fn find(name: &str) -> Option<Found<'_>> {
    let (stage, rest) = name.split_once('/')?;
    if stage.starts_with('.') {
        return None;
    }
    let mut at = 0;
    for part in rest.split('/') {
        if let Some(lease) = lease_of(part)
            && at > 0
            && rest.len() > at + part.len()
        {
            return Some(Found::Data {
                stage,
                key: &rest[..at - 1],
                attempt: part,
                lease,
            });
        }
        at += part.len() + 1;
    }
    let key = rest.strip_suffix(FILE_NAME)?.strip_suffix('/')?;
    (!key.is_empty()).then_some(Found::Register { stage, key })
}

/// Whether data of a shard with this key would look like that of another shard: a part of it looks like an attempt.
#[must_use]
pub fn is_ambiguous(key: &str) -> bool {
    key.split('/').any(|part| lease_of(part).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;
    use std::path::Path;

    #[test]
    fn names_lead_back_to_their_shard_and_attempt() {
        let data = |key, attempt, lease| Found::Data {
            stage: "s",
            key,
            attempt,
            lease: NamedLease {
                lineage: 7,
                lease_id: lease,
            },
        };
        assert_eq!(
            find("s/a/b.xml/2-0000000000000007-00000000000000ff/x/y"),
            Some(data("a/b.xml", "2-0000000000000007-00000000000000ff", 255))
        );
        assert_eq!(
            find("s/a/2-0000000000000007-00000000000000ff/manifest.json"),
            Some(data("a", "2-0000000000000007-00000000000000ff", 255))
        );
        assert_eq!(
            find("s/a/b/manifest.json"),
            Some(Found::Register {
                stage: "s",
                key: "a/b"
            })
        );
        for other in [
            "s",
            "manifest.json",
            "s/manifest.json",
            "s/a/x.txt",
            ".petctl/logs/s/a/1-0000000000000007-0000000000000001.log",
            ".petctl/a/1-0000000000000007-0000000000000001/x",
            "s/1-0000000000000007-0000000000000001/x",
            "s/a/1-0000000000000007-0000000000000001",
        ] {
            assert_eq!(find(other), None, "{other}");
        }
    }

    #[test]
    fn folders_and_containers_name_their_own_things_alike() {
        let name = AttemptName {
            stage: "s",
            key: "a/b",
            attempt: 2,
            lineage: 7,
            lease_id: 255,
        };
        let layout = Layout::new("");
        assert_eq!(layout.owner(), Path::new(OWNER));
        assert_eq!(layout.all_logs(), Path::new(LOGS_PREFIX));
        assert_eq!(layout.state(), Path::new(OWN_PREFIX));
        assert_eq!(layout.log(name), Path::new(&log(name)));
        assert_eq!(data(name), "s/a/b/2-0000000000000007-00000000000000ff/");
    }

    #[test]
    fn a_key_that_looks_like_an_attempt_is_told() {
        assert!(is_ambiguous("a/1-0000000000000007-0000000000000001"));
        assert!(!is_ambiguous("a/1-000000000000001"));
        assert!(!is_ambiguous("2024-01-01"));
    }
}
