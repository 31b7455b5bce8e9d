//! A worker as its protocol demands it: slots, leases, heartbeats, results kept until they are acknowledged.

mod attempts;

use crate::cluster::Cluster;
use crate::output::Output;
use crate::plan::Broken;
use crate::trainer::{Habits, Stage, Trainer};
pub use attempts::{BYTES, FILES};
use attempts::{Making, Syncing};
use fastrand::Rng;
use petctl_core::{
    AttemptReport, ConnId, Epoch, FromWorker, HeldLease, Hello, JobId, LeaseGrant, LeaseId,
    Outcome, ToWorker, WorkerId,
};
use std::collections::BTreeMap;

/// One simulated worker process.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Its identity; a new one after it was fenced.
    pub id: WorkerId,
    /// For people.
    pub name: String,
    /// Shards at a time.
    pub slots: u32,
    /// Its stream, and whether it was welcomed on it.
    pub conn: Option<(ConnId, bool)>,
    /// Stopped (SIGSTOP) until then.
    pub stopped_until: u64,
    /// It announced its leave, or was told to drain.
    pub draining: bool,
    /// Its part of a training group.
    pub trainer: Trainer,
    /// Training processes it starts.
    pub processes: u32,
    /// Runs local stages, and nothing else.
    pub local_stages: bool,
    /// GPUs it has.
    pub gpus: u32,
    job: Option<JobId>,
    epoch: Epoch,
    held: BTreeMap<LeaseId, Held>,
    /// Until when it may commit.
    valid_until: u64,
    heartbeats: BTreeMap<u64, u64>,
    last_heartbeat: u64,
    next_heartbeat_at: u64,
    /// Attempts that nobody waits for any more, in the middle of something.
    loose: Vec<Making>,
    /// Results that wait for the disk.
    syncing: BTreeMap<LeaseId, Syncing>,
}

#[derive(Clone, Debug)]
struct Held {
    grant: LeaseGrant,
    phase: Phase,
}

#[derive(Clone, Debug)]
enum Phase {
    Queued,
    /// At the output: it begins, or it publishes.
    Makes(Making),
    Runs {
        making: Making,
        began_at: u64,
        ends_at: u64,
    },
    /// Its outputs stand, and are not durable yet.
    Syncs,
    Reported(Box<AttemptReport>),
}

/// What a worker needs to know to act.
pub struct Surroundings<'a> {
    /// Now, in ms.
    pub now: u64,
    /// Shared outputs.
    pub output: &'a mut Output,
    /// The run that this worker is of has the output.
    pub holds_output: bool,
    /// Attempts so far, of all workers of all homes.
    pub attempts: &'a mut u64,
    /// The run's randomness.
    pub rng: &'a mut Rng,
    /// Longest run of an attempt, in ms.
    pub work_ms: u64,
    /// Chance that a command fails, in thousandths.
    pub fail_permille: u32,
    /// Chance that a step at the output hangs for long, in thousandths.
    pub hang_permille: u32,
    /// Say what becomes of each step at the output.
    pub trace: bool,
    /// What is broken on purpose.
    pub broken: Option<Broken>,
    /// Which worker this is.
    pub index: usize,
    /// All training processes.
    pub cluster: &'a mut Cluster,
    /// What a training does.
    pub habits: Habits,
}

impl Surroundings<'_> {
    /// What its training processes need to know.
    pub fn stage(&mut self) -> Stage<'_> {
        Stage {
            now: self.now,
            index: self.index,
            cluster: self.cluster,
            rng: self.rng,
            habits: self.habits,
        }
    }
}

const HEARTBEAT_INTERVAL_MS: u64 = 2_000;
const HEARTBEAT_TIMEOUT_MS: u64 = 5_000;

impl Worker {
    /// A process that just started.
    #[must_use]
    pub fn new(id: WorkerId, name: String, slots: u32, processes: u32) -> Self {
        Self {
            id,
            name,
            slots,
            conn: None,
            stopped_until: 0,
            draining: false,
            trainer: Trainer::default(),
            processes,
            local_stages: false,
            gpus: 0,
            job: None,
            epoch: Epoch(0),
            held: BTreeMap::new(),
            valid_until: 0,
            heartbeats: BTreeMap::new(),
            last_heartbeat: 0,
            next_heartbeat_at: 0,
            loose: Vec::new(),
            syncing: BTreeMap::new(),
        }
    }

    /// It is killed: no lock is held any more.
    pub fn killed(&self, output: &mut Output) {
        let held = self.held.values().filter_map(|held| match &held.phase {
            Phase::Makes(making) | Phase::Runs { making, .. } => Some(making),
            Phase::Queued | Phase::Syncs | Phase::Reported(_) => None,
        });
        held.chain(&self.loose).for_each(|m| m.attempt.end(output));
    }

    /// The epoch it believes in.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Holds nothing and was told to go.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.draining && self.held.is_empty() && !self.trainer.is_alive()
    }

    /// Its first message on a stream.
    #[must_use]
    pub fn hello(&self, now: u64) -> Hello {
        let held = self.held.iter().map(|(lease, h)| HeldLease {
            lineage: h.grant.lineage,
            lease: *lease,
            shard: h.grant.shard,
            attempt: h.grant.attempt,
            gpus: h.grant.gpus.clone(),
        });
        Hello {
            worker: self.id,
            name: self.name.clone(),
            host: "sim".to_owned(),
            pid: 1,
            job: if self.local_stages {
                "sim".to_owned()
            } else {
                String::new()
            },
            slots: self.slots,
            gpus: self.gpus,
            local_stages: self.local_stages,
            cpu_milli: 8_000,
            memory_mib: 100,
            member_of: self.job,
            held: held.collect(),
            leaving: self.draining,
            processes: self.processes,
            // Some places number their workers, and take the highest away first.
            index: u32::try_from(self.id.0 % 97).ok().filter(|n| n % 4 != 0),
            group: self.trainer.report(now),
            ..Hello::default()
        }
    }

    /// Hears something.
    pub fn hear(
        &mut self,
        epoch: Epoch,
        message: ToWorker,
        at: &mut Surroundings<'_>,
    ) -> Option<FromWorker> {
        self.epoch = epoch;
        let answer = self.trainer.hear(&message, &mut at.stage());
        match message {
            ToWorker::Welcome { kept, .. } => {
                self.conn = self.conn.map(|(conn, _)| (conn, true));
                self.valid_until = at.now + HEARTBEAT_TIMEOUT_MS;
                self.next_heartbeat_at = at.now;
                let lost: Vec<LeaseId> = self
                    .held
                    .keys()
                    .filter(|l| !kept.contains(l))
                    .copied()
                    .collect();
                lost.into_iter().for_each(|l| self.abandon(l, at));
                // What was not acknowledged is said again.
            }
            ToWorker::HeartbeatAck(sequence) => {
                if let Some(sent_at) = self.heartbeats.remove(&sequence) {
                    self.valid_until = self.valid_until.max(sent_at + HEARTBEAT_TIMEOUT_MS);
                }
            }
            ToWorker::Assignment { job, .. } => self.job = Some(job),
            ToWorker::EpochChange { .. } => {}
            ToWorker::Leases(grants) => {
                for grant in grants {
                    self.held.entry(grant.lease).or_insert(Held {
                        grant,
                        phase: Phase::Queued,
                    });
                }
            }
            ToWorker::ResultAck(leases) | ToWorker::ResultRefusal { leases, .. } => {
                for lease in leases {
                    self.held.remove(&lease);
                }
            }
            ToWorker::Revocation {
                leases,
                only_if_queued,
                ..
            } => self.revoked(&leases, only_if_queued, at),
            ToWorker::Drain(_) => self.draining = true,
            ToWorker::Release(_) => {
                self.job = None;
                let all: Vec<LeaseId> = self.held.keys().copied().collect();
                all.into_iter().for_each(|l| self.abandon(l, at));
            }
            ToWorker::Fenced(_) => self.fenced(at),
            // Its trainer has heard these.
            ToWorker::GroupPrepare { .. }
            | ToWorker::GroupStart(_)
            | ToWorker::GroupStop { .. }
            | ToWorker::CheckpointAnswer { .. }
            | ToWorker::Preflight(_) => {}
        }
        answer
    }

    fn revoked(&mut self, leases: &[LeaseId], only_if_queued: bool, at: &mut Surroundings<'_>) {
        for lease in leases {
            let Some(held) = self.held.get_mut(lease) else {
                continue;
            };
            let outcome = match held.phase {
                Phase::Queued => Outcome::Returned,
                Phase::Makes(_) | Phase::Runs { .. } if only_if_queued => continue,
                Phase::Makes(_) | Phase::Runs { .. } => Outcome::Revoked,
                Phase::Syncs | Phase::Reported(_) => continue,
            };
            held.stop(*lease, outcome, at);
        }
    }

    /// Given up: everything stops, and it comes back as somebody else.
    pub fn fenced(&mut self, at: &mut Surroundings<'_>) {
        let all: Vec<LeaseId> = self.held.keys().copied().collect();
        all.into_iter().for_each(|l| self.abandon(l, at));
        self.id = WorkerId(u128::from(at.rng.u64(..)) << 64 | u128::from(at.rng.u64(..)));
        self.job = None;
        self.epoch = Epoch(0);
        self.valid_until = 0;
    }

    fn abandon(&mut self, lease: LeaseId, at: &mut Surroundings<'_>) {
        self.syncing.remove(&lease);
        match self.held.remove(&lease).map(|held| held.phase) {
            // What is at the output just now can't be stopped.
            Some(Phase::Makes(making)) => self.loose.push(making),
            Some(Phase::Runs { making, .. }) => making.attempt.discard(at.output),
            Some(Phase::Queued | Phase::Syncs | Phase::Reported(_)) | None => {}
        }
    }

    /// It leaves by itself: what runs is stopped, the rest is handed back.
    pub fn leave(&mut self, at: &mut Surroundings<'_>) {
        self.draining = true;
        self.trainer.stop(&mut at.stage());
        for (lease, held) in &mut self.held {
            let outcome = match held.phase {
                Phase::Queued => Outcome::Returned,
                Phase::Makes(_) | Phase::Runs { .. } => Outcome::Preempted,
                Phase::Syncs | Phase::Reported(_) => continue,
            };
            held.stop(*lease, outcome, at);
        }
    }

    /// Starts and ends attempts; says what there is to say. Called whenever time has passed.
    pub fn step(&mut self, at: &mut Surroundings<'_>) -> Vec<FromWorker> {
        let mut said = Vec::new();
        self.start_attempts(at);
        let mut results = self.end_attempts(at);
        self.sync(at, &mut results);
        self.finish_loose(at);
        let welcomed = self.conn.is_some_and(|(_, welcomed)| welcomed);
        let beats = welcomed && self.next_heartbeat_at <= at.now;
        let trained = self.trainer.step(welcomed, beats, &mut at.stage());
        if !welcomed {
            return said;
        }
        if self.next_heartbeat_at <= at.now {
            // Whatever has not been acknowledged since the last heartbeat is said again.
            results = self.unacknowledged();
            self.last_heartbeat += 1;
            self.heartbeats.insert(self.last_heartbeat, at.now);
            self.next_heartbeat_at = at.now + HEARTBEAT_INTERVAL_MS;
            let queued = self
                .held
                .values()
                .filter(|h| matches!(h.phase, Phase::Queued))
                .count();
            let queued = u32::try_from(queued).unwrap_or(u32::MAX);
            said.push(FromWorker::Heartbeat {
                sequence: self.last_heartbeat,
                queued,
            });
        }
        if !results.is_empty() {
            said.push(FromWorker::Results(results));
        }
        said.extend(trained);
        said
    }

    /// A GPU of which running attempts have more than there is.
    #[must_use]
    pub fn crowded_gpu(&self) -> Option<u32> {
        let running = self.held.values();
        let running = running.filter(|h| matches!(h.phase, Phase::Runs { .. }));
        let mut used: BTreeMap<u32, u32> = BTreeMap::new();
        for share in running.flat_map(|h| &h.grant.gpus) {
            *used.entry(share.device).or_default() += share.milli;
        }
        let has = |device: &u32| *device < self.gpus;
        let crowded = used
            .iter()
            .find(|(device, milli)| **milli > 1_000 || !has(device));
        crowded.map(|(device, _)| *device)
    }

    fn unacknowledged(&self) -> Vec<AttemptReport> {
        let reports = self.held.values().filter_map(|h| match &h.phase {
            Phase::Reported(report) => Some((**report).clone()),
            Phase::Queued | Phase::Makes(_) | Phase::Runs { .. } | Phase::Syncs => None,
        });
        reports.collect()
    }
}
