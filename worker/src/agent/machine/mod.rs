//! What a worker says and does, decided without a clock, a socket or a process: a pure state machine.
//!
//! [`Machine::handle`] takes one input and answers with effects, to be carried out in order. What is to be sent is
//! asked for with [`Machine::next_message`] whenever the stream has room, so results gather into batches while it has
//! none. [`Machine::deadline`] says when to come back with [`Input::Tick`].

#[cfg(test)]
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "each test looks for one effect among many"
)]
mod tests;

mod group;
mod group_orders;
mod inbound;
mod io;
mod orders;
mod outbound;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use petctl_codes::Code;
use petctl_proto::v1::LogChunk;

use crate::agent::backoff::Backoff;
use crate::agent::ledger::Ledger;
use crate::agent::machine::group::GroupState;
use crate::agent::machine::orders::{discard, hand_back_queued, stop_group};
use crate::options::{Ended, WorkerError};
use petctl_process::StopOrder;
use petctl_process::supervisor::Stop;

pub(super) use self::io::{Effect, GroupInput, Identity, Input};

/// Until a Welcome says otherwise.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// On top of the grace of its processes, how long a leaving worker waits for acknowledgements.
const LEAVE_MARGIN: Duration = Duration::from_secs(5);
/// How long the coordinator may take to end the stream after a goodbye.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// Log requests in work at a time; more are answered with nothing.
const MAX_LOG_REQUESTS: usize = 64;
/// Heartbeats that may be without an answer before the oldest are forgotten.
const MAX_UNANSWERED: usize = 1_024;

/// The state machine.
#[derive(Debug)]
pub(super) struct Machine {
    identity: Identity,
    coordinator_grace: Duration,
    process_grace: Duration,
    link: Link,
    mode: Mode,
    backoff: Backoff,
    ledger: Ledger,
    group: GroupState,
    /// The group was told to stop because there is no coordinator.
    cut_off: bool,
    epoch: u64,
    member_of: u64,
    heartbeat_interval: Duration,
    /// While it holds nothing.
    idle_interval: Duration,
    heartbeat_timeout: Duration,
    /// By its last answered heartbeat, it is not given up before this moment.
    trusted_until: Instant,
    log_chunks: VecDeque<LogChunk>,
    log_requests: usize,
    /// Since when there has been no coordinator while nothing ran.
    alone_since: Instant,
    last_cause: String,
}

#[derive(Debug)]
enum Link {
    /// The next try is at this time.
    Down {
        retry_at: Instant,
    },
    /// A Hello is under way; nothing else may be sent.
    Greeting {
        since: Instant,
    },
    Up(Stream),
    /// All is said; the stream ends.
    Closing {
        until: Instant,
        ended: Ended,
    },
    Finished,
}

#[derive(Debug)]
struct Stream {
    last_heard: Instant,
    next_heartbeat: Instant,
    last_heartbeat: Instant,
    sequence: u64,
    /// Heartbeats without an answer: sequence and time.
    unanswered: VecDeque<(u64, Instant)>,
    goodbye_sent: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Mode {
    Serving,
    /// Finish what runs, then leave.
    Draining {
        reason: String,
    },
    /// Stop what runs, then leave, by this time at the latest.
    Leaving {
        reason: String,
        until: Instant,
    },
}

impl Machine {
    pub(super) fn new(
        now: Instant,
        identity: Identity,
        coordinator_grace: Duration,
        seed: u64,
    ) -> Self {
        Self {
            identity,
            coordinator_grace,
            process_grace: Duration::ZERO,
            link: Link::Down { retry_at: now },
            mode: Mode::Serving,
            backoff: Backoff::new(seed),
            ledger: Ledger::default(),
            group: GroupState::default(),
            cut_off: false,
            epoch: 0,
            member_of: 0,
            heartbeat_interval: DEFAULT_INTERVAL,
            idle_interval: DEFAULT_INTERVAL,
            heartbeat_timeout: DEFAULT_TIMEOUT,
            trusted_until: now,
            log_chunks: VecDeque::new(),
            log_requests: 0,
            alone_since: now,
            last_cause: "not tried yet".to_owned(),
        }
    }

    /// Longest time a process of the job has between SIGTERM and SIGKILL.
    pub(super) fn set_process_grace(&mut self, grace: Duration) {
        self.process_grace = grace;
    }

    /// What to do now. `running` is the number of processes.
    pub(super) fn handle(&mut self, now: Instant, running: u32, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        if matches!(self.link, Link::Finished) {
            return effects;
        }
        match input {
            Input::Tick => {}
            Input::Received(response) => self.received(now, response, &mut effects),
            Input::Disconnected { cause } => self.disconnected(now, cause, &mut effects),
            Input::Refused { code, message } => {
                let address = self.identity.address.clone();
                self.finish(
                    Err(WorkerError::Refused {
                        address,
                        code,
                        message,
                    }),
                    &mut effects,
                );
            }
            Input::Untrusted(why) => {
                let address = self.identity.address.clone();
                self.finish(Err(WorkerError::Untrusted { address, why }), &mut effects);
            }
            Input::Ended(results) => {
                for result in results {
                    self.ledger.finish(result);
                }
            }
            Input::Withdrawn { lease_ids, with } => {
                for lease_id in lease_ids {
                    self.ledger.finish_unstarted(lease_id, with.clone());
                }
            }
            Input::LogRead(chunk) => {
                self.log_requests = self.log_requests.saturating_sub(1);
                if matches!(self.link, Link::Up(_)) {
                    self.log_chunks.push_back(chunk);
                }
            }
            Input::Group(input) => {
                if let Some(start) = self.group.noted(input) {
                    self.begin_next(start, &mut effects);
                }
            }
            Input::Checkpoint {
                request_id,
                step,
                path,
            } => self.checkpoint(request_id, step, path, &mut effects),
            Input::Renamed { worker_id } => self.identity.worker_id = worker_id,
            Input::Leave { reason } => self.leave(now, reason, &mut effects),
            Input::Abort => self.finish(Ok(Ended::Stopped), &mut effects),
        }
        self.advance(now, running, &mut effects);
        effects
    }

    /// When to come back with [`Input::Tick`].
    pub(super) fn deadline(&self) -> Option<Instant> {
        let link = match &self.link {
            Link::Down { retry_at } => Some(*retry_at),
            Link::Greeting { since } => Some(*since + self.heartbeat_timeout),
            Link::Up(stream) => Some(
                stream
                    .next_heartbeat
                    .min(stream.last_heard + self.heartbeat_timeout),
            ),
            Link::Closing { until, .. } => Some(*until),
            Link::Finished => None,
        };
        let alone = match self.link {
            // The end of its processes comes as an input.
            Link::Down { .. } | Link::Greeting { .. } if self.cut_off && self.group.is_alive() => {
                None
            }
            Link::Down { .. } | Link::Greeting { .. } => {
                Some(self.alone_since + self.coordinator_grace)
            }
            Link::Up(_) | Link::Closing { .. } | Link::Finished => None,
        };
        let leave = match &self.mode {
            Mode::Leaving { until, .. } if !matches!(self.link, Link::Finished) => Some(*until),
            Mode::Leaving { .. } | Mode::Serving | Mode::Draining { .. } => None,
        };
        [link, alone, leave].into_iter().flatten().min()
    }

    /// Nothing runs here, and the coordinator has heard all.
    fn is_done(&self) -> bool {
        self.ledger.is_empty() && self.group.is_settled()
    }

    fn leave(&mut self, now: Instant, reason: String, effects: &mut Vec<Effect>) {
        if matches!(self.mode, Mode::Leaving { .. }) {
            return;
        }
        hand_back_queued(Code::WorkerLeaving, &reason, effects);
        let message = format!("stopped because the worker leaves: {reason}");
        let order = StopOrder {
            stop: Stop::Preempted,
            code: Code::WorkerLeaving.to_string(),
            message,
        };
        effects.push(Effect::Stop {
            wanted: None,
            order,
        });
        if self.group.is_alive() {
            stop_group(Code::WorkerLeaving, &reason, effects);
        }
        self.mode = Mode::Leaving {
            reason,
            until: now + self.process_grace + LEAVE_MARGIN,
        };
    }

    fn disconnected(&mut self, now: Instant, cause: String, effects: &mut Vec<Effect>) {
        match &self.link {
            Link::Closing { ended, .. } => {
                let ended = ended.clone();
                return self.finish(Ok(ended), effects);
            }
            Link::Finished => return,
            Link::Up(_) => {
                self.alone_since = now;
                tracing::info!(cause, "lost the coordinator; looking for it");
            }
            // Each cause once: whoever wonders why this worker does not come reads it here.
            Link::Down { .. } | Link::Greeting { .. } if cause == self.last_cause => {}
            Link::Down { .. } | Link::Greeting { .. } => {
                tracing::info!(cause, "no coordinator; looking for it");
            }
        }
        effects.push(Effect::Disconnect);
        self.last_cause = cause;
        self.link = Link::Down {
            retry_at: now + self.backoff.next(),
        };
    }

    /// What time and the other inputs together make due.
    fn advance(&mut self, now: Instant, running: u32, effects: &mut Vec<Effect>) {
        if running > 0 {
            self.alone_since = self.alone_since.max(now);
        }
        if self.mode != Mode::Serving && self.is_done() {
            match &self.link {
                Link::Up(stream) if stream.goodbye_sent => {
                    self.close(now, self.mode.ended(), effects)
                }
                Link::Down { .. } | Link::Greeting { .. } => {
                    self.finish(Ok(self.mode.ended()), effects)
                }
                Link::Up(_) | Link::Closing { .. } | Link::Finished => {}
            }
        }
        if let Mode::Leaving { until, .. } = self.mode
            && now >= until
        {
            self.finish(Ok(Ended::Left), effects);
        }
        let silent_since = match &self.link {
            Link::Greeting { since } => Some(*since),
            Link::Up(stream) => Some(stream.last_heard),
            Link::Down { .. } | Link::Closing { .. } | Link::Finished => None,
        };
        if silent_since.is_some_and(|since| now >= since + self.heartbeat_timeout) {
            let ms = self.heartbeat_timeout.as_millis();
            self.disconnected(now, format!("it was silent for {ms} ms"), effects);
        }
        self.advance_link(now, effects);
    }

    fn advance_link(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        match &self.link {
            Link::Closing { until, ended } if now >= *until => {
                let ended = ended.clone();
                self.finish(Ok(ended), effects);
            }
            Link::Down { .. } | Link::Greeting { .. }
                if self.group.is_alive()
                    && !self.cut_off
                    && now >= self.alone_since + self.coordinator_grace =>
            {
                // The others went on without it long ago.
                self.cut_off = true;
                let message = format!("no coordinator for {} s", self.coordinator_grace.as_secs());
                stop_group(Code::CoordinatorLost, &message, effects);
            }
            Link::Down { .. } | Link::Greeting { .. }
                if !self.group.is_alive() && now >= self.alone_since + self.coordinator_grace =>
            {
                let lost = WorkerError::CoordinatorLost {
                    address: self.identity.address.clone(),
                    waited: self.coordinator_grace,
                    cause: self.last_cause.clone(),
                };
                self.finish(Err(lost), effects);
            }
            Link::Down { retry_at } if now >= *retry_at => {
                self.link = Link::Greeting { since: now };
                effects.push(Effect::Connect(Box::new(self.hello(now))));
            }
            Link::Down { .. }
            | Link::Greeting { .. }
            | Link::Up(_)
            | Link::Closing { .. }
            | Link::Finished => {}
        }
    }

    fn close(&mut self, now: Instant, ended: Ended, effects: &mut Vec<Effect>) {
        effects.push(Effect::CloseSending);
        self.link = Link::Closing {
            until: now + CLOSE_LIMIT,
            ended,
        };
    }

    fn finish(&mut self, how: Result<Ended, WorkerError>, effects: &mut Vec<Effect>) {
        self.ledger.keep_only(&[]);
        discard(None, "the worker ends", effects);
        self.abandon_group("the worker ends", effects);
        effects.push(Effect::Finish(how));
        self.link = Link::Finished;
    }
}

impl Mode {
    fn reason(&self) -> Option<&str> {
        match self {
            Self::Serving => None,
            Self::Draining { reason } | Self::Leaving { reason, .. } => Some(reason),
        }
    }

    fn ended(&self) -> Ended {
        match self {
            Self::Serving => Ended::Stopped,
            Self::Draining { reason } => Ended::Drained {
                reason: reason.clone(),
            },
            Self::Leaving { .. } => Ended::Left,
        }
    }
}
