//! Listing a folder in the order of its names' bytes, a page at a time.

use super::HIDDEN;
use super::files::{Folder, is_absent, local, properties};
use crate::error::StorageError;
use crate::store::{Entry, LeftOut, Page};
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
        left_out: Vec::new(),
    };
    walk.folder(&folder.root, "")?;
    let more = walk.entries.len() > limit;
    walk.entries.truncate(limit);
    let last = walk.entries.last().filter(|_| more);
    let mark = last.map(|entry| entry.name.clone());
    // What comes behind it is told with the next page.
    walk.left_out
        .retain(|left_out| mark.as_ref().is_none_or(|mark| left_out.name <= *mark));
    Ok(Page {
        entries: walk.entries,
        mark,
        left_out: walk.left_out,
    })
}

struct Walk<'a> {
    prefix: &'a str,
    mark: Option<&'a str>,
    limit: usize,
    entries: Vec<Entry>,
    left_out: Vec<LeftOut>,
}

/// A child of a folder; `name` is the whole one, with a `/` at the end of a folder's.
struct Child {
    name: String,
    /// Or why it is neither a file nor a folder.
    known: Result<fs::Metadata, String>,
}

impl Walk<'_> {
    fn folder(&mut self, path: &Path, name: &str) -> Result<(), StorageError> {
        let children = children(path, name)?;
        for child in children {
            // One more than a page tells that there is another.
            if self.entries.len() > self.limit {
                return Ok(());
            }
            let taken = child.name.starts_with(self.prefix) && self.is_new(&child.name);
            match child.known {
                Ok(known) if known.is_dir() => self.subfolder(path, &child.name, &known)?,
                Ok(known) if taken => self.take(child.name, &known, false),
                Err(why) if taken => self.leave_out(child.name, why),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn subfolder(
        &mut self,
        parent: &Path,
        name: &str,
        known: &fs::Metadata,
    ) -> Result<(), StorageError> {
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
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                if name.starts_with(self.prefix) && self.is_new(name) {
                    let why = format!("it is a folder that can't be listed: {error}");
                    self.leave_out(name.trim_end_matches('/').to_owned(), why);
                }
                return Ok(());
            }
            Err(error) => return Err(local(&error, "list", &path)),
        };
        if is_empty && name.starts_with(self.prefix) && self.is_new(name) {
            self.take(name.to_owned(), known, true);
            return Ok(());
        }
        self.folder(&path, name)
    }

    fn is_new(&self, name: &str) -> bool {
        self.mark.is_none_or(|mark| name > mark)
    }

    fn leave_out(&mut self, name: String, why: String) {
        self.left_out.push(LeftOut { name, why });
    }

    fn take(&mut self, name: String, known: &fs::Metadata, is_folder: bool) {
        let mut properties = properties(known);
        if is_folder {
            properties.size = 0;
        }
        self.entries.push(Entry {
            note: None,
            name,
            properties,
            is_folder,
        });
    }
}

fn last_part(name: &str) -> &str {
    let name = name.trim_end_matches('/');
    name.rsplit('/').next().unwrap_or(name)
}

/// What is in a folder, in the order of the names below it. Links to files are files; links to folders are not
/// followed: they may lead in circles. Names that are not UTF-8 have no address.
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
        let own = match entry.file_name().into_string() {
            Ok(own) => own,
            Err(own) => {
                children.push(Child {
                    name: format!("{name}{}", own.to_string_lossy()),
                    known: Err("its name is not UTF-8".to_owned()),
                });
                continue;
            }
        };
        if own == HIDDEN {
            continue;
        }
        let link = entry.file_type().map_err(failed)?.is_symlink();
        let left_out = |why: &str| (format!("{name}{own}"), Err(why.to_owned()));
        let (name, known) = match fs::metadata(entry.path()) {
            Ok(known) if known.is_dir() && !link => (format!("{name}{own}/"), Ok(known)),
            Ok(known) if known.is_file() => (format!("{name}{own}"), Ok(known)),
            Ok(known) if known.is_dir() => left_out("it is a link to a folder"),
            Ok(_) => left_out("it is a pipe, socket or device"),
            Err(_) if link => left_out("it is a link that leads nowhere"),
            Err(error) if is_absent(&error) => continue,
            Err(error) => return Err(failed(error)),
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
