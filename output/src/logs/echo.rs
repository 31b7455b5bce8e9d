//! What commands print, shown beside being kept: in a pod on its own output, where `kubectl logs` finds it.
//!
//! Written by a thread of its own, and bounded: where nobody reads, or commands print more than is shown, lines are left
//! out and counted, and no command waits. The log of the attempt has them.

use super::Stream;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines that wait to be written.
const WAITING: usize = 1_024;
/// Lines a second that are shown in the long run, and at once.
const LINES_PER_S: u32 = 200;
const BURST: u32 = 2_000;
/// Longest line that is shown; the rest of it is left out.
const LINE_BYTES: usize = 4 * 1024;
/// What was left out is told after this time, if no line follows.
const QUIET: Duration = Duration::from_secs(1);

/// Shows lines; a clone shows them in the same place.
#[derive(Clone, Debug)]
pub struct Echo(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lines: SyncSender<Vec<u8>>,
    left_out: Arc<AtomicU64>,
    budget: Mutex<Budget>,
}

/// How many lines may be shown now.
#[derive(Debug)]
struct Budget {
    lines: u32,
    since: Instant,
}

impl Echo {
    /// Shows lines there from now on.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn start(to: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, waiting) = sync_channel(WAITING);
        let left_out = Arc::new(AtomicU64::new(0));
        let shared = Shared {
            lines,
            left_out: Arc::clone(&left_out),
            budget: Mutex::new(Budget {
                lines: BURST,
                since: Instant::now(),
            }),
        };
        std::thread::Builder::new()
            .name("petctl-echo".to_owned())
            // Where nobody reads any more nobody is told.
            .spawn(move || drop(write(to, &waiting, &left_out)))?;
        Ok(Self(Arc::new(shared)))
    }

    /// For the lines of one command, each with this before it.
    pub(super) fn of(&self, title: &str) -> Echoed {
        Echoed {
            echo: self.clone(),
            prefix: format!("[{title}] ").into_bytes(),
            unfinished: [Vec::new(), Vec::new()],
        }
    }

    fn show(&self, line: impl FnOnce() -> Vec<u8>) {
        let shown = self.may_show(Instant::now()) && self.0.lines.try_send(line()).is_ok();
        if !shown {
            self.0.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn may_show(&self, now: Instant) -> bool {
        let budget = self.0.budget.lock();
        budget.unwrap_or_else(PoisonError::into_inner).take(now)
    }
}

impl Budget {
    fn take(&mut self, now: Instant) -> bool {
        let since_ms = now.saturating_duration_since(self.since).as_millis();
        let earned = since_ms * u128::from(LINES_PER_S) / 1_000;
        if earned > 0 {
            self.since = now;
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            self.lines = self.lines.saturating_add(earned).min(BURST);
        }
        let left = self.lines.checked_sub(1);
        self.lines = left.unwrap_or(0);
        left.is_some()
    }
}

fn write(mut to: impl Write, waiting: &Receiver<Vec<u8>>, left_out: &AtomicU64) -> io::Result<()> {
    loop {
        let (line, is_over) = match waiting.recv_timeout(QUIET) {
            Ok(line) => (Some(line), false),
            Err(RecvTimeoutError::Timeout) => (None, false),
            Err(RecvTimeoutError::Disconnected) => (None, true),
        };
        let left_out = left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            writeln!(
                to,
                "[petctl] {left_out} lines are left out here; `petctl logs` has them"
            )?;
        }
        if let Some(line) = line {
            to.write_all(&line)?;
        }
        to.flush()?;
        if is_over {
            return Ok(());
        }
    }
}

/// The lines of one command.
#[derive(Debug)]
pub(super) struct Echoed {
    echo: Echo,
    prefix: Vec<u8>,
    /// Of its two streams.
    unfinished: [Vec<u8>; 2],
}

impl Echoed {
    /// Takes what was read from it.
    pub(super) fn push(&mut self, stream: Stream, bytes: &[u8]) {
        let unfinished = match stream {
            Stream::Stdout => &mut self.unfinished[0],
            Stream::Stderr => &mut self.unfinished[1],
        };
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match part.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (part, false),
            };
            let room = LINE_BYTES.saturating_sub(unfinished.len()).min(text.len());
            unfinished.extend_from_slice(&text[..room]);
            if ends {
                self.echo.show(|| line(&self.prefix, unfinished));
                unfinished.clear();
            }
        }
    }

    /// It has ended.
    pub(super) fn finish(&mut self) {
        for unfinished in &mut self.unfinished {
            if !unfinished.is_empty() {
                self.echo.show(|| line(&self.prefix, unfinished));
                unfinished.clear();
            }
        }
    }
}

fn line(prefix: &[u8], text: &[u8]) -> Vec<u8> {
    [prefix, text, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    /// Writes into a channel, of which the test reads.
    struct Heard(Sender<Vec<u8>>);

    impl Write for Heard {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
            self.0.send(bytes.to_owned()).map_err(gone)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is heard until this is.
    fn until(heard: &Receiver<Vec<u8>>, end: &str) -> String {
        let mut text = String::new();
        while !text.contains(end) {
            let bytes = heard.recv_timeout(Duration::from_secs(30));
            text.push_str(&String::from_utf8_lossy(&bytes.expect("it is shown")));
        }
        text
    }

    #[test]
    fn whole_lines_are_shown_with_whose_they_are_and_the_last_one_at_its_end() {
        let (sender, heard) = channel();
        let echo = Echo::start(Heard(sender)).unwrap();
        let mut echoed = echo.of("resim/a");
        echoed.push(Stream::Stdout, b"one\ntw");
        echoed.push(Stream::Stderr, b"oh\n");
        echoed.push(Stream::Stdout, b"o\n\nrest");
        echoed.push(Stream::Stderr, &[b'x'; 3 * LINE_BYTES]);
        echoed.push(Stream::Stderr, b"\n");
        echoed.finish();
        let long = "x".repeat(LINE_BYTES);
        let lines = ["one", "oh", "two", "", &long, "rest"];
        let lines = lines.map(|line| format!("[resim/a] {line}\n"));
        assert_eq!(until(&heard, "] rest\n"), lines.concat());
    }

    #[test]
    fn a_flood_and_a_reader_that_does_not_read_hold_nobody_up_and_what_is_left_out_is_counted() {
        // Holds its first line until it is told to go on.
        struct Stuck(Receiver<()>, Heard);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _goes_on = self.0.recv();
                self.1.write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, held) = channel();
        let (sender, heard) = channel();
        let echo = Echo::start(Stuck(held, Heard(sender))).unwrap();
        let mut echoed = echo.of("resim/a");
        let count = 100_000;
        for _ in 0..count {
            echoed.push(Stream::Stdout, b"flood\n");
        }
        drop(release);
        drop((echoed, echo));
        // To its end: whatever was not shown is told by then.
        let text: Vec<u8> = heard.iter().flatten().collect();
        let text = String::from_utf8(text).unwrap();
        let shown = text.matches("flood").count();
        assert!(shown <= WAITING + 1, "{shown} lines are shown");
        let told = text
            .lines()
            .filter_map(|line| line.strip_prefix("[petctl] "));
        let told: usize = told
            .filter_map(|told| told.split(' ').next()?.parse::<usize>().ok())
            .sum();
        assert_eq!(shown + told, count, "shown and left out");
    }

    #[test]
    fn a_budget_is_earned_back() {
        let start = Instant::now();
        let mut budget = Budget {
            lines: 2,
            since: start,
        };
        let take = |budget: &mut Budget, ms| budget.take(start + Duration::from_millis(ms));
        assert_eq!(
            [0, 1, 2].map(|ms| take(&mut budget, ms)),
            [true, true, false]
        );
        assert_eq!([7, 8].map(|ms| take(&mut budget, ms)), [true, false]);
        let hour = 3_600_000;
        let burst = (0..10_000).filter(|_| take(&mut budget, hour)).count();
        assert_eq!(burst, usize::try_from(BURST).unwrap());
    }
}
