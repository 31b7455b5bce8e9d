//! The words of outputs, where which there are is known.

use petctl_proto::v1;
use schemars::JsonSchema;
use serde::Serialize;

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Its state can't be read.
    Unknown,
    /// It has too few workers, or nothing of it can run yet.
    Waiting,
    /// It runs.
    Running,
    /// It has ended, and all of it is done.
    Succeeded,
    /// It has ended, and some of it failed.
    Failed,
    /// It was cancelled, and something of it still runs.
    Cancelling,
    /// It was cancelled.
    Cancelled,
    /// Nobody works on it; `petctl run` goes on with it.
    Interrupted,
    /// Somebody suspended it; `petctl resume` lets it go on.
    Suspended,
}

impl From<v1::JobState> for JobState {
    fn from(state: v1::JobState) -> Self {
        match state {
            v1::JobState::Unspecified => Self::Unknown,
            v1::JobState::Waiting => Self::Waiting,
            v1::JobState::Running => Self::Running,
            v1::JobState::Succeeded => Self::Succeeded,
            v1::JobState::Failed => Self::Failed,
            v1::JobState::Cancelling => Self::Cancelling,
            v1::JobState::Cancelled => Self::Cancelled,
            v1::JobState::Interrupted => Self::Interrupted,
            v1::JobState::Suspended => Self::Suspended,
        }
    }
}

/// How a shard stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShardState {
    /// Of a coordinator that knows more states.
    Unknown,
    /// It waits for what its stage needs.
    Blocked,
    /// It can run now.
    Ready,
    /// It runs.
    Running,
    /// It failed, and runs again in a while.
    Backoff,
    /// Its outputs are committed.
    Done,
    /// It has no attempts left.
    Failed,
    /// Its job was cancelled.
    Cancelled,
    /// It did not run, because the shard that it needs was skipped.
    Skipped,
}

impl From<v1::ShardState> for ShardState {
    fn from(state: v1::ShardState) -> Self {
        match state {
            v1::ShardState::Unspecified => Self::Unknown,
            v1::ShardState::Blocked => Self::Blocked,
            v1::ShardState::Ready => Self::Ready,
            v1::ShardState::Running => Self::Running,
            v1::ShardState::Backoff => Self::Backoff,
            v1::ShardState::Done => Self::Done,
            v1::ShardState::Failed => Self::Failed,
            v1::ShardState::Cancelled => Self::Cancelled,
            v1::ShardState::Skipped => Self::Skipped,
        }
    }
}

/// How a worker stands in its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// Of a coordinator that knows more states.
    Unknown,
    /// It works, or waits for work.
    Active,
    /// It ends what it runs, and leaves.
    Draining,
    /// Its connection is broken; it may still come back.
    Silent,
    /// It waits outside: the job has as many as it wants.
    Spare,
}

impl From<v1::MemberState> for MemberState {
    fn from(state: v1::MemberState) -> Self {
        match state {
            v1::MemberState::Unspecified => Self::Unknown,
            v1::MemberState::Active => Self::Active,
            v1::MemberState::Draining => Self::Draining,
            v1::MemberState::Silent => Self::Silent,
            v1::MemberState::Spare => Self::Spare,
        }
    }
}

/// What a shard says of itself in its `result.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Its checks passed.
    Pass,
    /// Its checks failed.
    Fail,
    /// It had nothing to check.
    Skipped,
}

impl Verdict {
    /// `None`: it said nothing.
    pub fn of(verdict: v1::Verdict) -> Option<Self> {
        match verdict {
            v1::Verdict::Unspecified => None,
            v1::Verdict::Pass => Some(Self::Pass),
            v1::Verdict::Fail => Some(Self::Fail),
            v1::Verdict::Skipped => Some(Self::Skipped),
        }
    }
}

/// What a stage is, as the job file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StageKind {
    /// One command per shard.
    Shards,
    /// One command.
    Once,
    /// One training group.
    Train,
    /// Of a coordinator that knows more kinds.
    Unknown,
}

impl From<&str> for StageKind {
    fn from(kind: &str) -> Self {
        match kind {
            "shards" => Self::Shards,
            "once" => Self::Once,
            "train" => Self::Train,
            _ => Self::Unknown,
        }
    }
}

impl From<&petctl_spec::StageKind> for StageKind {
    fn from(kind: &petctl_spec::StageKind) -> Self {
        match kind {
            petctl_spec::StageKind::Shards(_) => Self::Shards,
            petctl_spec::StageKind::Once => Self::Once,
            petctl_spec::StageKind::Train(_) => Self::Train,
        }
    }
}

/// Where a training stands between two epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It waits for what its stage needs.
    Blocked,
    /// It waits for workers.
    Gathering,
    /// The group is formed, and rank 0's worker says where its master listens.
    Preparing,
    /// Its processes run.
    Running,
    /// They were told to stop, and some still run.
    Stopping,
    /// All of them exited with 0.
    Succeeded,
    /// It has no restarts left, or its job was cancelled.
    Failed,
    /// Of a coordinator that knows more phases.
    Unknown,
}

impl From<&str> for Phase {
    fn from(phase: &str) -> Self {
        match phase {
            "blocked" => Self::Blocked,
            "gathering" => Self::Gathering,
            "preparing" => Self::Preparing,
            "running" => Self::Running,
            "stopping" => Self::Stopping,
            "succeeded" => Self::Succeeded,
            "failed" => Self::Failed,
            _ => Self::Unknown,
        }
    }
}

/// What the failure of a training group cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Charge {
    /// One of its restarts.
    Restart,
    /// One of the lost workers that it may have.
    WorkerLost,
    /// Nothing: it had been told to stop.
    Nothing,
    /// Of a coordinator that knows more.
    Unknown,
}

impl From<&str> for Charge {
    fn from(charge: &str) -> Self {
        match charge {
            "restart" => Self::Restart,
            "worker_lost" => Self::WorkerLost,
            "nothing" => Self::Nothing,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use petctl_ui::terminal;

    fn word(value: impl Serialize) -> String {
        let value = serde_json::to_value(value).unwrap();
        value.as_str().unwrap_or_default().to_owned()
    }

    #[test]
    fn programs_and_people_read_the_same_words() {
        for state in (0..).map_while(|number| v1::JobState::try_from(number).ok()) {
            assert_eq!(word(JobState::from(state)), terminal::job_state(state));
        }
        for state in (0..).map_while(|number| v1::ShardState::try_from(number).ok()) {
            assert_eq!(word(ShardState::from(state)), terminal::shard_state(state));
        }
        for state in (0..).map_while(|number| v1::MemberState::try_from(number).ok()) {
            assert_eq!(
                word(MemberState::from(state)),
                terminal::member_state(state)
            );
        }
        for verdict in (0..).map_while(|number| v1::Verdict::try_from(number).ok()) {
            assert_eq!(word(Verdict::of(verdict)), terminal::verdict(verdict));
        }
    }
}
