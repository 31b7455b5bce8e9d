//! What is in a local tree.

use super::filter::Filter;
use super::local::local_error;
use super::part::PART_ENDING;
use super::send::Stamp;
use super::tree::Fault;
use petctl_storage::{StorageError, StorageProblem};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// A file of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalFile {
    pub(crate) path: PathBuf,
    pub(crate) stamp: Stamp,
}

/// Something that has no bytes to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoFile {
    name: String,
    /// What it is, as the end of a sentence.
    is: String,
}

impl NoFile {
    /// Where it should have been sent.
    pub(crate) fn fault(self) -> Fault {
        Fault {
            name: self.name,
            problem: StorageProblem::Local,
            why: format!("it is {}", self.is),
        }
    }

    /// Where it may stay.
    pub(crate) fn note(self) -> String {
        format!("{} is {}: it stays", self.name, self.is)
    }
}

/// What a walk has found, by name below the root.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) files: BTreeMap<String, LocalFile>,
    /// Folders in which nothing is.
    pub(crate) empty_folders: Vec<String>,
    /// What is neither a file nor a folder, nor leads to a file.
    pub(crate) no_files: Vec<NoFile>,
    pub(crate) faults: Vec<Fault>,
}

impl Walked {
    /// Adds a file, or a folder with all that is in it, under `name` (empty: its contents stand at the top). Links to
    /// files are followed, links to folders are not.
    pub(crate) fn add(
        &mut self,
        root: &Path,
        name: &str,
        filter: &Filter,
    ) -> Result<(), StorageError> {
        let metadata = fs::metadata(root).map_err(|error| local_error("read", root, &error))?;
        if metadata.is_file() {
            let stamp = Stamp::of(&metadata);
            self.files.insert(
                name.to_owned(),
                LocalFile {
                    path: root.to_owned(),
                    stamp,
                },
            );
            return Ok(());
        }
        // A link at the very top is meant.
        let root = fs::canonicalize(root).map_err(|error| local_error("read", root, &error))?;
        let mut children: BTreeMap<PathBuf, bool> = BTreeMap::new();
        for entry in WalkDir::new(&root).min_depth(1) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.fault(&shown(&root, error.path()), &error.to_string());
                    continue;
                }
            };
            if let Some(parent) = entry.path().parent() {
                children.insert(parent.to_owned(), true);
            }
            let Some(below) = below(&root, entry.path()) else {
                self.fault(&shown(&root, Some(entry.path())), "its name is not UTF-8");
                continue;
            };
            let full = if name.is_empty() {
                below.clone()
            } else {
                format!("{name}/{below}")
            };
            if entry.file_type().is_dir() {
                children.entry(entry.path().to_owned()).or_insert(false);
                continue;
            }
            if !filter.takes(&below) || below.ends_with(PART_ENDING) {
                continue;
            }
            self.add_entry(&entry, full);
        }
        for (path, has_children) in children {
            let Some(below) = below(&root, &path).filter(|_| !has_children) else {
                continue;
            };
            if filter.takes(&below) {
                let full = if name.is_empty() {
                    below
                } else {
                    format!("{name}/{below}")
                };
                self.empty_folders.push(full);
            }
        }
        Ok(())
    }

    fn add_entry(&mut self, entry: &walkdir::DirEntry, name: String) {
        let metadata = if entry.path_is_symlink() {
            fs::metadata(entry.path())
        } else {
            entry.metadata().map_err(std::io::Error::from)
        };
        match metadata {
            Ok(metadata) if metadata.is_file() => {
                let (path, stamp) = (entry.path().to_owned(), Stamp::of(&metadata));
                self.files.insert(name, LocalFile { path, stamp });
            }
            Ok(metadata) if metadata.is_dir() => self.no_file(name, "a link to a folder"),
            Ok(_) => self.no_file(name, "a pipe, socket or device"),
            Err(error) if entry.path_is_symlink() => {
                self.no_file(name, &format!("a link that leads nowhere: {error}"));
            }
            Err(error) => self.fault(&name, &error.to_string()),
        }
    }

    fn no_file(&mut self, name: String, is: &str) {
        let is = is.to_owned();
        self.no_files.push(NoFile { name, is });
    }

    fn fault(&mut self, name: &str, why: &str) {
        self.faults.push(Fault {
            name: name.to_owned(),
            problem: StorageProblem::Local,
            why: why.to_owned(),
        });
    }

    /// Looks whether those files can be read, without reading them.
    pub(crate) fn check_readable<'a>(
        files: impl Iterator<Item = (&'a str, &'a Path)>,
    ) -> Vec<Fault> {
        use rustix::fs::{Access, access};
        files
            .filter_map(|(name, path)| {
                let error = access(path, Access::READ_OK).err()?;
                Some(Fault {
                    name: name.to_owned(),
                    problem: StorageProblem::Local,
                    why: format!("it can't be read: {}", std::io::Error::from(error)),
                })
            })
            .collect()
    }
}

fn below(root: &Path, path: &Path) -> Option<String> {
    path.strip_prefix(root).ok()?.to_str().map(str::to_owned)
}

fn shown(root: &Path, path: Option<&Path>) -> String {
    let path = path.unwrap_or(root);
    path.strip_prefix(root)
        .unwrap_or(path)
        .display()
        .to_string()
}
