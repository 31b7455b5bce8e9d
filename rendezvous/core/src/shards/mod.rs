//! Shards: what is ready, who runs it, and what becomes of it.

pub(crate) mod content;
pub(crate) mod needs;
pub(crate) mod rebalance;
pub(crate) mod results;
pub(crate) mod schedule;
pub(crate) mod speculation;
pub(crate) mod stages;
