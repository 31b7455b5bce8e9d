//! What is rebuilt when a coordinator starts again: connections, leases, queues.

use crate::alarm::Alarms;
use crate::lease::Leases;
use crate::training::Training;
use crate::worker::{Demand, Worker};
use crate::{ConnId, JobId, Millis, ShardId, WorkerId};
use petctl_spec::{JobSpec, StageKind};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The volatile half of a coordinator.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    /// Jobs that have not ended.
    pub(crate) jobs: BTreeMap<JobId, LiveJob>,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    pub(crate) conns: BTreeMap<ConnId, WorkerId>,
    pub(crate) names: BTreeMap<String, WorkerId>,
    /// Connected workers that wait for a job, in the order of their arrival.
    pub(crate) free: BTreeSet<(u64, WorkerId)>,
    /// Jobs that ask for preflight checks.
    pub(crate) preflighting: BTreeSet<JobId>,
    /// When to look at a job's training group again.
    pub(crate) group_alarms: Alarms<JobId>,
    /// When a stage's time is over.
    pub(crate) stage_alarms: Alarms<(JobId, u32)>,
    pub(crate) leases: Leases,
    /// When to look at a worker again; each worker has one entry, kept in `looks`.
    pub(crate) looks: BTreeMap<WorkerId, Millis>,
    pub(crate) look_queue: BTreeSet<(Millis, WorkerId)>,
    pub(crate) backoffs: BTreeSet<(Millis, JobId, ShardId)>,
    /// Until when members of before this start may come back.
    pub(crate) recovery_ends: Option<Millis>,
    pub(crate) draining: Option<Draining>,
    pub(crate) last_lease: u32,
    pub(crate) last_arrival: u64,
}

impl Live {
    /// The training group that has a job's workers.
    pub(crate) fn training(&self, job: JobId) -> Option<&Training> {
        self.jobs.get(&job)?.training.as_ref()
    }

    pub(crate) fn training_mut(&mut self, job: JobId) -> Option<&mut Training> {
        self.jobs.get_mut(&job)?.training.as_mut()
    }
}

/// A drain of the whole coordinator.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draining {
    /// It was said that nothing runs any more.
    pub(crate) said: bool,
}

/// The volatile half of a job.
#[derive(Clone, Debug)]
pub(crate) struct LiveJob {
    /// Ready shards by what they ask for.
    pub(crate) queues: Vec<Queue>,
    class_of_stage: Vec<usize>,
    train_stages: BTreeSet<u32>,
    /// Training stages whose needs are met and that have not begun.
    pub(crate) trainings: BTreeSet<u32>,
    /// The training group that has the job's workers.
    pub(crate) training: Option<Training>,
    /// Members whose streams are broken.
    pub(crate) absent: BTreeSet<WorkerId>,
    /// Queues that hold something.
    pub(crate) filled: BTreeSet<usize>,
    /// The queue to look at first.
    pub(crate) cursor: usize,
    pub(crate) ready: u64,
    pub(crate) ready_by_stage: Vec<u64>,
    pub(crate) running_by_stage: Vec<u64>,
    pub(crate) backoff: BTreeMap<ShardId, Millis>,
    /// Members with a slot that holds no lease.
    pub(crate) idle: BTreeSet<WorkerId>,
    /// Members that could take a lease now, the idle ones among them.
    pub(crate) hungry: BTreeSet<WorkerId>,
    /// Workers at which leases wait for a slot, by their last heartbeats.
    pub(crate) backlogged: BTreeSet<WorkerId>,
    /// Members of before this start that have not come back.
    pub(crate) expected: BTreeSet<WorkerId>,
    /// The queues hold what is ready; false until the recovery is over.
    pub(crate) seeded: bool,
    /// Moving mean of committed attempts, in microseconds; `None` before the first.
    pub(crate) mean_us: Option<u64>,
    pub(crate) rate: Rate,
}

/// Ready shards of one resource class.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    pub(crate) demand: Demand,
    pub(crate) shards: VecDeque<ShardId>,
}

impl LiveJob {
    pub(crate) fn new(spec: &JobSpec) -> Self {
        let mut classes: BTreeMap<Demand, usize> = BTreeMap::new();
        let mut queues = Vec::new();
        let mut class_of_stage = Vec::new();
        for stage in &spec.stages {
            let demand = Demand {
                cpu_milli: u64::from(stage.cpu_milli),
                memory_mib: stage.memory_mib,
            };
            let class = *classes.entry(demand).or_insert_with(|| {
                queues.push(Queue {
                    demand,
                    shards: VecDeque::new(),
                });
                queues.len() - 1
            });
            class_of_stage.push(class);
        }
        Self {
            queues,
            class_of_stage,
            train_stages: (0..)
                .zip(&spec.stages)
                .filter(|(_, s)| matches!(s.kind, StageKind::Train(_)))
                .map(|(stage, _)| stage)
                .collect(),
            trainings: BTreeSet::new(),
            training: None,
            absent: BTreeSet::new(),
            filled: BTreeSet::new(),
            cursor: 0,
            ready: 0,
            ready_by_stage: vec![0; spec.stages.len()],
            running_by_stage: vec![0; spec.stages.len()],
            backoff: BTreeMap::new(),
            idle: BTreeSet::new(),
            hungry: BTreeSet::new(),
            backlogged: BTreeSet::new(),
            expected: BTreeSet::new(),
            seeded: false,
            mean_us: None,
            rate: Rate::default(),
        }
    }

    pub(crate) fn demand(&self, stage: u32) -> Demand {
        self.queues[self.class_of_stage[stage as usize]].demand
    }

    pub(crate) fn push(&mut self, shard: ShardId, first: bool) {
        if self.train_stages.contains(&shard.stage) {
            self.trainings.insert(shard.stage);
            return;
        }
        let class = self.class_of_stage[shard.stage as usize];
        let queue = &mut self.queues[class].shards;
        if first {
            queue.push_front(shard);
        } else {
            queue.push_back(shard);
        }
        self.filled.insert(class);
        self.ready += 1;
        self.ready_by_stage[shard.stage as usize] += 1;
    }

    pub(crate) fn pop(&mut self, class: usize) -> Option<ShardId> {
        let shard = self.queues[class].shards.pop_front();
        if self.queues[class].shards.is_empty() {
            self.filled.remove(&class);
        }
        let shard = shard?;
        self.ready -= 1;
        self.ready_by_stage[shard.stage as usize] -= 1;
        Some(shard)
    }

    /// Forgets what waits of a stage.
    pub(crate) fn forget_stage(&mut self, stage: u32) {
        self.trainings.remove(&stage);
        self.backoff.retain(|shard, _| shard.stage != stage);
        let class = self.class_of_stage[stage as usize];
        let queue = &mut self.queues[class].shards;
        let before = queue.len();
        queue.retain(|shard| shard.stage != stage);
        let gone = (before - queue.len()) as u64;
        if queue.is_empty() {
            self.filled.remove(&class);
        }
        self.ready -= gone;
        self.ready_by_stage[stage as usize] -= gone;
    }

    /// Forgets all that waits.
    pub(crate) fn clear(&mut self) {
        for queue in &mut self.queues {
            queue.shards = VecDeque::new();
        }
        self.filled.clear();
        self.trainings.clear();
        self.backoff.clear();
        self.ready = 0;
        self.ready_by_stage.fill(0);
    }

    /// Takes the duration of a committed attempt into the moving mean.
    pub(crate) fn observe(&mut self, duration_ms: u64) {
        let us = duration_ms.saturating_mul(1_000);
        self.mean_us = Some(match self.mean_us {
            None => us,
            Some(mean) => mean - mean / 16 + us / 16,
        });
    }
}

/// Puts a member into a set, or takes it out.
pub(crate) fn set<T: Ord>(set: &mut BTreeSet<T>, member: T, is_in: bool) {
    if is_in {
        set.insert(member);
    } else {
        set.remove(&member);
    }
}

/// Commits per second, over the last half minute.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rate {
    /// (second, commits), newest last.
    seconds: VecDeque<(u64, u64)>,
    since: Option<Millis>,
}

const RATE_WINDOW_S: u64 = 30;

impl Rate {
    pub(crate) fn add(&mut self, now: Millis) {
        self.since.get_or_insert(now);
        let second = now.0 / 1_000;
        match self.seconds.back_mut() {
            Some((last, count)) if *last == second => *count += 1,
            Some(_) | None => self.seconds.push_back((second, 1)),
        }
        while self
            .seconds
            .front()
            .is_some_and(|(s, _)| s + RATE_WINDOW_S < second)
        {
            self.seconds.pop_front();
        }
    }

    pub(crate) fn per_s(&self, now: Millis) -> f64 {
        let Some(since) = self.since else { return 0.0 };
        let span_ms = now.since(since).clamp(1_000, RATE_WINDOW_S * 1_000);
        let first = now.0.saturating_sub(span_ms) / 1_000;
        let count: u64 = self
            .seconds
            .iter()
            .filter(|(s, _)| *s >= first)
            .map(|(_, c)| c)
            .sum();
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of half a minute are far below 2^52"
        )]
        let rate = count as f64 * 1_000.0 / span_ms as f64;
        rate
    }
}
