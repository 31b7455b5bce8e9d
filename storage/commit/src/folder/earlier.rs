//! Outputs of before that attempts of this process have put aside, until their own are durable.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use petctl_output::layout::{AttemptName, NamedLease};
use petctl_output::manifest::Manifest;

/// By the attempt that has made them wait.
#[derive(Debug, Default)]
pub(super) struct Earlier(Mutex<BTreeMap<NamedLease, Waiting>>);

/// What waits aside.
#[derive(Debug)]
pub(super) struct Waiting {
    folder: PathBuf,
    /// Whose outputs they are; `None`: they don't say.
    of: Option<NamedLease>,
}

impl Waiting {
    /// The folder, unless others wait there by now: then those go when what replaces them is durable.
    pub(super) fn still(self) -> Option<PathBuf> {
        (made_by(&self.folder) == self.of).then_some(self.folder)
    }
}

fn made_by(folder: &Path) -> Option<NamedLease> {
    let read = Manifest::read(folder).ok()?;
    Some(read.manifest.lease())
}

impl Earlier {
    /// Outputs that go once this attempt's stand; nothing where there are none.
    pub(super) fn note(&self, name: AttemptName<'_>, earlier: PathBuf) {
        if earlier.exists() {
            let waiting = Waiting {
                of: made_by(&earlier),
                folder: earlier,
            };
            self.lock().insert(name.lease(), waiting);
        }
    }

    /// What waited for this attempt.
    pub(super) fn take(&self, lease: NamedLease) -> Option<Waiting> {
        self.lock().remove(&lease)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NamedLease, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
