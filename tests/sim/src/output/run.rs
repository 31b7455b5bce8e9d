//! The record of the run that works on an output, as `petctl_job::owner::Hold` keeps it.

use super::Output;
use crate::plan::Broken;

/// How often a run renews its record.
pub const RENEWED_EVERY_MS: u64 = 10_000;
/// A record that was not renewed for this long is of a run that died without a word.
pub const STALE_AFTER_MS: u64 = 60_000;
/// How long a record that looks stale is watched before it is taken over.
pub const WATCHED_MS: u64 = RENEWED_EVERY_MS * 3 / 2;

/// The run that works on an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunRecord {
    /// The home whose run it is.
    pub keeper: usize,
    /// When it was last heard of.
    pub renewed_at: u64,
}

impl RunRecord {
    /// Whether its run was heard of lately.
    #[must_use]
    pub fn is_fresh(&self, now: u64) -> bool {
        self.renewed_at + STALE_AFTER_MS > now
    }
}

impl Output {
    /// Writes the record where it is free, or what `dead` says and nobody has renewed; else says whose it is. Compared
    /// and written by one step: under a lock, or by a conditional write.
    pub fn hold(&mut self, keeper: usize, now: u64, dead: Option<RunRecord>) -> Option<RunRecord> {
        let theirs = self
            .run
            .filter(|found| found.keeper != keeper && Some(*found) != dead);
        if theirs.is_some() && !self.is_broken(Broken::RunRecord) {
            return theirs;
        }
        self.run = Some(RunRecord {
            keeper,
            renewed_at: now,
        });
        None
    }

    /// Says that a run still lives, where its record stands. One that is gone was taken over, and whoever did that may
    /// have ended since.
    pub fn renew(&mut self, keeper: usize, now: u64) -> bool {
        let ours = self.is_held_by(keeper) || self.is_broken(Broken::RunRecord);
        if ours {
            self.hold(keeper, now, None);
        }
        ours
    }

    /// Gives the output back.
    pub fn release(&mut self, keeper: usize) {
        self.run = self.run.filter(|found| found.keeper != keeper);
    }

    /// Whether this home's run has the output.
    #[must_use]
    pub fn is_held_by(&self, keeper: usize) -> bool {
        self.run.is_some_and(|found| found.keeper == keeper)
    }
}
