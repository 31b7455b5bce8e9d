//! Collects what is wrong while a job file is read, then gives each error its place.

use crate::errors::{FileError, FileErrors, Location};
use crate::key::Key;
use petctl_codes::Code;
use petctl_text::{secrets, words};

/// Most characters of a line that are shown.
const MAX_LINE: usize = 120;
/// Characters shown before the place in a long line.
const LEAD: usize = 40;

/// A kind of file that people write.
pub struct Kind {
    /// What messages call one: `the job file`.
    pub name: &'static str,
    /// Its keys.
    pub root: &'static [Key],
    /// How the headers of its tables are written.
    pub tables: &'static str,
    /// The one code of all that is wrong with it; `None`: each thing has its own.
    pub code: Option<Code>,
    /// Largest one in bytes.
    pub max_bytes: usize,
    /// What to do about a larger one.
    pub larger: &'static str,
}

/// Where a key or value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Nowhere in particular: the file as a whole.
    Whole,
    /// Bytes of the text.
    Text {
        /// Of the first one.
        start: usize,
        /// Behind the last one.
        end: usize,
    },
    /// The override with this index.
    Option(usize),
}

impl Place {
    /// Of these bytes.
    #[must_use]
    pub fn text(span: std::ops::Range<usize>) -> Self {
        Self::Text {
            start: span.start,
            end: span.end,
        }
    }

    /// Where two values do not fit together: the override, for it came last; else the first one.
    #[must_use]
    pub fn or_option(self, other: Self) -> Self {
        if matches!(other, Self::Option(_)) {
            other
        } else {
            self
        }
    }
}

/// What is wrong, collected.
pub struct Report<'a> {
    text: &'a str,
    kind: &'static Kind,
    found: Vec<Finding>,
    left_out: usize,
}

struct Finding {
    place: Place,
    code: Code,
    key: String,
    message: String,
    fix: String,
}

impl<'a> Report<'a> {
    /// Nothing is wrong so far with this text.
    #[must_use]
    pub fn new(text: &'a str, kind: &'static Kind) -> Self {
        Self {
            text,
            kind,
            found: Vec::new(),
            left_out: 0,
        }
    }

    /// How much was found so far, what is left out included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.found.len() + self.left_out
    }

    /// Says whether it holds as much as it may; what is found now is only counted, and needs no message.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.found.len() >= FileErrors::MAX
    }

    /// What kind of file it is.
    #[must_use]
    pub fn kind(&self) -> &'static Kind {
        self.kind
    }

    /// Counts what is left out.
    pub fn leave_out(&mut self, count: usize) {
        self.left_out += count;
    }

    /// Notes one thing that is wrong.
    pub fn add(
        &mut self,
        code: Code,
        place: Place,
        key: impl Into<String>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        if self.is_full() {
            return self.leave_out(1);
        }
        let (key, message, fix) = (key.into(), message.into(), fix.into());
        self.found.push(Finding {
            place,
            code: self.kind.code.unwrap_or(code),
            key,
            message,
            fix,
        });
    }

    /// The place of `needle` inside a value, so that it alone is underlined.
    #[must_use]
    pub fn within(&self, place: Place, needle: &str) -> Place {
        let Place::Text { start, end } = place else {
            return place;
        };
        let found = self
            .text
            .get(start..end)
            .and_then(|value| value.find(needle));
        found.map_or(place, |at| Place::Text {
            start: start + at,
            end: start + at + needle.len(),
        })
    }

    /// The line of a place, for messages that speak of two.
    #[must_use]
    pub fn line(&self, place: Place) -> Option<usize> {
        let Place::Text { start, .. } = place else {
            return None;
        };
        self.text
            .get(..start)
            .map(|before| before.matches('\n').count() + 1)
    }

    /// All that was found, in the order of the file; `None` where nothing was.
    #[must_use]
    pub fn finish(self, file: &str, overrides: &[(String, String)]) -> Option<FileErrors> {
        let Self {
            text,
            kind: _,
            mut found,
            left_out,
        } = self;
        if found.is_empty() {
            return None;
        }
        found.sort_by_key(|finding| finding.place);
        let errors = found
            .into_iter()
            .map(|finding| FileError {
                code: finding.code,
                location: locate(finding.place, text, file, overrides),
                key: words::shown(&finding.key),
                message: finding.message,
                fix: finding.fix,
            })
            .collect();
        Some(FileErrors::new(errors, left_out))
    }
}

fn locate(place: Place, text: &str, file: &str, overrides: &[(String, String)]) -> Location {
    let file = words::shown(file);
    match place {
        Place::Whole => Location::File { file },
        Place::Option(index) => {
            let (key, value) = overrides
                .get(index)
                .map_or(("", ""), |(k, v)| (k.as_str(), v.as_str()));
            // The value of an environment variable may be a secret.
            let value = if key.contains(".env.") { "..." } else { value };
            let option = secrets::masked_line(&format!("--set {key}={value}"));
            Location::Option {
                option: words::shown(&option),
            }
        }
        Place::Text { start, end } => locate_in_text(start, end, text, file),
    }
}

fn locate_in_text(start: usize, end: usize, text: &str, file: String) -> Location {
    let start = floor_boundary(text, start);
    let end = floor_boundary(text, end.max(start));
    let before = &text[..start];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line_text = text[line_start..]
        .split('\n')
        .next()
        .unwrap_or_default()
        .trim_end_matches('\r');
    let line_end = line_start + line_text.len();
    let column = text[line_start..start].chars().count();
    let length = text
        .get(start..end.min(line_end))
        .map_or(0, |marked| marked.chars().count())
        .max(1);
    let (text, mark_start) = window(&secrets::masked_line(line_text), column);
    Location::Line {
        file,
        line: before.matches('\n').count() + 1,
        column: column + 1,
        mark_length: length.min(MAX_LINE.saturating_sub(mark_start)).max(1),
        text,
        mark_start,
    }
}

/// The part of a line that is shown, and where the column is in it. One character stays one character wide.
fn window(line: &str, column: usize) -> (String, usize) {
    let long = line.chars().nth(MAX_LINE).is_some();
    let skip = if long && column > LEAD {
        column - LEAD
    } else {
        0
    };
    let part = line
        .chars()
        .skip(skip)
        .take(MAX_LINE)
        .map(|c| if words::is_strange(c) { ' ' } else { c })
        .collect::<String>();
    (part.trim_end().to_owned(), column - skip)
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
