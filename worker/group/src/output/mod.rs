//! Where the output of one rank goes.

pub(crate) mod console;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::output::console::Console;
use petctl_output::logs::{AttemptLog, LogSummary, MAX_LINE_BYTES, Stream, TAIL_BYTES};

/// What is read from the pipes of one rank goes here.
#[derive(Debug)]
pub(super) enum Output {
    /// To the job's log.
    Log(Box<AttemptLog>),
    /// To files and this process's own outputs: one for stdout, one for stderr.
    Copies(Box<[Copies; 2]>),
}

/// Chooses among the lines of all ranks.
#[derive(Debug)]
pub(super) struct Filter {
    file: Mutex<File>,
    words: Vec<String>,
}

impl Filter {
    /// Lines with one of the words go to the file.
    pub(super) fn new(file: File, words: Vec<String>) -> Self {
        Self {
            file: Mutex::new(file),
            words,
        }
    }

    fn pass(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        if self.words.iter().any(|word| text.contains(word.as_str())) {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = file.write_all(line);
        }
    }
}

/// Where one stream of a rank goes.
#[derive(Debug, Default)]
pub(super) struct Copies {
    /// Everything, as it came. `None`: nothing more is written, if anything was.
    pub(super) file: Option<File>,
    /// Lines with a prefix.
    pub(super) console: Option<Console>,
    /// Lines with a prefix that hold one of the words.
    pub(super) filtered: Option<Arc<Filter>>,
    pub(super) prefix: String,
    unfinished: Vec<u8>,
    tail: Vec<u8>,
}

impl Output {
    /// Whether more may be read of that stream.
    pub(super) fn has_room(&self, stream: Stream) -> bool {
        match self {
            Self::Log(_) => true,
            Self::Copies(copies) => copies[index(stream)]
                .console
                .as_ref()
                .is_none_or(Console::has_room),
        }
    }

    pub(super) fn push(&mut self, stream: Stream, bytes: &[u8], now: Instant) {
        match self {
            Self::Log(log) => log.push(stream, bytes, now),
            Self::Copies(copies) => copies[index(stream)].push(bytes),
        }
    }

    pub(super) fn flush_at(&self) -> Option<Instant> {
        match self {
            Self::Log(log) => log.flush_at(),
            Self::Copies(_) => None,
        }
    }

    pub(super) fn flush(&mut self) {
        match self {
            Self::Log(log) => log.flush(),
            Self::Copies(_) => {}
        }
    }

    /// The last text so far.
    pub(super) fn tail(&self) -> String {
        match self {
            Self::Log(log) => log.tail(),
            Self::Copies(copies) => {
                let [stdout, stderr] = &**copies;
                if stderr.tail.is_empty() {
                    stdout.last_text()
                } else {
                    stderr.last_text()
                }
            }
        }
    }

    /// Writes what is left; the last text of it.
    pub(super) fn finish(self) -> LogSummary {
        match self {
            Self::Log(log) => log.finish(),
            Self::Copies(copies) => {
                let [stdout, stderr] = (*copies).map(Copies::finish);
                LogSummary {
                    tail: if stderr.is_empty() { stdout } else { stderr },
                    cut: None,
                }
            }
        }
    }
}

fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

impl Copies {
    fn push(&mut self, bytes: &[u8]) {
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(bytes)
        {
            tracing::warn!(%error, "can't write a rank's output to its file; the rest of it is lost");
            self.file = None;
        }
        self.keep_tail(bytes);
        if self.console.is_none() && self.filtered.is_none() {
            return;
        }
        let mut lines = Vec::new();
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|&byte| byte == b'\n') {
            self.line(&rest[..=at], &mut lines);
            rest = &rest[at + 1..];
        }
        if self.unfinished.len() + rest.len() > MAX_LINE_BYTES {
            self.line(rest, &mut lines);
            lines.push(b'\n');
        } else {
            self.unfinished.extend_from_slice(rest);
        }
        self.print(&lines);
    }

    /// Adds a line that ends with these bytes.
    fn line(&mut self, end: &[u8], lines: &mut Vec<u8>) {
        let start = lines.len();
        lines.extend_from_slice(self.prefix.as_bytes());
        lines.append(&mut self.unfinished);
        lines.extend_from_slice(end);
        if let Some(filter) = &self.filtered {
            filter.pass(&lines[start..]);
        }
    }

    fn print(&self, lines: &[u8]) {
        if let Some(console) = &self.console {
            console.write(lines);
        }
    }

    fn finish(mut self) -> String {
        if !self.unfinished.is_empty() {
            let mut lines = Vec::new();
            self.line(b"\n", &mut lines);
            self.print(&lines);
        }
        self.last_text()
    }

    fn last_text(&self) -> String {
        let start = self.tail.len().saturating_sub(TAIL_BYTES);
        let text = String::from_utf8_lossy(&self.tail[start..]);
        text[text.ceil_char_boundary(text.len().saturating_sub(TAIL_BYTES))..].to_owned()
    }

    fn keep_tail(&mut self, bytes: &[u8]) {
        self.tail
            .extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]);
        if self.tail.len() > 4 * TAIL_BYTES {
            self.tail.drain(..self.tail.len() - TAIL_BYTES);
        }
    }
}

/// The last text of a file that a rank wrote to directly.
pub(super) fn tail_of(path: &Path) -> String {
    use std::os::unix::fs::FileExt;
    let read = || {
        let file = File::open(path).ok()?;
        let bytes = file
            .metadata()
            .ok()
            .filter(std::fs::Metadata::is_file)?
            .len();
        let mut tail = vec![0; TAIL_BYTES];
        let count = file
            .read_at(&mut tail, bytes.saturating_sub(TAIL_BYTES as u64))
            .ok()?;
        tail.truncate(count);
        Some(String::from_utf8_lossy(&tail).into_owned())
    };
    let text = read().unwrap_or_default();
    text[text.ceil_char_boundary(text.len().saturating_sub(TAIL_BYTES))..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copied_lines_get_the_prefix_and_filters_choose_among_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("filtered");
        let filtered = Filter::new(File::create(&path).unwrap(), vec!["loss".to_owned()]);
        let file = folder.path().join("stdout.log");
        let mut copies = Copies {
            file: Some(File::create(&file).unwrap()),
            filtered: Some(Arc::new(filtered)),
            prefix: "[default1]:".to_owned(),
            ..Copies::default()
        };
        for bytes in [&b"step 1 lo"[..], b"ss 2\nother\n", b"loss at the end"] {
            copies.push(bytes);
        }
        assert_eq!(copies.finish(), "step 1 loss 2\nother\nloss at the end");
        let kept = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            kept,
            "[default1]:step 1 loss 2\n[default1]:loss at the end\n"
        );
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            "step 1 loss 2\nother\nloss at the end"
        );
    }
}
