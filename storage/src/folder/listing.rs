//! Listing a folder in the order of its names' bytes, a page at a time.

use super::HIDDEN;
use super::files::{Folder, is_absent, local, properties};
use crate::error::StorageError;
use crate::store::{Entry, Page};
use std::fs;
use std::io;
use std::path::Path;

/// Names of one page.
const PAGE_NAMES: usize = 5_000;

/// The names behind `mark` that start with `prefix`.
pub(super) fn page(
    folder: &Folder,
    prefix: &str,
    mark: Option<&str>,
) -> Result<Page, StorageError> {
    page_of(folder, prefix, mark, PAGE_NAMES)
}

fn page_of(
    folder: &Folder,
    prefix: &str,
    mark: Option<&str>,
    limit: usize,
) -> Result<Page, StorageError> {
    if !folder.root.is_dir() {
        return Err(folder.missing_root());
    }
    let mut walk = Walk {
        prefix,
        mark,
        limit,
        entries: Vec::new(),
    };
    walk.folder(&folder.root, "")?;
    let more = walk.entries.len() > limit;
    walk.entries.truncate(limit);
    let mark = walk.entries.last().filter(|_| more);
    Ok(Page {
        mark: mark.map(|entry| entry.name.clone()),
        entries: walk.entries,
    })
}

struct Walk<'a> {
    prefix: &'a str,
    mark: Option<&'a str>,
    limit: usize,
    entries: Vec<Entry>,
}

/// A child of a folder; `name` is the whole one, with a `/` at the end of a folder's.
struct Child {
    name: String,
    known: fs::Metadata,
}

impl Walk<'_> {
    fn folder(&mut self, path: &Path, name: &str) -> Result<(), StorageError> {
        let children = children(path, name)?;
        for child in children {
            // One more than a page tells that there is another.
            if self.entries.len() > self.limit {
                return Ok(());
            }
            if child.known.is_dir() {
                self.subfolder(path, &child)?;
            } else if child.name.starts_with(self.prefix) && self.is_new(&child.name) {
                self.take(&child, false);
            }
        }
        Ok(())
    }

    fn subfolder(&mut self, parent: &Path, child: &Child) -> Result<(), StorageError> {
        let name = child.name.as_str();
        let wanted = name.starts_with(self.prefix) || self.prefix.starts_with(name);
        let past = self
            .mark
            .is_some_and(|mark| !mark.starts_with(name) && name < mark);
        if !wanted || past {
            return Ok(());
        }
        let path = parent.join(last_part(name));
        let is_empty = match fs::read_dir(&path) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(local(&error, "list", &path)),
        };
        if is_empty && name.starts_with(self.prefix) && self.is_new(name) {
            self.take(child, true);
            return Ok(());
        }
        self.folder(&path, name)
    }

    fn is_new(&self, name: &str) -> bool {
        self.mark.is_none_or(|mark| name > mark)
    }

    fn take(&mut self, child: &Child, is_folder: bool) {
        let mut properties = properties(&child.known);
        if is_folder {
            properties.size = 0;
        }
        self.entries.push(Entry {
            name: child.name.clone(),
            properties,
            is_folder,
        });
    }
}

fn last_part(name: &str) -> &str {
    let name = name.trim_end_matches('/');
    name.rsplit('/').next().unwrap_or(name)
}

/// Files, links to files, and folders, in the order of the names below them. Links to folders are not followed: they may
/// lead in circles. Names that are not UTF-8 have no address, and are left out.
fn children(path: &Path, name: &str) -> Result<Vec<Child>, StorageError> {
    let failed = |error: io::Error| local(&error, "list", path);
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut children = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let Ok(own) = entry.file_name().into_string() else {
            tracing::warn!(path = %entry.path().display(), "a name that is not UTF-8 is left out");
            continue;
        };
        if own == HIDDEN {
            continue;
        }
        let link = entry.file_type().map_err(failed)?.is_symlink();
        let known = match fs::metadata(entry.path()) {
            Ok(known) => known,
            Err(error) if is_absent(&error) => continue,
            Err(error) => return Err(failed(error)),
        };
        let name = match (known.is_dir(), known.is_file()) {
            (true, _) if !link => format!("{name}{own}/"),
            (false, true) => format!("{name}{own}"),
            (true | false, _) => continue,
        };
        children.push(Child { name, known });
    }
    children.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(children)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_any_size_give_every_name_once_in_order() {
        let root = tempfile::tempdir().unwrap();
        let mut all = Vec::new();
        for n in 0..60 {
            let name = format!("{}/{}{n:02}", n % 4, ["", "x-", "x/", "x."][n % 3]);
            let path = root.path().join(&name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
            all.push(name);
        }
        fs::create_dir(root.path().join("1/x/empty")).unwrap();
        all.push("1/x/empty/".to_owned());
        all.sort();
        let folder = Folder {
            root: root.path().to_owned(),
        };
        for limit in [1, 2, 7, 60, 61, 100] {
            let mut names = Vec::new();
            let mut mark: Option<String> = None;
            loop {
                let page = page_of(&folder, "", mark.as_deref(), limit).unwrap();
                assert!(page.entries.len() <= limit);
                names.extend(page.entries.into_iter().map(|entry| entry.name));
                mark = page.mark;
                if mark.is_none() {
                    break;
                }
            }
            assert_eq!(names, all, "{limit}");
        }
    }
}
