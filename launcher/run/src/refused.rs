//! A start that is refused leaves no state behind: what was made for the job goes again.

use petctl_core::{Config, Millis};
use petctl_job::home::{JobFolder, now_ms};
use petctl_rendezvous::event_log::LogError;
use petctl_rendezvous::open_offline;
use std::fs;

/// The folder of a job of which nothing was here before.
#[derive(Debug)]
pub struct NewFolder {
    folder: JobFolder,
}

impl NewFolder {
    /// Looks before anything is made; `None`: something is there already, and it stays whatever happens.
    #[must_use]
    pub fn of(folder: &JobFolder) -> Option<Self> {
        // What can't be looked at is nothing new.
        let is_new = fs::symlink_metadata(folder.root())
            .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
        is_new.then(|| Self {
            folder: folder.clone(),
        })
    }

    /// Takes away what was made since, unless the job was accepted all the same or somebody else works on it.
    pub fn forget_refused(self) {
        let root = self.folder.root();
        if !root.exists() {
            return;
        }
        // Whoever has it is at work; and nobody comes while it is looked at.
        let Ok(Some(lock)) = self.folder.lock() else {
            return;
        };
        if !self.is_needed() {
            if let Err(error) = fs::remove_dir_all(root) {
                tracing::info!(%error, "can't remove the folder of a job that was refused");
            }
            // The folder of all jobs, where this was the only one.
            if let Some(jobs) = root.parent() {
                let _others_are_there = fs::remove_dir(jobs);
            }
        }
        drop(lock);
    }

    /// A job of a place elsewhere, blobs that may have to be swept, or a job in the coordinator's log: an answer may be lost, what is durable is not.
    fn is_needed(&self) -> bool {
        let elsewhere = self.folder.place().is_ok_and(|place| place.is_some());
        if elsewhere || self.folder.unswept().exists() {
            return true;
        }
        match open_offline(
            &self.folder.coordinator(),
            Config::default(),
            Millis(now_ms()),
        ) {
            Ok(state) => !state.core().jobs().is_empty(),
            Err(LogError::Missing { .. }) => false,
            Err(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use petctl_job::home::Home;
    use std::path::Path;

    fn folder(home: &Path) -> JobFolder {
        Home::find(Some(home.to_owned())).unwrap().job("j")
    }

    #[test]
    fn what_was_made_for_a_refused_start_goes() {
        let home = tempfile::tempdir().unwrap();
        let folder = folder(home.path());
        let new = NewFolder::of(&folder).unwrap();
        folder.make().unwrap();
        fs::write(folder.hashes(), "x").unwrap();
        new.forget_refused();
        assert!(!folder.root().exists());
        assert!(!home.path().join("jobs").exists());
    }

    #[test]
    fn what_was_there_or_is_worked_on_or_may_be_needed_stays() {
        let home = tempfile::tempdir().unwrap();
        let folder = folder(home.path());
        let new = || NewFolder::of(&folder);
        let held = new().unwrap();
        folder.make().unwrap();
        assert!(new().is_none());
        let lock = folder.lock().unwrap().unwrap();
        held.forget_refused();
        assert!(folder.root().exists(), "somebody works on it");
        drop(lock);
        fs::remove_dir_all(folder.root()).unwrap();
        let swept = new().unwrap();
        folder.make().unwrap();
        fs::write(folder.unswept(), "").unwrap();
        swept.forget_refused();
        assert!(folder.root().exists(), "blobs may have to be swept");
    }
}
