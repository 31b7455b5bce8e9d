//! A job whose workers train: both of its halves, found once and passed down. What is decided by looking at it is
//! decided here; the core carries it out.

use crate::members::pool::Sizes;
use crate::shards::needs::is_pending;
use crate::training::cause::{Bill, charge, first_cause, is_left_out, used};
use crate::training::machine::{group, rules, sizes};
use crate::training::starting::{PREPARE_TIMEOUTS, is_local};
use crate::training::{Doing, Training, Why};
use crate::volatile::{Volatile, VolatileJob};
use crate::{
    Cause, Checkpoint, Code, Config, Core, Epoch, Group, GroupStart, Job, JobId, Millis, ShardId,
    WorkerId,
};
use petctl_spec::{StageSpec, TrainSpec};

/// What a worker has beyond the grace of its processes until it must have said that they are gone.
const STOP_SLACK_MS: u64 = 15_000;

/// And beyond that, to write stacks down first.
const STACKS_MS: u64 = 30_000;

/// What decisions about a training look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrainingJob<'a> {
    pub(crate) now: Millis,
    pub(crate) config: &'a Config,
    pub(crate) volatile: &'a Volatile,
    pub(crate) job: &'a Job,
    /// The job's volatile half.
    pub(crate) own: &'a VolatileJob,
    pub(crate) training: &'a Training,
    /// What is remembered of its stage, if there is anything.
    pub(crate) group: Option<&'a Group>,
    /// What the job file says of it.
    pub(crate) rules: &'a TrainSpec,
}

/// Who could be in the next epoch, in rank order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roll {
    pub(crate) members: Vec<WorkerId>,
    pub(crate) candidates: Vec<WorkerId>,
    /// Of either kind, those that failed too often.
    pub(crate) left_out: Vec<WorkerId>,
}

impl Core {
    /// A job whose workers a training group has.
    pub(crate) fn training_job(&self, id: JobId) -> Option<TrainingJob<'_>> {
        let (job, own) = (self.state.jobs.get(&id)?, self.volatile.jobs.get(&id)?);
        let training = own.training.as_ref()?;
        let (group, rules) = rules(job, training.stage)?;
        Some(TrainingJob {
            now: self.now,
            config: &self.config,
            volatile: &self.volatile,
            job,
            own,
            training,
            group,
            rules,
        })
    }
}

impl<'a> TrainingJob<'a> {
    /// The one shard of its stage.
    pub(crate) fn shard(&self) -> ShardId {
        ShardId {
            stage: self.training.stage,
            index: 0,
        }
    }

    /// Its stage has neither ended well nor failed.
    pub(crate) fn is_pending(&self) -> bool {
        is_pending(self.job, self.shard())
    }

    pub(crate) fn sizes(&self) -> Sizes {
        sizes(self.job)
    }

    fn stage_spec(&self) -> Option<&'a StageSpec> {
        self.job.spec.stages.get(self.training.stage as usize)
    }

    /// Its checkpoints, the newest first.
    pub(crate) fn checkpoints(&self) -> &'a [Checkpoint] {
        self.group.map_or(&[], |g| g.checkpoints.as_slice())
    }

    /// Why no epoch may form now, whoever is there.
    pub(crate) fn blocked(&self) -> Option<Code> {
        if !self.own.expected.is_empty() || !self.own.seeded {
            Some(Code::Recovering)
        } else if self.volatile.draining.is_some() {
            Some(Code::CoordinatorDraining)
        } else if self.job.cancelled.is_some() {
            Some(Code::JobCancelled)
        } else if self.job.suspended.is_some() {
            Some(Code::Suspended)
        } else {
            None
        }
    }

    /// Members of before a restart may still come back.
    pub(crate) fn is_recovering(&self) -> bool {
        self.blocked() == Some(Code::Recovering)
    }

    /// Those who were promised have had their time.
    pub(crate) fn is_settled(&self) -> bool {
        self.now.since(self.training.since) >= self.job.spec.workers.settle_timeout_ms
    }

    /// Who could be in the next epoch.
    pub(crate) fn roll(&self, candidates: Vec<WorkerId>) -> Roll {
        let is_out = |name: &str, host: &str| {
            let group = self.group;
            group.is_some_and(|g| is_left_out(g, self.rules, name, host))
        };
        let mut roll = Roll::default();
        for membership in &self.job.members {
            let member = &membership.member;
            if self.training.left.contains_key(&member.worker) {
                continue;
            }
            if is_out(&member.name, &member.host) {
                roll.left_out.push(member.worker);
            } else {
                roll.members.push(member.worker);
            }
        }
        for id in candidates {
            let Some(worker) = self.volatile.workers.get(&id) else {
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
    pub(crate) fn processes(&self) -> impl Iterator<Item = (WorkerId, u32)> {
        self.job.members.iter().map(|m| {
            let worker = self.volatile.workers.get(&m.member.worker);
            let processes = worker.map_or(m.member.processes, |w| w.processes(self.rules));
            (m.member.worker, processes)
        })
    }

    /// Where all others reach rank 0.
    pub(crate) fn master_address(&self) -> String {
        let members = &self.job.members;
        let Some(first) = members.first() else {
            return String::new();
        };
        if !is_local(&first.member.address) {
            return first.member.address.clone();
        }
        if members.iter().all(|m| is_local(&m.member.address)) {
            "127.0.0.1".to_owned()
        } else {
            String::new()
        }
    }

    /// What a member is told to start.
    pub(crate) fn start_of(&self, worker: WorkerId) -> Option<GroupStart> {
        let (part, group) = (self.training.parts.get(&worker)?, self.group?);
        Some(GroupStart {
            job: self.job.id,
            stage: self.training.stage,
            epoch: group.epoch,
            group_rank: part.group_rank,
            group_world_size: u32::try_from(self.training.parts.len()).unwrap_or(u32::MAX),
            first_rank: part.first_rank,
            processes: part.processes,
            world_size: group.world_size,
            master: group.master.clone(),
            restart_count: used(group, self.rules, self.now).0,
            max_restarts: self.rules.max_restarts,
            resume: group.resume.clone(),
        })
    }

    /// Rank 0 has so long to find a port.
    pub(crate) fn prepare_patience_ms(&self) -> u64 {
        self.config.heartbeat_timeout_ms * PREPARE_TIMEOUTS
    }

    /// How long a group may take to stop.
    pub(crate) fn stop_patience_ms(&self) -> u64 {
        let grace_ms = self.stage_spec().map_or(0, |s| s.grace_ms);
        let stacks_ms = if self.training.hang.is_some() {
            STACKS_MS
        } else {
            0
        };
        grace_ms.saturating_add(STOP_SLACK_MS + stacks_ms)
    }

    /// How long nothing has happened in a running group, if that is too long.
    pub(crate) fn hangs_ms(&self) -> Option<u64> {
        let quiet_ms = self.now.since(self.training.last_active);
        let timeout_ms = self.rules.progress_timeout_ms;
        let slack_ms = self.config.heartbeat_interval_ms;
        let hangs = timeout_ms > 0 && quiet_ms >= timeout_ms.saturating_add(slack_ms);
        (hangs && !self.is_recovering()).then_some(quiet_ms)
    }

    /// When something of the group is due.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        let training = self.training;
        match training.doing {
            Doing::Gathering => {
                let settle_ms = self.job.spec.workers.settle_timeout_ms;
                let at = training.since.plus(settle_ms);
                (training.fresh && at > self.now).then_some(at)
            }
            Doing::Preparing(_) => Some(training.since.plus(self.prepare_patience_ms())),
            Doing::Running(_) => (self.rules.progress_timeout_ms > 0).then(|| {
                training
                    .last_active
                    .plus(self.rules.progress_timeout_ms)
                    .plus(self.config.heartbeat_interval_ms)
            }),
            Doing::Stopping(..) => Some(training.since.plus(self.stop_patience_ms())),
        }
    }

    /// What failed first, where something did.
    pub(crate) fn first_cause(&self, epoch: Epoch, why: Why) -> Option<Cause> {
        match why {
            Why::Fault => {
                let group = self.group.filter(|g| g.epoch == epoch);
                let started = group.map_or(self.now, |g| g.started_at).min(self.now);
                let members = &self.job.members;
                Some(first_cause(
                    self.now,
                    started,
                    epoch,
                    self.training,
                    members,
                ))
            }
            Why::Purpose => None,
        }
    }

    /// What a cause costs.
    pub(crate) fn charge(&self, cause: &Cause) -> Bill {
        let none = Group::default();
        let budgets = &self.job.spec.stages[self.training.stage as usize].budgets;
        let group = self.group.unwrap_or(&none);
        charge(cause, group, self.rules, budgets, self.now)
    }

    /// Since its stage may run.
    pub(crate) fn trained_ms(&self) -> u64 {
        let stage = self.training.stage;
        let stage_started = self.job.stages.get(stage as usize);
        let stage_started = stage_started.and_then(|s| s.started_at);
        let started = stage_started.or_else(|| group(self.job, stage).map(|g| g.started_at));
        started.map_or(0, |at| self.now.since(at))
    }

    /// A member's name, for people.
    pub(crate) fn name_of(&self, worker: WorkerId) -> &'a str {
        let mut members = self.job.members.iter();
        let member = members.find(|m| m.member.worker == worker);
        member.map_or("a worker", |m| m.member.name.as_str())
    }

    /// The place of a name among those that the job's records use.
    pub(crate) fn name_index(&self, name: &str) -> u32 {
        let index = self.job.worker_names.iter().position(|n| n == name);
        index
            .and_then(|index| u32::try_from(index).ok())
            .unwrap_or(u32::MAX)
    }
}
