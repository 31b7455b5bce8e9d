//! What is rebuilt when a coordinator starts again: connections, leases, queues.

pub(crate) mod deadlines;
pub(crate) mod durations;
pub(crate) mod gpus;
pub(crate) mod lease;
pub(crate) mod rate;
pub(crate) mod worker;

use crate::training::Training;
use crate::training::rules::resumable;
use crate::volatile::deadlines::Deadlines;
use crate::volatile::durations::Durations;
use crate::volatile::lease::Leases;
use crate::volatile::rate::Rate;
use crate::volatile::worker::{Demand, Worker};
use crate::{ConnId, Job, JobId, Millis, PlaceReport, ShardId, WorkerId};
use petctl_spec::{ContentDigest, JobSpec, RunMode, StageSpec};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The volatile half of a coordinator, but for that of its jobs: what they share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Volatile {
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    pub(crate) conns: BTreeMap<ConnId, WorkerId>,
    pub(crate) names: BTreeMap<String, WorkerId>,
    /// Connected workers that wait for a job, in the order of their arrival.
    pub(crate) free: BTreeSet<(u64, WorkerId)>,
    /// Local-stage workers, whether or not their job is there.
    pub(crate) local_stage_workers: BTreeSet<WorkerId>,
    /// Jobs that ask for preflight checks, with their names.
    pub(crate) preflighting: BTreeMap<JobId, String>,
    /// Jobs that wait for workers that were promised to their training, until then.
    pub(crate) settling: BTreeMap<JobId, Millis>,
    /// When something of a job's training group may be due.
    pub(crate) group_deadlines: Deadlines<JobId>,
    /// When a stage's time is over.
    pub(crate) stage_deadlines: Deadlines<(JobId, u32)>,
    pub(crate) leases: Leases,
    /// When a worker may have been silent for too long, unless it was heard since.
    pub(crate) worker_deadlines: Deadlines<WorkerId>,
    pub(crate) backoffs: BTreeSet<(Millis, JobId, ShardId)>,
    /// Until when members of before this start may come back.
    pub(crate) recovery_ends: Option<Millis>,
    /// The latest end of that.
    pub(crate) recovery_limit: Millis,
    pub(crate) draining: Option<Draining>,
    pub(crate) last_lease: u32,
    pub(crate) last_arrival: u64,
}

/// A drain of the whole coordinator.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draining {
    /// It was said that nothing runs any more.
    pub(crate) said: bool,
}

/// The volatile half of a job.
#[derive(Clone, Debug)]
pub(crate) struct VolatileJob {
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
    /// Queues of the pool that hold something.
    pub(crate) filled: BTreeSet<usize>,
    /// Queues of local stages that hold something.
    pub(crate) filled_local: BTreeSet<usize>,
    /// The queue to look at first.
    pub(crate) cursor: usize,
    pub(crate) ready: u64,
    /// Among those, what only a local-stage worker may run.
    pub(crate) ready_local: u64,
    pub(crate) ready_by_stage: Vec<u64>,
    pub(crate) running_by_stage: Vec<u64>,
    pub(crate) backoff: BTreeMap<ShardId, Millis>,
    /// Members with a slot that holds no lease.
    pub(crate) idle: BTreeSet<WorkerId>,
    /// Members that could take a lease now, the idle ones among them.
    pub(crate) hungry: BTreeSet<WorkerId>,
    /// Local-stage workers that could take a lease now.
    pub(crate) hungry_local: BTreeSet<WorkerId>,
    /// Workers at which leases wait for a slot, by their last heartbeats.
    pub(crate) backlogged: BTreeSet<WorkerId>,
    /// Members of before this start that have not come back.
    pub(crate) expected: BTreeSet<WorkerId>,
    /// The queues hold what is ready; false until the recovery is over.
    pub(crate) seeded: bool,
    /// Moving mean of committed attempts, in microseconds; `None` before the first.
    pub(crate) mean_us: Option<u64>,
    pub(crate) rate: Rate,
    /// Inputs and outputs travel: workers hold some work ahead for that.
    pub(crate) remote: bool,
    /// Digests of what stages have committed, by stage and by how much that was.
    pub(crate) commits: BTreeMap<(u32, u64), ContentDigest>,
    /// Of stages whose stragglers get a second attempt.
    pub(crate) durations: BTreeMap<u32, Durations>,
    /// Not before then are stragglers looked for again.
    pub(crate) next_straggler_check: Millis,
    /// What the place of its workers said last.
    pub(crate) place: PlaceReport,
}

/// Ready shards of one resource class.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    pub(crate) demand: Demand,
    /// For a local-stage worker alone.
    pub(crate) local: bool,
    pub(crate) shards: VecDeque<ShardId>,
}

impl VolatileJob {
    pub(crate) fn new(spec: &JobSpec) -> Self {
        let mut classes: BTreeMap<(bool, Demand), usize> = BTreeMap::new();
        let mut queues = Vec::new();
        let mut class_of_stage = Vec::new();
        for stage in &spec.stages {
            let demand = Demand {
                cpu_milli: u64::from(stage.cpu_milli),
                memory_mib: stage.memory_mib,
                gpu_milli: u64::from(stage.dispatch.gpu_milli),
            };
            let local = is_local(stage);
            let class = *classes.entry((local, demand)).or_insert_with(|| {
                queues.push(Queue {
                    demand,
                    local,
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
                .filter(|(_, s)| s.kind.training().is_some())
                .map(|(stage, _)| stage)
                .collect(),
            trainings: BTreeSet::new(),
            training: None,
            absent: BTreeSet::new(),
            filled: BTreeSet::new(),
            filled_local: BTreeSet::new(),
            cursor: 0,
            ready: 0,
            ready_local: 0,
            ready_by_stage: vec![0; spec.stages.len()],
            running_by_stage: vec![0; spec.stages.len()],
            backoff: BTreeMap::new(),
            idle: BTreeSet::new(),
            hungry: BTreeSet::new(),
            hungry_local: BTreeSet::new(),
            backlogged: BTreeSet::new(),
            expected: BTreeSet::new(),
            seeded: false,
            mean_us: None,
            rate: Rate::default(),
            remote: spec.storage.is_remote(),
            durations: (0..)
                .zip(&spec.stages)
                .filter(|(_, stage)| stage.dispatch.speculative && !is_local(stage))
                .map(|(stage, _)| (stage, Durations::default()))
                .collect(),
            commits: BTreeMap::new(),
            next_straggler_check: Millis(0),
            place: PlaceReport::default(),
        }
    }

    /// Of a job at the start of a coordinator: its members may come back, with their training processes.
    pub(crate) fn recovering(job: &Job, now: Millis) -> Self {
        let training = resumable(job);
        Self {
            expected: job.members.iter().map(|m| m.member.worker).collect(),
            training: training
                .map(|(stage, doing)| Training::resumed(stage, doing, &job.members, now)),
            ..Self::new(&job.spec)
        }
    }

    /// Whether processes of a training group may run anywhere.
    pub(crate) fn trains(&self) -> bool {
        self.training.as_ref().is_some_and(|t| t.epoch().is_some())
    }

    /// Whether something of a stage runs or could.
    pub(crate) fn has_work(&self, stage: usize) -> bool {
        let any = |counts: &[u64]| counts.get(stage).is_some_and(|count| *count > 0);
        let trains = u32::try_from(stage).is_ok_and(|stage| {
            self.trainings.contains(&stage)
                || self.training.as_ref().is_some_and(|t| t.stage == stage)
        });
        any(&self.ready_by_stage) || any(&self.running_by_stage) || trains
    }

    /// Ready shards that members of the pool may run.
    pub(crate) fn ready_for_pool(&self) -> u64 {
        self.ready - self.ready_local
    }

    pub(crate) fn demand(&self, stage: u32) -> Demand {
        self.queues[self.class_of_stage[stage as usize]].demand
    }

    pub(crate) fn is_local(&self, stage: u32) -> bool {
        self.queues[self.class_of_stage[stage as usize]].local
    }

    pub(crate) fn push(&mut self, shard: ShardId, first: bool) {
        if self.train_stages.contains(&shard.stage) {
            self.trainings.insert(shard.stage);
            return;
        }
        let class = self.class_of_stage[shard.stage as usize];
        let queue = &mut self.queues[class];
        if first {
            queue.shards.push_front(shard);
        } else {
            queue.shards.push_back(shard);
        }
        self.ready_local += u64::from(queue.local);
        if queue.local {
            self.filled_local.insert(class);
        } else {
            self.filled.insert(class);
        }
        self.ready += 1;
        self.ready_by_stage[shard.stage as usize] += 1;
    }

    pub(crate) fn pop(&mut self, class: usize) -> Option<ShardId> {
        let shard = self.queues[class].shards.pop_front()?;
        self.left_queue(class, shard.stage, 1);
        Some(shard)
    }

    /// Takes one shard out of its queue, if it is there.
    pub(crate) fn unqueue(&mut self, shard: ShardId) -> bool {
        let class = self.class_of_stage[shard.stage as usize];
        let queue = &mut self.queues[class].shards;
        let Some(place) = queue.iter().position(|s| *s == shard) else {
            return false;
        };
        queue.remove(place);
        self.left_queue(class, shard.stage, 1);
        true
    }

    fn left_queue(&mut self, class: usize, stage: u32, count: u64) {
        let queue = &self.queues[class];
        if queue.shards.is_empty() {
            self.filled.remove(&class);
            self.filled_local.remove(&class);
        }
        self.ready_local -= if queue.local { count } else { 0 };
        self.ready -= count;
        self.ready_by_stage[stage as usize] -= count;
    }

    pub(crate) fn forget_worker(&mut self, id: WorkerId) {
        self.idle.remove(&id);
        self.hungry.remove(&id);
        self.hungry_local.remove(&id);
        self.backlogged.remove(&id);
        self.absent.remove(&id);
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
        self.left_queue(class, stage, gone);
    }

    /// Forgets all that waits.
    pub(crate) fn clear(&mut self) {
        for queue in &mut self.queues {
            queue.shards = VecDeque::new();
        }
        self.filled.clear();
        self.filled_local.clear();
        self.ready_local = 0;
        self.trainings.clear();
        self.backoff.clear();
        self.ready = 0;
        self.ready_by_stage.fill(0);
    }

    /// Takes the duration of a committed attempt into the moving mean.
    pub(crate) fn observe(&mut self, stage: u32, duration_ms: u64) {
        if let Some(durations) = self.durations.get_mut(&stage) {
            durations.add(duration_ms);
        }
        let us = duration_ms.saturating_mul(1_000);
        self.mean_us = Some(match self.mean_us {
            None => us,
            Some(mean) => mean - mean / 16 + us / 16,
        });
    }
}

/// Whether a stage's shards run beside the launcher.
pub(crate) fn is_local(stage: &StageSpec) -> bool {
    match stage.dispatch.run_mode {
        RunMode::Workers => false,
        RunMode::Local => stage.kind.training().is_none(),
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
