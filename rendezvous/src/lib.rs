//! The coordinator: the pure core of `petctl-core` with a clock, a durable log and gRPC around it.
//!
//! One thread owns the core. It takes what waits, lets the core decide, makes the decisions durable in one commit,
//! and only then sends anything: to workers, to clients, to whoever asks.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use petctl_rendezvous::{Coordinator, Options};
//!
//! let coordinator = Coordinator::start(Options::new("/var/lib/petctl")).await?;
//! let _address = coordinator.address();
//! coordinator.drain("the machine goes down").await?;
//! coordinator.shutdown();
//! coordinator.stopped().await;
//! # Ok(())
//! # }
//! ```

mod clock;
mod coordinator;
mod driver;
mod error;
pub mod event_log;
mod folder;
mod grpc;
mod http;
mod options;
mod plan;
pub mod wire;
mod worker_token;

pub use crate::coordinator::{Coordinator, Handle};
pub use crate::driver::{NotAnswered, StopReason};
pub use crate::error::StartError;
pub use crate::event_log::{Offline, open_offline};
pub use crate::folder::{Endpoint, ca_path, random_token, read_endpoint, read_token};
pub use crate::options::{Engine, Options, PlaceKeeper, TlsOptions};
pub use crate::plan::plan;
pub use crate::worker_token::{job_of_token, worker_token};
pub use petctl_metrics as metrics;
