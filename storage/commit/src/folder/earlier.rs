//! Outputs of before that attempts of this process have put aside, until their own are durable.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::calls;
use petctl_output::layout::{AttemptName, NamedLease};

/// By the attempt that has made them wait.
#[derive(Debug, Default)]
pub(super) struct Earlier(Mutex<BTreeMap<NamedLease, PathBuf>>);

impl Earlier {
    /// Outputs that go once this attempt's stand; nothing where there are none.
    pub(super) fn note(&self, name: AttemptName<'_>, earlier: PathBuf) {
        if calls::look_at("note", &earlier).is_ok() {
            self.lock().insert(name.lease(), earlier);
        }
    }

    /// What waited for this attempt.
    pub(super) fn take(&self, lease: NamedLease) -> Option<PathBuf> {
        self.lock().remove(&lease)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NamedLease, PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
