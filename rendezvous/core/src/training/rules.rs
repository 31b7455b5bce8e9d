//! What a training's transitions look at: its stage's rules and what is remembered of it, who is there, what is due.

use crate::context::JobContext;
use crate::members::pool::Sizes;
use crate::shards::needs::is_pending;
use crate::training::cause::{Bill, charge, first_cause, is_left_out, used};
use crate::training::starting::{PREPARE_TIMEOUTS, is_local};
use crate::training::{Doing, Training, Why};
use crate::{
    Cause, Charge, Checkpoint, Code, Core, Epoch, Group, GroupStart, Job, Millis, Phase,
    PlaceReport, ShardId, WorkerId,
};
use petctl_spec::TrainSpec;

/// What a worker has beyond the grace of its processes until it must have said that they are gone.
const STOP_SLACK_MS: u64 = 15_000;

/// And beyond that, to write stacks down first.
const STACKS_MS: u64 = 30_000;

/// Who could be in the next epoch, in rank order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roll {
    pub(crate) members: Vec<WorkerId>,
    pub(crate) candidates: Vec<WorkerId>,
    /// Of either kind, those that failed too often.
    pub(crate) left_out: Vec<WorkerId>,
}

impl JobContext<'_> {
    /// Until when the job waits for workers that were promised to its training.
    pub(crate) fn settles_at(&self) -> Option<Millis> {
        let training = self.own.training.as_ref()?;
        let gathers = training.fresh && training.doing == Doing::Gathering;
        let waits = gathers && training.blocked(self).is_none();
        waits.then(|| training.settles_at(self))
    }
}

impl Training {
    /// The one shard of its stage.
    pub(crate) fn shard(&self) -> ShardId {
        ShardId {
            stage: self.stage,
            index: 0,
        }
    }

    /// Its stage has neither ended well nor failed.
    pub(crate) fn is_pending(&self, job: &Job) -> bool {
        is_pending(job, self.shard())
    }

    /// What the job file says of it.
    pub(crate) fn spec<'j>(&self, job: &'j Job) -> Option<&'j TrainSpec> {
        train_spec(job, self.stage)
    }

    /// What is remembered of its stage, if there is anything.
    pub(crate) fn group<'j>(&self, job: &'j Job) -> Option<&'j Group> {
        job.groups.get(&self.stage)
    }

    /// Its checkpoints, the newest first.
    pub(crate) fn checkpoints<'j>(&self, job: &'j Job) -> &'j [Checkpoint] {
        self.group(job).map_or(&[], |g| g.checkpoints.as_slice())
    }

    /// Why no epoch may form now, whoever is there.
    pub(crate) fn blocked(&self, at: &JobContext<'_>) -> Option<Code> {
        if self.is_recovering(at) {
            Some(Code::Recovering)
        } else if at.volatile.draining.is_some() {
            Some(Code::CoordinatorDraining)
        } else if at.job.cancelled.is_some() {
            Some(Code::JobCancelled)
        } else if at.job.suspended.is_some() {
            Some(Code::Suspended)
        } else {
            None
        }
    }

    /// Members of before a restart may still come back.
    pub(crate) fn is_recovering(&self, at: &JobContext<'_>) -> bool {
        !at.own.expected.is_empty() || !at.own.seeded
    }

    fn settles_at(&self, at: &JobContext<'_>) -> Millis {
        self.since.plus(at.job.spec.workers.settle_timeout_ms)
    }

    /// Those who were promised have had their time.
    pub(crate) fn is_settled(&self, at: &JobContext<'_>) -> bool {
        at.now >= self.settles_at(at)
    }

    /// Who could be in the next epoch.
    pub(crate) fn roll(&self, at: &JobContext<'_>, candidates: Vec<WorkerId>) -> Roll {
        let judged = self.group(at.job).zip(self.spec(at.job));
        let is_out = |name: &str, host: &str| {
            judged.is_some_and(|(group, train)| is_left_out(group, train, name, host))
        };
        let mut roll = Roll::default();
        for membership in &at.job.members {
            let member = &membership.member;
            if self.left.contains_key(&member.worker) {
                continue;
            }
            if is_out(&member.name, &member.host) {
                roll.left_out.push(member.worker);
            } else {
                roll.members.push(member.worker);
            }
        }
        for id in candidates {
            let Some(worker) = at.volatile.workers.get(&id) else {
                continue;
            };
            if is_out(&worker.hello.name, &worker.hello.host) {
                roll.left_out.push(id);
            } else {
                roll.candidates.push(id);
            }
        }
        roll
    }

    /// Members in rank order, with how many processes each starts for this training.
    pub(crate) fn processes(&self, at: &JobContext<'_>) -> Vec<(WorkerId, u32)> {
        let train = self.spec(at.job);
        let members = at.job.members.iter().map(|m| {
            let worker = at.volatile.workers.get(&m.member.worker);
            let known = worker.zip(train).map(|(w, train)| w.processes(train));
            (m.member.worker, known.unwrap_or(m.member.processes))
        });
        members.collect()
    }

    /// What a member is told to start.
    pub(crate) fn start_of(&self, at: &JobContext<'_>, worker: WorkerId) -> Option<GroupStart> {
        let (part, group) = (self.parts.get(&worker)?, self.group(at.job)?);
        let train = self.spec(at.job)?;
        Some(GroupStart {
            job: at.id,
            stage: self.stage,
            epoch: group.epoch,
            group_rank: part.group_rank,
            group_world_size: u32::try_from(self.parts.len()).unwrap_or(u32::MAX),
            first_rank: part.first_rank,
            processes: part.processes,
            world_size: group.world_size,
            master: group.master.clone(),
            restart_count: used(group, train, at.now).0,
            max_restarts: train.max_restarts,
            resume: group.resume.clone(),
        })
    }

    /// Rank 0 has so long to find a port.
    pub(crate) fn prepare_patience_ms(&self, at: &JobContext<'_>) -> u64 {
        at.config.heartbeat_timeout_ms * PREPARE_TIMEOUTS
    }

    /// How long a group may take to stop.
    pub(crate) fn stop_patience_ms(&self, at: &JobContext<'_>) -> u64 {
        let stage = at.job.spec.stages.get(self.stage as usize);
        let stacks_ms = if self.hang.is_some() { STACKS_MS } else { 0 };
        let grace_ms = stage.map_or(0, |s| s.grace_ms);
        grace_ms.saturating_add(STOP_SLACK_MS + stacks_ms)
    }

    /// Nothing may happen for so long in a running group; `None`: for ever.
    fn quiet_patience_ms(&self, at: &JobContext<'_>) -> Option<u64> {
        let timeout_ms = self.spec(at.job)?.progress_timeout_ms;
        (timeout_ms > 0).then(|| timeout_ms.saturating_add(at.config.heartbeat_interval_ms))
    }

    /// How long nothing has happened in a running group, if that is too long.
    pub(crate) fn hangs_ms(&self, at: &JobContext<'_>) -> Option<u64> {
        let quiet_ms = at.now.since(self.last_active);
        let hangs = quiet_ms >= self.quiet_patience_ms(at)?;
        (hangs && !self.is_recovering(at)).then_some(quiet_ms)
    }

    /// When something of the group is due.
    pub(crate) fn deadline(&self, at: &JobContext<'_>) -> Option<Millis> {
        match self.doing {
            Doing::Gathering => (self.fresh && !self.is_settled(at)).then(|| self.settles_at(at)),
            Doing::Preparing(_) => Some(self.since.plus(self.prepare_patience_ms(at))),
            Doing::Running(_) => Some(self.last_active.plus(self.quiet_patience_ms(at)?)),
            Doing::Stopping(..) => Some(self.since.plus(self.stop_patience_ms(at))),
        }
    }

    /// What failed first, where something did.
    pub(crate) fn first_cause(&self, at: &JobContext<'_>, epoch: Epoch, why: Why) -> Option<Cause> {
        match why {
            Why::Fault => {
                let group = self.group(at.job).filter(|g| g.epoch == epoch);
                let started = group.map_or(at.now, |g| g.started_at).min(at.now);
                let members = &at.job.members;
                Some(first_cause(at.now, started, epoch, self, members))
            }
            Why::Purpose => None,
        }
    }

    /// What a cause costs, and how often it may happen.
    pub(crate) fn charge(&self, at: &JobContext<'_>, cause: &Cause) -> Option<(Bill, u32)> {
        let none = Group::default();
        let (group, train) = (self.group(at.job).unwrap_or(&none), self.spec(at.job)?);
        let budgets = &at.job.spec.stages.get(self.stage as usize)?.budgets;
        let bill = charge(cause, group, train, budgets, at.now);
        let limit = match cause.charged {
            Charge::WorkerLost => budgets.worker_lost,
            Charge::Restart | Charge::Nothing => train.max_restarts,
        };
        Some((bill, limit))
    }

    /// Since its stage may run.
    pub(crate) fn trained_ms(&self, at: &JobContext<'_>) -> u64 {
        let stage = at.job.stages.get(self.stage as usize);
        let started = stage
            .and_then(|s| s.started_at)
            .or_else(|| self.group(at.job).map(|g| g.started_at));
        started.map_or(0, |since| at.now.since(since))
    }
}

/// Where all others reach a job's rank 0.
pub(crate) fn master_address(job: &Job) -> String {
    let Some(first) = job.members.first() else {
        return String::new();
    };
    if !is_local(&first.member.address) {
        return first.member.address.clone();
    }
    if job.members.iter().all(|m| is_local(&m.member.address)) {
        "127.0.0.1".to_owned()
    } else {
        String::new()
    }
}

/// The sizes of a job's pool, as far as its place has room.
pub(crate) fn sizes(job: &Job, place: &PlaceReport) -> Sizes {
    let workers = &job.spec.workers;
    let room = place.at_most.map_or(u32::MAX, |most| most.max(workers.min));
    Sizes {
        min: workers.min,
        max: workers.max,
        wanted: workers.wanted.min(room),
        unit: workers.unit,
    }
}

impl Core {
    /// The sizes of a job's pool now.
    pub(crate) fn sizes_now(&self, job: &Job) -> Sizes {
        match self.open_jobs.get(&job.id) {
            Some(own) => sizes(job, &own.place),
            None => sizes(job, &PlaceReport::default()),
        }
    }
}

/// What the job file says of a training stage.
pub(crate) fn train_spec(job: &Job, stage: u32) -> Option<&TrainSpec> {
    job.spec.stages.get(stage as usize)?.kind.training()
}

/// The training stage whose processes may run, after a coordinator's restart; and what to make of them.
pub(crate) fn resumable(job: &Job) -> Option<(u32, Doing)> {
    if !job.formed || job.members.is_empty() {
        return None;
    }
    let (stage, group) = job
        .groups
        .iter()
        .find(|(_, g)| g.epoch == job.epoch && g.epoch != Epoch(0))?;
    let pending = job
        .stages
        .get(*stage as usize)?
        .shards
        .iter()
        .any(|s| s.phase == Phase::Pending);
    let on_purpose = group.stopping == Some(group.epoch);
    let charged = group.causes.first().is_some_and(|c| c.epoch == group.epoch);
    // One whose deadline has passed is not pending, and may still have to stop.
    if on_purpose || pending && (charged || job.cancelled.is_some()) {
        Some((*stage, Doing::Stopping(group.epoch, Why::Purpose)))
    } else {
        pending.then_some((*stage, Doing::Running(group.epoch)))
    }
}
