//! Newtypes of everything that is numbered.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A moment or a span in milliseconds. Moments are milliseconds since 1970 as the driver's clock has them; the core
/// only ever compares and adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Millis(pub u64);

impl Millis {
    /// This moment plus a span.
    #[must_use]
    pub fn plus(self, span_ms: u64) -> Self {
        Self(self.0.saturating_add(span_ms))
    }

    /// The span from `earlier` to this moment; 0 if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A job, numbered by this coordinator in the order of submission, from 1.
    JobId
);
number!(
    /// A job's membership, numbered from 1; 0 before the first.
    Epoch
);
number!(
    /// One stream of one worker, numbered by the driver.
    ConnId
);
number!(
    /// One call of a client, numbered by the driver.
    RequestId
);

/// An event log, from its first record on: 64 random bits. Leases are ordered within one lineage only; of another one's
/// nothing is known. 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lineage(pub u64);

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One grant of one shard to one worker, unique within its lineage: the incarnation in the upper 32 bits, a counter in
/// the lower. A later lease of a shard always has the larger id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeaseId(pub u64);

impl LeaseId {
    pub(crate) fn new(incarnation: u32, counter: u32) -> Self {
        Self(u64::from(incarnation) << 32 | u64::from(counter))
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// A worker's process, as it named itself at its start (128 random bits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WorkerId(pub u128);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A shard within a job: stage and index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ShardId {
    /// Index of the stage in the job file.
    pub stage: u32,
    /// Index of the shard in its stage.
    pub index: u32,
}
