//! The coordinator's gRPC server.
//!
//! Each stream has a task that decodes and encodes; the driver's thread sees only the core's own types.

mod auth;
mod bounds;
mod decode;
mod encode;
mod events;
mod group;
mod incoming;
mod jobs;
mod logs;
mod places;
mod relay;
mod server;
mod shards;
mod status;
mod submit;
mod watch;
mod workers;

pub(crate) use self::server::{Server, serve};
pub(crate) use self::status::{refused, status_of};
