//! Files below a local input folder.

use super::found::Found;
use super::{MAX_ENTRIES, OWN_FOLDER, Wanted, too_many};
use petctl_spec::MAX_SHARDS;
use petctl_text::obstacle::Obstacle;
use petctl_ui::error::{Code, Error, Result};
use std::io;
use std::path::Path;
use walkdir::WalkDir;

/// Says what is wrong with an input folder that can't be listed.
pub(super) fn check_input(input: &Path) -> Result<()> {
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
pub(super) fn walk(
    input: &Path,
    output: &Path,
    wanted: &Wanted<'_>,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Vec<String>> {
    let (stage, pattern) = (wanted.stage, wanted.pattern);
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
        found.seen(say, keys.len());
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
        if !wanted.fits.matches(&shown) {
            found.miss(relative);
            continue;
        }
        if relative.to_str().is_none() {
            return Err(not_text(relative));
        }
        keys.push(shown.into_owned());
        if keys.len() as u64 > MAX_SHARDS {
            return Err(too_many(wanted, &input.display()));
        }
    }
    if keys.is_empty() {
        return Err(found.nothing(stage, &input.display()));
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

pub(super) fn unreadable(path: &Path, cause: &(dyn std::error::Error + 'static)) -> Error {
    Error::new(
        Code::InputUnreadable,
        format!("can't read {}", path.display()),
    )
    .because(cause)
    .fix(Obstacle::behind(cause).fix_reading("choose another [storage] input"))
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

    fn list(input: &Path, output: &Path, pattern: &str) -> Result<Vec<String>> {
        walk(input, output, &Wanted::new("s", pattern)?, &|_| ())
    }

    fn keys(files: &[&str], pattern: &str) -> Result<Vec<String>> {
        let folder = input(files);
        list(folder.path(), &folder.path().join("out"), pattern)
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
        let keys = list(folder.path(), Path::new("/nowhere"), "**/*.xml").unwrap();
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
