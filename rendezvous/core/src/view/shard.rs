//! Shards as they stand, one by one.

use crate::shards::needs::{Needs, needs_of};
use crate::state::job::{FIRST_FAILURES, Phase};
use crate::view::explain::why_cancelled;
use crate::view::{ShardFilter, ShardState, ShardView};
use crate::volatile::is_local;
use crate::{Code, Core, Job, JobId, LeaseId, Shard, ShardId, Verdict};
use petctl_text::called::called;

impl Core {
    /// Shards of a job in order, from the `from`th on, at most `limit` of those that fit the filter; and where to go
    /// on, if there are more to look at.
    #[must_use]
    pub fn shards(
        &self,
        id: JobId,
        filter: &ShardFilter,
        from: usize,
        limit: usize,
    ) -> (Vec<ShardView>, Option<usize>) {
        let Some(job) = self.state.jobs.get(&id) else {
            return (Vec::new(), None);
        };
        let mut rows = Vec::new();
        let mut position = 0;
        let mut looked_at = 0;
        for (stage, state) in job.stages.iter().enumerate() {
            let count = state.shards.len();
            if position + count <= from
                || !(filter.stage.is_empty() || filter.stage == job.spec.stages[stage].name)
            {
                position += count;
                continue;
            }
            for index in from.saturating_sub(position)..count {
                looked_at += 1;
                if rows.len() == limit || looked_at > limit.saturating_mul(16).max(1_024) {
                    return (rows, Some(position + index));
                }
                let shard = &state.shards[index];
                let failed = shard.phase == Phase::Failed || shard.verdict == Verdict::Fail;
                if filter.failed_only && !failed {
                    continue;
                }
                let name = &job.spec.stages[stage].name;
                let is_meant = || called(&filter.key, name, &job.key(stage, index)).is_some();
                if !filter.key.is_empty() && !is_meant() {
                    continue;
                }
                rows.push(self.shard_view(job, stage, index));
            }
            position += count;
        }
        (rows, None)
    }

    pub(crate) fn first_failures(&self, job: &Job) -> Vec<ShardView> {
        let failures = job.stages.iter().enumerate().flat_map(|(stage, state)| {
            state
                .first_failures
                .iter()
                .map(move |index| (stage, *index as usize))
        });
        failures
            .take(FIRST_FAILURES)
            .map(|(stage, index)| self.shard_view(job, stage, index))
            .collect()
    }

    pub(crate) fn shard_view(&self, job: &Job, stage: usize, index: usize) -> ShardView {
        let state = &job.stages[stage].shards[index];
        let shard = ShardId {
            stage: u32::try_from(stage).unwrap_or(u32::MAX),
            index: u32::try_from(index).unwrap_or(u32::MAX),
        };
        let running = self.volatile.leases.of_shard(job.id, shard);
        let detail = state.detail.as_deref();
        let failure = detail
            .and_then(|d| d.last_failure.as_ref())
            .filter(|_| !matches!(state.phase, Phase::Done | Phase::Skipped));
        let worker = running
            .and_then(|(_, l)| self.volatile.workers.get(&l.worker))
            .map(|w| w.hello.name.clone())
            .or_else(|| {
                job.worker_names
                    .get(state.worker as usize)
                    .filter(|_| state.lease != LeaseId(0) || state.ended_attempts() > 0)
                    .cloned()
            })
            .or_else(|| ran_locally(job, stage, state).then(|| LOCAL_STAGES.to_owned()));
        let done = state.phase == Phase::Done;
        let (code, message) = match (failure, state.phase) {
            (Some(failure), _) => {
                let lost = [Code::WorkerGone, Code::WorkerSilent].map(Code::as_str);
                let lost = lost.contains(&failure.code.as_str());
                let known = job.worker_names.get(state.worker as usize).filter(|_| lost);
                match known.and_then(|worker| self.ended_by_place(job.id, worker)) {
                    Some(why) => (
                        why.code.clone(),
                        format!("{}: {}", failure.message, why.message),
                    ),
                    None => (failure.code.clone(), failure.message.clone()),
                }
            }
            (None, Phase::Cancelled) => {
                let (code, message) = why_cancelled(job, shard);
                (code.to_string(), message)
            }
            (None, Phase::Pending | Phase::Done | Phase::Failed | Phase::Skipped) => {
                (String::new(), String::new())
            }
        };
        ShardView {
            shard,
            stage_name: job.spec.stages[stage].name.clone(),
            key: job.key(stage, index),
            state: self.shard_state(job, shard, state.phase),
            attempts: running.map_or(state.ended_attempts(), |(_, l)| l.attempt),
            duration_ms: u64::from(state.duration_ms),
            verdict: state.verdict,
            reasons: match state.phase {
                Phase::Done => detail.map(|d| d.reasons.clone()).unwrap_or_default(),
                Phase::Skipped => vec![with_what(job, shard)],
                Phase::Pending | Phase::Failed | Phase::Cancelled => Vec::new(),
            },
            numbers: detail
                .filter(|_| done)
                .map(|d| d.numbers.clone())
                .unwrap_or_default(),
            worker: worker.unwrap_or_default(),
            lease: running.map_or(state.lease, |(id, _)| id),
            code,
            message,
            log_tail: failure.map(|f| f.log_tail.clone()).unwrap_or_default(),
            exit_code: failure.and_then(|f| f.exit_code),
            signal: failure.map_or(0, |f| f.signal),
            files: state.files,
            bytes: state.bytes,
            failures: state.failures(),
            reused: state.reused,
            detail: job.stages[stage].detail(index),
        }
    }

    fn shard_state(&self, job: &Job, shard: ShardId, phase: Phase) -> ShardState {
        match phase {
            Phase::Done => return ShardState::Done,
            Phase::Failed => return ShardState::Failed,
            Phase::Cancelled => return ShardState::Cancelled,
            Phase::Skipped => return ShardState::Skipped,
            Phase::Pending => {}
        }
        let backing_off = self
            .open_jobs
            .get(&job.id)
            .is_some_and(|l| l.backoff.contains_key(&shard));
        if self.volatile.leases.of_shard(job.id, shard).is_some() || self.trains_now(job, shard) {
            ShardState::Running
        } else if backing_off {
            ShardState::Backoff
        } else if needs_of(job, shard) == Needs::Met {
            ShardState::Ready
        } else {
            ShardState::Blocked
        }
    }
}

/// Why a shard did not run, though nothing of what it needs is missing.
pub(crate) fn with_what(job: &Job, shard: ShardId) -> String {
    let needs = &job.spec.stages[shard.stage as usize].needs;
    let skipped = needs
        .iter()
        .filter(|need| need.per_shard)
        .map(|need| ShardId {
            stage: need.stage,
            index: shard.index,
        });
    let mut skipped = skipped.filter(|needed| job.was_skipped(*needed));
    skipped.next().map_or_else(
        || "its input was skipped".to_owned(),
        |needed| {
            let (stage, index) = (needed.stage as usize, needed.index as usize);
            let name = &job.spec.stages[stage].name;
            format!("its input {name}/{} was skipped", job.key(stage, index))
        },
    )
}

/// A worker of local stages is no member, whose name would be remembered.
fn ran_locally(job: &Job, stage: usize, shard: &Shard) -> bool {
    job.spec.stages.get(stage).is_some_and(is_local) && shard.ended_attempts() > 0
}

const LOCAL_STAGES: &str = "local-stages";
