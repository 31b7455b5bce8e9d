//! Committed outputs of a folder.

use super::OfStage;
use crate::owner::unwritable;
use petctl_core::{FoundOutputs, Made};
use petctl_output::layout::Layout;
use petctl_output::manifest::{self, Manifest, read_bounded};
use petctl_output::note::Note;
use petctl_output::result;
use petctl_ui::error::Result;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::thread;

/// Shards that are worth a thread.
const ENOUGH: usize = 1_000;

/// The committed outputs of these shards, and the keys of others.
pub(super) fn look(root: &Path, stage: &str, keys: &[String]) -> Result<OfStage> {
    let layout = Layout::new(root);
    let known: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
    let mut left = Vec::new();
    find_left(&layout.root().join(stage), "", &known, &mut left)?;
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let part = keys.len().div_ceil(threads).max(ENOUGH);
    let layout = &layout;
    thread::scope(|scope| {
        let parts: Vec<_> = (0_u32..)
            .step_by(part)
            .zip(keys.chunks(part))
            .map(|(first, keys)| scope.spawn(move || look_at(layout, stage, first, keys)))
            .collect();
        let mut found = Vec::with_capacity(keys.len());
        for part in parts {
            match part.join() {
                Ok(part) => found.extend(part?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(OfStage { found, left })
    })
}

/// Adds the keys of committed folders that are not `known`. What is in a committed folder is its command's.
fn find_left(
    folder: &Path,
    key: &str,
    known: &BTreeSet<&str>,
    left: &mut Vec<String>,
) -> Result<()> {
    let failed = |error: io::Error| unwritable(&folder.display(), "list", &error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(());
        }
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let key = match key {
            "" => name.to_owned(),
            above => format!("{above}/{name}"),
        };
        if known.contains(key.as_str()) || !entry.file_type().map_err(failed)?.is_dir() {
            continue;
        }
        let path = entry.path();
        if path.join(manifest::FILE_NAME).is_file() {
            left.push(key);
        } else {
            find_left(&path, &key, known, left)?;
        }
    }
    Ok(())
}

fn look_at(layout: &Layout, stage: &str, first: u32, keys: &[String]) -> Result<Vec<FoundOutputs>> {
    let mut found = Vec::with_capacity(keys.len());
    for (shard, key) in (first..).zip(keys) {
        let folder = layout.committed(stage, key);
        let counted =
            count(&folder).map_err(|error| unwritable(&folder.display(), "list", &error))?;
        if let Some((files, bytes)) = counted {
            found.push(FoundOutputs {
                shard,
                files,
                bytes,
                made: made(&folder, files, bytes),
            });
        }
    }
    Ok(found)
}

/// What the manifest says, where all that it names seems to be there: files are counted, and not read.
fn made(folder: &Path, files: u32, bytes: u64) -> Option<Box<Made>> {
    let manifest = Manifest::read(folder).ok()?.manifest;
    if manifest.files.len() as u64 != u64::from(files) || manifest.total_bytes() != bytes {
        return None;
    }
    let mut names = manifest.files.iter().map(|file| file.name.as_str());
    let report = if names.any(|name| name == result::FILE_NAME) {
        let text = read_bounded(
            &folder.join(result::FILE_NAME),
            result::MAX_RESULT_BYTES as u64,
        );
        Some(result::parse_result(&text.ok()?).ok()?)
    } else {
        None
    };
    let note = Note::new(&manifest, &super::attempt_of(&manifest), None);
    super::made_by(&note, report).map(Box::new)
}

/// Files and bytes of a committed folder, without its manifest; `None` where there is none.
fn count(folder: &Path) -> io::Result<Option<(u32, u64)>> {
    let mut counted = Counted::default();
    match counted.add(folder, 0) {
        Ok(()) => {}
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    Ok(counted.manifest.then_some((counted.files, counted.bytes)))
}

#[derive(Default)]
struct Counted {
    files: u32,
    bytes: u64,
    manifest: bool,
}

impl Counted {
    fn add(&mut self, folder: &Path, depth: u32) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.add(&entry.path(), depth + 1)?;
            } else if kind.is_file() {
                // A manifest lists files only, no links.
                if depth == 0 && entry.file_name() == manifest::FILE_NAME {
                    self.manifest = true;
                } else {
                    self.files += 1;
                    self.bytes += entry.metadata()?.len();
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_found_by_their_manifests_with_what_they_hold() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: usize| {
            let path = folder.path().join("s").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![0; bytes]).unwrap();
        };
        put("a/manifest.json", 9);
        put("a/x.csv", 3);
        put("a/deep/manifest.json", 4);
        put("b/x.csv", 3);
        put("e/f/manifest.json", 1);
        std::os::unix::fs::symlink("x.csv", folder.path().join("s/a/link")).unwrap();
        let keys: Vec<String> = ["gone", "a", "b", "e/f", "a/x.csv"]
            .map(str::to_owned)
            .to_vec();
        put("h/old/manifest.json", 1);
        put("h/other/x.csv", 1);
        let OfStage { found, mut left } = look(folder.path(), "s", &keys).unwrap();
        let is = |shard, files, bytes| FoundOutputs {
            shard,
            files,
            bytes,
            made: None,
        };
        assert_eq!(found, [is(1, 2, 7), is(3, 0, 0)]);
        put("gone-too/manifest.json", 1);
        assert_eq!(left, ["h/old"]);
        left = look(folder.path(), "s", &keys[1..2]).unwrap().left;
        left.sort();
        assert_eq!(left, ["e/f", "gone-too", "h/old"]);
    }

    #[test]
    fn many_are_found_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let keys: Vec<String> = (0..2_500).map(|n| n.to_string()).collect();
        for key in keys.iter().step_by(2) {
            let shard = folder.path().join("s").join(key);
            fs::create_dir_all(&shard).unwrap();
            fs::write(shard.join(manifest::FILE_NAME), "").unwrap();
        }
        let found = look(folder.path(), "s", &keys).unwrap().found;
        let shards: Vec<u32> = found.iter().map(|found| found.shard).collect();
        assert_eq!(shards, (0..2_500).step_by(2).collect::<Vec<u32>>());
    }
}
