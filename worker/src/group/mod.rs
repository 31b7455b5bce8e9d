//! This worker's part of a training group: the processes of one epoch, under torchrun's contract.
//!
//! A [`Plan`] says what to start. [`Group::start`] gives it to a thread of its own, which does as the pure
//! [`supervisor`] decides: it starts the processes, each in a process group of its own, watches them through pidfds,
//! keeps what they print, and says what happened through [`Note`]s. The thread ends when nothing of the epoch is left;
//! only then is [`Note::Ended`] said. Beside it, [`socket`] listens to what the scripts say, `checkpoints` looks for
//! checkpoints that are complete, and [`progress`] remembers when anything was last seen of them. What a worker does
//! before it joins a job of any kind is in [`joining`].

mod checkpoints;
mod environment;
pub(crate) mod external;
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
mod switch;

pub use self::guard::guard;

pub(crate) use self::checkpoints::{checkpoint_folder, remove_dropped};
pub(crate) use self::guard::Guard;
pub(crate) use self::handle::{Group, Note};
pub(crate) use self::joining::Joining;
pub(crate) use self::plan::{Plan, Source};
pub(crate) use self::port::offer;
pub(crate) use self::socket::{Ask, AskKind, Socket};
pub(crate) use self::supervisor::Stop;
pub(crate) use self::switch::GroupOrder;

use std::time::Instant;

use petctl_proto::v1::RankFailure;

/// A process that failed by itself, and when.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) at: Instant,
    pub(crate) what: RankFailure,
}
