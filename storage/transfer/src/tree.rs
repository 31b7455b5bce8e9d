//! What uploads and downloads of whole trees share.

use futures::stream::{FuturesUnordered, StreamExt};
use petctl_storage::{Entry, SharedStore};
use petctl_storage::{StorageError, StorageProblem};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Files that are worked on at a time.
pub(crate) const FILES_AT_ONCE: usize = 32;

/// Something that stands against a transfer, found before a byte is moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Of the file, below the tree's root.
    pub name: String,
    /// What kind of fault it is.
    pub problem: StorageProblem,
    /// One clause without a full stop.
    pub why: String,
}

impl Fault {
    /// As the error of a file that did not come.
    #[must_use]
    pub fn error(&self) -> (String, StorageError) {
        let what = format!("{}: {}", self.name, self.why);
        (self.name.clone(), StorageError::new(self.problem, what))
    }
}

/// How a transfer of a tree ended.
#[derive(Debug, Default)]
pub struct TreeOutcome {
    /// Files that were moved.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those of them that went over the wire now.
    pub moved_bytes: u64,
    /// Empty folders that were made.
    pub folders: u64,
    /// Links that were made.
    pub links: u64,
    /// Names that were removed, since the source has them no more.
    pub deleted: u64,
    /// Files that could not be moved, by name; the others were.
    pub failed: Vec<(String, StorageError)>,
    /// Why it stopped before the others were tried.
    pub stopped: Option<StorageError>,
}

impl TreeOutcome {
    /// Whether everything is there now.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.failed.is_empty() && self.stopped.is_none()
    }

    /// Where everything was refused, it is the credential that lacks the right, and one error says so.
    pub(crate) fn judge_denials(&mut self, unchanged: u64) {
        let denied = |(_, error): &(String, StorageError)| error.problem == StorageProblem::Denied;
        let nothing = self.files == 0 && unchanged == 0 && self.stopped.is_none();
        if nothing && self.failed.iter().all(denied) && !self.failed.is_empty() {
            let (_, first) = self.failed.swap_remove(0);
            self.failed.clear();
            self.stopped = Some(first);
        }
    }
}

/// Works on many things at a time and collects what becomes of them.
pub struct Crowd<'a> {
    so_far: &'a Mutex<TreeOutcome>,
}

impl<'a> Crowd<'a> {
    pub(crate) fn new(so_far: &'a Mutex<TreeOutcome>) -> Self {
        Self { so_far }
    }

    /// Runs `work` on every item, until one fails in a way that stops everything.
    pub(crate) async fn each<'i, T: 'i, F>(
        &self,
        items: impl Iterator<Item = &'i T>,
        name: impl Fn(&'i T) -> &'i str,
        work: impl Fn(&'i T) -> F,
    ) where
        F: Future<Output = Result<(), StorageError>>,
    {
        let mut items = items;
        let mut running = FuturesUnordered::new();
        let mut denied = 0;
        loop {
            while running.len() < FILES_AT_ONCE
                && let Some(item) = items.next()
            {
                let (name, work) = (name(item), work(item));
                running.push(async move { (name, work.await) });
            }
            let Some((name, outcome)) = running.next().await else {
                return;
            };
            let Err(error) = outcome else {
                denied = 0;
                continue;
            };
            let mut so_far = self.so_far.lock().unwrap_or_else(PoisonError::into_inner);
            // Access may be given name by name: one refusal says nothing of the others, many in a row do.
            let is_denied = error.problem == StorageProblem::Denied;
            denied += usize::from(is_denied);
            let stops = match is_denied {
                true => denied >= FILES_AT_ONCE,
                false => error.problem.stops_everything(),
            };
            if stops {
                so_far.stopped = Some(error);
                return;
            }
            so_far.failed.push((name.to_owned(), error));
        }
    }

    pub(crate) fn with(&self, change: impl FnOnce(&mut TreeOutcome)) {
        change(&mut self.so_far.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn is_stopped(&self) -> bool {
        let so_far = self.so_far.lock().unwrap_or_else(PoisonError::into_inner);
        so_far.stopped.is_some()
    }

    pub(crate) fn is_whole(&self) -> bool {
        let so_far = self.so_far.lock().unwrap_or_else(PoisonError::into_inner);
        so_far.is_whole()
    }
}

/// A prefix as it stands before names: empty, or with one `/` at its end.
pub(crate) fn folder_prefix(prefix: &str) -> String {
    match prefix.trim_matches('/') {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    }
}

/// What a store holds below a prefix: names without the prefix; the markers of empty folders apart, without a slash.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    pub(crate) files: BTreeMap<String, Entry>,
    pub(crate) folders: BTreeMap<String, Entry>,
    /// What is there and has no place in a store.
    pub(crate) left_out: Vec<Fault>,
}

impl Listed {
    pub(crate) async fn read(store: &SharedStore, prefix: &str) -> Result<Self, StorageError> {
        let prefix = folder_prefix(prefix);
        let mut listed = Self::default();
        let mut mark = None;
        loop {
            let page = store.list(&prefix, mark.as_deref()).await?;
            for entry in page.entries {
                let Some(below) = entry.name.strip_prefix(&prefix) else {
                    continue;
                };
                // A marker of the prefix itself.
                if below.is_empty() {
                    continue;
                }
                if entry.is_folder || (below.ends_with('/') && entry.properties.size == 0) {
                    let below = below.trim_end_matches('/').to_owned();
                    listed.folders.insert(below, entry);
                } else {
                    listed.files.insert(below.to_owned(), entry);
                }
            }
            for left_out in page.left_out {
                if let Some(below) = left_out.name.strip_prefix(&prefix) {
                    listed.left_out.push(Fault {
                        name: below.to_owned(),
                        problem: StorageProblem::Local,
                        why: left_out.why,
                    });
                }
            }
            mark = page.mark;
            if mark.is_none() {
                return Ok(listed);
            }
        }
    }
}
