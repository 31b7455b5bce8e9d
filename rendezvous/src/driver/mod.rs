//! The one thread that owns the core.
//!
//! It takes what waits, lets the core decide, makes the decisions durable in one commit, and only then acts on them.
//! Conversions to and from the wire, reading old events and waiting for slow peers all happen elsewhere.

mod client;
mod connections;
mod log_lines;
mod message;
mod pulse;
mod recent;
mod step;
mod stop;
#[cfg(test)]
pub(crate) mod tests;
mod watches;

pub(crate) use self::client::Client;
pub use self::client::NotAnswered;
pub(crate) use self::connections::{Ending, Inbox, Outbox, Outgoing, stream};
pub(crate) use self::message::{Message, View};
pub(crate) use self::pulse::{At, Pulse};
pub(crate) use self::recent::Recent;
pub use self::stop::StopReason;
pub(crate) use self::watches::Mark;

use self::client::Shared;
use self::step::Driver;
use self::watches::Watches;
use crate::clock::Clock;
use crate::event_log::{EventLog, Loaded, LogError};
use petctl_core::{Config, Core, Lineage, Millis};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use tokio::runtime;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Messages that may wait for the core; then streams wait to be read.
const WAITING_MESSAGES: usize = 8_192;
/// Records read at the start for the last events of each job.
pub(crate) const RECENT_RECORDS: u64 = 10_000;

/// A core with its log, ready to run.
pub(crate) struct Prepared {
    core: Core,
    log: Box<dyn EventLog>,
    recent: Recent,
    clock: Clock,
}

impl Prepared {
    /// The log that it goes on with.
    pub(crate) fn lineage(&self) -> Lineage {
        self.core.lineage()
    }
}

/// Loads the log and takes over its state.
pub(crate) fn prepare(
    mut log: Box<dyn EventLog>,
    config: Config,
    seed: u64,
) -> Result<Prepared, LogError> {
    let Loaded {
        state,
        next_sequence,
    } = log.load()?;
    let (recent, newest_at) = look_back(log.as_ref(), next_sequence)?;
    let clock = Clock::starting_at_least(newest_at);
    let core = Core::new(config, state, seed, clock.now());
    Ok(Prepared {
        core,
        log,
        recent,
        clock,
    })
}

/// Starts the thread. `on_stop` runs on it as the last thing, when the log is closed.
pub(crate) fn spawn(
    prepared: Prepared,
    on_stop: impl FnOnce(&StopReason) + Send + 'static,
) -> io::Result<Client> {
    let (messages, inbox) = mpsc::channel(WAITING_MESSAGES);
    let (drained, drained_seen) = watch::channel(false);
    let (stopped, stopped_seen) = watch::channel(None);
    let watches = Arc::new(Watches::default());
    let stop = CancellationToken::new();
    let pulse = Pulse::new();
    let shared = Shared {
        messages,
        watches: Arc::clone(&watches),
        reader: prepared.log.reader(),
        drained: drained_seen,
        stopped: stopped_seen,
        next: AtomicU64::new(1),
        draining: AtomicBool::new(false),
        pulse: pulse.clone(),
        stop: stop.clone(),
    };
    let runtime = runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let driver = Driver::new(prepared, inbox, watches, drained, (stop, pulse));
    let ending = Stopping {
        on_stop: Mutex::new(Some(on_stop)),
        stopped,
    };
    thread::Builder::new()
        .name("coordinator".to_owned())
        .spawn(move || {
            let reason = runtime.block_on(driver.run());
            ending.end(reason);
        })?;
    Ok(Client {
        shared: Arc::new(shared),
    })
}

/// Says that the thread ended, also when it ends by a panic.
struct Stopping<F: FnOnce(&StopReason)> {
    on_stop: Mutex<Option<F>>,
    stopped: watch::Sender<Option<StopReason>>,
}

impl<F: FnOnce(&StopReason)> Stopping<F> {
    fn end(&self, reason: StopReason) {
        let on_stop = self
            .on_stop
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(on_stop) = on_stop {
            on_stop(&reason);
            self.stopped.send_replace(Some(reason));
        }
    }
}

impl<F: FnOnce(&StopReason)> Drop for Stopping<F> {
    fn drop(&mut self) {
        self.end(StopReason::Bug(
            "the coordinator's thread panicked".to_owned(),
        ));
    }
}

/// The last events of every job, and when the newest record was made.
fn look_back(log: &dyn EventLog, next_sequence: u64) -> Result<(Recent, Millis), LogError> {
    let from = next_sequence.saturating_sub(RECENT_RECORDS);
    let limit = usize::try_from(RECENT_RECORDS).unwrap_or(usize::MAX);
    let mut recent = Recent::default();
    let mut newest_at = Millis::default();
    for record in log.reader().read(from, limit)? {
        newest_at = newest_at.max(record.at);
        recent.take(record);
    }
    Ok((recent, newest_at))
}
