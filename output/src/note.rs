//! What a listing of a container says of a commit, so that nobody reads a million registers to know what is there.

use crate::manifest::Manifest;
use crate::result::{self, ShardReport};
use serde::{Deserialize, Serialize};

/// Longest note in bytes: metadata of a blob has 8 KiB.
const MAX_BYTES: usize = 4 * 1024;

/// A commit, in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// The attempt that made it, as its data is named: `<n>-<lineage>-<lease>`.
    pub attempt: String,
    /// [`Manifest::content`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Files, the manifest not counted.
    pub files: u32,
    /// Their bytes.
    pub bytes: u64,
    /// [`Manifest::duration_ms`].
    pub ms: u64,
    /// [`Manifest::worker`].
    pub worker: String,
    /// What `result.json` says, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ShardReport>,
    /// There is a `result.json`, and what it says is not told here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_report: bool,
}

impl Note {
    /// The note of a manifest; a report that is too long is left out.
    #[must_use]
    pub fn new(manifest: &Manifest, attempt: &str, report: Option<&ShardReport>) -> Self {
        let mut files = manifest.files.iter();
        let note = Self {
            attempt: attempt.to_owned(),
            content: manifest.content.clone(),
            files: u32::try_from(manifest.files.len()).unwrap_or(u32::MAX),
            bytes: manifest.total_bytes(),
            ms: manifest.duration_ms,
            worker: manifest.worker.clone(),
            report: report.cloned(),
            has_report: report.is_none() && files.any(|file| file.name == result::FILE_NAME),
        };
        if note.report.is_some() && note.to_text().len() > MAX_BYTES {
            return Self {
                report: None,
                has_report: true,
                ..note
            };
        }
        note
    }

    /// As it stands beside the register: JSON in ASCII.
    #[must_use]
    pub fn to_text(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_default();
        let mut text = String::with_capacity(json.len());
        for character in json.chars() {
            if character.is_ascii() {
                text.push(character);
                continue;
            }
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
        text
    }

    /// A note as it was written; `None` where it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{ManifestFile, VERSION};
    use crate::result::ShardVerdict;

    fn manifest() -> Manifest {
        Manifest {
            version: VERSION,
            job: "j".to_owned(),
            stage: "s".to_owned(),
            key: "k".to_owned(),
            attempt: 1,
            lineage: 2,
            lease_id: 3,
            content: Some("ab".repeat(16)),
            worker: "wörker 😀".to_owned(),
            committed_at: String::new(),
            duration_ms: 12,
            links: Vec::new(),
            empty_folders: Vec::new(),
            files: vec![ManifestFile {
                name: result::FILE_NAME.to_owned(),
                bytes: 9,
                sha256: String::new(),
            }],
        }
    }

    #[test]
    fn a_note_is_ascii_and_says_what_the_manifest_and_the_report_say() {
        let report = ShardReport {
            verdict: ShardVerdict::Fail,
            reasons: vec!["zu nah: 3 m — \"x\"".to_owned()],
            numbers: [("ttc_s".to_owned(), 0.5)].into(),
        };
        let note = Note::new(&manifest(), "1-a-b", Some(&report));
        let text = note.to_text();
        assert!(text.is_ascii(), "{text}");
        assert_eq!(Note::parse(&text), Some(note.clone()));
        assert_eq!((note.report, note.has_report), (Some(report), false));
    }

    #[test]
    fn a_report_that_is_too_long_or_not_at_hand_is_only_told_of() {
        let report = ShardReport {
            reasons: vec!["x".repeat(500); 16],
            ..ShardReport::default()
        };
        for report in [Some(&report), None] {
            let note = Note::new(&manifest(), "1-a-b", report);
            assert_eq!((&note.report, note.has_report), (&None, true));
            assert!(note.to_text().len() < MAX_BYTES);
        }
    }
}
