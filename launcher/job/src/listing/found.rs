//! What a listing has seen, so that an empty one can be explained and a long one says how far it is.

use globset::{GlobBuilder, GlobMatcher};
use petctl_ui::error::{Code, Error};
use std::fmt::Display;
use std::path::Path;
use std::time::{Duration, Instant};

/// First distance of two lines that say how far it is; it doubles.
const DISTANCE: Duration = Duration::from_secs(2);

/// What was seen, so that an empty result can be explained.
pub(super) struct Found {
    pattern: String,
    any_case: Option<GlobMatcher>,
    any_depth: Option<GlobMatcher>,
    pub(super) entries: u64,
    files: u64,
    pub(super) linked_folders: u64,
    other_case: (u64, String),
    deeper: (u64, String),
    say_at: Instant,
    distance: Duration,
}

impl Found {
    pub(super) fn new(pattern: &str) -> Self {
        let any_depth = if pattern.contains("**") {
            None
        } else {
            matcher(&format!("**/{pattern}"), false)
        };
        Self {
            pattern: pattern.to_owned(),
            any_case: matcher(pattern, true),
            any_depth,
            entries: 0,
            files: 0,
            linked_folders: 0,
            other_case: (0, String::new()),
            deeper: (0, String::new()),
            say_at: Instant::now() + DISTANCE,
            distance: DISTANCE,
        }
    }

    /// One more entry. Says how far it is, now and then.
    pub(super) fn seen(&mut self, say: &(dyn Fn(&str) + Sync), fit: usize) {
        self.entries += 1;
        if self.entries.is_multiple_of(256) && Instant::now() >= self.say_at {
            say(&format!(
                "listing the input: {} entries so far, {fit} fit `{}`",
                self.entries, self.pattern
            ));
            self.distance *= 2;
            self.say_at = Instant::now() + self.distance;
        }
    }

    pub(super) fn miss(&mut self, relative: &Path) {
        self.files += 1;
        let seen = |(number, first): &mut (u64, String)| {
            if *number == 0 {
                *first = relative.to_string_lossy().into_owned();
            }
            *number += 1;
        };
        if self
            .any_case
            .as_ref()
            .is_some_and(|any_case| any_case.is_match(relative))
        {
            seen(&mut self.other_case);
        } else if self
            .any_depth
            .as_ref()
            .is_some_and(|any_depth| any_depth.is_match(relative))
        {
            seen(&mut self.deeper);
        }
    }

    pub(super) fn nothing(&self, stage: &str, input: &dyn Display) -> Error {
        let pattern = &self.pattern;
        let of_folders = pattern.ends_with('/');
        let kind = if of_folders { "folder" } else { "file" };
        let message =
            format!("stage `{stage}` has no shards: no {kind} in {input} fits `{pattern}`");
        let files = |number| petctl_ui::terminal::count(number, "file", "files");
        let fix = if self.other_case.0 > 0 {
            let (number, first) = &self.other_case;
            format!(
                "{} would fit in other letters, such as {first}: write the pattern in theirs",
                files(*number)
            )
        } else if self.deeper.0 > 0 {
            let (number, first) = &self.deeper;
            format!(
                "{} in folders below would fit `**/{pattern}`, such as {first}",
                files(*number)
            )
        } else if self.files == 0 && self.linked_folders > 0 {
            "the input holds only links to folders, which are not followed: set [storage] input to the folder itself"
                .to_owned()
        } else if self.files == 0 {
            "the input holds no files at all: check [storage] input".to_owned()
        } else if of_folders {
            format!(
                "the input holds {}, and a pattern with a `/` at its end is of folders: check the pattern and [storage] input",
                files(self.files)
            )
        } else {
            format!(
                "the input holds {}, none of which fits: check the pattern and [storage] input",
                files(self.files)
            )
        };
        Error::new(Code::GlobEmpty, message).fix(fix)
    }
}

fn matcher(pattern: &str, any_case: bool) -> Option<GlobMatcher> {
    let mut builder = GlobBuilder::new(pattern);
    builder
        .literal_separator(true)
        .backslash_escape(false)
        .case_insensitive(any_case);
    builder.build().ok().map(|glob| glob.compile_matcher())
}
