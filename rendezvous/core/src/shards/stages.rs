//! How long a stage may take: counted from when its needs were met, until nothing of it is pending.

use crate::shards::needs::pending;
use crate::training::{Doing, Why};
use crate::{Code, Core, Effect, Event, JobId, Millis, Refusal, ShardId};
use petctl_spec::StageKind;
use std::collections::BTreeSet;

impl Core {
    /// Shards of these stages may run: where somebody counts from the first time, it is noted.
    pub(crate) fn note_started(&mut self, id: JobId, stages: &BTreeSet<u32>) {
        let Some(job) = self.state.jobs.get(&id) else {
            return;
        };
        let new: Vec<u32> = stages
            .iter()
            .copied()
            .filter(|stage| {
                let index = *stage as usize;
                let counts =
                    job.spec.stages.get(index).is_some_and(|s| {
                        s.deadline_ms > 0 || matches!(s.kind, StageKind::Train(_))
                    });
                counts
                    && job
                        .stages
                        .get(index)
                        .is_some_and(|s| s.started_at.is_none())
            })
            .collect();
        for stage in new {
            self.record(Event::StageStarted { job: id, stage });
            self.set_deadline(id, stage);
        }
    }

    /// Sets the deadlines of all stages of a job, by what its file says now.
    pub(crate) fn set_deadlines(&mut self, id: JobId) {
        let stages = self.state.jobs.get(&id).map_or(0, |j| j.stages.len());
        for stage in 0..u32::try_from(stages).unwrap_or(u32::MAX) {
            self.set_deadline(id, stage);
        }
    }

    fn set_deadline(&mut self, id: JobId, stage: u32) {
        let at = self.deadline(id, stage);
        self.volatile.stage_deadlines.set((id, stage), at);
    }

    /// When a stage's time is over.
    pub(crate) fn deadline(&self, id: JobId, stage: u32) -> Option<Millis> {
        let job = self.state.jobs.get(&id).filter(|j| j.end.is_none())?;
        let state = job.stages.get(stage as usize)?;
        let limit_ms = job.spec.stages.get(stage as usize)?.deadline_ms;
        let counts = limit_ms > 0 && !state.is_settled() && job.cancelled.is_none();
        Some(state.started_at?.plus(limit_ms)).filter(|_| counts)
    }

    pub(crate) fn end_stage_deadlines(&mut self) {
        while let Some((id, stage)) = self.volatile.stage_deadlines.due(self.now) {
            if self.deadline(id, stage).is_some_and(|at| at <= self.now) {
                self.end_stage(id, stage);
            }
        }
    }

    /// A stage's time is over: what is pending of it has failed, what runs of it stops.
    fn end_stage(&mut self, id: JobId, stage: u32) {
        let Some(job) = self.state.jobs.get(&id) else {
            return;
        };
        let failed: Vec<ShardId> = pending(job, stage).collect();
        self.record(Event::StageDeadlinePassed { job: id, stage });
        if let Some(volatile) = self.volatile.jobs.get_mut(&id) {
            volatile.forget_stage(stage);
        }
        self.volatile
            .backoffs
            .retain(|(_, job, shard)| *job != id || shard.stage != stage);
        self.give_up(id, &failed);
        let message = "the stage's deadline has passed";
        let refusal = Refusal::new(Code::StageDeadline, message);
        self.revoke(id, &refusal, false, |lease| lease.shard.stage == stage);
        let training = self.volatile.training(id).filter(|t| t.stage == stage);
        match training.map(|t| t.doing) {
            Some(Doing::Running(_)) => {
                self.stop(id, Why::Purpose, Code::StageDeadline, message.to_owned());
            }
            Some(Doing::Gathering | Doing::Preparing(_)) => self.end_training(id, |_| ()),
            Some(Doing::Stopping(..)) => {}
            None => {
                self.settle(id);
                self.schedule(id);
            }
        }
        self.effect(Effect::Changed(id));
    }
}
