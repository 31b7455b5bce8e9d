//! Writes the log of one attempt.

use petctl_text::obstacle::Obstacle;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use crate::folders::in_folder;
use crate::logs::echo::{Echo, Echoed};
use crate::logs::lines::Lines;
use crate::logs::{TAIL_BYTES, segment_path};
use crate::timestamp::rfc3339;

/// A smaller bound could not hold one line in each segment.
const MIN_LOG_BYTES: u64 = 4 * 24 * 1024;
/// Most bytes that wait, unformatted, while a command prints faster than is worth keeping.
const MAX_PENDING_BYTES: usize = 1024 * 1024;
/// How long they wait at most.
const FLUSH_INTERVAL: Duration = Duration::from_millis(200);

/// Which of its two outputs a process wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// File descriptor 1.
    Stdout,
    /// File descriptor 2.
    Stderr,
}

/// What to say of a log when its attempt has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSummary {
    /// The last text, at most [`TAIL_BYTES`], without timestamps.
    pub tail: String,
    /// Why the log is not whole, but for its bound: "log cut: disk full".
    pub cut: Option<String>,
}

/// The log of one attempt while it runs. Nothing that goes wrong here stops the attempt.
#[derive(Debug)]
pub struct AttemptLog {
    path: PathBuf,
    head_limit: u64,
    segment_limit: u64,
    lines: Lines,
    file: Option<File>,
    /// Offset in the whole log at which the next byte goes.
    offset: u64,
    /// Where the current segment starts; `None` while the head is written.
    segment_start: Option<u64>,
    previous_segment: Option<u64>,
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    pending_since: Option<Instant>,
    /// Bytes that were dropped since the last flush.
    dropped: u64,
    formatted: Vec<u8>,
    tail: Vec<u8>,
    cut: Option<String>,
    echoed: Option<Echoed>,
}

#[derive(Debug)]
struct Pending {
    stream: Stream,
    stamp: String,
    bytes: Vec<u8>,
}

impl AttemptLog {
    /// A log at `path` of at most about `limit_bytes` on disk. Makes no file yet.
    pub fn new(path: PathBuf, limit_bytes: u64) -> Self {
        let limit = limit_bytes.max(MIN_LOG_BYTES);
        Self {
            path,
            head_limit: limit / 2,
            segment_limit: limit / 4,
            lines: Lines::default(),
            file: None,
            offset: 0,
            segment_start: None,
            previous_segment: None,
            pending: VecDeque::new(),
            pending_bytes: 0,
            pending_since: None,
            dropped: 0,
            formatted: Vec::new(),
            tail: Vec::new(),
            cut: None,
            echoed: None,
        }
    }

    /// What it takes is shown as well, where it is to be, with whose it is.
    #[must_use]
    pub fn echoing(mut self, echo: Option<&Echo>, title: impl FnOnce() -> String) -> Self {
        self.echoed = echo.map(|echo| echo.of(&title()));
        self
    }

    /// Takes what was read from the process.
    pub fn push(&mut self, stream: Stream, bytes: &[u8], now: Instant) {
        self.keep_tail(bytes);
        if let Some(echoed) = &mut self.echoed {
            echoed.push(stream, bytes);
        }
        if self.cut.is_some() || bytes.is_empty() {
            return;
        }
        let stamp = rfc3339(SystemTime::now());
        if self.segment_start.is_none() {
            let mut formatted = std::mem::take(&mut self.formatted);
            self.lines.push(stream, &stamp, bytes, &mut formatted);
            self.write(&formatted);
            formatted.clear();
            self.formatted = formatted;
            return;
        }
        self.delay(stream, stamp, bytes, now);
    }

    /// When [`Self::flush`] should be called next.
    pub fn flush_at(&self) -> Option<Instant> {
        self.pending_since.map(|since| since + FLUSH_INTERVAL)
    }

    /// Writes what waits.
    pub fn flush(&mut self) {
        self.pending_since = None;
        if self.dropped > 0 {
            // The unfinished lines belong to what was dropped. A segment of its own makes the gap readable.
            self.offset += self.dropped + self.lines.forget() as u64;
            self.dropped = 0;
            self.start_segment();
        }
        let mut formatted = std::mem::take(&mut self.formatted);
        while let Some(pending) = self.pending.pop_front() {
            self.lines.push(
                pending.stream,
                &pending.stamp,
                &pending.bytes,
                &mut formatted,
            );
            self.write(&formatted);
            formatted.clear();
        }
        self.pending_bytes = 0;
        self.formatted = formatted;
    }

    /// Writes what is left and closes the file.
    pub fn finish(mut self) -> LogSummary {
        self.flush();
        if let Some(echoed) = &mut self.echoed {
            echoed.finish();
        }
        let mut formatted = Vec::new();
        self.lines
            .finish(&rfc3339(SystemTime::now()), &mut formatted);
        self.write(&formatted);
        LogSummary {
            tail: self.tail(),
            cut: self.cut,
        }
    }

    /// The last text so far, at most [`TAIL_BYTES`].
    pub fn tail(&self) -> String {
        let start = self.tail.len().saturating_sub(TAIL_BYTES);
        whole_characters(&self.tail[start..])
    }

    /// In a flood only the newest bytes will be kept, so nothing is formatted before it is known to be among them.
    fn delay(&mut self, stream: Stream, stamp: String, bytes: &[u8], now: Instant) {
        let limit =
            MAX_PENDING_BYTES.min(usize::try_from(self.segment_limit).unwrap_or(MAX_PENDING_BYTES));
        let mut recycled = Vec::new();
        while self.pending_bytes + bytes.len() > limit {
            let Some(oldest) = self.pending.pop_front() else {
                break;
            };
            self.pending_bytes -= oldest.bytes.len();
            self.dropped += oldest.bytes.len() as u64;
            recycled = oldest.bytes;
        }
        recycled.clear();
        recycled.extend_from_slice(bytes);
        self.pending_bytes += bytes.len();
        self.pending.push_back(Pending {
            stream,
            stamp,
            bytes: recycled,
        });
        let since = *self.pending_since.get_or_insert(now);
        if now.duration_since(since) >= FLUSH_INTERVAL {
            self.flush();
        }
    }

    /// Writes lines; at the bound of the head or of a segment the next segment begins.
    fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.cut.is_none() {
            let (limit, used) = match self.segment_start {
                None => (self.head_limit, self.offset),
                Some(start) => (self.segment_limit, self.offset - start),
            };
            let room = usize::try_from(limit.saturating_sub(used)).unwrap_or(usize::MAX);
            let fits = if bytes.len() <= room {
                bytes.len()
            } else {
                lines_within(bytes, room)
            };
            if fits == 0 {
                self.start_segment();
                continue;
            }
            if let Err(error) = self.write_all(&bytes[..fits]) {
                self.cut_by(&error);
                return;
            }
            self.offset += fits as u64;
            bytes = &bytes[fits..];
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            closed @ None => {
                let path = match self.segment_start {
                    None => self.path.clone(),
                    Some(start) => segment_path(&self.path, start),
                };
                closed.insert(open(&path)?)
            }
        };
        file.write_all(bytes)
    }

    fn start_segment(&mut self) {
        self.file = None;
        if let Some(oldest) = self.previous_segment.take() {
            // Not there if nothing was written to it.
            let _ = fs::remove_file(segment_path(&self.path, oldest));
        }
        self.previous_segment = self.segment_start;
        self.segment_start = Some(self.offset);
    }

    fn cut_by(&mut self, error: &io::Error) {
        self.cut = Some(if Obstacle::of(error).is_full() {
            "log cut: disk full".to_owned()
        } else {
            format!("log cut: {error}")
        });
        self.file = None;
        self.pending.clear();
        self.pending_bytes = 0;
        self.pending_since = None;
        self.dropped = 0;
    }

    fn keep_tail(&mut self, bytes: &[u8]) {
        if bytes.len() >= TAIL_BYTES {
            self.tail.clear();
            self.tail
                .extend_from_slice(&bytes[bytes.len() - TAIL_BYTES..]);
        } else {
            self.tail.extend_from_slice(bytes);
            // Moved down seldom, so that a byte is moved once or so.
            if self.tail.len() > 4 * TAIL_BYTES {
                self.tail.drain(..self.tail.len() - TAIL_BYTES);
            }
        }
    }
}

fn open(path: &std::path::Path) -> io::Result<File> {
    let open = || OpenOptions::new().append(true).create(true).open(path);
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => path
            .parent()
            .map_or_else(open, |folder| in_folder(folder, open)),
        other => other,
    }
}

/// How many of the bytes are whole lines that fit. The longest line fits into the smallest segment.
fn lines_within(bytes: &[u8], room: usize) -> usize {
    let room = room.min(bytes.len());
    bytes[..room]
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1)
}

/// Text of bytes that may start and end within a character; what is not UTF-8 becomes U+FFFD, and the whole stays
/// within [`TAIL_BYTES`].
fn whole_characters(bytes: &[u8]) -> String {
    let start = bytes
        .iter()
        .take(3)
        .take_while(|&&byte| byte & 0xc0 == 0x80)
        .count();
    let text = String::from_utf8_lossy(&bytes[start..]);
    let from = text.ceil_char_boundary(text.len().saturating_sub(TAIL_BYTES));
    text[from..].to_owned()
}
