//! This worker's part of a training group: the processes of one epoch, under torchrun's contract.
//!
//! A [`Plan`] says what to start. [`Group::start`] gives it to a thread of its own, which does as the pure
//! `supervisor` decides: it starts the processes, each in a process group of its own, watches them through pidfds,
//! keeps what they print, and says what happened through [`Note`]s. The thread ends when nothing of the epoch is left;
//! only then is [`Note::Ended`] said. Beside it, `socket` listens to what the scripts say, `checkpoints` looks for
//! checkpoints that are complete, and `progress` remembers when anything was last seen of them. What a worker does
//! before it joins a job of any kind is in `joining`.

mod checkpoints;
mod environment;
mod external;
mod failure;
mod guard;
mod handle;
mod joining;
mod output;
mod plan;
mod port;
mod progress;
mod rank;
mod runner;
mod socket;
mod stacks;
mod supervisor;

pub use self::checkpoints::{checkpoint_folder, remove_dropped};
pub use self::external::{ExternalCommand, ExternalProcess, ExternalStream, News, StopSignal};
pub use self::guard::{Guard, guard};
pub use self::handle::{Group, Note};
pub use self::joining::Joining;
pub use self::plan::{Plan, PlanError, Source};
pub use self::port::offer;
pub use self::progress::Progress;
pub use self::socket::{Ask, AskKind, Refusal, Socket};
pub use self::supervisor::Stop;

use std::time::Instant;

use petctl_process::{StopOrder, StopSwitch};
use petctl_proto::v1::RankFailure;

/// A process that failed by itself, and when.
#[derive(Clone, Debug)]
pub struct Failure {
    /// When, as far as is known.
    pub at: Instant,
    /// As it is reported.
    pub what: RankFailure,
}

/// An order to stop a group, with what to say of it.
pub type GroupOrder = StopOrder<Stop>;

type GroupSwitch = StopSwitch<Stop>;
