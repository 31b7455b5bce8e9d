//! A tree of a store, fetched to a folder.

use super::fetch::fetch_known;
use super::filter::Filter;
use super::journal::{Journal, Known};
use super::local::{blocking, local_error};
use super::names::NameRules;
use super::send::Stamp;
use super::tree::{Crowd, Fault, Listed, folder_prefix};
use super::tree_plan::{Planned, Transfer, TreePlan};
use super::tuning::{Progress, Tuning};
use super::upload::md5_of;
use super::walk::Walked;
use futures::stream::{self, StreamExt};
use petctl_output::manifest::hash_file;
use petctl_storage::{Properties, SharedStore};
use petctl_storage::{StorageError, StorageProblem};
use petctl_text::hex;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// What to fetch where.
#[derive(Debug)]
pub struct Download {
    /// Where from.
    pub from: SharedStore,
    /// What of it.
    pub what: Wanted,
    /// The folder that gets it; it is made.
    pub to: PathBuf,
    /// Remove what is in the folder and not in the source. What the wanted prefix's filter leaves out stays.
    pub delete: bool,
    /// Where to remember what is finished.
    pub journal: Option<PathBuf>,
    /// How much at once.
    pub tuning: Tuning,
}

/// Names to fetch.
#[derive(Debug)]
pub enum Wanted {
    /// Everything below a prefix that the filter takes.
    Prefix(String, Filter),
    /// Exactly these.
    Items(Vec<Item>),
}

/// One name to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// In the store.
    pub source: String,
    /// Below the folder.
    pub name: String,
    /// The version that is meant.
    pub properties: Properties,
    /// SHA-256 that it must have, where one is known.
    pub sha256: Option<[u8; 32]>,
}

impl Planned for Item {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        self.properties.size
    }
}

/// What a download is going to do.
pub type DownloadPlan = TreePlan<Download>;

/// A local file that the source has no more.
#[derive(Debug)]
pub struct Leftover {
    name: String,
    size: u64,
}

impl Planned for Leftover {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        self.size
    }
}

/// What a local file turned out to be.
enum Compared {
    Same,
    Other,
    /// Only its bytes tell.
    Maybe(Stamp),
}

impl Download {
    /// Looks at both sides. Costs one listing of the source, and of each local file its size and time; files without an
    /// entry in the journal that could be the same are read.
    ///
    /// # Errors
    /// [`StorageError`]; a prefix under which nothing is, is [`NotFound`](StorageProblem::NotFound).
    pub async fn plan(mut self) -> Result<DownloadPlan, StorageError> {
        let what = std::mem::replace(&mut self.what, Wanted::Items(Vec::new()));
        let (items, folders, filter) = match what {
            Wanted::Items(items) => (items, Vec::new(), Filter::default()),
            Wanted::Prefix(prefix, filter) => {
                let listed = Listed::read(&self.from, &prefix).await?;
                let (items, folders) = below_prefix(&self.from, &prefix, &filter, listed)?;
                (items, folders, filter)
            }
        };
        let mut faults = faults(&items, &folders);
        let bad: BTreeSet<String> = faults.iter().map(|fault| fault.name.clone()).collect();
        let kept = self.journal.clone();
        let journal =
            blocking(move || kept.map_or_else(|| Ok(Journal::none()), |path| Journal::open(&path)))
                .await?;
        let mut notes = Vec::new();
        let doomed = if self.delete {
            let (to, walk_filter) = (self.to.clone(), filter);
            let walked = blocking(move || {
                let mut walked = Walked::default();
                if to.exists() {
                    walked.add(&to, "", &walk_filter)?;
                }
                Ok(walked)
            })
            .await?;
            faults.extend(walked.faults);
            notes.extend(walked.notes);
            let wanted: BTreeSet<&str> = items.iter().map(|item| item.name.as_str()).collect();
            let gone = walked.files.into_iter();
            gone.filter(|(name, _)| !wanted.contains(name.as_str()))
                .map(|(name, file)| Leftover {
                    name,
                    size: file.stamp.size,
                })
                .collect()
        } else {
            Vec::new()
        };
        let mut plan = TreePlan::new(self, journal);
        plan.folders = folders;
        plan.doomed = doomed;
        plan.notes = notes;
        plan.faults = faults;
        let good = items.into_iter().filter(|item| !bad.contains(&item.name));
        plan.compare(good.collect()).await?;
        plan.order();
        Ok(plan)
    }
}

impl Transfer for Download {
    type File = Item;
    type Doomed = Leftover;

    fn prepare(&self) -> Result<(), StorageError> {
        fs::create_dir_all(&self.to).map_err(|error| local_error("make", &self.to, &error))
    }

    async fn move_file(
        &self,
        item: &Item,
        journal: &Journal,
        crowd: &Crowd<'_>,
        progress: &dyn Progress,
    ) -> Result<(), StorageError> {
        let path = self.to.join(&item.name);
        let moved = Moved {
            progress,
            bytes: AtomicU64::new(0),
        };
        let fetched = fetch_known(
            &self.from,
            &item.source,
            &item.properties,
            item.sha256.as_ref(),
            &path,
            &self.tuning,
            &moved,
        )
        .await?;
        if let Ok(metadata) = fs::metadata(&path) {
            let known = Known {
                stamp: Stamp::of(&metadata),
                md5: fetched.md5,
                etag: fetched.properties.etag,
            };
            // Its name is its own: nobody has written it since.
            journal.note_written(&item.name, &known);
        }
        crowd.with(|so_far| {
            so_far.files += 1;
            so_far.bytes += item.properties.size;
            so_far.moved_bytes += moved.bytes.into_inner();
        });
        Ok(())
    }

    async fn make_folder(&self, name: &str) -> Result<(), StorageError> {
        let path = self.to.join(name);
        fs::create_dir_all(&path).map_err(|error| local_error("make", &path, &error))
    }

    async fn remove(&self, leftover: &Leftover) -> Result<bool, StorageError> {
        let path = self.to.join(&leftover.name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(local_error("delete", &path, &error));
            }
            Ok(()) | Err(_) => {}
        }
        // Folders that are empty now go too, those that are not stay.
        let mut folder = path.parent();
        while let Some(path) = folder.filter(|path| *path != self.to) {
            if fs::remove_dir(path).is_err() {
                break;
            }
            folder = path.parent();
        }
        Ok(true)
    }
}

impl TreePlan<Download> {
    async fn compare(&mut self, items: Vec<Item>) -> Result<(), StorageError> {
        let mut maybe = Vec::new();
        for item in items {
            let path = self.transfer.to.join(&item.name);
            match self.compare_one(&item, &path) {
                Compared::Same => self.unchanged += 1,
                Compared::Other => self.files.push(item),
                Compared::Maybe(stamp) => maybe.push((item, path, stamp)),
            }
        }
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let mut hashed = stream::iter(maybe)
            .map(|(item, path, stamp)| async move {
                let (md5, sha256) = (item.properties.md5, item.sha256);
                let known = blocking(move || hash(&path, md5, sha256)).await;
                (item, stamp, known)
            })
            .buffered(threads.max(2));
        while let Some((item, stamp, same)) = hashed.next().await {
            match same {
                Ok(Some(md5)) => {
                    let known = Known {
                        stamp,
                        md5,
                        etag: item.properties.etag.clone(),
                    };
                    self.journal.note(&item.name, &known);
                    self.unchanged += 1;
                }
                Ok(None) | Err(_) => self.files.push(item),
            }
        }
        Ok(())
    }

    fn compare_one(&self, item: &Item, path: &Path) -> Compared {
        let Ok(metadata) = fs::symlink_metadata(path) else {
            return Compared::Other;
        };
        let stamp = Stamp::of(&metadata);
        if !metadata.is_file() || stamp.size != item.properties.size {
            return Compared::Other;
        }
        let known = self.journal.get(&item.name);
        match known.filter(|known| known.stamp == stamp) {
            Some(known) if known.etag == item.properties.etag => Compared::Same,
            // Without a kept hash, what was written after the source was is taken for it.
            None if item.properties.md5.is_none() && item.sha256.is_none() => {
                match metadata.modified() {
                    Ok(modified) if modified >= item.properties.modified => Compared::Same,
                    Ok(_) | Err(_) => Compared::Other,
                }
            }
            Some(_) | None => Compared::Maybe(stamp),
        }
    }
}

/// Counts what goes over the wire for one file.
struct Moved<'a> {
    progress: &'a dyn Progress,
    bytes: AtomicU64,
}

impl Progress for Moved<'_> {
    fn moved(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.progress.moved(bytes);
    }

    fn skipped(&self, bytes: u64) {
        self.progress.skipped(bytes);
    }

    fn taken_back(&self, bytes: u64) {
        self.progress.taken_back(bytes);
    }

    fn file_done(&self, name: &str) {
        self.progress.file_done(name);
    }
}

fn below_prefix(
    store: &SharedStore,
    prefix: &str,
    filter: &Filter,
    listed: Listed,
) -> Result<(Vec<Item>, Vec<String>), StorageError> {
    if listed.files.is_empty() && listed.folders.is_empty() {
        return Err(StorageError::new(
            StorageProblem::NotFound,
            format!(
                "there is nothing in {}",
                store.address(&folder_prefix(prefix))
            ),
        )
        .fix("`petctl storage ls` shows what is where"));
    }
    let files = listed.files.into_iter();
    let items = files
        .filter(|(name, _)| filter.takes(name))
        .map(|(name, entry)| Item {
            source: entry.name,
            name,
            properties: entry.properties,
            sha256: None,
        });
    let folders = listed.folders.into_keys();
    Ok((
        items.collect(),
        folders.filter(|name| filter.takes(name)).collect(),
    ))
}

/// Names that can't be files here.
fn faults(items: &[Item], folders: &[String]) -> Vec<Fault> {
    let names: BTreeSet<&str> = items.iter().map(|item| item.name.as_str()).collect();
    let fault = |name: &str, why: &str| Fault {
        name: name.to_owned(),
        problem: StorageProblem::BadName,
        why: why.to_owned(),
    };
    let mut faults = Vec::new();
    for name in names
        .iter()
        .copied()
        .chain(folders.iter().map(String::as_str))
    {
        if let Err(why) = NameRules::Folder.check(name) {
            faults.push(fault(name, why));
            continue;
        }
        let above = name.match_indices('/').map(|(at, _)| &name[..at]);
        for file in above.filter(|folder| names.contains(folder)) {
            let why = format!("{file} is a file there, and can't be a folder as well here");
            faults.push(fault(name, &why));
        }
    }
    faults
}

/// The MD5 of a local file that is what the store has, by its SHA-256 or MD5; `None` where it is something else. Blocks.
fn hash(
    path: &Path,
    md5: Option<[u8; 16]>,
    sha256: Option<[u8; 32]>,
) -> Result<Option<[u8; 16]>, StorageError> {
    if let Some(sha256) = sha256 {
        let hashed = hash_file(path).map_err(|error| local_error("read", path, &error))?;
        if hashed.1 != hex(&sha256) {
            return Ok(None);
        }
    } else if md5.is_none() {
        return Ok(None);
    }
    let here = md5_of(path)?;
    Ok((sha256.is_some() || md5 == Some(here)).then_some(here))
}
