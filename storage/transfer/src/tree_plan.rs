//! What a transfer of a tree is going to do, whichever way it goes: files, then empty folders, then removals.

use super::journal::Journal;
use super::tree::{Crowd, Fault, TreeOutcome};
use super::tuning::Progress;
use petctl_output::manifest::ManifestLink;
use petctl_storage::StorageError;
use std::cmp::Reverse;
use std::sync::{Mutex, PoisonError};

/// A file of a plan.
pub trait Planned {
    /// Its name below the tree's root.
    fn name(&self) -> &str;

    /// Its size in bytes.
    fn size(&self) -> u64;
}

/// A way for trees to go.
pub trait Transfer: Sized {
    /// What is moved.
    type File: Planned;
    /// What is removed from the target.
    type Doomed: Planned;

    /// Makes what must be there before the first file.
    fn prepare(&self) -> Result<(), StorageError>;

    /// Moves one file, and says so in the journal and to the crowd.
    fn move_file(
        &self,
        file: &Self::File,
        journal: &Journal,
        crowd: &Crowd<'_>,
        progress: &dyn Progress,
    ) -> impl Future<Output = Result<(), StorageError>>;

    /// Makes an empty folder.
    fn make_folder(&self, name: &str) -> impl Future<Output = Result<(), StorageError>>;

    /// Makes a link. `false`: it was there.
    fn make_link(&self, link: &ManifestLink) -> impl Future<Output = Result<bool, StorageError>>;

    /// Removes what the source has no more. `false`: it was not there, or is another one by now.
    fn remove(&self, doomed: &Self::Doomed) -> impl Future<Output = Result<bool, StorageError>>;
}

/// What a transfer is going to do.
#[derive(Debug)]
pub struct TreePlan<T: Transfer> {
    pub(super) transfer: T,
    pub(super) journal: Journal,
    pub(super) files: Vec<T::File>,
    pub(super) folders: Vec<String>,
    pub(super) links: Vec<ManifestLink>,
    pub(super) lost: Vec<Fault>,
    pub(super) doomed: Vec<T::Doomed>,
    pub(super) unchanged: u64,
    pub(super) notes: Vec<String>,
    pub(super) faults: Vec<Fault>,
}

impl<T: Transfer> TreePlan<T> {
    pub(super) fn new(transfer: T, journal: Journal) -> Self {
        Self {
            transfer,
            journal,
            files: Vec::new(),
            folders: Vec::new(),
            links: Vec::new(),
            lost: Vec::new(),
            doomed: Vec::new(),
            unchanged: 0,
            notes: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// Large ones first: the small ones fill what is left.
    pub(super) fn order(&mut self) {
        self.files.sort_by_key(|file| Reverse(file.size()));
    }

    /// All that is moved.
    #[must_use]
    pub fn items(&self) -> &[T::File] {
        &self.files
    }

    /// Names of the files that are moved, with their sizes.
    pub fn files(&self) -> impl Iterator<Item = (&str, u64)> {
        self.files.iter().map(|file| (file.name(), file.size()))
    }

    /// Names of the files that are removed, with their sizes.
    pub fn doomed(&self) -> impl Iterator<Item = (&str, u64)> {
        self.doomed.iter().map(|file| (file.name(), file.size()))
    }

    /// Empty folders that are made.
    #[must_use]
    pub fn folders(&self) -> &[String] {
        &self.folders
    }

    /// Links that are made.
    #[must_use]
    pub fn links(&self) -> &[ManifestLink] {
        &self.links
    }

    /// What can't come, though all else does.
    #[must_use]
    pub fn lost(&self) -> &[Fault] {
        &self.lost
    }

    /// Files that are there already.
    #[must_use]
    pub fn unchanged(&self) -> u64 {
        self.unchanged
    }

    /// What is left out though nobody asked for it.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What stands against it: with any of these nothing is moved.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Does it. What fails for single files is in what it answers, as is what stopped it.
    ///
    /// # Errors
    /// [`StorageError`]: nothing was moved, since there are faults or the target can't be made.
    pub async fn run(&self, progress: &dyn Progress) -> Result<TreeOutcome, StorageError> {
        if let Some(fault) = self.faults.first() {
            let what = format!("{}: {}", fault.name, fault.why);
            return Err(StorageError::new(fault.problem, what));
        }
        self.transfer.prepare()?;
        let bytes = self.files().map(|(_, size)| size).sum();
        progress.planned(self.files.len() as u64, bytes);
        let so_far = Mutex::new(TreeOutcome {
            failed: self.lost.iter().map(Fault::error).collect(),
            ..TreeOutcome::default()
        });
        let crowd = &Crowd::new(&so_far);
        crowd
            .each(self.files.iter(), Planned::name, |file| {
                let moving = &self.transfer;
                moving.move_file(file, &self.journal, crowd, progress)
            })
            .await;
        if !crowd.is_stopped() {
            crowd
                .each(self.folders.iter(), String::as_str, |name| async move {
                    self.transfer.make_folder(name).await?;
                    crowd.with(|so_far| so_far.folders += 1);
                    Ok(())
                })
                .await;
        }
        if !crowd.is_stopped() {
            crowd
                .each(self.links.iter(), name_of, |link| async move {
                    let made = self.transfer.make_link(link).await?;
                    crowd.with(|so_far| so_far.links += u64::from(made));
                    Ok(())
                })
                .await;
        }
        // Nothing goes before everything else is there.
        if crowd.is_whole() && !self.doomed.is_empty() {
            progress.doomed(self.doomed.len() as u64);
            crowd
                .each(self.doomed.iter(), Planned::name, |doomed| async move {
                    let removed = self.transfer.remove(doomed).await?;
                    crowd.with(|so_far| so_far.deleted += u64::from(removed));
                    progress.removed(1);
                    Ok(())
                })
                .await;
        }
        let mut outcome = so_far.into_inner().unwrap_or_else(PoisonError::into_inner);
        outcome.judge_denials(self.unchanged);
        Ok(outcome)
    }
}

fn name_of(link: &ManifestLink) -> &str {
    &link.name
}
