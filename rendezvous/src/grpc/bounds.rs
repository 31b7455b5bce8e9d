//! How much one message or one client may ask for.

use std::time::Duration;

/// Longest job file as JSON.
pub(super) const MAX_SPEC_BYTES: usize = 4 * 1024 * 1024;
/// Longest place as JSON.
pub(super) const MAX_PLACE_BYTES: usize = 256 * 1024;
/// All keys of a submission together.
pub(super) const MAX_KEYS_BYTES: usize = 256 * 1024 * 1024;
/// Longest JSON of what is known of one shard.
pub(super) const MAX_DETAIL_BYTES: usize = petctl_spec::manifest::MAX_LINE_BYTES + 8 * 1024;
/// A job's or stage's name, a key's prefix, a reason: anything a client says in one line.
pub(super) const MAX_LINE_BYTES: usize = 4 * 1024;
/// A worker's or host's name.
pub(super) const MAX_NAME_BYTES: usize = 255;
/// Leases a worker may claim at a reconnect.
pub(super) const MAX_HELD: usize = 100_000;
/// Results in one message.
pub(super) const MAX_RESULTS: usize = 100_000;
/// Reasons and numbers of one result.
pub(super) const MAX_REASONS: usize = 64;
pub(super) const MAX_NUMBERS: usize = 1_000;
/// Last lines of a failed attempt's log.
pub(super) const MAX_LOG_TAIL_BYTES: usize = 16 * 1024;
/// One sentence of a worker.
pub(super) const MAX_MESSAGE_BYTES: usize = 16 * 1024;

/// Rows and records looked up at a time, so that the driver's thread is never held for long.
pub(super) const PAGE: usize = 500;
/// Pages that may wait for a client to read them.
pub(super) const WAITING_PAGES: usize = 4;

/// Calls at a time on one connection.
pub(super) const CALLS_PER_CONNECTION: usize = 256;
/// Connections beside those of workers.
pub(super) const CLIENT_CONNECTIONS: usize = 1_000;
/// All headers of a call.
pub(super) const MAX_HEADER_BYTES: u32 = 32 * 1024;
/// A worker says Hello within this time.
pub(super) const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// A worker takes the end of its stream within this time, or its connection is cut.
pub(super) const END_TIMEOUT: Duration = Duration::from_secs(5);
/// Two statuses of a watched job are this far apart, unless it ends.
pub(super) const WATCH_PAUSE: Duration = Duration::from_millis(100);
/// A watched job that does not change is shown again after this time: rates and ages move on.
pub(super) const WATCH_REFRESH: Duration = Duration::from_secs(1);
/// A followed log is looked at this often.
pub(super) const LOG_PAUSE: Duration = Duration::from_millis(200);
/// A worker answers for its logs within this time.
pub(super) const LOG_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a log at a time.
pub(super) const LOG_BYTES: usize = 256 * 1024;
