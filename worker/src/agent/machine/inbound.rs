//! What the coordinator says.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use petctl_codes::Code;
use petctl_proto::v1::attach_response::Message as Response;
use petctl_proto::v1::{
    AttachResponse, Drain, Fenced, Lease, LeaseBatch, LogChunk, LogRequest, Outcome, Release,
    Welcome,
};

use crate::agent::ledger::MAX_HELD;
use crate::agent::machine::orders::{discard, hand_back_queued, revoke, stop_group};
use crate::agent::machine::{Effect, Link, MAX_LOG_REQUESTS, Machine, Mode, Stream};
use crate::options::Ended;

impl Machine {
    pub(super) fn received(
        &mut self,
        now: Instant,
        response: AttachResponse,
        effects: &mut Vec<Effect>,
    ) {
        if let Link::Up(stream) = &mut self.link {
            stream.last_heard = now;
        }
        let epoch = response.epoch;
        match (response.message, &self.link) {
            (Some(Response::Welcome(welcome)), Link::Greeting { since }) => {
                let since = *since;
                self.welcomed(now, since, &welcome, effects);
            }
            (Some(message), Link::Up(_)) => self.attached(now, epoch, message, effects),
            // A fence may come instead of a Welcome.
            (Some(Response::Fenced(fenced)), Link::Greeting { .. }) => {
                self.fenced(now, &fenced, effects)
            }
            (Some(_), Link::Greeting { .. }) => {
                self.disconnected(
                    now,
                    "the coordinator spoke before its Welcome".to_owned(),
                    effects,
                );
            }
            (Some(_), Link::Down { .. } | Link::Closing { .. } | Link::Finished) | (None, _) => {}
        }
    }

    fn attached(&mut self, now: Instant, epoch: u64, message: Response, effects: &mut Vec<Effect>) {
        match message {
            Response::Welcome(_) => {
                self.disconnected(
                    now,
                    "the coordinator sent a second Welcome".to_owned(),
                    effects,
                );
            }
            Response::HeartbeatAck(ack) => self.acknowledged(ack.sequence, effects),
            Response::Assignment(assignment) => {
                self.epoch = epoch;
                self.member_of = assignment.job_id;
                effects.push(Effect::Assign(assignment));
            }
            Response::EpochChange(_) => self.epoch = self.epoch.max(epoch),
            Response::Leases(batch) => self.leased(epoch, batch, effects),
            Response::ResultAck(ack) => self.ledger.acknowledge(&ack.lease_ids),
            Response::ResultRefusal(refusal) => {
                tracing::info!(
                    code = refusal.code,
                    "results were not recorded: {}",
                    refusal.message
                );
                self.ledger.acknowledge(&refusal.lease_ids);
            }
            Response::Revocation(revocation) => revoke(revocation, effects),
            Response::Drain(Drain { reason }) => self.drained(reason, effects),
            Response::Release(release) => self.released(now, release, effects),
            Response::Fenced(fenced) => self.fenced(now, &fenced, effects),
            Response::LogRequest(request) => self.log_requested(request, effects),
            Response::GroupPrepare(prepare) => {
                self.epoch = self.epoch.max(epoch);
                effects.push(Effect::PrepareGroup(prepare));
            }
            // It has stood still, and this waited for it: whoever sent it has most likely given this worker up, and
            // started others. If not, the order comes again after the Hello.
            Response::GroupStart(_) if now >= self.trusted_until => {
                let cause = "an order to start came when this worker may have been given up";
                self.disconnected(now, cause.to_owned(), effects);
            }
            Response::GroupStart(start) => {
                self.epoch = self.epoch.max(epoch);
                self.group_started(start, effects);
            }
            Response::GroupStop(stop) => self.group_stopped(stop, effects),
            Response::CheckpointAnswer(ack) => self.checkpoint_answered(ack, effects),
            Response::Preflight(order) => effects.push(Effect::Preflight(order)),
        }
    }

    fn welcomed(
        &mut self,
        now: Instant,
        hello_sent_at: Instant,
        welcome: &Welcome,
        effects: &mut Vec<Effect>,
    ) {
        if welcome.heartbeat_interval_ms > 0
            && welcome.heartbeat_timeout_ms > welcome.heartbeat_interval_ms
        {
            self.heartbeat_interval = Duration::from_millis(welcome.heartbeat_interval_ms.into());
            self.heartbeat_timeout = Duration::from_millis(welcome.heartbeat_timeout_ms.into());
            let idle = Duration::from_millis(welcome.idle_heartbeat_interval_ms.into());
            // A coordinator that does not say, or says what would look like silence, gets the usual ones.
            let fits = idle >= self.heartbeat_interval && idle < self.heartbeat_timeout;
            self.idle_interval = if fits { idle } else { self.heartbeat_interval };
        }
        let lost = self.ledger.keep_only(&welcome.kept);
        if !lost.is_empty() {
            tracing::info!(
                leases = lost.len(),
                "leases were lost while there was no coordinator"
            );
            discard(
                Some(lost),
                "the coordinator did not confirm the lease after a reconnect",
                effects,
            );
        }
        self.ledger.resend_all();
        self.group.resend_all();
        self.log_chunks.clear();
        self.log_requests = 0;
        self.backoff.reset();
        self.cut_off = false;
        self.link = Link::Up(Stream {
            last_heard: now,
            next_heartbeat: now + self.heartbeat_interval,
            last_heartbeat: now,
            sequence: 0,
            unanswered: VecDeque::new(),
            goodbye_sent: false,
        });
        // After the lost ones are stopped: those that wait to commit go on by this.
        self.trusted_until = hello_sent_at + self.heartbeat_timeout;
        effects.push(Effect::Renew(self.trusted_until));
        tracing::debug!(
            incarnation = welcome.incarnation,
            kept = welcome.kept.len(),
            "attached"
        );
    }

    fn acknowledged(&mut self, sequence: u64, effects: &mut Vec<Effect>) {
        let Link::Up(stream) = &mut self.link else {
            return;
        };
        while let Some((oldest, sent_at)) = stream.unanswered.front().copied() {
            if oldest > sequence {
                return;
            }
            stream.unanswered.pop_front();
            if oldest == sequence {
                self.trusted_until = sent_at + self.heartbeat_timeout;
                effects.push(Effect::Renew(self.trusted_until));
            }
        }
    }

    fn leased(&mut self, epoch: u64, batch: LeaseBatch, effects: &mut Vec<Effect>) {
        let refusal = if self.member_of == 0 {
            Some((Code::NotAMember, "this worker is a member of no job"))
        } else if epoch < self.epoch {
            Some((
                Code::StaleEpoch,
                "the lease is from an earlier epoch than this worker's",
            ))
        } else if self.mode != Mode::Serving {
            Some((Code::WorkerDraining, "this worker starts nothing new"))
        } else if self.ledger.len() + batch.leases.len() > MAX_HELD {
            Some((Code::TooManyLeases, "a worker holds at most 65,536 leases"))
        } else {
            None
        };
        let new: Vec<Lease> = batch
            .leases
            .into_iter()
            .filter(|lease| self.ledger.grant(lease))
            .collect();
        match refusal {
            None if new.is_empty() => {}
            None => {
                self.heartbeat_as_at_work();
                effects.push(Effect::Enqueue(new));
            }
            Some((code, message)) => {
                for lease in new {
                    let result =
                        petctl_attempt::outcome::ended(&lease, Outcome::Returned, code, message);
                    self.ledger.finish(result);
                }
            }
        }
    }

    /// The last heartbeat may be old, from when it was idle; what is run now must not wait for the next to commit.
    pub(super) fn heartbeat_as_at_work(&mut self) {
        if let Link::Up(stream) = &mut self.link {
            stream.next_heartbeat = stream
                .next_heartbeat
                .min(stream.last_heartbeat + self.heartbeat_interval);
        }
    }

    fn drained(&mut self, reason: String, effects: &mut Vec<Effect>) {
        if self.mode == Mode::Serving {
            hand_back_queued(Code::Drained, &reason, effects);
            if self.group.is_alive() {
                stop_group(Code::Drained, &reason, effects);
            }
            self.mode = Mode::Draining { reason };
        }
    }

    fn released(&mut self, now: Instant, release: Release, effects: &mut Vec<Effect>) {
        if release.code == Code::JobEnded.as_str() {
            effects.push(Effect::JobEnded);
        }
        self.give_up_all(&release.message, effects);
        if self.identity.job.is_empty() && self.mode == Mode::Serving {
            return;
        }
        let ended = match &self.mode {
            Mode::Serving => Ended::Released {
                code: release.code,
                message: release.message,
            },
            Mode::Draining { .. } | Mode::Leaving { .. } => self.mode.ended(),
        };
        self.close(now, ended, effects);
    }

    fn fenced(&mut self, now: Instant, fenced: &Fenced, effects: &mut Vec<Effect>) {
        tracing::warn!(code = fenced.code, "fenced: {}", fenced.message);
        self.give_up_all(&fenced.message, effects);
        effects.push(Effect::Rename);
        if self.mode == Mode::Serving {
            self.disconnected(now, format!("fenced: {}", fenced.message), effects);
        } else {
            self.finish(Ok(self.mode.ended()), effects);
        }
    }

    /// All leases are lost, and so is the membership.
    fn give_up_all(&mut self, why: &str, effects: &mut Vec<Effect>) {
        self.ledger.keep_only(&[]);
        discard(None, why, effects);
        self.abandon_group(why, effects);
        effects.extend([Effect::Invalidate, Effect::Forget]);
        self.epoch = 0;
        self.member_of = 0;
    }

    fn log_requested(&mut self, request: LogRequest, effects: &mut Vec<Effect>) {
        if self.log_requests + self.log_chunks.len() >= MAX_LOG_REQUESTS {
            let (request_id, next_offset) = (request.request_id, request.offset);
            if self.log_chunks.len() < 2 * MAX_LOG_REQUESTS {
                self.log_chunks.push_back(LogChunk {
                    request_id,
                    data: Vec::new(),
                    next_offset,
                    end: false,
                });
            }
            return;
        }
        self.log_requests += 1;
        // A rank's log is asked for with its epoch.
        let may_grow =
            self.ledger.may_run(request.lease_id) || self.group.may_write(request.lease_id);
        effects.push(Effect::ReadLog(request, may_grow));
    }
}
