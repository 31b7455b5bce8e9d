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
use super::walk::{NoFile, Walked};
use futures::stream::{self, StreamExt};
use petctl_output::folders::make_folders;
use petctl_output::manifest::{ManifestLink, hash_file};
use petctl_output::shape::stays_below;
use petctl_storage::{Properties, SharedStore};
use petctl_storage::{StorageError, StorageProblem};
use petctl_text::hex;
use std::collections::{BTreeMap, BTreeSet};
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
    Items(Items),
}

/// Names to fetch, and what is no file among them.
#[derive(Clone, Debug, Default)]
pub struct Items {
    /// Files.
    pub files: Vec<Item>,
    /// Links, each to one of these names or to a folder of them.
    pub links: Vec<ManifestLink>,
    /// Folders in which nothing is.
    pub folders: Vec<String>,
    /// What is known not to come.
    pub faults: Vec<Fault>,
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
        let what = std::mem::replace(&mut self.what, Wanted::Items(Items::default()));
        let (items, filter) = match what {
            Wanted::Items(items) => (items, Filter::default()),
            Wanted::Prefix(prefix, filter) => {
                let listed = Listed::read(&self.from, &prefix).await?;
                let items = below_prefix(&self.from, &prefix, &filter, listed)?;
                (items, filter)
            }
        };
        let Items {
            files: items,
            links,
            folders,
            faults: mut lost,
        } = items;
        lost.extend(faults(&items, &links, &folders, &self.to));
        let bad: BTreeSet<String> = lost.iter().map(|fault| fault.name.clone()).collect();
        let mut faults = Vec::new();
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
            notes.extend(walked.no_files.into_iter().map(NoFile::note));
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
        plan.folders = good(folders, &bad, String::as_str);
        plan.links = good(links, &bad, |link| &link.name);
        let to = plan.transfer.to.clone();
        plan.folders.retain(|name| !to.join(name).is_dir());
        plan.links.retain(|link| !link.is_made(&to));
        plan.lost = lost;
        plan.doomed = doomed;
        plan.notes = notes;
        plan.faults = faults;
        plan.compare(good(items, &bad, |item| &item.name)).await?;
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
        .await
        .map_err(gone_meanwhile)?;
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
        make_folders(&path).map_err(|error| local_error("make", &path, &error))
    }

    async fn make_link(&self, link: &ManifestLink) -> Result<bool, StorageError> {
        link.make(&self.to)
            .map_err(|error| local_error("make", &self.to.join(&link.name), &error))
    }

    async fn remove(&self, leftover: &Leftover) -> Result<bool, StorageError> {
        let (path, root) = (self.to.join(&leftover.name), self.to.clone());
        blocking(move || {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(local_error("delete", &path, &error));
                }
                Ok(()) | Err(_) => {}
            }
            // Folders that are empty now go too, those that are not stay.
            let mut folder = path.parent();
            while let Some(path) = folder.filter(|path| *path != root) {
                if fs::remove_dir(path).is_err() {
                    break;
                }
                folder = path.parent();
            }
            Ok(true)
        })
        .await
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
) -> Result<Items, StorageError> {
    let Listed {
        files,
        folders,
        left_out,
    } = listed;
    if files.is_empty() && folders.is_empty() && left_out.is_empty() {
        return Err(StorageError::new(
            StorageProblem::NotFound,
            format!(
                "there is nothing in {}",
                store.address(&folder_prefix(prefix))
            ),
        )
        .fix("`petctl storage ls` shows what is where"));
    }
    let items = files
        .into_iter()
        .filter(|(name, _)| filter.takes(name))
        .map(|(name, entry)| Item {
            source: entry.name,
            name,
            properties: entry.properties,
            sha256: None,
        });
    let folders = folders.into_keys();
    let faults = left_out
        .into_iter()
        .filter(|fault| filter.takes(&fault.name));
    Ok(Items {
        files: items.collect(),
        links: Vec::new(),
        folders: folders.filter(|name| filter.takes(name)).collect(),
        faults: faults.collect(),
    })
}

/// It was there when the source was listed.
fn gone_meanwhile(error: StorageError) -> StorageError {
    if error.problem != StorageProblem::NotFound {
        return error;
    }
    StorageError {
        problem: StorageProblem::Changed,
        ..error
    }
    .fix("somebody removed it meanwhile; the same command takes what is there now")
}

fn good<T>(all: Vec<T>, bad: &BTreeSet<String>, name: impl Fn(&T) -> &str) -> Vec<T> {
    all.into_iter()
        .filter(|one| !bad.contains(name(one)))
        .collect()
}

/// Names that can't be here, as they are or beside the others.
fn faults(items: &[Item], links: &[ManifestLink], folders: &[String], to: &Path) -> Vec<Fault> {
    let names: BTreeSet<&str> = items.iter().map(|item| item.name.as_str()).collect();
    let links: BTreeSet<&str> = links.iter().map(|link| link.name.as_str()).collect();
    let fault = |name: &str, problem: StorageProblem, why: &str| Fault {
        name: name.to_owned(),
        problem,
        why: why.to_owned(),
    };
    let mut faults = Vec::new();
    let mut seen = BTreeMap::new();
    let others = links
        .iter()
        .copied()
        .chain(folders.iter().map(String::as_str));
    for name in names.iter().copied().chain(others) {
        if let Err(why) = NameRules::Folder.check(name) {
            faults.push(fault(name, StorageProblem::BadName, why));
            continue;
        }
        let mut above = name.match_indices('/').map(|(at, _)| &name[..at]);
        if let Some(file) = above.clone().find(|folder| names.contains(folder)) {
            let why = format!("{file} is a file there, and can't be a folder as well here");
            faults.push(fault(name, StorageProblem::BadName, &why));
        } else if let Some(link) = above.find(|folder| is_inner_link(to, folder, &mut seen)) {
            let why = format!("{link} is a link here, to another folder of the same tree");
            faults.push(fault(name, StorageProblem::Local, &why));
        }
    }
    faults
}

/// Whether a folder of that name would be a link that is here already and leads to its neighbours: what is written
/// behind it would stand in their place. Links that lead out are their owner's will.
fn is_inner_link<'n>(to: &Path, folder: &'n str, seen: &mut BTreeMap<&'n str, bool>) -> bool {
    *seen.entry(folder).or_insert_with(|| {
        fs::read_link(to.join(folder)).is_ok_and(|target| stays_below(folder, &target))
    })
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
