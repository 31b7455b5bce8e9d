//! One `syncfs` for all attempts that commit at the same time.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

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

    /// Hands in an item; `done` gets it after the next sync that begins from now on.
    pub fn submit(&self, item: T) {
        self.shared.lock().items.push(item);
        self.shared.changed.notify_one();
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
        while waiting.items.is_empty() {
            if waiting.closed {
                return None;
            }
            waiting = self
                .changed
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Some(std::mem::take(&mut waiting.items))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
