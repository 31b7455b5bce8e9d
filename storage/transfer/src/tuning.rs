//! How much a transfer may take at once, and whom it tells.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of one block, unless a file needs larger ones.
pub const BLOCK_BYTES: u64 = 8 * 1024 * 1024;
/// Most blocks that a blob can be made of.
const MAX_BLOCKS: u64 = 50_000;
/// Memory is counted in these.
const UNIT_BYTES: u64 = 64 * 1024;
/// Blocks of larger files grow by whole steps, so that a file that grows a little keeps its blocks.
const GROWTH_BYTES: u64 = 8 * 1024 * 1024;

/// How much may go on at once. Clones share one budget: whatever is moved with them together holds no more than
/// `block_bytes * parallel` bytes in memory.
#[derive(Clone, Debug)]
pub struct Tuning {
    block_bytes: u64,
    parallel: usize,
    budget: Arc<Semaphore>,
    units: u32,
}

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share(
    #[expect(dead_code, reason = "it gives back when dropped")] Option<OwnedSemaphorePermit>,
);

impl Default for Tuning {
    fn default() -> Self {
        Self::new(BLOCK_BYTES, 16)
    }
}

impl Tuning {
    /// Blocks of `block_bytes`, at most `parallel` of them at a time.
    #[must_use]
    pub fn new(block_bytes: u64, parallel: usize) -> Self {
        let block_bytes = block_bytes.max(1);
        let parallel = parallel.clamp(1, 256);
        let units = (block_bytes.div_ceil(UNIT_BYTES)).saturating_mul(parallel as u64);
        let units = u32::try_from(units).unwrap_or(u32::MAX).min(1 << 28);
        Self {
            block_bytes,
            parallel,
            budget: Arc::new(Semaphore::new(units as usize)),
            units,
        }
    }

    /// Bytes of a block, where the file is not too large for it.
    #[must_use]
    pub fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    /// Blocks at a time.
    #[must_use]
    pub fn parallel(&self) -> usize {
        self.parallel
    }

    /// Bytes of each block of a file of this size.
    #[must_use]
    pub fn block_bytes_for(&self, size: u64) -> u64 {
        let needed = size.div_ceil(MAX_BLOCKS);
        if needed <= self.block_bytes {
            return self.block_bytes;
        }
        needed.div_ceil(GROWTH_BYTES) * GROWTH_BYTES
    }

    /// Waits until this many bytes may be held. Something larger than the whole budget gets all of it.
    pub(crate) async fn take(&self, bytes: u64) -> Share {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let budget = Arc::clone(&self.budget);
        // It is never closed.
        Share(
            budget
                .acquire_many_owned(units.clamp(1, self.units))
                .await
                .ok(),
        )
    }
}

/// Is told how a transfer goes. Its methods are called from many tasks and must be quick.
pub trait Progress: Send + Sync {
    /// So much is to be moved; said again where it turns out to be another amount.
    fn planned(&self, _files: u64, _bytes: u64) {}

    /// These bytes went over the wire.
    fn moved(&self, _bytes: u64) {}

    /// These bytes were there already, left by an earlier attempt.
    fn skipped(&self, _bytes: u64) {}

    /// These bytes, told as moved or skipped before, have to be moved again.
    fn taken_back(&self, _bytes: u64) {}

    /// One more file is there, whole.
    fn file_done(&self, _name: &str) {}

    /// So many names are going to be removed.
    fn doomed(&self, _names: u64) {}

    /// So many of them are gone.
    fn removed(&self, _names: u64) {}
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_needs_more_blocks_than_a_blob_can_have() {
        let tuning = Tuning::default();
        for size in [0, 1, BLOCK_BYTES, 400 << 30, 4 << 40, 190 << 40] {
            let block = tuning.block_bytes_for(size);
            assert!(size.div_ceil(block) <= MAX_BLOCKS, "{size}");
            assert!(block <= 4_000 << 20, "{size}");
        }
        assert_eq!(tuning.block_bytes_for(300 << 30), BLOCK_BYTES);
    }

    #[tokio::test]
    async fn what_is_held_at_once_is_bounded_and_given_back() {
        let tuning = Tuning::new(UNIT_BYTES, 2);
        let first = tuning.take(1).await;
        let second = tuning.clone().take(UNIT_BYTES).await;
        let mut third = Box::pin(tuning.take(1));
        assert!(futures::poll!(&mut third).is_pending());
        drop((first, second));
        drop(third.await);
        drop(tuning.take(u64::MAX).await);
    }
}
