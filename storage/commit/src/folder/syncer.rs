//! One `syncfs` for all attempts that commit at the same time.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an item that is not urgent waits for others.
const GATHER: Duration = Duration::from_millis(50);
/// So many do not wait any longer.
const ENOUGH: usize = 256;

/// Syncs a file system and then says of each item handed in before the sync began that it is durable. Items do not
/// wait for each other: while one sync runs, the next batch gathers.
#[derive(Debug)]
pub struct Syncer<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    waiting: Mutex<Waiting<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Waiting<T> {
    items: Vec<T>,
    /// When the items that are there are to be synced; `None` where there are none.
    due: Option<Instant>,
    closed: bool,
}

impl<T: Send + 'static> Syncer<T> {
    /// Starts the thread. `done` is called on it with each batch and what the sync said.
    ///
    /// # Errors
    /// Where the folder can't be opened or the thread not be started.
    pub fn start(
        folder: &Path,
        mut done: impl FnMut(Vec<T>, Result<(), io::Error>) + Send + 'static,
    ) -> io::Result<Self> {
        let folder = File::open(folder)?;
        let shared = Arc::new(Shared {
            waiting: Mutex::new(Waiting {
                items: Vec::new(),
                due: None,
                closed: false,
            }),
            changed: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("petctl-sync".into())
            .spawn(move || {
                while let Some(items) = theirs.next_batch() {
                    let synced = rustix::fs::syncfs(&folder).map_err(io::Error::from);
                    done(items, synced);
                }
            })?;
        Ok(Self { shared })
    }

    /// Hands in an item; `done` gets it after a sync that begins from now on. Where it is not `urgent`, because there
    /// is more to do meanwhile, that sync may wait a moment for more items: syncs cost CPU time, and the disk.
    pub fn submit(&self, item: T, urgent: bool) {
        let mut waiting = self.shared.lock();
        let first = waiting.items.is_empty();
        waiting.items.push(item);
        let now = Instant::now();
        let hurry = urgent || waiting.items.len() >= ENOUGH;
        let due = if hurry { now } else { now + GATHER };
        waiting.due = Some(waiting.due.map_or(due, |earlier| earlier.min(due)));
        drop(waiting);
        if first || hurry {
            self.shared.changed.notify_one();
        }
    }
}

impl<T> Drop for Syncer<T> {
    /// The thread ends once what was handed in is synced.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
    }
}

impl<T> Shared<T> {
    /// Blocks; `None` once closed and empty.
    fn next_batch(&self) -> Option<Vec<T>> {
        let mut waiting = self.lock();
        loop {
            let now = Instant::now();
            match waiting.due {
                Some(due) if due <= now || waiting.closed => {
                    waiting.due = None;
                    return Some(std::mem::take(&mut waiting.items));
                }
                Some(due) => {
                    let waited = self.changed.wait_timeout(waiting, due - now);
                    waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                None if waiting.closed => return None,
                None => {
                    waiting = self
                        .changed
                        .wait(waiting)
                        .unwrap_or_else(PoisonError::into_inner)
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
