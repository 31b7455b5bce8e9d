//! The shards that only the launcher can list: files below the input folder.

use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use globset::{GlobBuilder, GlobMatcher};
use petctl_spec::{JobSpec, MAX_SHARDS, ShardGlob, ShardSource, StageKind, StageSpec};
use std::io;
use std::path::Path;
use walkdir::WalkDir;

/// Most entries below the input that are looked at.
const MAX_ENTRIES: u64 = 20_000_000;
/// Name of the folder of petctl's own things in an output folder.
const OWN_FOLDER: &str = ".petctl";

/// Keys of each stage; empty for stages whose keys are computed from the job file.
pub(crate) fn list(spec: &JobSpec) -> Result<Vec<Vec<String>>> {
    spec.stages
        .iter()
        .map(|stage| list_stage(spec, stage))
        .collect()
}

fn list_stage(spec: &JobSpec, stage: &StageSpec) -> Result<Vec<String>> {
    let StageKind::Shards(ShardSource::Glob(pattern)) = &stage.kind else {
        return Ok(Vec::new());
    };
    let Some(input) = spec.storage.input.as_deref() else {
        return Err(Error::new(
            Code::InputNotFound,
            format!("stage `{}` lists files, but there is no input", stage.name),
        )
        .fix("set [storage] input to the folder of the files"));
    };
    let input = Path::new(input);
    check_input(input)?;
    let keys = walk(input, Path::new(&spec.storage.output), &stage.name, pattern)?;
    petctl_spec::check_keys(&keys).map_err(|error| {
        let message = format!(
            "stage `{}`, files in {}: {error}",
            stage.name,
            input.display()
        );
        Error::foreign(error.code(), Exit::BadJobFile, message)
            .fix("rename the file, or narrow the pattern so that it does not fit")
    })?;
    Ok(keys)
}

fn check_input(input: &Path) -> Result<()> {
    match std::fs::metadata(input) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(Error::new(
            Code::InputNotFound,
            format!("the input {} is no folder", input.display()),
        )
        .fix("set [storage] input to the folder that holds the files")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let error = Error::new(
                Code::InputNotFound,
                format!("the input folder {} is not there", input.display()),
            );
            Err(error.fix(match nearest_parent(input) {
                Some(parent) => format!(
                    "{} is the last part of that path that is there; relative paths start at the job file's folder",
                    parent.display()
                ),
                None => "set [storage] input to a folder that is there".to_owned(),
            }))
        }
        Err(error) => Err(unreadable(input, &error)),
    }
}

fn nearest_parent(path: &Path) -> Option<&Path> {
    path.ancestors().skip(1).find(|parent| parent.is_dir())
}

/// Relative paths of all files that fit, sorted.
fn walk(input: &Path, output: &Path, stage: &str, pattern: &str) -> Result<Vec<String>> {
    let fits = ShardGlob::new(pattern).map_err(|error| {
        Error::foreign(
            error.code(),
            Exit::BadJobFile,
            format!("stage `{stage}`: {error}"),
        )
        .fix("write the pattern like **/*.xml")
    })?;
    let mut found = Found::new(pattern);
    let mut keys = Vec::new();
    let walker = WalkDir::new(input).follow_links(false).into_iter();
    let own = |entry: &walkdir::DirEntry| {
        entry.depth() > 0
            && entry.file_type().is_dir()
            && (entry.file_name() == OWN_FOLDER || entry.path() == output)
    };
    for entry in walker.filter_entry(|entry| !own(entry)) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(input).to_owned();
            unreadable(&path, &error)
        })?;
        found.entries += 1;
        if found.entries > MAX_ENTRIES {
            return Err(Error::new(
                Code::TooManyShards,
                format!("{} holds more than {MAX_ENTRIES} entries", input.display()),
            )
            .fix("set [storage] input to a smaller folder"));
        }
        let Ok(relative) = entry.path().strip_prefix(input) else {
            continue;
        };
        if !is_file(&entry, &mut found) {
            continue;
        }
        let shown = relative.to_string_lossy();
        if !fits.matches(&shown) {
            found.miss(relative);
            continue;
        }
        if relative.to_str().is_none() {
            return Err(not_text(relative));
        }
        keys.push(shown.into_owned());
        if keys.len() as u64 > MAX_SHARDS {
            return Err(too_many(stage, input, pattern));
        }
    }
    if keys.is_empty() {
        return Err(found.nothing(stage, input));
    }
    keys.sort_unstable();
    Ok(keys)
}

/// Files, and links to files. Links to folders are not followed: they could lead anywhere, or in circles.
fn is_file(entry: &walkdir::DirEntry, found: &mut Found) -> bool {
    if !entry.path_is_symlink() {
        return entry.file_type().is_file();
    }
    match std::fs::metadata(entry.path()) {
        Ok(metadata) => {
            found.linked_folders += u64::from(metadata.is_dir());
            metadata.is_file()
        }
        Err(_dangling) => false,
    }
}

/// What was seen, so that an empty result can be explained.
struct Found {
    pattern: String,
    any_case: Option<GlobMatcher>,
    any_depth: Option<GlobMatcher>,
    entries: u64,
    files: u64,
    linked_folders: u64,
    other_case: (u64, String),
    deeper: (u64, String),
}

impl Found {
    fn new(pattern: &str) -> Self {
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
        }
    }

    fn miss(&mut self, relative: &Path) {
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

    fn nothing(&self, stage: &str, input: &Path) -> Error {
        let pattern = &self.pattern;
        let message = format!(
            "stage `{stage}` has no shards: no file in {} fits `{pattern}`",
            input.display()
        );
        let files = |number| crate::output::count(number, "file", "files");
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

fn too_many(stage: &str, input: &Path, pattern: &str) -> Error {
    Error::new(
        Code::TooManyShards,
        format!("stage `{stage}` has more than {MAX_SHARDS} shards: that many files in {} fit `{pattern}`", input.display()),
    )
    .fix("cut the job in several, each with a narrower pattern, or let one shard handle several files")
}

fn not_text(relative: &Path) -> Error {
    Error::new(
        Code::InvalidShardKey,
        format!(
            "the file name {:?} is not valid UTF-8",
            relative.to_string_lossy()
        ),
    )
    .fix("rename the file, or narrow the pattern so that it does not fit")
}

fn unreadable(path: &Path, cause: &(dyn std::error::Error + 'static)) -> Error {
    Error::new(
        Code::InputUnreadable,
        format!("can't read {}", path.display()),
    )
    .because(cause)
    .fix("make it readable for you, or choose another [storage] input")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn input(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        folder
    }

    fn keys(files: &[&str], pattern: &str) -> Result<Vec<String>> {
        let folder = input(files);
        walk(folder.path(), &folder.path().join("out"), "s", pattern)
    }

    #[test]
    fn keys_are_relative_and_sorted_and_leave_the_output_out() {
        let files = [
            "b.xml",
            "a/c.xml",
            "a/d.txt",
            "out/s/b.xml",
            ".petctl/x.xml",
            "a/.petctl/y.xml",
        ];
        assert_eq!(keys(&files, "**/*.xml").unwrap(), ["a/c.xml", "b.xml"]);
        assert_eq!(keys(&files, "*.xml").unwrap(), ["b.xml"]);
    }

    #[test]
    fn links_to_files_count_and_links_to_folders_are_not_followed() {
        let folder = input(&["a.xml", "sub/b.xml"]);
        std::os::unix::fs::symlink(folder.path().join("a.xml"), folder.path().join("c.xml"))
            .unwrap();
        std::os::unix::fs::symlink(folder.path().join("sub"), folder.path().join("loop")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("d.xml")).unwrap();
        let keys = walk(folder.path(), Path::new("/nowhere"), "s", "**/*.xml").unwrap();
        assert_eq!(keys, ["a.xml", "c.xml", "sub/b.xml"]);
    }

    #[test]
    fn an_empty_listing_says_what_would_fit() {
        for (files, pattern, said) in [
            (
                vec!["A.XML", "B.XML"],
                "*.xml",
                "2 files would fit in other letters, such as ",
            ),
            (
                vec!["sub/a.xml"],
                "*.xml",
                "1 file in folders below would fit `**/*.xml`, such as sub/a.xml",
            ),
            (
                vec!["a.txt"],
                "*.xml",
                "the input holds 1 file, none of which fits",
            ),
            (vec![], "*.xml", "the input holds no files at all"),
        ] {
            let error = keys(&files, pattern).unwrap_err();
            assert_eq!(error.code(), "GLOB_EMPTY");
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
