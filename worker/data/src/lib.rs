//! Jobs whose inputs or outputs are in blob storage: what stands between the service and the attempts.
//!
//! What a lease wants is found out when it arrives: `wants` says what its stage works on, `resolve` asks the storage for
//! versions and sizes, and the `stager` fetches what the input `cache` has room for, while other attempts run. A slot
//! waits only for what is not here yet. What an attempt wrote is handed to the [`Uploader`]: it hashes and uploads the
//! files, publishes the manifest, and reports; the slot has gone on to its next attempt by then. All of it runs on
//! threads of its own, so that the agent's heartbeats wait for none of it.

mod cache;
mod engine;
mod fetch;
mod job;
mod logs;
mod problem;
mod resolve;
mod scratch;
mod stager;
mod uploader;
mod wants;

pub use self::engine::Host;
pub use self::job::RemoteJob;
pub use self::problem::Problem;
pub use self::stager::Hold;
pub use self::uploader::{Origin, Report, Uploader};
