//! Which checkpoints are committed: what scripts marked as complete, for every later epoch.

use crate::context::JobContext;
use crate::training::rules::train_spec;
use crate::training::{Doing, Flow, Training};
use crate::{Checkpoint, CheckpointReport, Code, Core, Event, Job, Refusal, ToWorker, WorkerId};
use std::ops::ControlFlow;

impl Core {
    /// A script marked a checkpoint as complete. It is answered when it is committed, and again as often as it is said.
    pub(crate) fn checkpoint(&mut self, worker: WorkerId, report: &CheckpointReport) {
        let answer = self.with_job(report.job, |at| at.commit_checkpoint(worker, report));
        let (refusal, drop) = match answer.unwrap_or_else(|| Err(stale(None, report))) {
            Ok(drop) => (None, drop),
            Err(refusal) => (Some(refusal), Vec::new()),
        };
        let message = ToWorker::CheckpointAnswer {
            request: report.request,
            refusal,
            drop,
        };
        self.send(worker, message);
        self.with_job(report.job, |at| {
            if at.is_ours(worker) {
                at.with_training(Training::checkpoint_marked);
            }
        });
    }
}

impl Training {
    /// A checkpoint was marked: who waits for one may join.
    fn checkpoint_marked(&mut self, at: &mut JobContext<'_>) -> Flow {
        if let Doing::Running(_) = self.doing {
            self.run_on(at, true)?;
            self.set_deadline(at);
        }
        ControlFlow::Continue(())
    }
}

impl JobContext<'_> {
    /// Commits a checkpoint; which paths are not kept any more.
    fn commit_checkpoint(
        &mut self,
        worker: WorkerId,
        report: &CheckpointReport,
    ) -> Result<Vec<String>, Refusal> {
        if !self.is_ours(worker) {
            return Err(stale(None, report));
        }
        let job = &*self.job;
        let group = job.groups.get(&report.stage);
        let Some((group, train)) = group.zip(train_spec(job, report.stage)) else {
            return Err(stale(Some(job), report));
        };
        let new = Checkpoint {
            step: report.step,
            path: report.path.clone(),
            epoch: report.epoch,
            at: self.now,
        };
        let same = |c: &&Checkpoint| (c.step, &c.path, c.epoch) == (new.step, &new.path, new.epoch);
        if group.checkpoints.iter().any(|c| same(&c)) {
            return Ok(Vec::new());
        }
        if group.epoch != report.epoch || job.epoch != report.epoch {
            return Err(stale(Some(job), report));
        }
        let mut after = group.clone();
        after.commit(new.clone(), train.keep_checkpoints);
        let dropped = dropped(&group.checkpoints, &new, &after.checkpoints);
        if after.checkpoints.iter().any(|c| same(&c)) {
            self.record(Event::CheckpointCommitted {
                job: report.job,
                stage: report.stage,
                epoch: report.epoch,
                step: report.step,
                path: report.path.clone(),
            });
            self.changed();
        }
        Ok(dropped)
    }
}

fn stale(job: Option<&Job>, report: &CheckpointReport) -> Refusal {
    let group = job.and_then(|job| Some((job, job.groups.get(&report.stage)?)));
    let why = group.map_or_else(
        || "this worker is not in that group".to_owned(),
        |(job, group)| {
            let newest = group.epoch.max(job.epoch);
            format!("epoch {} is over, the newest is {newest}", report.epoch)
        },
    );
    Refusal::new(
        Code::StaleEpoch,
        format!(
            "the checkpoint of step {} is not committed: {why}",
            report.step
        ),
    )
}

/// Paths that are not kept any more. One that holds a kept one, or lies in one, stays.
fn dropped(before: &[Checkpoint], new: &Checkpoint, after: &[Checkpoint]) -> Vec<String> {
    before
        .iter()
        .chain([new])
        .filter(|c| {
            // Several ranks may each write a part of one checkpoint.
            let of_same = c.step == new.step && c.epoch == new.epoch && c.path != new.path;
            !of_same && !after.iter().any(|kept| overlap(&kept.path, &c.path))
        })
        .map(|c| c.path.clone())
        .collect()
}

fn overlap(a: &str, b: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        let outer = outer.trim_end_matches('/');
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    within(a, b) || within(b, a)
}
