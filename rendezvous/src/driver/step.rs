//! The driver's loop.

use super::Prepared;
use super::connections::{Assignment, Connections, Outgoing};
use super::log_lines;
use super::message::{Decided, Message, Query, View};
use super::pulse::{At, Pulse};
use super::recent::Recent;
use super::stop::StopReason;
use super::watches::Watches;
use crate::clock::Clock;
use crate::event_log::{EventLog, LogError};
use crate::grpc::{refused, status_of};
use crate::metrics::Counts;
use petctl_codes::Code;
use petctl_core::{
    ConnId, Core, Effect, Epoch, Event, Input, JobId, Refusal, Reply, RequestId, ToWorker,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Messages that go into one commit.
const BATCH: usize = 4_096;
/// A deadline seen this much too late means that this process did not run: what the workers said meanwhile is heard
/// before they are judged by their silence.
const STALL_MS: u64 = 500;
/// How long that takes.
const STALL_GRACE: Duration = Duration::from_millis(250);

type Answer = oneshot::Sender<Result<Reply, Refusal>>;

pub(super) struct Driver {
    core: Core,
    log: Box<dyn EventLog>,
    clock: Clock,
    inbox: mpsc::Receiver<Message>,
    connections: Connections,
    calls: BTreeMap<RequestId, Answer>,
    queries: Vec<Query>,
    specs: BTreeMap<JobId, Arc<str>>,
    recent: Recent,
    counts: Counts,
    watches: Arc<Watches>,
    drained: watch::Sender<bool>,
    stop: CancellationToken,
    pulse: Pulse,
}

impl Driver {
    pub(super) fn new(
        prepared: Prepared,
        inbox: mpsc::Receiver<Message>,
        watches: Arc<Watches>,
        drained: watch::Sender<bool>,
        (stop, pulse): (CancellationToken, Pulse),
    ) -> Self {
        let Prepared {
            core,
            log,
            recent,
            clock,
        } = prepared;
        Self {
            core,
            log,
            clock,
            inbox,
            connections: Connections::default(),
            calls: BTreeMap::new(),
            queries: Vec::new(),
            specs: BTreeMap::new(),
            recent,
            counts: Counts::default(),
            watches,
            drained,
            stop,
            pulse,
        }
    }

    /// Until it is told to stop, or can't go on.
    pub(super) async fn run(mut self) -> StopReason {
        let mut batch = Vec::with_capacity(BATCH);
        while !self.stop.is_cancelled() {
            self.pulse.is_at(At::Work);
            if let Err(error) = self.settle() {
                tracing::error!(code = %error.code(), %error, "the log can't be written; the coordinator stops");
                let status = refused(
                    error.code(),
                    tonic::Code::Unavailable,
                    format_args!("the coordinator stops: {error}"),
                );
                self.connections.close_all(&status);
                return StopReason::EventLog(Arc::new(error));
            }
            self.pulse.is_at(At::Rest);
            self.receive(&mut batch).await;
            self.pulse.is_at(At::Work);
            for message in batch.drain(..) {
                self.take(message);
            }
            self.tick_if_due().await;
        }
        self.connections.close_all(&refused(
            Code::CoordinatorStopped,
            tonic::Code::Unavailable,
            "the coordinator was told to stop; what runs may go on and be claimed again",
        ));
        StopReason::Requested
    }

    /// Waits for messages or for the core's deadline, whichever is first.
    async fn receive(&mut self, batch: &mut Vec<Message>) {
        let deadline = self.core.poll_deadline().map(|(at, _)| at);
        let now = self.clock.now();
        let wait = deadline.map_or(Duration::from_secs(3_600), |at| Clock::until(now, at));
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            count = self.inbox.recv_many(batch, BATCH) => if count == 0 {
                // Nobody is left who could say anything.
                self.stop.cancel();
            },
            () = tokio::time::sleep(wait) => {}
        }
    }

    /// After the messages: who spoke in time is not silent.
    async fn tick_if_due(&mut self) {
        let Some((at, _)) = self.core.poll_deadline() else {
            return;
        };
        let late_ms = self.clock.now().since(at);
        if self.clock.now() < at {
            return;
        }
        if late_ms > STALL_MS {
            tracing::warn!(late_ms, "the coordinator did not run for a while");
            self.hear_out().await;
        }
        self.handle(Input::Tick);
    }

    /// Takes what was said while this process did not run.
    async fn hear_out(&mut self) {
        let quiet = tokio::time::sleep(STALL_GRACE);
        tokio::pin!(quiet);
        loop {
            tokio::select! {
                () = &mut quiet => return,
                message = self.inbox.recv() => match message {
                    Some(message) => self.take(message),
                    None => return,
                },
            }
        }
    }

    fn handle(&mut self, input: Input) {
        self.core.handle(self.clock.now(), input);
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Hello {
                conn,
                hello,
                outbox,
            } => {
                self.connections.open(conn, outbox);
                self.handle(Input::Hello(conn, hello));
            }
            Message::Worker(conn, epoch, said) => {
                if self.connections.is_open(conn) {
                    self.handle(Input::Worker(conn, epoch, said));
                }
            }
            Message::Disconnected(conn) => {
                if self.connections.forget(conn) {
                    self.handle(Input::Disconnected(conn));
                }
            }
            Message::WorkerGone(worker) => self.handle(Input::WorkerGone(worker)),
            Message::Place(job, report) => self.handle(Input::Place(job, report)),
            Message::Call {
                id,
                request,
                answer,
            } => {
                self.calls.insert(id, answer);
                self.handle(Input::Request(id, request));
            }
            Message::Query(query) => self.queries.push(query),
            Message::Log {
                conn,
                request,
                accepted,
            } => {
                // Whoever asked may have gone.
                let _gone = accepted.send(self.connections.send(conn, Outgoing::Log(request)));
            }
        }
    }

    /// Persist, then send, then answer; again if sending made the core decide more.
    fn settle(&mut self) -> Result<(), LogError> {
        loop {
            for conn in self.connections.take_broken() {
                self.handle(Input::Disconnected(conn));
            }
            let Decided { records, effects } = Decided::of(self.core.drain());
            if records.is_empty() && effects.is_empty() {
                break;
            }
            if !records.is_empty() {
                self.append(&records)?;
            }
            self.note(records);
            self.carry_out(effects);
        }
        let view = View {
            core: &self.core,
            recent: &self.recent,
            counts: &self.counts,
            now: self.clock.now(),
        };
        for query in self.queries.drain(..) {
            query(&view);
        }
        if self.log.snapshot_due() {
            self.pulse.is_at(At::Disk);
            self.log.snapshot(self.core.state())?;
            self.pulse.is_at(At::Work);
            tracing::debug!(sequence = self.core.state().sequence, "wrote a snapshot");
        }
        Ok(())
    }

    fn append(&mut self, records: &[petctl_core::Record]) -> Result<(), LogError> {
        self.pulse.is_at(At::Disk);
        let began = Instant::now();
        self.log.append(records)?;
        self.counts.committed(began.elapsed());
        self.pulse.is_at(At::Work);
        Ok(())
    }

    /// What follows from these records being durable.
    fn note(&mut self, records: Vec<petctl_core::Record>) {
        let Some(newest) = records.last().map(|record| record.sequence) else {
            return;
        };
        for record in records {
            log_lines::log(&self.core, &record);
            self.counts.event(&record.event);
            if let Event::PoolScaled { job, .. } | Event::JobRetuned { job, .. } = &record.event {
                // They stand in the job file that members get.
                self.specs.remove(job);
            }
            self.recent.take(record);
        }
        self.watches.recorded(newest);
    }

    /// Acts on what was decided, in order.
    fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut changed = BTreeSet::new();
        for effect in effects {
            match effect {
                Effect::Send {
                    conn,
                    epoch,
                    message,
                } => self.send(conn, epoch, message),
                Effect::Close { conn, refusal } => {
                    self.counts.ended_stream(refusal.code);
                    self.connections.close(conn, status_of(&refusal))
                }
                Effect::Reply(request, reply) => {
                    if let Some(answer) = self.calls.remove(&request) {
                        // Whoever asked may have gone.
                        let _gone = answer.send(reply);
                    }
                }
                Effect::Changed(job) => {
                    changed.insert(job);
                }
                Effect::Ended(job) => {
                    self.specs.remove(&job);
                    self.watches.ended(job);
                }
                Effect::Drained => {
                    self.drained.send_replace(true);
                }
                // Taken out before.
                Effect::Persist(_) => {}
            }
        }
        for job in changed {
            self.watches.changed(job);
        }
    }

    fn send(&mut self, conn: ConnId, epoch: Epoch, message: ToWorker) {
        let outgoing = match message {
            ToWorker::Assignment {
                job,
                rank,
                world_size,
            } => {
                let Some(assignment) = self.assignment(job, rank, world_size) else {
                    return;
                };
                Outgoing::Assignment {
                    epoch,
                    assignment: Box::new(assignment),
                }
            }
            ToWorker::Preflight(job) => {
                let Some((name, spec_json)) = self.job_file(job) else {
                    return;
                };
                Outgoing::Preflight {
                    job,
                    name,
                    spec_json,
                }
            }
            ToWorker::Leases(leases) => {
                self.counts.granted(leases.len());
                let message = ToWorker::Leases(leases);
                Outgoing::Message { epoch, message }
            }
            ToWorker::Welcome { .. }
            | ToWorker::GroupPrepare { .. }
            | ToWorker::GroupStart(_)
            | ToWorker::GroupStop { .. }
            | ToWorker::CheckpointAnswer { .. }
            | ToWorker::HeartbeatAck(_)
            | ToWorker::EpochChange { .. }
            | ToWorker::ResultAck(_)
            | ToWorker::ResultRefusal { .. }
            | ToWorker::Revocation { .. }
            | ToWorker::Drain(_)
            | ToWorker::Release(_)
            | ToWorker::Fenced(_) => Outgoing::Message { epoch, message },
        };
        // A broken stream is told to the core before it decides more.
        self.connections.send(conn, outgoing);
    }

    fn assignment(&mut self, job: JobId, rank: u32, world_size: u32) -> Option<Assignment> {
        let (name, spec_json) = self.job_file(job)?;
        Some(Assignment {
            job,
            name,
            spec_json,
            rank,
            world_size,
            lineage: self.core.lineage(),
        })
    }

    /// A job's name and file; only a job that was deleted since has none.
    fn job_file(&mut self, job: JobId) -> Option<(String, Arc<str>)> {
        let spec = self.core.spec(job)?;
        let name = spec.name.clone();
        if let Some(json) = self.specs.get(&job) {
            return Some((name, Arc::clone(json)));
        }
        let json: Arc<str> = serde_json::to_string(spec).ok()?.into();
        self.specs.insert(job, Arc::clone(&json));
        Some((name, json))
    }
}
