//! What a coordinator may be told at its start.

/// Times and bounds of a coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How often workers send heartbeats.
    pub heartbeat_interval_ms: u64,
    /// How often workers that hold no lease send them: there may be thousands.
    pub idle_heartbeat_interval_ms: u64,
    /// A worker not heard of for this long is given up.
    pub heartbeat_timeout_ms: u64,
    /// A worker whose stream broke has this long to come back before it is given up.
    pub reconnect_grace_ms: u64,
    /// After a restart, members of before have this long to come back and claim what they run.
    pub recovery_window_ms: u64,
    /// Most jobs kept, ended ones included.
    pub max_jobs: usize,
    /// Most workers connected.
    pub max_workers: usize,
    /// About how much work a worker may hold beyond its slots, so that it never waits for a lease.
    pub prefetch_ms: u64,
    /// Most leases a worker may hold beyond its slots.
    pub max_prefetch: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat_interval_ms: 1_600,
            idle_heartbeat_interval_ms: 3_000,
            heartbeat_timeout_ms: 5_000,
            reconnect_grace_ms: 500,
            recovery_window_ms: 5_000,
            max_jobs: 10_000,
            max_workers: 20_000,
            prefetch_ms: 100,
            max_prefetch: 256,
        }
    }
}
