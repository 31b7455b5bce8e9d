//! Outputs of before that attempts of this process have found aside, until their own are durable.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::calls;
use petctl_output::layout::{AttemptName, NamedLease};

/// By the attempt that has made them wait.
#[derive(Debug, Default)]
pub(super) struct Earlier(Mutex<BTreeMap<NamedLease, Noted>>);

/// Outputs of before.
#[derive(Debug)]
pub(super) struct Noted {
    /// Where they are.
    pub(super) folder: PathBuf,
    /// SHA-256 of their manifest: at the same place there may be others later.
    sha256: [u8; 32],
}

impl Noted {
    /// Whether it is still these that are there.
    pub(super) fn is_still_there(&self) -> bool {
        calls::read_manifest(&self.folder).is_ok_and(|read| read.sha256 == self.sha256)
    }
}

impl Earlier {
    /// Outputs that go once this attempt's stand; nothing where there are none.
    pub(super) fn note(&self, name: AttemptName<'_>, folder: PathBuf) {
        if let Ok(read) = calls::read_manifest(&folder) {
            let sha256 = read.sha256;
            self.lock().insert(name.lease(), Noted { folder, sha256 });
        }
    }

    /// What waited for this attempt.
    pub(super) fn take(&self, lease: NamedLease) -> Option<Noted> {
        self.lock().remove(&lease)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NamedLease, Noted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
