//! Files below a local input folder.

use super::found::Found;
use super::reach::Reach;
use super::{Input, MAX_ENTRIES, OWN_FOLDER, Wanted, listing_all, too_many};
use petctl_spec::MAX_SHARDS;
use petctl_text::obstacle::Obstacle;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::terminal::count;
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

/// What a walk has found, by relative paths.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// All that fits, sorted.
    pub(super) names: Vec<String>,
    /// What could be a shard, or hold some, and can't be looked at: the path and what it is. Sorted.
    pub(super) hidden: Vec<(String, String)>,
}

/// All that fits below the input.
pub(super) fn walk(
    input: &Path,
    output: &Path,
    wanted: &Wanted<'_>,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Walked> {
    let mut walk = Walk {
        wanted,
        reach: Reach::new(wanted.pattern),
        found: Found::new(wanted.pattern),
        walked: Walked::default(),
        not_text: Vec::new(),
    };
    let walker = WalkDir::new(input).follow_links(false).into_iter();
    let own = |entry: &walkdir::DirEntry| {
        entry.depth() > 0
            && entry.file_type().is_dir()
            && (entry.file_name() == OWN_FOLDER || entry.path() == output)
    };
    for entry in walker.filter_entry(|entry| !own(entry)) {
        walk.found.seen(say, walk.walked.names.len());
        if walk.found.entries > MAX_ENTRIES {
            return Err(Error::new(
                Code::TooManyShards,
                format!("{} holds more than {MAX_ENTRIES} entries", input.display()),
            )
            .fix("set [storage] input to a smaller folder"));
        }
        match entry {
            Ok(entry) => walk.entry(input, &entry),
            Err(error) if error.depth() == 0 => return Err(unreadable(input, &error)),
            Err(error) => walk.failed(input, &error),
        }
        if walk.walked.names.len() as u64 > MAX_SHARDS {
            return Err(too_many(wanted, &input.display()));
        }
    }
    let Walk {
        found,
        mut walked,
        not_text,
        ..
    } = walk;
    if !not_text.is_empty() {
        return Err(names_not_text(wanted, input, &not_text));
    }
    if walked.names.is_empty() && walked.hidden.is_empty() {
        return Err(found.nothing(wanted.stage, &input.display()));
    }
    walked.names.sort_unstable();
    walked.hidden.sort_unstable();
    Ok(walked)
}

struct Walk<'a> {
    wanted: &'a Wanted<'a>,
    reach: Reach,
    found: Found,
    walked: Walked,
    /// Names that fit and are not UTF-8.
    not_text: Vec<String>,
}

impl Walk<'_> {
    /// Links to folders are not followed: they could lead anywhere, or in circles.
    fn entry(&mut self, input: &Path, entry: &walkdir::DirEntry) {
        let Ok(relative) = entry.path().strip_prefix(input) else {
            return;
        };
        let shown = relative.to_string_lossy();
        if entry.file_type().is_dir() {
            if entry.depth() > 0 && self.wanted.fits.matches_folder(&shown) {
                self.take(relative, entry.path());
            }
            return;
        }
        let fits = self.wanted.fits.matches(&shown);
        let holds = self.reach.holds(&shown) || self.wanted.fits.matches_folder(&shown);
        if !entry.path_is_symlink() {
            if entry.file_type().is_file() {
                self.file(fits, relative, entry.path());
            } else if fits {
                self.hide(&shown, "a pipe, socket or device");
            }
            return;
        }
        match std::fs::metadata(entry.path()) {
            Ok(metadata) if metadata.is_file() => self.file(fits, relative, entry.path()),
            Ok(metadata) if metadata.is_dir() => {
                self.found.linked_folders += 1;
                if holds {
                    self.hide(&shown, "a link to a folder");
                }
            }
            Ok(_) if fits => self.hide(&shown, "a link to a pipe, socket or device"),
            Err(error) if fits || holds => {
                let is = if error.kind() == io::ErrorKind::NotFound {
                    "a link that leads nowhere".to_owned()
                } else {
                    format!("a link that can't be followed ({error})")
                };
                self.hide(&shown, &is);
            }
            Ok(_) | Err(_) => {}
        }
    }

    fn file(&mut self, fits: bool, relative: &Path, path: &Path) {
        if fits {
            self.take(relative, path);
        } else {
            self.found.miss(relative);
        }
    }

    fn take(&mut self, relative: &Path, path: &Path) {
        let Some(name) = relative.to_str() else {
            self.not_text.push(relative.to_string_lossy().into_owned());
            return;
        };
        match rustix::fs::access(path, rustix::fs::Access::READ_OK) {
            Ok(()) => self.walked.names.push(name.to_owned()),
            Err(errno) => self.hide(name, &format!("not readable ({})", io::Error::from(errno))),
        }
    }

    /// What is gone by now never was.
    fn failed(&mut self, input: &Path, error: &walkdir::Error) {
        let kind = error.io_error().map(io::Error::kind);
        let relative = error.path().and_then(|path| path.strip_prefix(input).ok());
        let Some(relative) = relative.filter(|_| kind != Some(io::ErrorKind::NotFound)) else {
            return;
        };
        let shown = relative.to_string_lossy();
        if self.reach.holds(&shown) || self.wanted.fits.matches(&shown) {
            let why = error
                .io_error()
                .map_or_else(String::new, |error| format!(" ({error})"));
            self.hide(&shown, &format!("a folder that can't be listed{why}"));
        }
    }

    fn hide(&mut self, name: &str, is: &str) {
        self.walked.hidden.push((name.to_owned(), is.to_owned()));
    }
}

/// All files of a folder that is an input itself: what decides whether it changed.
pub(super) fn files(name: &str, folder: &Path) -> Result<Vec<Input>> {
    let mut files = Vec::new();
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        let Ok(below) = entry.path().strip_prefix(folder) else {
            continue;
        };
        if entry.path().is_file() {
            files.push(Input::File {
                name: format!("{name}/{}", below.to_string_lossy()),
                path: entry.path().to_owned(),
            });
        }
    }
    Ok(files)
}

fn names_not_text(wanted: &Wanted<'_>, input: &Path, names: &[String]) -> Error {
    let what = format!(
        "stage `{}`: below {}, {} not valid UTF-8",
        wanted.stage,
        input.display(),
        count(
            names.len() as u64,
            "name that fits is",
            "names that fit are"
        )
    );
    let error = Error::new(Code::InvalidShardKey, what);
    let shown: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    listing_all(error, &shown).fix("rename them, or narrow the pattern so that it does not fit")
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
        let wanted = Wanted::new("s", pattern)?;
        walk(input, output, &wanted, &|_| ()).map(|walked| walked.names)
    }

    fn hidden(input: &Path, pattern: &str) -> Vec<String> {
        let wanted = Wanted::new("s", pattern).unwrap();
        let walked = walk(input, Path::new("/nowhere"), &wanted, &|_| ()).unwrap();
        walked.hidden.into_iter().map(|(name, _)| name).collect()
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
    fn links_to_files_count_and_what_hides_shards_is_told() {
        use std::os::unix::fs::symlink;
        let folder = input(&["a.xml", "sub/b.xml", "sub/deep/c.txt"]);
        let at = |name: &str| folder.path().join(name);
        symlink(at("a.xml"), at("c.xml")).unwrap();
        symlink(at("sub"), at("loop")).unwrap();
        symlink("nowhere", at("d.xml")).unwrap();
        symlink("e.xml", at("e.xml")).unwrap();
        symlink("nowhere", at("sub/notes.txt")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe.xml"), 0o600.into()).unwrap();
        let keys = list(folder.path(), Path::new("/nowhere"), "**/*.xml").unwrap();
        assert_eq!(keys, ["a.xml", "c.xml", "sub/b.xml"]);
        let all = ["d.xml", "e.xml", "loop", "pipe.xml", "sub/notes.txt"];
        assert_eq!(hidden(folder.path(), "**/*.xml"), all);
        // What can't hold a shard hides none.
        assert_eq!(
            hidden(folder.path(), "*.xml"),
            ["d.xml", "e.xml", "pipe.xml"]
        );
        assert_eq!(hidden(folder.path(), "sub/*.xml"), Vec::<String>::new());
        assert_eq!(hidden(folder.path(), "{loop,sub}/*.xml"), ["loop"]);
    }

    #[test]
    fn a_pattern_with_a_slash_at_its_end_is_of_folders() {
        let folder = input(&["bags/a/metadata.yaml", "bags/a/a_0.db3", "bags/b/x", "c"]);
        let keys = list(folder.path(), Path::new("/nowhere"), "bags/*/").unwrap();
        assert_eq!(keys, ["bags/a", "bags/b"]);
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
