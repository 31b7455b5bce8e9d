//! Where shards come from, how they are handed out, and which of them run again.

mod dispatch;
mod local;
mod memory;
mod reuse;
mod serve;
mod setup;
mod sources;
