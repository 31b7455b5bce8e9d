//! Lines as attempts keep them (CRI), and as people want to read them.

use super::Labels;
use petctl_proto::v1::ShardRow;

/// A line longer than this is broken, so that it can be told whose it is.
const MAX_LINE_BYTES: usize = 256 * 1024;

/// The unfinished lines of one log.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    label: String,
    /// Bytes after the last line feed.
    rest: Vec<u8>,
    /// Text of a line whose end has not come.
    text: Vec<u8>,
    stamp: Vec<u8>,
}

impl Lines {
    pub(super) fn new(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            ..Self::default()
        }
    }
}

/// Turns stored lines into printed ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Printer {
    timestamps: bool,
    labels: Labels,
}

impl Printer {
    pub(super) fn new(timestamps: bool, labels: Labels) -> Self {
        Self { timestamps, labels }
    }

    pub(super) fn label(&self, row: &ShardRow) -> String {
        self.labels.of(row)
    }

    /// The printed form of what was read next.
    pub(super) fn text(&self, lines: &mut Lines, piece: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(piece.len());
        lines.rest.extend_from_slice(piece);
        let rest = std::mem::take(&mut lines.rest);
        let mut parts = rest.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                lines.rest = part.to_vec();
                break;
            }
            self.line(lines, part, &mut out);
        }
        if lines.rest.len() > MAX_LINE_BYTES {
            let whole = std::mem::take(&mut lines.rest);
            self.line(lines, &whole, &mut out);
        }
        out
    }

    /// What is left of a log that has ended.
    pub(super) fn end(&self, lines: &mut Lines) -> Vec<u8> {
        let mut out = Vec::new();
        let rest = std::mem::take(&mut lines.rest);
        if !rest.is_empty() {
            self.line(lines, &rest, &mut out);
        }
        if !lines.text.is_empty() {
            self.flush(lines, &mut out);
        }
        out
    }

    /// `2026-11-21T07:00:00.123456789Z stdout F text`; `P` marks a part of a long line.
    fn line(&self, lines: &mut Lines, stored: &[u8], out: &mut Vec<u8>) {
        let mut fields = stored.splitn(4, |byte| *byte == b' ');
        let (stamp, _stream, tag, text) =
            (fields.next(), fields.next(), fields.next(), fields.next());
        let (Some(stamp), Some(tag), Some(text)) = (stamp, tag, text) else {
            // Not ours, or cut: shown as it is.
            lines.text.extend_from_slice(stored);
            return self.flush(lines, out);
        };
        if lines.stamp.is_empty() {
            lines.stamp = stamp.to_vec();
        }
        lines.text.extend_from_slice(text);
        if tag != b"P" || lines.text.len() > MAX_LINE_BYTES {
            self.flush(lines, out);
        }
    }

    fn flush(&self, lines: &mut Lines, out: &mut Vec<u8>) {
        if self.timestamps && !lines.stamp.is_empty() {
            out.extend_from_slice(&lines.stamp);
            out.push(b' ');
        }
        out.extend_from_slice(lines.label.as_bytes());
        out.append(&mut lines.text);
        out.push(b'\n');
        lines.stamp.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(timestamps: bool, label: &str, stored: &[u8], step: usize) -> String {
        let printer = Printer::new(timestamps, Labels::None);
        let mut lines = Lines::new(label);
        let mut out = Vec::new();
        for piece in stored.chunks(step) {
            out.extend(printer.text(&mut lines, piece));
        }
        out.extend(printer.end(&mut lines));
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn lines_are_put_together_however_they_are_read() {
        let stored = b"T1 stdout F one\nT2 stderr P long \nT3 stderr F line\nT4 stdout F \nT5 stdout F unfinished";
        for step in [1, 7, 1_000] {
            assert_eq!(
                printed(false, "", stored, step),
                "one\nlong line\n\nunfinished\n"
            );
            assert_eq!(
                printed(true, "k: ", stored, step),
                "T1 k: one\nT2 k: long line\nT4 k: \nT5 k: unfinished\n"
            );
        }
    }

    #[test]
    fn what_is_no_line_is_shown_as_it_is() {
        assert_eq!(printed(false, "", b"nonsense\n", 3), "nonsense\n");
    }
}
