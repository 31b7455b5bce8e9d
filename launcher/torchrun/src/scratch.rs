//! A folder of this process's own below the system's temporary one.

use petctl_text::obstacle::Obstacle;
use petctl_ui::error::{Code, Error, Result};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Removed with all that is in it when this is dropped, unless it is kept.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    pub(super) fn make(prefix: &str) -> Result<Self> {
        Self::make_in(&std::env::temp_dir(), prefix)
    }

    /// Makes `<folder>/<prefix>_<random>`, for this user only.
    pub(super) fn make_in(folder: &Path, prefix: &str) -> Result<Self> {
        let failed = |error: io::Error| {
            Error::new(
                Code::TorchrunFolder,
                format!("can't make a folder in {}", folder.display()),
            )
            .because(&error)
            .fix(Obstacle::of(&error).fix_writing("name another one by --log-dir or TMPDIR"))
        };
        let number = getrandom::u64().map_err(|error| failed(io::Error::other(error)))?;
        let path = folder.join(format!("{prefix}_{number:016x}"));
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(failed)?;
        Ok(Self { path, keep: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// It stays, if a file is in it.
    pub(super) fn keep_if_used(&mut self) {
        self.keep = has_files(&self.path);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            // What can't be removed now is the system's to clean.
            let _left = fs::remove_dir_all(&self.path);
        }
    }
}

fn has_files(folder: &Path) -> bool {
    walkdir::WalkDir::new(folder)
        .into_iter()
        .flatten()
        .any(|entry| entry.file_type().is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_unless_something_is_worth_keeping() {
        let root = tempfile::tempdir().unwrap();
        let make = || Scratch::make_in(root.path(), "logs").unwrap();
        let mut empty = make();
        fs::create_dir(empty.path().join("attempt_0")).unwrap();
        empty.keep_if_used();
        drop(empty);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        let mut used = make();
        fs::write(used.path().join("error.json"), "{}").unwrap();
        used.keep_if_used();
        let path = used.path().to_owned();
        drop(used);
        assert!(path.join("error.json").is_file());
    }
}
