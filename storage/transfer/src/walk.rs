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

/// What a walk has found, by name below the root.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) files: BTreeMap<String, LocalFile>,
    /// Folders in which nothing is.
    pub(crate) empty_folders: Vec<String>,
    /// What is left out though nobody asked for it.
    pub(crate) notes: Vec<String>,
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
            Ok(metadata) if metadata.is_dir() => {
                self.notes
                    .push(format!("{name} is a link to a folder: left out"));
            }
            Ok(_) => self.notes.push(format!("{name} is no file: left out")),
            Err(error) if entry.path_is_symlink() => {
                self.fault(&name, &format!("it is a link that leads nowhere: {error}"));
            }
            Err(error) => self.fault(&name, &error.to_string()),
        }
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
