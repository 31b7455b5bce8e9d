//! What the tests stand on: petctl's image, an installation with a namespace and a folder of its own, commands, jobs.

mod command;
mod image;
mod installed;
mod job;
mod pods;

pub(crate) use command::{Background, Ran};
pub(crate) use image::{checkout, petctl, petctl_before};
pub(crate) use installed::{Installed, Storage};
pub(crate) use job::Job;
pub(crate) use pods::Pod;

use petctl_test_kube::Bed;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

/// A loaded machine of two cores gets this long for anything.
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// Held by a test while it uses the cluster; alone by one that takes its nodes or its API server away.
static CLUSTER: RwLock<()> = RwLock::new(());

/// The cluster, for one test.
pub(crate) struct Held<G> {
    pub(crate) bed: &'static Bed,
    _guard: G,
}

/// The cluster, with other tests beside.
pub(crate) fn beside_others() -> Held<RwLockReadGuard<'static, ()>> {
    Held {
        bed: Bed::get(),
        _guard: CLUSTER.read().unwrap_or_else(PoisonError::into_inner),
    }
}

/// The cluster, with nobody beside.
pub(crate) fn alone() -> Held<RwLockWriteGuard<'static, ()>> {
    Held {
        bed: Bed::get(),
        _guard: CLUSTER.write().unwrap_or_else(PoisonError::into_inner),
    }
}

/// Whether a text has all of these, for messages: what is missing.
pub(crate) fn missing<'t>(text: &str, wanted: &[&'t str]) -> Vec<&'t str> {
    let lost = wanted.iter().filter(|part| !text.contains(**part));
    lost.copied().collect()
}

/// Puts right what a test has taken away from the cluster: now, or when the test fails.
pub(crate) struct Until<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Until<F> {
    /// From now on it is away; this brings it back.
    pub(crate) fn back(back: F) -> Self {
        Self(Some(back))
    }

    /// Brings it back.
    pub(crate) fn now(mut self) {
        if let Some(back) = self.0.take() {
            back();
        }
    }
}

impl<F: FnOnce()> Drop for Until<F> {
    fn drop(&mut self) {
        if let Some(back) = self.0.take() {
            back();
        }
    }
}
