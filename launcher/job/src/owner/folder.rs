//! An output folder's record, and what is taken out of that folder.

use super::ShardName;
use crate::home::{read_bounded, write_json};
use crate::removal::remove_all;
use petctl_commit::{CommitError, Committer};
use petctl_output::folders::make_folders;
use petctl_output::layout::{Layout, check_key};
use petctl_output::owner::OwnerRecord;
use petctl_output::record;
use petctl_spec::JobSpec;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::terminal::Meter;
use rustix::fs::{Access, access};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The first thing that stands where the job's stages would write.
pub(super) fn strange(root: &Path, spec: &JobSpec) -> Result<Option<String>> {
    for stage in &spec.stages {
        let folder = root.join(&stage.name);
        match fs::read_dir(&folder).map(|mut entries| entries.next().is_none()) {
            Ok(true) => {}
            Ok(false) => return Ok(Some(folder.display().to_string())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Ok(Some(folder.display().to_string()));
            }
            Err(error) => return Err(unwritable(&folder, "read", &error)),
        }
    }
    Ok(None)
}

pub(super) fn mark(root: &Path, record: &OwnerRecord) -> Result<()> {
    let folder = Layout::new(root).state();
    if read(root)?.as_ref() == Some(record) {
        return access(&folder, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| unwritable(&folder, "write to", &io::Error::from(error)));
    }
    make_folders(&folder).map_err(|error| unwritable(&folder, "make", &error))?;
    let path = Layout::new(root).owner();
    write_json(&path, record).map_err(|error| unwritable(&path, "write", &error))
}

pub(super) fn read(root: &Path) -> Result<Option<OwnerRecord>> {
    if root.is_file() {
        let what = format!(
            "the output {} is a file; it must be a folder",
            root.display()
        );
        return Err(Error::new(Code::OutputUnwritable, what).fix("choose another [storage] output"));
    }
    let path = Layout::new(root).owner();
    let text = read_bounded(&path).map_err(|error| unwritable(&path, "read", &error))?;
    Ok(text.and_then(|text| record::from_bytes(&text)))
}

/// First out of sight in one step each, then for good.
pub(super) async fn clear(
    root: &Path,
    stages: &[String],
    own: bool,
    meter: &Arc<Meter>,
) -> Result<()> {
    let layout = Layout::new(root);
    if !layout.root().exists() {
        return Ok(());
    }
    let hidden = hiding_place(&layout)?;
    for stage in stages {
        hide(&layout.root().join(stage), &hidden.join(stage))?;
    }
    for (number, stage) in stages.iter().enumerate() {
        let logs = layout.all_logs().join(stage);
        hide(&logs, &hidden.join(format!(".logs-{number}")))?;
    }
    if !own {
        return remove(vec![hidden], meter).await;
    }
    // The record goes last: without it the output is nobody's, and what is left of it would stay for good.
    let (state, record) = (layout.state(), layout.owner());
    let entries = fs::read_dir(&state).map_err(|error| unwritable(&state, "list", &error))?;
    let others = entries.flatten().map(|entry| entry.path());
    remove(others.filter(|path| *path != record).collect(), meter).await?;
    remove(vec![state], meter).await?;
    // Only where nothing else was put into it.
    let _not_empty = fs::remove_dir(layout.root());
    Ok(())
}

async fn remove(paths: Vec<PathBuf>, meter: &Arc<Meter>) -> Result<()> {
    let removed = remove_all(paths, meter).await;
    removed
        .map(drop)
        .map_err(|failed| unwritable(&failed.path, "delete", &failed.error))
}

pub(super) fn put_aside(root: &Path, doomed: &[ShardName<'_>]) -> Result<u64> {
    if doomed.is_empty() || !root.exists() {
        return Ok(0);
    }
    let failed = |path: &Path, error| unwritable(path, "put aside", &as_io(error));
    let committer =
        Committer::open(root).map_err(|error| unwritable(root, "write to", &as_io(error)))?;
    let mut moved = 0;
    for (stage, key) in doomed {
        if check_key(key).is_err() {
            continue;
        }
        let folder = committer.layout().committed(stage, key);
        if committer
            .put_aside(stage, key)
            .map_err(|error| failed(&folder, error))?
        {
            moved += 1;
            remove_empty_parents(&folder, root);
        }
    }
    Ok(moved)
}

/// What the system said of it, which decides what can be done.
fn as_io(error: CommitError) -> io::Error {
    if matches!(error, CommitError::DiskFull { .. }) {
        io::ErrorKind::StorageFull.into()
    } else if let CommitError::Folder { reason, .. } = error {
        reason
    } else {
        io::Error::other(error.to_string())
    }
}

fn remove_empty_parents(folder: &Path, root: &Path) {
    let parents = folder
        .ancestors()
        .skip(1)
        .take_while(|parent| *parent != root);
    for parent in parents {
        if fs::remove_dir(parent).is_err() {
            return;
        }
    }
}

fn hiding_place(layout: &Layout) -> Result<PathBuf> {
    let name = format!("rerun-{}-{}", std::process::id(), crate::home::now_ms());
    let hidden = layout.trash().join(name);
    make_folders(&hidden).map_err(|error| unwritable(&hidden, "make", &error))?;
    Ok(hidden)
}

fn hide(from: &Path, to: &Path) -> Result<()> {
    match fs::rename(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(unwritable(from, "take away", &error)),
    }
}

fn unwritable(path: &Path, verb: &str, cause: &(dyn std::error::Error + 'static)) -> Error {
    super::unwritable(&path.display(), verb, cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use petctl_output::manifest::Manifest;

    #[test]
    fn a_dropped_shard_is_put_aside_only_where_it_is_committed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let commit = |key: &str| {
            let place = root.join("s").join(key);
            fs::create_dir_all(&place).unwrap();
            let manifest = Manifest {
                version: petctl_output::manifest::VERSION,
                job: "j".to_owned(),
                stage: "s".to_owned(),
                key: key.to_owned(),
                attempt: 1,
                lineage: 1,
                lease_id: 1,
                content: None,
                duration_ms: 0,
                worker: "w".to_owned(),
                committed_at: String::new(),
                files: Vec::new(),
                links: Vec::new(),
                empty_folders: Vec::new(),
            };
            fs::write(
                place.join("manifest.json"),
                serde_json::to_vec(&manifest).unwrap(),
            )
            .unwrap();
        };
        commit("a/b");
        commit("c");
        fs::create_dir_all(root.join("s/mine")).unwrap();
        let doomed = [("s", "a/b"), ("s", "mine"), ("s", "gone"), ("s", "../x")];
        assert_eq!(put_aside(root, &doomed).unwrap(), 1);
        assert!(!root.join("s/a").exists());
        assert!(root.join("s/c").exists() && root.join("s/mine").exists());
        let aside = Layout::new(root).earlier("s", "a/b");
        assert_eq!(Manifest::read(&aside).unwrap().manifest.key, "a/b");
        // Once more: what is aside makes room.
        commit("a/b");
        assert_eq!(put_aside(root, &doomed).unwrap(), 1);
    }
}
