//! Stages as they stand: their counts.

use crate::training::Doing;
use crate::view::wording::count;
use crate::view::{Reason, StageView};
use crate::volatile::VolatileJob;
use crate::{Code, Core, Job, ShardId};

impl Core {
    /// The stages' counts. Leases beyond a worker's slots wait there for their turn, so they are ready, not running;
    /// the earlier stages are taken to run first.
    pub(crate) fn stage_views(&self, job: &Job, volatile: Option<&VolatileJob>) -> Vec<StageView> {
        let of_job = self
            .volatile
            .workers
            .values()
            .filter(|w| w.job() == Some(job.id));
        let mut at_work: u64 = of_job
            .map(crate::volatile::worker::Worker::busy_slots)
            .sum();
        let mut views = Vec::with_capacity(job.stages.len());
        for stage in 0..job.stages.len() {
            let leased = volatile.map_or(0, |l| l.running_by_stage[stage]);
            let running = leased.min(at_work);
            at_work -= running;
            let second = self.second_attempts(job, stage);
            let leases = (running, leased - running, second);
            views.push(stage_view(job, volatile, stage, leases));
        }
        views
    }

    /// Second attempts that are out.
    fn second_attempts(&self, job: &Job, stage: usize) -> u64 {
        if !job.spec.stages[stage].dispatch.speculative {
            return 0;
        }
        let of_stage = |shard: ShardId| shard.stage as usize == stage;
        let leases = self.volatile.leases.of_job(job.id);
        let second = leases.filter(|(_, l)| l.speculative && !l.overtaken && of_stage(l.shard));
        second.count() as u64
    }
}

/// Whether what needs this stage starts, or did, although shards of it are missing.
pub(crate) fn goes_without(job: &Job, stage: usize) -> bool {
    let missing = job.stages[stage].missing();
    missing > 0
        && missing <= job.may_miss(stage)
        && job.cancelled.is_none()
        && job.dependents(stage).any(|(_, per_shard)| !per_shard)
}

/// Stages that have ended and in which less was done than there should be, or nothing at all, although nothing failed.
pub(crate) fn notices(job: &Job) -> impl Iterator<Item = (usize, Reason)> + '_ {
    let stages = 0..job.stages.len();
    stages.filter_map(|stage| Some((stage, notice(job, stage)?)))
}

fn notice(job: &Job, stage: usize) -> Option<Reason> {
    let (state, spec) = (job.stages.get(stage)?, job.spec.stages.get(stage)?);
    let (name, shards) = (&spec.name, state.shards.len());
    if let Some(min) = job.too_few_done(stage) {
        let done = state.really_done();
        return Some(Reason {
            code: Code::TooFewDone.to_string(),
            message: format!(
                "stage `{name}`: {done} of {} really done, and its min_done asks for {min}; {} skipped, {} failed or did not run",
                count(shards, "shard"),
                state.skipped(),
                state.missing()
            ),
        });
    }
    (state.is_settled() && state.skipped() == shards as u64).then(|| Reason {
        code: Code::AllSkipped.to_string(),
        message: match shards {
            1 => format!("nothing was done in stage `{name}`: its one shard was skipped"),
            _ => format!(
                "nothing was done in stage `{name}`: all of its {shards} shards were skipped"
            ),
        },
    })
}

fn stage_view(
    job: &Job,
    volatile: Option<&VolatileJob>,
    stage: usize,
    (running, queued, second): (u64, u64, u64),
) -> StageView {
    let (state, spec) = (&job.stages[stage], &job.spec.stages[stage]);
    let counts = state.counts;
    let stage_id = u32::try_from(stage).unwrap_or(u32::MAX);
    let (first, last) = (
        ShardId {
            stage: stage_id,
            index: 0,
        },
        ShardId {
            stage: stage_id,
            index: u32::MAX,
        },
    );
    let backoff = volatile.map_or(0, |l| l.backoff.range(first..=last).count() as u64);
    let trains = volatile
        .and_then(|l| l.training.as_ref())
        .filter(|t| t.stage == stage_id);
    let gathers = trains.is_some_and(|t| t.doing == Doing::Gathering);
    let running = running + u64::from(trains.is_some() && !gathers);
    let waits = volatile.is_some_and(|l| l.trainings.contains(&stage_id)) || gathers;
    let ready = volatile.map_or(0, |l| l.ready_by_stage[stage]) + queued + u64::from(waits);
    #[expect(clippy::cast_precision_loss, reason = "sums of ms stay below 2^52")]
    let mean_s = if counts.done == 0 {
        0.0
    } else {
        counts.duration_ms as f64 / 1_000.0 / counts.done as f64
    };
    StageView {
        name: spec.name.clone(),
        kind: spec.kind.as_str(),
        shards: state.shards.len() as u64,
        done: counts.done + counts.skipped,
        running,
        failed: counts.failed,
        verdict_fail: counts.verdict_fail,
        skipped: state.skipped(),
        min_done: spec.dispatch.min_done.of(state.shards.len() as u64),
        ready,
        blocked: state.pending().saturating_sub(running + backoff + ready),
        backoff,
        cancelled: counts.cancelled,
        retries: counts.retries,
        mean_s,
        reused: counts.reused,
        speculative: counts.speculative + second,
        speculative_won: counts.speculative_won,
        failures_allowed: goes_without(job, stage),
    }
}
