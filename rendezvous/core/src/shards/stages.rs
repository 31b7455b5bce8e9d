//! How long a stage may take: counted from when its needs were met, until nothing of it is pending.

use crate::context::JobContext;
use crate::shards::needs::pending;
use crate::{Code, Core, Event, Millis, Refusal, ShardId};
use std::collections::BTreeSet;

impl Core {
    pub(crate) fn end_stage_deadlines(&mut self) {
        while let Some((id, stage)) = self.volatile.stage_deadlines.due(self.now) {
            self.with_job(id, |at| {
                if at.deadline(stage).is_some_and(|due| due <= at.now) {
                    at.end_stage(stage);
                }
            });
        }
    }
}

impl JobContext<'_> {
    /// Shards of these stages may run: where somebody counts from the first time, it is noted.
    pub(crate) fn note_started(&mut self, stages: &BTreeSet<u32>) {
        let job = &*self.job;
        let new: Vec<u32> = stages
            .iter()
            .copied()
            .filter(|stage| {
                let index = *stage as usize;
                let counts = job
                    .spec
                    .stages
                    .get(index)
                    .is_some_and(|s| s.deadline_ms > 0 || s.kind.training().is_some());
                counts
                    && job
                        .stages
                        .get(index)
                        .is_some_and(|s| s.started_at.is_none())
            })
            .collect();
        for stage in new {
            self.record(Event::StageStarted {
                job: self.id,
                stage,
            });
            self.set_deadline(stage);
        }
    }

    /// Sets the deadlines of all stages, by what the job's file says now.
    pub(crate) fn set_deadlines(&mut self) {
        for stage in 0..u32::try_from(self.job.stages.len()).unwrap_or(u32::MAX) {
            self.set_deadline(stage);
        }
    }

    fn set_deadline(&mut self, stage: u32) {
        let at = self.deadline(stage);
        self.volatile.stage_deadlines.set((self.id, stage), at);
    }

    /// When a stage's time is over.
    fn deadline(&self, stage: u32) -> Option<Millis> {
        let state = self.job.stages.get(stage as usize)?;
        let limit_ms = self.job.spec.stages.get(stage as usize)?.deadline_ms;
        let counts = limit_ms > 0 && !state.is_settled() && !self.is_over();
        Some(state.started_at?.plus(limit_ms)).filter(|_| counts)
    }

    /// A stage's time is over: what is pending of it has failed, what runs of it stops.
    fn end_stage(&mut self, stage: u32) {
        let id = self.id;
        let failed: Vec<ShardId> = pending(self.job, stage).collect();
        self.record(Event::StageDeadlinePassed { job: id, stage });
        self.own.forget_stage(stage);
        self.volatile
            .backoffs
            .retain(|(_, job, shard)| *job != id || shard.stage != stage);
        self.give_up(&failed);
        let refusal = Refusal::new(Code::StageDeadline, "the stage's deadline has passed");
        self.revoke(&refusal, false, |lease| lease.shard.stage == stage);
        let trains = self.own.training.as_ref();
        if trains.is_some_and(|t| t.stage == stage) {
            self.with_training(|training, at| training.end_in_time(at, refusal));
        } else {
            self.settle();
            self.schedule();
        }
        self.changed();
    }
}
