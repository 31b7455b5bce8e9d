//! What an attempt at a shard is, whoever runs it: the floor below staging, uploading and the slots.
//!
//! [`AttemptPaths`] says where it finds what it works on, [`ShardContext`] what its command is told, [`Validity`] until
//! when its lease is certain to stand, [`identity`] what it is called, and [`outcome`] makes what the coordinator is told of it in the end.

mod context;
pub mod identity;
pub mod outcome;
pub mod paths;
mod validity;

pub use self::context::{Description, Request, ShardContext};
pub use self::paths::AttemptPaths;
pub use self::validity::Validity;
