//! This process's own stdout and stderr, for lines copied from ranks.
//!
//! Written by a thread of its own: a terminal that is held, or a reader that is slow, must not hold up the group's
//! thread. What waits is bounded; while there is no room, ranks are not read from.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use petctl_output::logs::Stream;

/// Most bytes that wait for one of the two.
const MAX_WAITING: usize = 1024 * 1024;

/// One of the two.
#[derive(Clone, Debug)]
pub(crate) struct Console {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    writing: bool,
    closed: bool,
    /// Nobody reads it any more.
    broken: bool,
}

impl Console {
    pub(crate) fn start(stream: Stream) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
        });
        let writer = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("petctl-console".to_owned())
            .spawn(move || writer.serve(stream))?;
        Ok(Self { shared })
    }

    /// Whether more would be taken.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.shared.lock();
        state.broken || state.bytes < MAX_WAITING
    }

    pub(crate) fn write(&self, text: &[u8]) {
        let mut state = self.shared.lock();
        if text.is_empty() || state.broken || state.bytes >= 2 * MAX_WAITING {
            return;
        }
        state.bytes += text.len();
        state.waiting.push_back(text.to_owned());
        self.shared.changed.notify_all();
    }

    /// Waits until all is written, but not for ever.
    pub(crate) fn flush(&self, patience: Duration) {
        let give_up = Instant::now() + patience;
        let mut state = self.shared.lock();
        while (state.bytes > 0 || state.writing) && !state.broken {
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // The last one but the thread's own.
        if Arc::strong_count(&self.shared) <= 2 {
            self.shared.lock().closed = true;
            self.shared.changed.notify_all();
        }
    }
}

impl Shared {
    fn serve(&self, stream: Stream) {
        while let Some(text) = self.next() {
            let written = match stream {
                Stream::Stdout => write(&mut io::stdout().lock(), &text),
                Stream::Stderr => write(&mut io::stderr().lock(), &text),
            };
            let mut state = self.lock();
            state.writing = false;
            if written.is_err() {
                state.broken = true;
                state.waiting.clear();
                state.bytes = 0;
            }
            self.changed.notify_all();
        }
    }

    fn next(&self) -> Option<Vec<u8>> {
        let mut state = self.lock();
        loop {
            if let Some(text) = state.waiting.pop_front() {
                state.bytes -= text.len();
                state.writing = true;
                return Some(text);
            }
            if state.closed {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(stream: &mut impl Write, text: &[u8]) -> io::Result<()> {
    stream.write_all(text)?;
    stream.flush()
}
