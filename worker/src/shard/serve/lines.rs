//! Tells a warm process's answers from what it prints.

/// A line that starts with it is meant for the worker.
const MARK: &[u8] = b"@petctl ";
/// Longest line that is meant for the worker, in bytes.
pub(super) const MAX_LINE: usize = 64 * 1024;

/// The stdout of a warm process, piece by piece.
#[derive(Debug, Default)]
pub(super) struct Lines(State);

#[derive(Debug)]
enum State {
    /// At the start of a line, so many bytes of the mark seen.
    Start(usize),
    /// In a line that is only printed.
    Plain,
    /// Behind the mark.
    Marked(Vec<u8>),
}

impl Default for State {
    fn default() -> Self {
        Self::Start(0)
    }
}

impl Lines {
    /// What is printed goes to `plain`, at once; whole lines for the worker go to `marked`, without the mark. One that
    /// is too long comes cut.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        plain: &mut Vec<u8>,
        marked: &mut impl Extend<Vec<u8>>,
    ) {
        while let Some(&first) = bytes.first() {
            match &mut self.0 {
                State::Start(seen) if MARK.get(*seen) == Some(&first) => {
                    *seen += 1;
                    bytes = &bytes[1..];
                    if *seen == MARK.len() {
                        self.0 = State::Marked(Vec::new());
                    }
                }
                State::Start(seen) => {
                    plain.extend_from_slice(&MARK[..*seen]);
                    self.0 = State::Plain;
                }
                State::Plain => {
                    let (line, rest, ended) = cut(bytes);
                    plain.extend_from_slice(line);
                    bytes = rest;
                    if ended {
                        plain.push(b'\n');
                        self.0 = State::Start(0);
                    }
                }
                State::Marked(text) => {
                    let (line, rest, ended) = cut(bytes);
                    let room = (MAX_LINE + 1).saturating_sub(text.len());
                    text.extend_from_slice(&line[..line.len().min(room)]);
                    bytes = rest;
                    if ended {
                        marked.extend([std::mem::take(text)]);
                        self.0 = State::Start(0);
                    }
                }
            }
        }
    }

    /// What is left of an unfinished line.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        match std::mem::take(&mut self.0) {
            State::Start(seen) => MARK[..seen].to_vec(),
            State::Plain => Vec::new(),
            State::Marked(text) => [MARK, &text].concat(),
        }
    }
}

/// Up to the end of the line, what comes behind it, and whether the line ends.
fn cut(bytes: &[u8]) -> (&[u8], &[u8], bool) {
    match bytes.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..], true),
        None => (bytes, &[], false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &[&[u8]]) -> (String, Vec<String>) {
        let mut lines = Lines::default();
        let (mut plain, mut marked) = (Vec::new(), Vec::new());
        for piece in pieces {
            lines.feed(piece, &mut plain, &mut marked);
        }
        plain.extend(lines.rest());
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (text(plain), marked.into_iter().map(text).collect())
    }

    #[test]
    fn marked_lines_are_told_from_others_however_they_are_cut() {
        let input = b"starting\n@petctl {\"ready\": true}\n@petc\nx @petctl no\n\n@petctl \n@@petctl z\nend";
        let expected = (
            "starting\n@petc\nx @petctl no\n\n@@petctl z\nend".to_owned(),
            vec!["{\"ready\": true}".to_owned(), String::new()],
        );
        for size in 1..input.len() {
            let pieces: Vec<&[u8]> = input.chunks(size).collect();
            assert_eq!(all(&pieces), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_unfinished_is_printed() {
        assert_eq!(all(&[b"@petctl {"]), ("@petctl {".to_owned(), Vec::new()));
        assert_eq!(all(&[b"@pet"]), ("@pet".to_owned(), Vec::new()));
    }

    #[test]
    fn a_line_without_end_takes_a_bounded_amount_of_memory() {
        let long = vec![b'x'; 3 * MAX_LINE];
        let (plain, marked) = all(&[b"@petctl ", &long, b"\nafter\n"]);
        assert_eq!(plain, "after\n");
        assert_eq!(marked[0].len(), MAX_LINE + 1);
    }
}
