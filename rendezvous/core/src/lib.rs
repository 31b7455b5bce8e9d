//! The coordinator's decisions, and nothing else.
//!
//! This crate has no clock, no thread, no random source and no IO. A driver feeds it:
//!
//! ```text
//! core.handle(now, input);
//! let effects = core.drain();          // in order: persist, then send
//! let deadline = core.poll_deadline(); // call handle(now, Input::Tick) then
//! ```
//!
//! [`State`] is the projection of the durable events, changed only by [`State::apply`]; everything else
//! (connections, leases, queues) is rebuilt when a coordinator starts again. A driver that can't persist an
//! event must stop the process: what is in memory then is ahead of what is durable.

mod alarm;
mod carry;
mod cause;
mod checkpoints;
mod claims;
mod clients;
mod code;
mod config;
mod core;
mod describe;
mod durations;
mod effect;
mod event;
mod explain;
mod forming;
mod gpus;
mod group;
mod groups;
mod id;
mod input;
mod job;
mod launchers;
mod lease;
mod live;
mod look;
mod losses;
mod members;
mod membership;
mod needs;
mod pool;
mod preflight;
mod random;
mod rate;
mod rebalance;
mod reports;
mod results;
mod reuse;
mod rounds;
mod schedule;
mod shard_look;
mod speculation;
mod stage_look;
mod stages;
mod starting;
mod state;
mod stopping;
mod submit;
mod suspend;
mod training;
mod view;
mod waiting;
mod work;
mod worker;

pub use crate::code::Code;
pub use crate::config::Config;
pub use crate::core::Core;
pub use crate::describe::Description;
pub use crate::effect::{
    DeadlineReason, Effect, LeaseGrant, MAX_DROPPED, Refusal, Reply, RerunCause, RerunReason,
    Submitted, SubmittedAs, ToWorker,
};
pub use crate::event::{Event, Failure, FailureKind, LeaveReason, MemberRecord, Record, Verdict};
pub use crate::explain::Explanation;
pub use crate::group::{
    Cause, Charge, Checkpoint, CheckpointReport, Group, GroupPhase, GroupProgress, GroupReport,
    GroupStart, MAX_CAUSES, Master, MasterOffer, RankFailure, RankProgress,
};
pub use crate::id::{ConnId, Epoch, JobId, LeaseId, Millis, RequestId, ShardId, WorkerId};
pub use crate::input::{
    AttemptReport, FromWorker, GpuShare, HeldLease, Hello, Input, Outcome, Rerun, Submission,
};
pub use crate::job::{Counts, Detail, EndState, Job, Membership, Phase, Shard, Stage};
pub use crate::reuse::{ReusePlan, StagePlan, plan_new, plan_reuse};
pub use crate::state::State;
pub use crate::view::{
    FailureCounts, GroupView, GroupViewPhase, JobState, JobSummary, JobView, MemberState,
    MemberView, Reason, ShardFilter, ShardState, ShardView, StageView,
};
pub use crate::work::{Carried, Details, StageContents, StageWork};
