//! A Kubernetes cluster as the place of jobs.
//!
//! ```text
//! petctl setup ──▶ manifests ──▶ objects ──▶ API server ──▶ coordinator's pod
//! petctl run   ──▶ tunnel ───────────────────────▲   │        │ keeper: what pools want, what pods say
//!                                                    └────────▶ a Job of workers per job
//! ```
//!
//! Two sides use it. The launcher installs ([`mod@setup`]) and reaches ([`Tunnel`]) a coordinator with somebody's
//! kubeconfig. The coordinator, in its pod, keeps the pods of its jobs ([`Keeper`]) as its own service account.

mod blobs;
mod cluster;
pub mod gpu;
mod keeper;
mod manifests;
mod named;
mod names;
mod objects;
mod requests;
mod secrets;
pub mod setup;
mod sharing;
mod stranded;
mod tunnel;
mod uninstall;
mod upgrade;

pub use cluster::Cluster;
pub use keeper::Keeper;
pub use named::check_named;
pub use objects::{Change, Difference, There};
pub use petctl_core::Sharing;
pub use secrets::{Opener, apply_secret, registry_secret, storage_secret, without_values};
pub use sharing::{shared_with, unkept};
pub use stranded::{Stranded, abandon, stranded};
pub use tunnel::Tunnel;
pub use uninstall::{remove_all, what_is_there};
pub use upgrade::There as InstalledThere;
