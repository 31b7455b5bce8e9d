//! Where everything lies below a job's output folder; [`blob`] says the same of an output in a container. The only
//! place that knows these paths.
//!
//! ```text
//! <output>/.petctl/job.json                                        whose results these are
//! <output>/<stage>/<key>/                                          committed outputs, with manifest.json
//! <output>/.petctl/attempts/<stage>/<escaped key>.<attempt>/       outputs of an attempt that is not committed
//! <output>/.petctl/earlier/<stage>/<escaped key>                   outputs of before, while a shard runs again
//! <output>/.petctl/logs/<stage>/<key>/<attempt>.log                log of an attempt, kept for good
//! <output>/.petctl/logs/<stage>/epoch-<e>/rank-<r>/                log and error file of one rank in one epoch
//! <output>/<stage>/checkpoints/                                    checkpoints of a training stage
//! <output>/.petctl/trash/                                          folders that are being deleted
//! <output>/.petctl/damaged/                                        committed folders whose hashes did not hold
//! ```
//!
//! An attempt is spelled `<n>-<lineage>-<lease>`: its number, the lineage of its lease and the lease, these two as 16
//! hex digits. Two coordinators that know nothing of each other never write to one name.

pub mod blob;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use petctl_codes::Code;
use petctl_text::hex;
use sha2::{Digest, Sha256};

use crate::owner;

/// Name of petctl's own folder in an output. Inputs never come from a folder of that name.
pub const OWN_FOLDER: &str = ".petctl";
/// Longest shard key in bytes.
pub const MAX_KEY_BYTES: usize = 1_024;
/// Longest file name of the usual file systems, in bytes.
const MAX_NAME_BYTES: usize = 255;
/// Escaped keys longer than this are cut and end in a hash, so that the attempt's suffix still fits.
const MAX_ESCAPED_BYTES: usize = 180;
/// Digits of a lineage and of a lease in a name.
const HEX_DIGITS: usize = 16;

/// Paths below one job's output folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

/// One attempt at one shard, as paths and manifests name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptName<'a> {
    /// Name of the stage.
    pub stage: &'a str,
    /// Key of the shard.
    pub key: &'a str,
    /// 1 for the first.
    pub attempt: u32,
    /// The event log that gave the lease out: leases are ordered within one lineage only.
    pub lineage: u64,
    /// The lease under which it runs.
    pub lease_id: u64,
}

/// The lease that a name of an attempt tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedLease {
    /// The event log that gave it out.
    pub lineage: u64,
    /// Its number there.
    pub lease_id: u64,
}

impl NamedLease {
    /// A lease as [`Display`](fmt::Display) spells it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (lineage, lease_id) = text.split_once('-')?;
        Some(Self {
            lineage: hex_number(lineage)?,
            lease_id: hex_number(lease_id)?,
        })
    }
}

impl fmt::Display for NamedLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}", self.lineage, self.lease_id)
    }
}

impl AttemptName<'_> {
    /// The lease under which it runs.
    #[must_use]
    pub fn lease(&self) -> NamedLease {
        NamedLease {
            lineage: self.lineage,
            lease_id: self.lease_id,
        }
    }
}

/// Why a key can't name a folder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("shard key {key:?} can't name a folder: {why}")]
pub struct KeyError {
    key: String,
    why: &'static str,
}

impl KeyError {
    /// Stable code.
    pub fn code(&self) -> Code {
        Code::InvalidShardKey
    }
}

impl Layout {
    /// Paths below `output`.
    pub fn new(output: impl Into<PathBuf>) -> Self {
        Self {
            root: output.into(),
        }
    }

    /// The output folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Folder of petctl's own things.
    pub fn state(&self) -> PathBuf {
        self.root.join(OWN_FOLDER)
    }

    /// The record of the job whose results these are.
    pub fn owner(&self) -> PathBuf {
        self.state().join(owner::FILE_NAME)
    }

    /// Where a shard's committed outputs are, or will be.
    pub fn committed(&self, stage: &str, key: &str) -> PathBuf {
        self.root.join(stage).join(key)
    }

    /// Folder of all stages' attempts.
    pub fn all_attempts(&self) -> PathBuf {
        self.state().join("attempts")
    }

    /// Folder of a stage's attempts.
    pub fn attempts(&self, stage: &str) -> PathBuf {
        self.all_attempts().join(stage)
    }

    /// Folder in which one attempt writes its outputs.
    pub fn attempt(&self, name: AttemptName<'_>) -> PathBuf {
        let folder = format!("{}.{}", escape(name.key), suffix(name));
        self.attempts(name.stage).join(folder)
    }

    /// Log of one attempt; in segments, as the worker writes it.
    pub fn log(&self, name: AttemptName<'_>) -> PathBuf {
        self.logs(name.stage, name.key)
            .join(format!("{}.log", suffix(name)))
    }

    /// Folder of all logs.
    pub fn all_logs(&self) -> PathBuf {
        self.state().join("logs")
    }

    /// Folder of the logs of a shard's attempts.
    pub fn logs(&self, stage: &str, key: &str) -> PathBuf {
        self.all_logs().join(stage).join(key)
    }

    /// The log of the attempt that ran under a lease, where it wrote any.
    pub fn find_log(&self, stage: &str, key: &str, lease_id: u64) -> Option<PathBuf> {
        check_key(key).ok()?;
        let ending = format!("-{lease_id:016x}.log");
        let entries = fs::read_dir(self.logs(stage, key)).ok()?;
        entries.flatten().map(|entry| entry.path()).find(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.ends_with(&ending))
        })
    }

    /// Where a training stage's checkpoints are, unless its job file says otherwise.
    pub fn checkpoints(&self, stage: &str) -> PathBuf {
        self.root.join(stage).join("checkpoints")
    }

    /// Where a shard's outputs of before are kept while it runs again.
    pub fn earlier(&self, stage: &str, key: &str) -> PathBuf {
        self.all_earlier().join(stage).join(escape(key))
    }

    /// Folder of all outputs of before.
    pub fn all_earlier(&self) -> PathBuf {
        self.state().join("earlier")
    }

    /// Where folders go to be deleted.
    pub fn trash(&self) -> PathBuf {
        self.state().join("trash")
    }

    /// Where committed folders go whose hashes did not hold.
    pub fn damaged(&self) -> PathBuf {
        self.state().join("damaged")
    }
}

/// The lease that a folder in `attempts/<stage>/` belongs to, where it is one of `key` (or of any key, if `None`).
pub fn lease_of_attempt_folder(name: &str, key: Option<&str>) -> Option<NamedLease> {
    let (escaped, suffix) = name.rsplit_once('.')?;
    if key.is_some_and(|key| escape(key) != escaped) {
        return None;
    }
    lease_of_suffix(suffix)
}

/// The lease in `<n>-<lineage>-<lease>`.
fn lease_of_suffix(suffix: &str) -> Option<NamedLease> {
    let (attempt, lease) = suffix.split_once('-')?;
    let is_number = !attempt.is_empty() && attempt.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| NamedLease::parse(lease))?
}

/// A number of 16 small hex digits.
pub(crate) fn hex_number(text: &str) -> Option<u64> {
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let good = text.len() == HEX_DIGITS && text.bytes().all(is_hex);
    good.then(|| u64::from_str_radix(text, 16).ok())?
}

/// Refuses keys that would lead out of their folder. A coordinator checks them as well; nothing from the network is
/// joined to a path unchecked.
///
/// # Errors
/// [`KeyError`] says what is wrong with it.
pub fn check_key(key: &str) -> Result<(), KeyError> {
    let refuse = |why| {
        Err(KeyError {
            key: key.chars().take(80).collect(),
            why,
        })
    };
    if key.is_empty() {
        return refuse("it is empty");
    }
    if key.len() > MAX_KEY_BYTES {
        return refuse("it is longer than 1,024 bytes");
    }
    if key.chars().any(char::is_control) {
        return refuse("it has control characters");
    }
    check_relative(key).or_else(refuse)
}

/// Refuses paths that are absolute or lead upwards.
pub fn check_relative(path: &str) -> Result<(), &'static str> {
    for part in path.split('/') {
        match part {
            "" => return Err("a part of it is empty"),
            "." | ".." => return Err("it has a part . or .."),
            long if long.len() > MAX_NAME_BYTES => {
                return Err("a part of it is longer than 255 bytes");
            }
            _ => {}
        }
    }
    Ok(())
}

/// `<n>-<lineage>-<lease>`.
fn suffix(name: AttemptName<'_>) -> String {
    format!("{}-{}", name.attempt, name.lease())
}

/// The key as one file name: `/` and `%` percent-escaped; long ones cut, with a hash of the whole.
fn escape(key: &str) -> String {
    let mut escaped = String::with_capacity(key.len());
    for character in key.chars() {
        match character {
            '/' => escaped.push_str("%2F"),
            '%' => escaped.push_str("%25"),
            other => escaped.push(other),
        }
    }
    if escaped.len() <= MAX_ESCAPED_BYTES {
        return escaped;
    }
    let hash = hex(&Sha256::digest(key.as_bytes()));
    let cut = escaped.floor_char_boundary(MAX_ESCAPED_BYTES - 40);
    format!("{}%~{}", &escaped[..cut], &hash[..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(key: &str) -> AttemptName<'_> {
        AttemptName {
            stage: "resim",
            key,
            attempt: 2,
            lineage: 0xcd,
            lease_id: 0xab,
        }
    }

    #[test]
    fn an_attempt_folder_is_one_name_and_leads_back_to_its_lease_and_key() {
        let layout = Layout::new("/out");
        for key in [
            "a",
            "a/b.xml",
            "a%2Fb.xml",
            "x.1-00000000000000cd-00000000000000ab",
            &"é/".repeat(300),
            &"long".repeat(200),
        ] {
            let path = layout.attempt(name(key));
            assert_eq!(
                path.parent(),
                Some(layout.attempts("resim").as_path()),
                "{key}"
            );
            let folder = path.file_name().and_then(|name| name.to_str()).unwrap();
            assert!(folder.len() <= MAX_NAME_BYTES, "{folder}");
            assert_eq!(
                lease_of_attempt_folder(folder, Some(key)),
                Some(name("").lease()),
                "{folder}"
            );
            assert_eq!(
                lease_of_attempt_folder(folder, Some("other")),
                None,
                "{folder}"
            );
        }
        assert_ne!(layout.attempt(name("a/b")), layout.attempt(name("a%2Fb")));
        let (long, longer) = ("long".repeat(200), "long".repeat(201));
        assert_ne!(layout.attempt(name(&long)), layout.attempt(name(&longer)));
    }

    #[test]
    fn keys_that_lead_elsewhere_are_refused() {
        for key in [
            "",
            "/etc",
            "a//b",
            "../a",
            "a/../b",
            "a/.",
            "a/",
            "a\0b",
            "a\nb",
            &"k".repeat(300),
            &"k/".repeat(900),
        ] {
            assert!(check_key(key).is_err(), "{key:?}");
        }
        for key in [
            "a",
            "2024-01-01",
            "a/b.xml",
            ".hidden",
            "..a",
            "spaces in it",
            "%2F",
        ] {
            assert_eq!(check_key(key), Ok(()), "{key:?}");
        }
    }
}
