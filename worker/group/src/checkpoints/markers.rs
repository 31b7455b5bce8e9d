//! Marker files: `<name>.complete` beside a checkpoint `<name>` says that it is complete.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use petctl_codes::Code;
use serde::Deserialize;

use crate::checkpoints::durable;
use crate::failure::error_file::open_at_once;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
const SUFFIX: &str = ".complete";
/// Most bytes of a marker.
const MAX_BYTES: u64 = 4 * 1024;
/// Most markers in a folder that are looked at.
const MAX_MARKERS: usize = 10_000;

/// A checkpoint that its marker says is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) step: u64,
    pub(crate) path: PathBuf,
}

/// The marker of a checkpoint.
pub(crate) fn marker_of(checkpoint: &Path) -> PathBuf {
    let mut name = checkpoint.as_os_str().to_owned();
    name.push(SUFFIX);
    PathBuf::from(name)
}

/// What a marker may hold; it may be empty too.
#[derive(Default, Deserialize)]
struct Content {
    step: Option<u64>,
    path: Option<PathBuf>,
}

/// Markers seen so far. Those that were there at the start are of an earlier run, or are known.
#[derive(Debug)]
struct Scan {
    folder: PathBuf,
    seen: BTreeMap<PathBuf, Option<SystemTime>>,
    /// Markers that were found wanting. Their checkpoints may come yet.
    wanting: BTreeMap<PathBuf, Option<SystemTime>>,
}

impl Scan {
    fn new(folder: PathBuf) -> Self {
        let mut scan = Self {
            folder,
            seen: BTreeMap::new(),
            wanting: BTreeMap::new(),
        };
        scan.seen = scan.markers().into_iter().collect();
        scan
    }

    /// What has become complete since the last look, the smallest step first. What is wrong with a marker is said
    /// once.
    fn look(&mut self) -> Vec<Found> {
        let mut found = Vec::new();
        for (marker, modified) in self.markers() {
            if self.seen.get(&marker) == Some(&modified) {
                continue;
            }
            // Before it is told of, and on this thread: the disk may take its time.
            let durable = read(&marker).and_then(|found| {
                let synced = durable::sync(&found.path).and_then(|()| durable::sync(&marker));
                synced
                    .map(|()| found)
                    .map_err(|error| format!("it can't be brought to disk: {error}"))
            });
            match durable {
                Ok(checkpoint) => {
                    found.push(checkpoint);
                    self.seen.insert(marker, modified);
                }
                Err(why) => {
                    if self.wanting.get(&marker) != Some(&modified) {
                        tracing::warn!(
                            code = Code::CheckpointMissing.as_str(),
                            marker = %marker.display(),
                            "a checkpoint is not committed: {why}"
                        );
                    }
                    self.wanting.insert(marker, modified);
                }
            }
        }
        found.sort_by_key(|found| found.step);
        found
    }

    fn markers(&self) -> Vec<(PathBuf, Option<SystemTime>)> {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        let marker = |entry: fs::DirEntry| {
            let is_one = entry
                .file_name()
                .as_encoded_bytes()
                .ends_with(SUFFIX.as_bytes());
            is_one.then(|| {
                let modified = entry.metadata().and_then(|metadata| metadata.modified());
                (entry.path(), modified.ok())
            })
        };
        entries
            .flatten()
            .filter_map(marker)
            .take(MAX_MARKERS)
            .collect()
    }
}

fn read(marker: &Path) -> Result<Found, String> {
    let mut text = Vec::new();
    let is_file = fs::metadata(marker).is_ok_and(|metadata| metadata.is_file());
    if !is_file {
        return Err("its marker is no regular file".to_owned());
    }
    open_at_once(marker)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut text))
        .map_err(|error| format!("its marker can't be read: {error}"))?;
    if text.len() as u64 > MAX_BYTES {
        return Err("its marker is longer than 4 KiB".to_owned());
    }
    let content = if text.trim_ascii().is_empty() {
        Content::default()
    } else {
        serde_json::from_slice(&text)
            .map_err(|_| "its marker is neither empty nor JSON like {\"step\": 100}".to_owned())?
    };
    let beside = without_suffix(marker);
    let path = match content.path {
        // A relative one is relative to the marker's folder.
        Some(path) => marker
            .parent()
            .map_or(path.clone(), |folder| folder.join(path)),
        None => beside.clone(),
    };
    let step = content.step.or_else(|| trailing_number(&beside)).ok_or_else(|| {
        "no step is known: end its name with one (step-100) or write {\"step\": 100} into the marker"
            .to_owned()
    })?;
    if fs::metadata(&path).is_err() {
        return Err(format!("{} is not there", path.display()));
    }
    Ok(Found { step, path })
}

fn without_suffix(marker: &Path) -> PathBuf {
    let stem = marker.file_stem().unwrap_or_default();
    marker.with_file_name(stem)
}

/// `step-000100.pt` and `100` end in 100.
fn trailing_number(path: &Path) -> Option<u64> {
    let of = |name: &str| {
        let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
        name[name.len() - digits..].parse().ok()
    };
    let name = path.file_name()?.to_str()?;
    of(name).or_else(|| of(path.file_stem()?.to_str()?))
}

/// Looks at a folder once a second, on a thread of its own: a file system may hang without holding up the group.
#[derive(Debug)]
pub(crate) struct Watcher {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Watcher {
    pub(crate) fn start(
        folder: PathBuf,
        report: impl Fn(Found) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let mut scan = Scan::new(folder);
        let watch = move || loop {
            let last = stopped.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout);
            for found in scan.look() {
                report(found);
            }
            if last {
                return;
            }
        };
        let thread = std::thread::Builder::new()
            .name("petctl-markers".to_owned())
            .spawn(watch)?;
        Ok(Self { stop, thread })
    }

    /// Looks once more, and ends.
    pub(crate) fn finish(self) {
        drop(self.stop);
        // A panic of it has been reported by it.
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn found(step: u64, path: PathBuf) -> Found {
        Found { step, path }
    }

    #[test]
    fn markers_name_what_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::write(root.join("old-5"), "").unwrap();
        fs::write(root.join("old-5.complete"), "").unwrap();
        let mut scan = Scan::new(root.to_owned());
        assert_eq!(scan.look(), [], "of an earlier run");

        fs::create_dir(root.join("step-20")).unwrap();
        fs::write(root.join("step-10.pt"), "").unwrap();
        assert_eq!(scan.look(), [], "not complete");
        fs::write(root.join("step-20.complete"), "").unwrap();
        fs::write(root.join("step-10.pt.complete"), " \n").unwrap();
        let expected = [
            found(10, root.join("step-10.pt")),
            found(20, root.join("step-20")),
        ];
        assert_eq!(scan.look(), expected);
        assert_eq!(scan.look(), [], "once");

        fs::write(
            root.join("best.complete"),
            r#"{"step": 30, "path": "step-20"}"#,
        )
        .unwrap();
        assert_eq!(scan.look(), [found(30, root.join("step-20"))]);

        fs::write(root.join("step-40.complete"), "").unwrap();
        assert_eq!(scan.look(), [], "it points nowhere");
        fs::write(root.join("step-40"), "").unwrap();
        assert_eq!(
            scan.look(),
            [found(40, root.join("step-40"))],
            "it has come"
        );
    }

    #[test]
    fn markers_that_point_nowhere_or_make_no_sense_are_left() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::write(root.join("latest"), "").unwrap();
        let cases = [
            ("step-1", "", "is not there"),
            ("latest", "", "no step is known"),
            ("latest", "{\"step\": -1}", "neither empty nor JSON"),
            ("latest", "step 5", "neither empty nor JSON"),
            (
                "latest",
                "{\"step\": 1, \"path\": \"/none\"}",
                "/none is not there",
            ),
        ];
        for (name, text, expected) in cases {
            let marker = root.join(format!("{name}.complete"));
            fs::write(&marker, text).unwrap();
            let why = read(&marker).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
        let marker = root.join("latest.complete");
        File::create(&marker).unwrap().set_len(1 << 30).unwrap();
        assert!(read(&marker).unwrap_err().contains("longer than 4 KiB"));
    }

    #[test]
    fn steps_are_the_numbers_at_the_end_of_names() {
        for (name, step) in [
            ("step-100", 100),
            ("ckpt_00007", 7),
            ("42", 42),
            ("step-9.pt", 9),
        ] {
            assert_eq!(trailing_number(Path::new(name)), Some(step), "{name}");
        }
        for name in ["latest", "step-", "5-best", "99999999999999999999999"] {
            assert_eq!(trailing_number(Path::new(name)), None, "{name}");
        }
    }
}
