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

mod config;
mod context;
mod core;
mod effect;
mod id;
mod input;
mod jobs;
mod members;
mod random;
mod shards;
mod state;
mod training;
mod view;
mod volatile;

pub use crate::config::Config;
pub use crate::core::Core;
pub use crate::effect::{DeadlineReason, Effect, LeaseGrant, Refusal, ToWorker};
pub use crate::id::{ConnId, Epoch, JobId, LeaseId, Lineage, Millis, RequestId, ShardId, WorkerId};
pub use crate::input::{
    Adopted, AttemptReport, FromWorker, GpuShare, HeldLease, Hello, Input, Outcome, PlaceReport,
};
pub use crate::jobs::outputs::{FoundOutputs, Made, Seen, StageOutputs};
pub use crate::jobs::request::{
    ClientRequest, MAX_DROPPED, Reply, Rerun, RerunCause, RerunReason, Submission, Submitted,
    SubmittedAs,
};
pub use crate::jobs::reuse::{ReusePlan, StagePlan, plan_new, plan_reuse};
pub use crate::members::place::{MAX_PLACE_REASONS, Pool, PoolWorker, Standings};
pub use crate::members::sharing::{Claim, Sharing, divide};
pub use crate::state::State;
pub use crate::state::event::Description;
pub use crate::state::event::{
    Event, Failure, FailureKind, LeaveReason, MemberRecord, Record, Verdict,
};
pub use crate::state::group::{
    Cause, Charge, Checkpoint, CheckpointReport, Group, GroupPhase, GroupProgress, GroupReport,
    GroupStart, MAX_CAUSES, Master, MasterOffer, RankFailure, RankProgress,
};
pub use crate::state::job::{Counts, Detail, EndState, Job, Membership, Phase, Shard, Stage};
pub use crate::state::work::{Carried, Details, ShardRun, StageContents, StageWork, Taken};
pub use crate::view::explain::Explanation;
pub use crate::view::totals::{ShardTotals, Totals, WorkerTotals};
pub use crate::view::{
    FailureCounts, GroupView, GroupViewPhase, JobState, JobSummary, JobView, MemberState,
    MemberView, Reason, ShardFilter, ShardState, ShardView, StageView,
};
pub use petctl_codes::Code;
