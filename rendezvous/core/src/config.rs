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
    /// Each that comes back gives the others at least this long: where one found the way, more are on it.
    pub recovery_gap_ms: u64,
    /// Those who come back late are waited for no longer than this.
    pub recovery_limit_ms: u64,
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
            recovery_gap_ms: 5_000,
            recovery_limit_ms: 60_000,
            max_jobs: 10_000,
            max_workers: 20_000,
            prefetch_ms: 100,
            max_prefetch: 256,
        }
    }
}

impl Config {
    /// The same for a coordinator whose workers come from other hosts. A way there may be open seconds after the coordinator
    /// serves (a cluster's service leads to it once it is known to be ready), and a try to connect that went to
    /// where the last one was ends only after seconds.
    #[must_use]
    pub fn for_other_hosts(self) -> Self {
        Self {
            recovery_window_ms: 10_000,
            ..self
        }
    }
}
