//! Why a job or a shard stands where it does, in one sentence each.

use crate::shards::needs::{Needs, needs_of};
use crate::state::job::Phase;
use crate::view::shard::with_what;
use crate::view::{JobState, Reason, ShardState, ShardView};
use crate::{Code, Core, EndState, Job, JobId, Millis, Refusal, ShardId, Verdict};
use petctl_text::called::{Fit, best, called};

/// A sentence, and the shard it speaks of.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Code and sentence.
    pub reason: Reason,
    /// The shard, if it is about one.
    pub shard: Option<ShardView>,
}

const MOST_SHARDS: usize = 10;

impl Core {
    /// Explains a job, or those of its shards that are called `shard` or begin so (at most ten).
    ///
    /// # Errors
    /// [`Code::NoSuchJob`] for an unknown number, [`Code::NoSuchShard`] for a key that no shard has.
    pub fn explain(
        &self,
        now: Millis,
        id: JobId,
        stage: &str,
        shard: &str,
    ) -> Result<Vec<Explanation>, Refusal> {
        let Some(job) = self.state.jobs.get(&id) else {
            return Err(Refusal::new(
                Code::NoSuchJob,
                format!("no job has the number {id}"),
            ));
        };
        if shard.is_empty() {
            return Ok(self.explain_job(now, job));
        }
        let found = find(job, stage, shard);
        if found.is_empty() {
            return Err(Refusal::new(
                Code::NoSuchShard,
                format!(
                    "no shard of job `{}` is called `{shard}`, or begins so",
                    job.spec.name
                ),
            ));
        }
        Ok(found
            .into_iter()
            .map(|s| self.explain_shard(now, job, s))
            .collect())
    }

    fn explain_job(&self, now: Millis, job: &Job) -> Vec<Explanation> {
        let mut all: Vec<Explanation> = self
            .waiting(now, job)
            .into_iter()
            .map(|reason| Explanation {
                reason,
                shard: None,
            })
            .collect();
        let Some(view) = self.job_view(now, job.id) else {
            return all;
        };
        if all.is_empty() {
            all.push(Explanation {
                reason: standing(job, view.summary.state, &view.summary.verdict),
                shard: None,
            });
        }
        all.extend(view.notices.into_iter().map(|reason| Explanation {
            reason,
            shard: None,
        }));
        for shard in view.first_failures {
            let id = shard.shard;
            all.push(self.explain_shard(now, job, id));
        }
        all
    }

    fn explain_shard(&self, now: Millis, job: &Job, id: ShardId) -> Explanation {
        let view = self.shard_view(job, id.stage as usize, id.index as usize);
        let (code, message) = match view.state {
            ShardState::Running | ShardState::Ready | ShardState::Done
                if self.explains_training(job, id) =>
            {
                let line = self.training_line(now, job, id.stage);
                let line = line.unwrap_or_else(|| "waits for the job's other work".to_owned());
                (Code::Training, line)
            }
            ShardState::Done => done(&view),
            ShardState::Running => {
                let since = self
                    .volatile
                    .leases
                    .of_shard(job.id, id)
                    .map_or(0, |(_, l)| now.since(l.granted_at));
                let second = self.second_of(job, id);
                (
                    Code::Running,
                    format!(
                        "attempt {} is with {} since {}{second}",
                        view.attempts,
                        view.worker,
                        seconds(since)
                    ),
                )
            }
            ShardState::Backoff => {
                let until = self
                    .open_jobs
                    .get(&job.id)
                    .and_then(|l| l.backoff.get(&id))
                    .copied()
                    .unwrap_or(now);
                let again = format!("it is tried again in {}", seconds(until.since(now)));
                (
                    Code::BackingOff,
                    format!("{again}; last failure: {}", view.message),
                )
            }
            ShardState::Ready if self.offline => (
                Code::Ready,
                "it can run, but no coordinator runs; `petctl run` resumes the job".to_owned(),
            ),
            ShardState::Ready => self.why_not_yet(now, job, id),
            ShardState::Blocked => (Code::NeedsPending, format!("waits for {}", unmet(job, id))),
            ShardState::Failed => (
                Code::Quarantined,
                format!(
                    "no attempts are left after {}; the last: {}",
                    view.failures.describe(),
                    view.message
                ),
            ),
            ShardState::Skipped => (
                Code::InputSkipped,
                format!("did not run: {}", with_what(job, id)),
            ),
            ShardState::Cancelled => why_cancelled(job, id),
        };
        let message = format!("{}/{}: {message}", view.stage_name, view.key);
        Explanation {
            reason: Reason {
                code: code.to_string(),
                message,
            },
            shard: Some(view),
        }
    }

    /// Who else runs a shard.
    fn second_of(&self, job: &Job, id: ShardId) -> String {
        let second = self.volatile.leases.all_of_shard(job.id, id).nth(1);
        let worker = second.and_then(|(_, lease)| self.volatile.workers.get(&lease.worker));
        worker.map_or_else(String::new, |worker| {
            format!("; it takes long, so {} tries it too", worker.hello.name)
        })
    }

    /// A training stage that has begun, or has ended well, says more than a shard does.
    fn explains_training(&self, job: &Job, id: ShardId) -> bool {
        let train = job.spec.stages[id.stage as usize].kind.training().is_some();
        train && !self.offline
    }

    fn why_not_yet(&self, now: Millis, job: &Job, id: ShardId) -> (Code, String) {
        if let Some(training) = self.training(job.id) {
            let name = &job.spec.stages[training.stage as usize].name;
            return (
                Code::Training,
                format!("stage {name} trains; shards wait until it has ended"),
            );
        }
        if let Some(reason) = self.waiting(now, job).into_iter().next() {
            return (
                Code::parse(&reason.code).unwrap_or(Code::Ready),
                reason.message,
            );
        }
        let ahead = self.open_jobs.get(&job.id).map_or(0, |l| {
            l.queues
                .iter()
                .filter_map(|q| q.shards.iter().position(|s| *s == id))
                .next()
                .unwrap_or(0)
        });
        (
            Code::SlotsBusy,
            format!("every slot is taken; {ahead} shards are before it"),
        )
    }
}

fn find(job: &Job, stage: &str, text: &str) -> Vec<ShardId> {
    let mut found: Vec<(Fit, ShardId)> = Vec::new();
    for (stage_id, state) in (0_u32..).zip(&job.stages) {
        let name = &job.spec.stages[stage_id as usize].name;
        if !(stage.is_empty() || name == stage) {
            continue;
        }
        for (index, _) in (0_u32..).zip(&state.shards) {
            let key = job.key(stage_id as usize, index as usize);
            let Some(fit) = called(text, name, &key) else {
                continue;
            };
            let shard = ShardId {
                stage: stage_id,
                index,
            };
            if fit == Fit::Exact {
                return vec![shard];
            }
            if fit > Fit::Begins || found.len() < MOST_SHARDS {
                found.push((fit, shard));
            }
        }
    }
    let mut found = best(found, |(fit, _)| Some(*fit));
    found.truncate(MOST_SHARDS);
    found.into_iter().map(|(_, shard)| shard).collect()
}

fn standing(job: &Job, state: JobState, verdict: &str) -> Reason {
    let (code, message) = match state {
        JobState::Waiting | JobState::Running => (Code::Running, format!("it runs: {verdict}")),
        JobState::Interrupted => (
            Code::Interrupted,
            format!("no coordinator runs it now: {verdict}; `petctl run` resumes it"),
        ),
        JobState::Cancelling => (
            Code::JobCancelled,
            "its processes are being stopped".to_owned(),
        ),
        JobState::Suspended => (
            Code::Suspended,
            format!(
                "it was suspended ({}); `petctl resume {}` lets it go on",
                job.suspended.clone().unwrap_or_default(),
                job.spec.name
            ),
        ),
        JobState::Succeeded | JobState::Failed | JobState::Cancelled => match job.end {
            Some((EndState::Succeeded, _)) | None => {
                (Code::Committed, format!("it succeeded: {verdict}"))
            }
            Some((EndState::Failed, _)) => (Code::JobEnded, format!("it failed: {verdict}")),
            Some((EndState::Cancelled, _)) => {
                let reason = job.cancelled.clone().unwrap_or_default();
                (
                    Code::JobCancelled,
                    format!("it was cancelled ({reason}): {verdict}"),
                )
            }
        },
    };
    Reason {
        code: code.to_string(),
        message,
    }
}

fn done(view: &ShardView) -> (Code, String) {
    let took = seconds(view.duration_ms);
    match view.verdict {
        Verdict::Fail => (
            Code::VerdictFail,
            format!("its checks failed: {}", view.reasons.join("; ")),
        ),
        Verdict::Skipped => (
            Code::Committed,
            format!("nothing to do: {}", view.reasons.join("; ")),
        ),
        Verdict::Pass | Verdict::None => (
            Code::Committed,
            format!(
                "attempt {} committed {} files in {took} on {}",
                view.attempts, view.files, view.worker
            ),
        ),
    }
}

/// The needs of a shard that are not met, by name.
fn unmet(job: &Job, id: ShardId) -> String {
    let needs = job.spec.stages[id.stage as usize].needs.iter().filter(|n| {
        let stage = &job.stages[n.stage as usize];
        if n.per_shard {
            stage
                .shards
                .get(id.index as usize)
                .is_none_or(|s| !matches!(s.phase, Phase::Done | Phase::Skipped))
        } else {
            !stage.is_settled()
                || stage.missing() > job.may_miss(n.stage as usize)
                || job.too_few_done(n.stage as usize).is_some()
        }
    });
    let names: Vec<String> = needs
        .map(|n| {
            let (name, stage) = (
                &job.spec.stages[n.stage as usize].name,
                &job.stages[n.stage as usize],
            );
            if n.per_shard {
                format!("{name}/{}", job.key(n.stage as usize, id.index as usize))
            } else {
                format!(
                    "stage {name} ({} of {} done)",
                    stage.counts.done,
                    stage.shards.len()
                )
            }
        })
        .collect();
    names.join(" and ")
}

/// Why a shard did not run, or not to its end.
pub(crate) fn why_cancelled(job: &Job, id: ShardId) -> (Code, String) {
    let shard = &job.stages[id.stage as usize].shards[id.index as usize];
    let never = if shard.ended_attempts() == 0 {
        "never ran"
    } else {
        "did not run to its end"
    };
    if needs_of(job, id) == Needs::Failed {
        (
            Code::NeedsFailed,
            format!("{never}: {}", failed_needs(job, id)),
        )
    } else {
        (Code::JobCancelled, format!("{never}: the job ended before"))
    }
}

/// Why what a shard needs will never be.
fn failed_needs(job: &Job, id: ShardId) -> String {
    let needs = &job.spec.stages[id.stage as usize].needs;
    let few = needs.iter().find_map(|need| {
        let stage = need.stage as usize;
        let missing = job.stages[stage].missing() > job.may_miss(stage);
        let min = job
            .too_few_done(stage)
            .filter(|_| !need.per_shard && !missing)?;
        let (name, done) = (
            &job.spec.stages[stage].name,
            job.stages[stage].really_done(),
        );
        Some(format!(
            "of stage {name} {done} were really done, and its min_done asks for {min}"
        ))
    });
    few.unwrap_or_else(|| format!("{} failed or did not run", unmet(job, id)))
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
}
