//! Cuts what was read into lines of the CRI format.

use crate::logs::{MAX_LINE_BYTES, Stream};

/// The unfinished line of each stream.
#[derive(Debug, Default)]
pub(super) struct Lines {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Lines {
    /// Appends to `out` every line that `bytes` completes.
    pub(super) fn push(&mut self, stream: Stream, stamp: &str, bytes: &[u8], out: &mut Vec<u8>) {
        let carry = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = MAX_LINE_BYTES - carry.len();
            let window = &rest[..rest.len().min(room)];
            if let Some(at) = window.iter().position(|&byte| byte == b'\n') {
                write_line(out, stamp, stream, b'F', carry, &window[..at]);
                carry.clear();
                rest = &rest[at + 1..];
            } else if window.len() == room && rest.len() > room {
                // One that is exactly as long as a part and ends here is whole.
                let (tag, skip) = if rest[room] == b'\n' {
                    (b'F', 1)
                } else {
                    (b'P', 0)
                };
                write_line(out, stamp, stream, tag, carry, window);
                carry.clear();
                rest = &rest[room + skip..];
            } else {
                carry.extend_from_slice(window);
                rest = &rest[window.len()..];
                if carry.len() == MAX_LINE_BYTES {
                    write_line(out, stamp, stream, b'P', carry, &[]);
                    carry.clear();
                }
            }
        }
    }

    /// Appends what has no newline.
    pub(super) fn finish(&mut self, stamp: &str, out: &mut Vec<u8>) {
        for (stream, carry) in [
            (Stream::Stdout, &mut self.stdout),
            (Stream::Stderr, &mut self.stderr),
        ] {
            if !carry.is_empty() {
                write_line(out, stamp, stream, b'F', carry, &[]);
                carry.clear();
            }
        }
    }

    /// Forgets the unfinished lines; how many bytes they had.
    pub(super) fn forget(&mut self) -> usize {
        let bytes = self.stdout.len() + self.stderr.len();
        self.stdout.clear();
        self.stderr.clear();
        bytes
    }
}

fn write_line(out: &mut Vec<u8>, stamp: &str, stream: Stream, tag: u8, start: &[u8], end: &[u8]) {
    out.extend_from_slice(stamp.as_bytes());
    out.extend_from_slice(match stream {
        Stream::Stdout => b" stdout ",
        Stream::Stderr => b" stderr ",
    });
    out.extend_from_slice(&[tag, b' ']);
    out.extend_from_slice(start);
    out.extend_from_slice(end);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(chunks: &[(Stream, &[u8])]) -> String {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        for (stream, bytes) in chunks {
            lines.push(*stream, "T", bytes, &mut out);
        }
        lines.finish("T", &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let (o, e) = (Stream::Stdout, Stream::Stderr);
        type Case<'a> = (&'a [(Stream, &'a [u8])], &'a str);
        let cases: [Case<'_>; 6] = [
            (&[(o, b"a\nb\n")], "T stdout F a\nT stdout F b\n"),
            (&[(o, b"a"), (o, b"b\n")], "T stdout F ab\n"),
            (
                &[(o, b"a"), (e, b"x\n"), (o, b"\n")],
                "T stderr F x\nT stdout F a\n",
            ),
            (&[(o, b"\n\n")], "T stdout F \nT stdout F \n"),
            (&[(o, b"no newline")], "T stdout F no newline\n"),
            (&[(o, b"")], ""),
        ];
        for (chunks, expected) in cases {
            assert_eq!(all(chunks), expected);
        }
    }

    #[test]
    fn long_lines_are_cut_into_parts_that_join_again() {
        for length in [
            MAX_LINE_BYTES - 1,
            MAX_LINE_BYTES,
            MAX_LINE_BYTES + 1,
            5 * MAX_LINE_BYTES,
        ] {
            let mut text = vec![b'x'; length];
            text.push(b'\n');
            for step in [7, 1_000, MAX_LINE_BYTES, text.len()] {
                let chunks: Vec<_> = text
                    .chunks(step)
                    .map(|chunk| (Stream::Stdout, chunk))
                    .collect();
                let mut joined = String::new();
                for line in all(&chunks).lines() {
                    let (text, full) = match line.strip_prefix("T stdout P ") {
                        Some(part) => (part, false),
                        None => (line.strip_prefix("T stdout F ").unwrap(), true),
                    };
                    assert!(text.len() <= MAX_LINE_BYTES);
                    joined.push_str(text);
                    if full {
                        joined.push('\n');
                    }
                }
                assert_eq!(
                    joined.trim_end_matches('\n').len(),
                    length,
                    "{length} in steps of {step}"
                );
            }
        }
    }
}
