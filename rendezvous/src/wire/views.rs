//! Jobs and shards, to the wire.

use super::groups;
use petctl_core::{
    FailureCounts, JobState, JobSummary, JobView, MemberState, MemberView, Millis, Reason,
    ShardState, ShardView, StageView, Verdict,
};
use petctl_proto::v1;

/// A status, with its last events (oldest first) and the moment at which it was looked at.
#[must_use]
pub fn job_status(view: JobView, last_events: Vec<v1::EventRow>, at: Millis) -> v1::JobStatus {
    v1::JobStatus {
        summary: Some(job_summary(view.summary)),
        epoch: view.epoch.0,
        incarnation: u64::from(view.incarnation),
        lineage: view.lineage.0,
        min_workers: view.min,
        max_workers: view.max,
        wanted_workers: view.wanted,
        waiting: view.waiting.into_iter().map(reason).collect(),
        notices: view.notices.into_iter().map(reason).collect(),
        members: view.members.into_iter().map(member).collect(),
        stages: view.stages.into_iter().map(stage).collect(),
        rate_per_s: view.rate_per_s,
        left_ms: view.left_ms,
        last_events,
        at_ms: at.0,
        first_failures: view.first_failures.into_iter().map(shard_row).collect(),
        output_root: view.output_root,
        groups: view.groups.into_iter().map(groups::group).collect(),
    }
}

/// A line of the list of jobs.
#[must_use]
pub fn job_summary(summary: JobSummary) -> v1::JobSummary {
    let state = match summary.state {
        JobState::Waiting => v1::JobState::Waiting,
        JobState::Running => v1::JobState::Running,
        JobState::Succeeded => v1::JobState::Succeeded,
        JobState::Failed => v1::JobState::Failed,
        JobState::Cancelling => v1::JobState::Cancelling,
        JobState::Cancelled => v1::JobState::Cancelled,
        JobState::Interrupted => v1::JobState::Interrupted,
        JobState::Suspended => v1::JobState::Suspended,
    };
    v1::JobSummary {
        job_id: summary.job.0,
        name: summary.name,
        state: state.into(),
        submitted_at_ms: summary.submitted_at.0,
        ended_at_ms: summary.ended_at.map_or(0, |at| at.0),
        workers: summary.workers,
        shards: summary.shards,
        done: summary.done,
        failed: summary.failed,
        verdict: summary.verdict,
        // Known to whoever keeps its pods.
        namespace: String::new(),
    }
}

/// A code and a sentence.
#[must_use]
pub fn reason(reason: Reason) -> v1::Reason {
    v1::Reason {
        code: reason.code,
        message: reason.message,
    }
}

fn member(member: MemberView) -> v1::Member {
    let state = match member.state {
        MemberState::Active => v1::MemberState::Active,
        MemberState::Draining => v1::MemberState::Draining,
        MemberState::Silent => v1::MemberState::Silent,
        MemberState::Spare => v1::MemberState::Spare,
    };
    v1::Member {
        worker_id: member.worker.to_string(),
        name: member.name,
        host: member.host,
        pid: member.pid,
        rank: member.rank,
        state: state.into(),
        slots: member.slots,
        leases: member.leases,
        done: member.done,
        last_heard_ms_ago: member.last_heard_ms_ago,
    }
}

fn stage(stage: StageView) -> v1::StageStatus {
    v1::StageStatus {
        name: stage.name,
        kind: stage.kind.to_owned(),
        shards: stage.shards,
        done: stage.done,
        running: stage.running,
        failed: stage.failed,
        verdict_fail: stage.verdict_fail,
        skipped: stage.skipped,
        min_done: stage.min_done,
        ready: stage.ready,
        blocked: stage.blocked,
        backoff: stage.backoff,
        cancelled: stage.cancelled,
        retries: stage.retries,
        mean_s: stage.mean_s,
        reused: stage.reused,
        speculative: stage.speculative,
        speculative_won: stage.speculative_won,
        failures_allowed: stage.failures_allowed,
    }
}

/// A line of the report.
#[must_use]
pub fn shard_row(shard: ShardView) -> v1::ShardRow {
    let state = match shard.state {
        ShardState::Blocked => v1::ShardState::Blocked,
        ShardState::Ready => v1::ShardState::Ready,
        ShardState::Running => v1::ShardState::Running,
        ShardState::Backoff => v1::ShardState::Backoff,
        ShardState::Done => v1::ShardState::Done,
        ShardState::Failed => v1::ShardState::Failed,
        ShardState::Cancelled => v1::ShardState::Cancelled,
        ShardState::Skipped => v1::ShardState::Skipped,
    };
    v1::ShardRow {
        stage: shard.shard.stage,
        stage_name: shard.stage_name,
        shard: shard.shard.index,
        key: shard.key,
        state: state.into(),
        attempts: shard.attempts,
        duration_ms: shard.duration_ms,
        verdict: verdict(shard.verdict).into(),
        reasons: shard.reasons,
        numbers: shard
            .numbers
            .into_iter()
            .map(|(name, value)| v1::Number { name, value })
            .collect(),
        worker: shard.worker,
        lease_id: shard.lease.0,
        code: shard.code,
        message: shard.message,
        log_tail: shard.log_tail,
        exit_code: shard.exit_code,
        signal: shard.signal,
        output_files: shard.files,
        output_bytes: shard.bytes,
        failures: Some(failures(shard.failures)),
        reused: shard.reused,
        detail_json: detail_json(shard.detail.as_deref()),
    }
}

/// What is known of a shard beside its key; empty: nothing.
#[must_use]
pub fn detail_json(detail: Option<&petctl_spec::ShardDetail>) -> String {
    // Strings and numbers always have a JSON.
    detail.map_or_else(String::new, |detail| {
        serde_json::to_string(detail).unwrap_or_default()
    })
}

fn verdict(verdict: Verdict) -> v1::Verdict {
    match verdict {
        Verdict::None => v1::Verdict::Unspecified,
        Verdict::Pass => v1::Verdict::Pass,
        Verdict::Fail => v1::Verdict::Fail,
        Verdict::Skipped => v1::Verdict::Skipped,
    }
}

fn failures(failures: FailureCounts) -> v1::FailureCounts {
    v1::FailureCounts {
        failed: failures.failed,
        timed_out: failures.timed_out,
        worker_lost: failures.worker_lost,
        infrastructure: failures.infrastructure,
        preempted: failures.preempted,
    }
}
