//! A job is submitted: it is new, it goes on, or it takes over what an earlier version of it has done.

use crate::context::JobContext;
use crate::jobs::reuse::says_nothing;
use crate::volatile::VolatileJob;
use crate::volatile::worker::Standing;
use crate::{
    Code, Core, Details, Effect, EndState, Event, Job, JobId, LeaseId, Refusal, Reply, Rerun,
    RerunCause, ReusePlan, StageWork, Submission, Submitted, SubmittedAs, WorkerId,
};
use petctl_spec::shards::stage_count;
use petctl_spec::{JobSpec, MAX_SHARDS};

impl Core {
    pub(crate) fn submit(&mut self, mut submission: Submission) -> Result<Reply, Refusal> {
        check_counts(&submission)?;
        let there = self.state.find(&submission.spec.name);
        let grew = self.state.seen(&submission.spec.name) != submission.seen;
        let unseen = grew || there.is_some_and(|id| self.is_busy(id));
        if unseen {
            // Whoever looked at the output did not see what was committed since.
            submission.outputs.clear();
        }
        let look_again = unseen || there.is_some_and(|id| self.is_recovering(id));
        let submitted = self.submit_looked(there, submission)?;
        Ok(Reply::Submitted(Submitted {
            look_again,
            ..submitted
        }))
    }

    fn submit_looked(
        &mut self,
        there: Option<JobId>,
        submission: Submission,
    ) -> Result<Submitted, Refusal> {
        let plan = self.state.plan(&submission);
        if submission.plan_only {
            let job = there.unwrap_or(JobId(self.state.last_job.0 + 1));
            return Ok(answer(job, plan));
        }
        if let Some(id) = there {
            if goes_on(&self.state.jobs[&id], &submission, &plan) {
                let spec = &submission.spec;
                return Ok(self.submit_again(id, spec, plan));
            }
            self.check_replaceable(id, &submission)?;
        } else if self.state.jobs.len() >= self.config.max_jobs {
            return Err(Refusal::new(
                Code::TooManyJobs,
                format!(
                    "this coordinator keeps {} jobs at most; delete some",
                    self.config.max_jobs
                ),
            ));
        }
        Ok(self.submit_new(there, submission, plan))
    }

    /// Whether something of the job runs.
    fn is_busy(&self, id: JobId) -> bool {
        self.volatile.leases.of_job(id).next().is_some()
            || self.open_jobs.get(&id).is_some_and(VolatileJob::trains)
    }

    /// Another version of a job that is there: may it take that one's place?
    fn check_replaceable(&self, id: JobId, submission: &Submission) -> Result<(), Refusal> {
        let there = &self.state.jobs[&id];
        let name = &there.spec.name;
        if there.end.is_none() && (self.is_busy(id) || there.cancelled.is_some()) {
            return Err(Refusal::new(
                Code::JobRunning,
                format!(
                    "job `{name}` is running with another job file; `petctl cancel {name}` first"
                ),
            ));
        }
        let other = there.fingerprint != submission.fingerprint;
        if other && submission.rerun != Rerun::All && says_nothing(submission) {
            return Err(Refusal::new(
                Code::JobExists,
                format!(
                    "job `{name}` has results of another job file; `--rerun all` forgets them, `petctl delete {name}` \
                     removes the job, or choose another name"
                ),
            ));
        }
        Ok(())
    }

    /// The same job again: it goes on where it is, or what failed of it runs again.
    fn submit_again(&mut self, id: JobId, spec: &JobSpec, plan: ReusePlan) -> Submitted {
        let job = &self.state.jobs[&id];
        let how = match job.end {
            None => SubmittedAs::Resumed,
            Some((EndState::Succeeded, _)) => SubmittedAs::Finished,
            // Nothing to run again: it failed by the verdicts of committed shards.
            Some((EndState::Failed | EndState::Cancelled, _))
                if job.stages.iter().all(crate::Stage::is_complete) =>
            {
                SubmittedAs::Finished
            }
            Some((EndState::Failed | EndState::Cancelled, _)) => SubmittedAs::Retried,
        };
        if job.spec != *spec && how != SubmittedAs::Finished {
            self.record(Event::JobRetuned {
                job: id,
                spec: Box::new(spec.clone()),
            });
        }
        if how == SubmittedAs::Retried {
            self.record(Event::JobReopened { job: id });
            self.open_jobs.insert(id, VolatileJob::new(spec));
            self.open(id);
        } else {
            self.with_job(id, |at| {
                at.set_deadlines();
                at.ask_all_preflights();
                at.reshape(Vec::new());
            });
        }
        Submitted {
            how,
            ..answer(id, plan)
        }
    }

    fn submit_new(
        &mut self,
        there: Option<JobId>,
        submission: Submission,
        mut plan: ReusePlan,
    ) -> Submitted {
        let free = there.map_or_else(Vec::new, |old| self.supersede(old));
        let job = JobId(self.state.last_job.0 + 1);
        let first_lease = LeaseId::new(
            self.state.incarnation,
            self.volatile.last_lease.saturating_add(1),
        );
        let Submission {
            spec,
            fingerprint,
            keys,
            details,
            contents,
            new_output,
            ..
        } = submission;
        let (mut keys, mut details, mut contents) =
            (keys.into_iter(), details.into_iter(), contents.into_iter());
        let stages = std::mem::take(&mut plan.stages).into_iter();
        let work = stages.map(|stage| StageWork {
            keys: keys.next().unwrap_or_default(),
            details: Details(details.next().unwrap_or_default()),
            contents: contents.next().unwrap_or_default(),
            expected_ms: stage.expected_ms,
            carried: stage.carried,
            taken: stage.taken,
            asked: stage.asked,
            keeps_group: stage.keeps_group,
        });
        let work = work.collect();
        self.open_jobs.insert(job, VolatileJob::new(&spec));
        self.record(Event::JobSubmitted {
            job,
            spec: Box::new(spec),
            fingerprint,
            work,
            first_lease,
            replaces: there,
            follows: there.is_some() || !new_output,
        });
        if let Some(old) = there {
            self.effect(Effect::Changed(old));
        }
        for worker in free {
            self.feed(worker);
        }
        self.open(job);
        answer(job, plan)
    }

    /// Makes room for a newer version of a job of which nothing runs. Its workers, who are not told, are returned.
    fn supersede(&mut self, id: JobId) -> Vec<WorkerId> {
        let stay = self.with_job(id, |at| at.supersede());
        stay.unwrap_or_default()
    }
}

impl JobContext<'_> {
    fn supersede(&mut self) -> Vec<WorkerId> {
        let mut stay = Vec::new();
        for worker in self.volatile.workers.values_mut() {
            let goes = worker.conn.is_none()
                || worker.hello.leaving
                || matches!(worker.standing, Standing::Draining(..));
            if worker.job() == Some(self.id) && !goes {
                worker.standing = Standing::Free;
                stay.push(worker.id());
            }
        }
        self.release();
        self.close();
        stay
    }
}

/// The same job that only has to go on: nothing that is done of it runs again.
fn goes_on(there: &Job, submission: &Submission, plan: &ReusePlan) -> bool {
    if there.fingerprint != submission.fingerprint || submission.rerun == Rerun::All {
        return false;
    }
    // Where somebody else has made anew what is done here, that is what is there now. What is not done here, the attempts
    // find by themselves.
    let stands_elsewhere = |(stage, plan): (&crate::Stage, &crate::StagePlan)| {
        let mut taken = plan.taken.iter();
        let shard = |index: u32| stage.shards.get(index as usize);
        taken.any(|taken| shard(taken.shard).is_some_and(|shard| shard.phase == crate::Phase::Done))
    };
    if there.stages.iter().zip(&plan.stages).any(stands_elsewhere) {
        return false;
    }
    let asked = submission.rerun != Rerun::Changed;
    let mut reruns = plan.reruns.iter();
    if reruns.any(|rerun| rerun.cause == RerunCause::Missing) {
        return false;
    }
    let ended_badly = there.end.is_some_and(|(end, _)| end != EndState::Succeeded);
    // What started although shards that it needs were missing would not see those that come now.
    let partial = (0..there.stages.len())
        .any(|stage| there.may_miss(stage) > 0 && there.stages[stage].missing() > 0);
    let done = |stage: &crate::Stage| stage.counts.done + stage.counts.skipped;
    let done: u64 = there.stages.iter().map(done).sum();
    let elsewhere: u64 = plan.stages.iter().map(crate::StagePlan::elsewhere).sum();
    !(asked || ended_badly && partial) || plan.reused - elsewhere == done
}

fn answer(job: JobId, plan: ReusePlan) -> Submitted {
    Submitted {
        job,
        how: plan.how.unwrap_or(SubmittedAs::New),
        reused: plan.reused,
        reruns: plan.reruns,
        dropped: plan.dropped,
        look_again: false,
    }
}

fn check_counts(submission: &Submission) -> Result<(), Refusal> {
    let Submission {
        spec,
        keys,
        details,
        contents,
        ..
    } = submission;
    let wrong = |why: String| Err(Refusal::new(Code::BadSubmission, why));
    let mut total = 0_u64;
    for (index, stage) in spec.stages.iter().enumerate() {
        let listed = keys.get(index).map_or(0, Vec::len) as u64;
        let count = match stage_count(&stage.kind) {
            Some(count) if listed == 0 => count,
            Some(_) => {
                return wrong(format!(
                    "stage `{}` computes its keys, yet keys were sent for it",
                    stage.name
                ));
            }
            None => listed,
        };
        if count == 0 {
            return wrong(format!("stage `{}` has no shards", stage.name));
        }
        let fits = |given: usize| given == 0 || given as u64 == count;
        if !fits(details.get(index).map_or(0, Vec::len))
            || !fits(contents.get(index).map_or(0, |c| c.shards.len()))
        {
            return wrong(format!(
                "stage `{}` has details or contents for some of its shards only",
                stage.name
            ));
        }
        total = total.saturating_add(count);
        for need in &stage.needs {
            if need.stage as usize >= spec.stages.len() || need.stage as usize == index {
                return wrong(format!(
                    "stage `{}` needs a stage that is not there",
                    stage.name
                ));
            }
        }
    }
    if total == 0 || total > MAX_SHARDS {
        return wrong(format!("{total} shards; a job has 1 to {MAX_SHARDS}"));
    }
    for (index, stage) in spec.stages.iter().enumerate() {
        for need in stage.needs.iter().filter(|n| n.per_shard) {
            if count_of(submission, index) != count_of(submission, need.stage as usize) {
                return wrong(format!(
                    "stage `{}` needs another shard by shard, but their counts differ",
                    stage.name
                ));
            }
        }
    }
    Ok(())
}

fn count_of(submission: &Submission, stage: usize) -> u64 {
    stage_count(&submission.spec.stages[stage].kind)
        .unwrap_or_else(|| submission.keys.get(stage).map_or(0, Vec::len) as u64)
}
