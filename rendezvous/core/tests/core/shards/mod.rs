//! Promises about shards that the simulation does not single out: how they are handed out, judged, and used again.

mod dispatch;
mod events;
mod failures;
mod gpus;
mod harness;
mod local_stages;
mod places;
mod recovery;
mod reuse;
mod skips;
mod stragglers;
mod takeover;
