//! Jobs whose inputs or outputs are in blob storage: what stands between the service and the attempts.
//!
//! Leases are looked at when they arrive: [`wants`] says what their stage works on, the [`stager`] asks the storage for
//! versions and sizes and fetches what the [`cache`] has room for, while other attempts run. A slot waits only for what
//! is not here yet. What an attempt wrote is handed to the [`sender`]: it hashes and sends the files, publishes the
//! manifest, and reports; the slot has gone on to its next attempt by then. All of it runs on threads of the
//! [`engine`], so that the agent's heartbeats wait for none of it.

mod cache;
mod engine;
mod fetch;
mod job;
mod logs;
mod look;
pub(crate) mod paths;
mod problem;
mod scratch;
mod sender;
mod stager;
mod wants;

pub(crate) use self::engine::Host;
pub(crate) use self::job::RemoteJob;
pub(crate) use self::paths::Places;
pub(crate) use self::problem::Problem;
pub(crate) use self::sender::Sender;
pub(crate) use self::stager::Hold;
