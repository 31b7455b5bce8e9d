//! A coordinator in numbers, for Prometheus.
//!
//! [`declared`] says what there is. How things stand is looked up when it is asked for, in one pass; what has happened
//! is counted as it happens. Both run on the core's thread, which hands out a copy.

mod counts;
pub mod declared;
mod page;
mod reference;
mod refusals;

pub use self::counts::Counts;
pub use self::page::{CONTENT_TYPE, Looked, Page};
pub use self::reference::reference;
pub use self::refusals::Refusals;

use std::collections::BTreeMap;

/// What whoever keeps the pods of a coordinator's jobs has to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeeperNumbers {
    /// Requests to the API server, by what [`declared::KEEPER_REQUESTS`] calls them.
    pub requests: BTreeMap<&'static str, u64>,
    /// Pods that are asked for.
    pub pods_wanted: u64,
    /// Pods that are there, by what [`declared::KEEPER_PODS`] calls them.
    pub pods: BTreeMap<&'static str, u64>,
}
