//! Which checkpoints are complete: what scripts said, kept for every later epoch.

use crate::training::Doing;
use crate::training::machine::{group, rules};
use crate::{
    Checkpoint, CheckpointReport, Code, Core, Effect, Event, Job, Refusal, ToWorker, WorkerId,
};

impl Core {
    /// A script completed a checkpoint. It is acknowledged when it is durable, and again as often as it is said.
    pub(crate) fn checkpoint(&mut self, worker: WorkerId, report: CheckpointReport) {
        let request = report.request;
        let answer = self.keep_checkpoint(worker, &report);
        let (refusal, drop) = match answer {
            Ok(drop) => (None, drop),
            Err(refusal) => (Some(refusal), Vec::new()),
        };
        let message = ToWorker::CheckpointAck {
            request,
            refusal,
            drop,
        };
        self.send(worker, message);
        if let Some(Doing::Running(_)) = self.volatile.training(report.job).map(|t| t.doing) {
            self.run_on(report.job, true);
            self.set_group_deadline(report.job);
        }
    }

    /// Records a checkpoint; which paths are not kept any more.
    fn keep_checkpoint(
        &mut self,
        worker: WorkerId,
        report: &CheckpointReport,
    ) -> Result<Vec<String>, Refusal> {
        let is_ours = self.volatile.workers.get(&worker).and_then(|w| w.job()) == Some(report.job);
        let job = self.state.jobs.get(&report.job).filter(|_| is_ours);
        let found = job.and_then(|job| Some((job, rules(job, report.stage)?)));
        let Some((job, (Some(remembered), train))) = found else {
            return Err(stale(job, report));
        };
        let new = Checkpoint {
            step: report.step,
            path: report.path.clone(),
            epoch: report.epoch,
            at: self.now,
        };
        let same = |c: &&Checkpoint| (c.step, &c.path, c.epoch) == (new.step, &new.path, new.epoch);
        if remembered.checkpoints.iter().any(|c| same(&c)) {
            return Ok(Vec::new());
        }
        if remembered.epoch != report.epoch || job.epoch != report.epoch {
            return Err(stale(Some(job), report));
        }
        let before = remembered.checkpoints.clone();
        let mut after = remembered.clone();
        after.keep(new.clone(), train.keep_checkpoints);
        let dropped = dropped(&before, &new, &after.checkpoints);
        if after.checkpoints.iter().any(|c| same(&c)) {
            self.record(Event::CheckpointCommitted {
                job: report.job,
                stage: report.stage,
                epoch: report.epoch,
                step: report.step,
                path: report.path.clone(),
            });
            self.effect(Effect::Changed(report.job));
        }
        Ok(dropped)
    }
}

fn stale(job: Option<&Job>, report: &CheckpointReport) -> Refusal {
    let newest = job.and_then(|j| group(j, report.stage).map(|g| g.epoch.max(j.epoch)));
    let why = newest.map_or_else(
        || "this worker is not in that group".to_owned(),
        |newest| format!("epoch {} is over, the newest is {newest}", report.epoch),
    );
    Refusal::new(
        Code::StaleEpoch,
        format!("the checkpoint of step {} is not kept: {why}", report.step),
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
