//! Attempts end: what is recorded, what runs again, and when a job is over.

use crate::context::{JobContext, Offer};
use crate::shards::needs::is_pending;
use crate::volatile::lease::Lease;
use crate::volatile::worker::Worker;
use crate::{
    Adopted, AttemptReport, Code, Core, Effect, Epoch, Event, Failure, FailureKind, Job, JobId,
    LeaseId, Outcome, Phase, Refusal, ShardId, ToWorker, WorkerId,
};
use std::collections::BTreeSet;

impl Core {
    /// Takes results from a worker. Each is recorded once. An acknowledgement says that the result is durable; what no
    /// lease of this worker covers is refused by code, and the worker forgets it.
    pub(crate) fn results(&mut self, worker: WorkerId, epoch: Epoch, reports: Vec<AttemptReport>) {
        let mut acknowledged = Vec::with_capacity(reports.len());
        let (mut lost, mut stale) = (Vec::new(), Vec::new());
        let mut jobs: BTreeSet<JobId> = BTreeSet::new();
        for report in reports {
            let id = report.lease;
            let lease = self.volatile.leases.get(id).cloned();
            match lease.filter(|l| l.worker == worker && l.shard == report.shard) {
                None if self.was_recorded(&report) => acknowledged.push(id),
                None => lost.push(id),
                Some(lease) => {
                    jobs.insert(lease.job);
                    let taken =
                        self.with_job(lease.job, |at| at.take_result(&lease, epoch, report));
                    if taken == Some(false) {
                        stale.push(id);
                    } else {
                        acknowledged.push(id);
                    }
                }
            }
        }
        if !acknowledged.is_empty() {
            self.send(worker, ToWorker::ResultAck(acknowledged));
        }
        self.refuse(
            worker,
            lost,
            Code::LeaseLost,
            "the lease was lost; nothing of this attempt was recorded",
        );
        self.refuse(
            worker,
            stale,
            Code::StaleEpoch,
            "the results came from a membership that is over",
        );
        self.feed(worker);
        for job in jobs {
            self.with_job(job, |at| {
                at.settle();
                at.schedule();
                at.changed();
            });
        }
    }

    fn refuse(&mut self, worker: WorkerId, leases: Vec<LeaseId>, code: Code, message: &str) {
        if !leases.is_empty() {
            let refusal = Refusal::new(code, message);
            self.send(worker, ToWorker::ResultRefusal { leases, refusal });
        }
    }

    /// Sent again because the acknowledgement was lost.
    fn was_recorded(&self, report: &AttemptReport) -> bool {
        let (stage, index) = (report.shard.stage as usize, report.shard.index as usize);
        self.state
            .jobs
            .values()
            .filter_map(|j| j.stages.get(stage)?.shards.get(index))
            .any(|s| s.phase == Phase::Done && s.lease == report.lease)
    }

    pub(crate) fn end_backoffs(&mut self) {
        let mut jobs = BTreeSet::new();
        while let Some((at, job, shard)) = self
            .volatile
            .backoffs
            .first()
            .copied()
            .filter(|(at, _, _)| *at <= self.now)
        {
            self.volatile.backoffs.remove(&(at, job, shard));
            if self.with_job(job, |at| at.end_backoff(shard)) == Some(true) {
                jobs.insert(job);
            }
        }
        for job in jobs {
            self.with_job(job, |at| at.schedule());
        }
    }
}

impl JobContext<'_> {
    /// Takes a result in; whether it was one of a membership that still holds.
    fn take_result(&mut self, lease: &Lease, epoch: Epoch, report: AttemptReport) -> bool {
        let holds = self.epoch_holds(lease.worker, epoch);
        if holds {
            self.result(lease, report);
        } else {
            // The worker forgets the lease, so it must not stay with it.
            self.take_back(report.lease, true);
        }
        holds
    }

    /// A message holds from the epoch in which its sender was admitted to the newest one.
    fn epoch_holds(&self, worker: WorkerId, epoch: Epoch) -> bool {
        let worker = self.volatile.workers.get(&worker);
        let admitted = worker.map_or(Epoch(0), Worker::admitted);
        admitted <= epoch && epoch <= self.job.epoch
    }

    fn result(&mut self, lease: &Lease, report: AttemptReport) {
        match report.outcome {
            // Another run holds the output: that says nothing of this shard, nor of the worker.
            Outcome::Infrastructure | Outcome::Revoked
                if report.code == Code::OutputBusy.as_str() =>
            {
                self.end_attempt(report.lease, FailureKind::Preempted, failure_of(report));
            }
            Outcome::Committed if self.is_stale(lease.shard, report.adopted.as_ref()) => {
                let failure = Failure {
                    code: Code::StaleOutput.as_str().to_owned(),
                    message: "it found outputs of an earlier version of the job, and took them"
                        .to_owned(),
                    ..Failure::default()
                };
                self.end_attempt(report.lease, FailureKind::Infrastructure, failure);
            }
            Outcome::Committed => self.commit(lease, report),
            // Of a lease that stands: somebody works on this output whom nobody here knows.
            Outcome::Revoked
                if report.code == Code::Overtaken.as_str()
                    && !self.other_attempt(lease.shard, report.lease) =>
            {
                self.end_attempt(
                    report.lease,
                    FailureKind::Infrastructure,
                    failure_of(report),
                );
            }
            Outcome::Returned | Outcome::Revoked => self.take_back(report.lease, true),
            Outcome::Failed => {
                self.end_attempt(report.lease, FailureKind::Failed, failure_of(report))
            }
            Outcome::TimedOut => {
                self.end_attempt(report.lease, FailureKind::TimedOut, failure_of(report))
            }
            Outcome::Infrastructure => self.end_attempt(
                report.lease,
                FailureKind::Infrastructure,
                failure_of(report),
            ),
            Outcome::Preempted => {
                self.end_attempt(report.lease, FailureKind::Preempted, failure_of(report))
            }
        }
    }

    /// Workers take outputs of before and of other lineages only where they are made of the same; one that does so
    /// otherwise must not make old outputs count as new.
    fn is_stale(&mut self, shard: ShardId, adopted: Option<&Adopted>) -> bool {
        let older = adopted.is_some_and(|adopted| {
            adopted.lineage != self.lineage || adopted.lease < self.job.first_lease
        });
        older && (self.job.is_asked(shard) || self.content(shard).is_none())
    }

    fn commit(&mut self, lease: &Lease, report: AttemptReport) {
        let shard = lease.shard;
        let worker = self.worker_index(lease.worker);
        self.drop_lease(report.lease);
        // Its stage's time was over before, or another attempt was faster.
        if !is_pending(self.job, shard) {
            return;
        }
        self.record(Event::ShardCommitted {
            job: self.id,
            shard,
            foreign: report
                .adopted
                .map(|adopted| adopted.lineage)
                .filter(|lineage| *lineage != self.lineage),
            lease: report.adopted.map_or(report.lease, |adopted| adopted.lease),
            worker,
            duration_ms: report.duration_ms,
            files: report.files,
            bytes: report.bytes,
            verdict: report.verdict,
            reasons: report.reasons,
            numbers: report.numbers,
            manifest: report.manifest,
        });
        if let Some(worker) = self.volatile.workers.get_mut(&lease.worker) {
            worker.done += 1;
        }
        self.own.observe(shard.stage, report.duration_ms);
        self.own.rate.add(self.now);
        if lease.speculative {
            let own = report
                .adopted
                .is_none_or(|adopted| adopted.lease == report.lease);
            self.second_attempt_ended(shard, own);
        }
        self.overtake(shard);
        self.unblock(shard);
    }

    /// An attempt ended without a commit: charges the kind's budget, and lets the shard run again if it has some left.
    pub(crate) fn end_attempt(&mut self, id: LeaseId, kind: FailureKind, failure: Failure) {
        let Some(lease) = self.drop_lease(id) else {
            return;
        };
        let (job, shard) = (&*self.job, lease.shard);
        if self.is_over() || !is_pending(job, shard) {
            return;
        }
        let budgets = job.spec.stages[shard.stage as usize].budgets;
        let budget = match kind {
            FailureKind::Failed => budgets.failed,
            FailureKind::TimedOut => budgets.timed_out,
            FailureKind::WorkerLost => budgets.worker_lost,
            FailureKind::Infrastructure => budgets.infrastructure,
            FailureKind::Preempted => budgets.preempted,
        };
        let before = job.stages[shard.stage as usize].shards[shard.index as usize]
            .failures()
            .of(kind);
        let hopeless = kind == FailureKind::Failed && !is_worth_a_retry(job, shard, &failure);
        // While another attempt runs, nothing is lost yet.
        let goes_on = self.other_attempt(shard, id);
        let quarantined = (before >= budget || hopeless) && !goes_on;
        let worker = self.worker_index(lease.worker);
        let waits_for_output = failure.code == Code::OutputBusy.as_str();
        self.record(Event::AttemptFailed {
            job: self.id,
            shard,
            lease: id,
            worker,
            kind,
            failure: Box::new(failure),
            quarantined,
        });
        self.note_second(&lease);
        if goes_on {
            return;
        }
        if quarantined {
            self.give_up(&[shard]);
        } else if matches!(kind, FailureKind::WorkerLost | FailureKind::Preempted)
            && !waits_for_output
        {
            self.make_ready(shard, true);
        } else {
            self.back_off(shard, before + 1);
        }
    }

    /// A lease ends and nothing is charged: its shard waits again, before the others.
    pub(crate) fn take_back(&mut self, id: LeaseId, first: bool) {
        let Some(lease) = self.drop_lease(id) else {
            return;
        };
        if self.is_over() || !is_pending(self.job, lease.shard) {
            return;
        }
        self.note_second(&lease);
        if !self.other_attempt(lease.shard, id) {
            self.make_ready(lease.shard, first);
        }
    }

    fn note_second(&mut self, lease: &Lease) {
        if lease.speculative && !lease.overtaken {
            self.second_attempt_ended(lease.shard, false);
        }
    }

    pub(crate) fn drop_lease(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.volatile.leases.remove(id)?;
        let own = &mut *self.own;
        if let Some(worker) = self.volatile.workers.get_mut(&lease.worker) {
            worker.leases.remove(&id);
            worker.gpus.give_back(&lease.gpus);
            worker.load.sub(own.demand(lease.shard.stage));
            let last_slot = (worker.hello.slots as usize).saturating_sub(1);
            let counts = !own.durations.is_empty();
            if let Some(next) = worker.leases.iter().nth(last_slot).filter(|_| counts)
                && let Some(next) = self.volatile.leases.get_mut(*next)
            {
                next.slot_since.get_or_insert(self.now);
            }
        }
        let running = &mut own.running_by_stage[lease.shard.stage as usize];
        *running = running.saturating_sub(1);
        Some(lease)
    }

    fn worker_index(&self, worker: WorkerId) -> u32 {
        let worker = self.volatile.workers.get(&worker);
        worker.map_or(u32::MAX, |w| self.job.worker_index(&w.hello.name))
    }

    fn back_off(&mut self, shard: ShardId, failures: u32) {
        let base = self.job.spec.stages[shard.stage as usize].backoff_ms;
        let full = base
            .saturating_mul(1_u64 << (failures.saturating_sub(1)).min(16))
            .min(MAX_BACKOFF_MS.max(base));
        let delay = full / 2 + self.random.below(full / 2 + 1);
        let until = self.now.plus(delay);
        self.own.backoff.insert(shard, until);
        self.volatile.backoffs.insert((until, self.id, shard));
    }

    /// A shard has waited long enough; whether it did wait.
    fn end_backoff(&mut self, shard: ShardId) -> bool {
        let waits = self.own.backoff.remove(&shard).is_some();
        if waits {
            self.make_ready(shard, false);
        }
        waits
    }

    /// Ends a job of which nothing is left to do.
    pub(crate) fn settle(&mut self) {
        // What was overtaken stops by itself; nobody waits for it.
        let leases = &self.volatile.leases;
        let busy = leases.of_job(self.id).any(|(_, lease)| !lease.overtaken) || self.own.trains();
        let nothing_left = self.job.is_settled() || self.job.cancelled.is_some();
        if self.job.end.is_some() || busy || !nothing_left {
            return;
        }
        let end = self.job.end_state();
        self.release();
        self.record(Event::JobEnded { job: self.id, end });
        self.close();
        self.later.offer = Offer::Everybody;
    }

    /// Forgets what is not durable of a job that is over.
    pub(crate) fn close(&mut self) {
        let id = self.id;
        self.volatile.backoffs.retain(|(_, job, _)| *job != id);
        self.volatile.group_deadlines.set(id, None);
        self.volatile.stage_deadlines.retain(|(job, _)| *job != id);
        self.volatile.preflighting.remove(&id);
        self.later.closed = true;
        self.effect(Effect::Ended(id));
    }
}

/// Whether a failed attempt is one that the stage tries again: by its exit code, or by a warm process's own word.
fn is_worth_a_retry(job: &Job, shard: ShardId, failure: &Failure) -> bool {
    // A warm process said that the shard would fail again.
    if failure.code == Code::ServeRefused.as_str() {
        return false;
    }
    let codes = &job.spec.stages[shard.stage as usize].dispatch.retry_on;
    let exited = failure
        .exit_code
        .filter(|code| *code != 0 && failure.signal == 0);
    let Some(code) = exited.filter(|_| !codes.is_empty()) else {
        return true;
    };
    codes.iter().any(|wanted| i32::from(*wanted) == code)
}

const MAX_BACKOFF_MS: u64 = 60_000;

fn failure_of(report: AttemptReport) -> Failure {
    Failure {
        duration_ms: report.duration_ms,
        exit_code: report.exit_code,
        signal: report.signal,
        code: report.code,
        message: report.message,
        log_tail: report.log_tail,
    }
}
