//! A local tree, sent to a store.

use super::filter::Filter;
use super::journal::{Journal, Known};
use super::local::{blocking, local_error};
use super::names::NameRules;
use super::send::{Stamp, send_file};
use super::tree::{Crowd, Fault, Listed, TreeOutcome, folder_prefix};
use super::tuning::{Progress, Tuning};
use super::walk::{LocalFile, Walked};
use crate::error::{StorageError, StorageProblem};
use crate::store::{Condition, Entry, SharedStore};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use md5::{Digest, Md5};
use std::cmp::Reverse;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Bytes that are hashed at a time.
const HASH_BYTES: usize = 256 * 1024;

/// What to send where.
#[derive(Debug)]
pub struct Upload {
    /// A folder, whose contents stand below the prefix, or a file, which stands there under its name.
    pub from: PathBuf,
    /// Files and folders from elsewhere, each with its name below the prefix. The filter does not count for them.
    pub extras: Vec<(PathBuf, String)>,
    /// Where to.
    pub to: SharedStore,
    /// Before every name, as a folder.
    pub prefix: String,
    /// What of `from` is meant. What it leaves out is not deleted either.
    pub filter: Filter,
    /// Remove what the source has no more.
    pub delete: bool,
    /// What names the target takes.
    pub rules: NameRules,
    /// The target is made later: that it is not there is no error.
    pub may_be_missing: bool,
    /// Where to remember what is finished.
    pub journal: Option<PathBuf>,
    /// How much at once.
    pub tuning: Tuning,
}

/// What an upload is going to do.
#[derive(Debug)]
pub struct UploadPlan {
    upload: Upload,
    journal: Journal,
    send: Vec<(String, LocalFile)>,
    folders: Vec<String>,
    delete: Vec<(String, Entry)>,
    unchanged: u64,
    notes: Vec<String>,
    faults: Vec<Fault>,
}

impl Upload {
    /// Looks at both sides. Costs one listing of the target, and of each local file its size and time; files without an
    /// entry in the journal that could be the same are read.
    ///
    /// # Errors
    /// [`StorageError`]
    pub async fn plan(self) -> Result<UploadPlan, StorageError> {
        let (from, extras, filter) = (self.from.clone(), self.extras.clone(), self.filter.clone());
        let kept = self.journal.clone();
        let local = blocking(move || {
            let walked = walk(&from, &extras, &filter)?;
            let journal = kept.map_or_else(|| Ok(Journal::none()), |path| Journal::open(&path))?;
            Ok((walked, journal))
        });
        let remote = Listed::read(&self.to, &self.prefix);
        let (local, remote) = futures::join!(local, remote);
        let (walked, journal) = local?;
        let remote = match remote {
            Err(error) if self.may_be_missing && error.problem == StorageProblem::NotFound => {
                Listed::default()
            }
            remote => remote?,
        };
        let mut plan = UploadPlan {
            faults: walked.faults,
            notes: walked.notes,
            send: Vec::new(),
            folders: Vec::new(),
            delete: Vec::new(),
            unchanged: 0,
            journal,
            upload: self,
        };
        plan.check_names(walked.files.keys());
        if plan.upload.delete {
            plan.delete = doomed(
                &plan.upload.filter,
                &walked.files,
                &walked.empty_folders,
                &remote,
            );
        }
        plan.folders = walked
            .empty_folders
            .into_iter()
            .filter(|folder| !remote.folders.contains_key(folder))
            .collect();
        plan.compare(walked.files, &remote).await?;
        let to_read = plan
            .send
            .iter()
            .map(|(name, file)| (name.as_str(), file.path.as_path()));
        let unreadable = Walked::check_readable(to_read);
        plan.faults.extend(unreadable);
        // Large ones first: the small ones fill what is left.
        plan.send.sort_by_key(|(_, file)| Reverse(file.stamp.size));
        Ok(plan)
    }
}

impl UploadPlan {
    /// Names below the prefix that are sent, with their sizes.
    pub fn send(&self) -> impl Iterator<Item = (&str, u64)> {
        self.send
            .iter()
            .map(|(name, file)| (name.as_str(), file.stamp.size))
    }

    /// Names below the prefix that are removed, with their sizes.
    pub fn delete(&self) -> impl Iterator<Item = (&str, u64)> {
        self.delete
            .iter()
            .map(|(name, entry)| (name.as_str(), entry.properties.size))
    }

    /// Empty folders that are made.
    #[must_use]
    pub fn folders(&self) -> &[String] {
        &self.folders
    }

    /// Files that are there already.
    #[must_use]
    pub fn unchanged(&self) -> u64 {
        self.unchanged
    }

    /// What is left out though nobody asked for it.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What stands against it: with any of these nothing is sent.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Does it. What fails for single files is in what it answers, as is what stopped it.
    ///
    /// # Errors
    /// [`StorageError`]: nothing was sent, since there are faults.
    pub async fn run(&self, progress: &dyn Progress) -> Result<TreeOutcome, StorageError> {
        if let Some(fault) = self.faults.first() {
            return Err(StorageError::new(
                fault.problem,
                format!("{}: {}", fault.name, fault.why),
            ));
        }
        let bytes = self.send().map(|(_, size)| size).sum();
        progress.planned(self.send.len() as u64, bytes);
        let so_far = Mutex::new(TreeOutcome::default());
        let crowd = &Crowd::new(&so_far);
        let prefix = &folder_prefix(&self.upload.prefix);
        crowd
            .each(
                self.send.iter(),
                |(name, _)| name,
                |(name, file)| self.send_one(crowd, prefix, name, file, progress),
            )
            .await;
        if crowd.is_whole() {
            crowd
                .each(
                    self.folders.iter(),
                    |name| name,
                    |name| self.make_folder(crowd, prefix, name),
                )
                .await;
        }
        // Nothing goes before everything else is there.
        if crowd.is_whole() {
            crowd
                .each(
                    self.delete.iter(),
                    |(name, _)| name,
                    |(_, entry)| self.remove(crowd, entry),
                )
                .await;
        }
        Ok(so_far.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    async fn send_one(
        &self,
        crowd: &Crowd<'_>,
        prefix: &str,
        name: &str,
        file: &LocalFile,
        progress: &dyn Progress,
    ) -> Result<(), StorageError> {
        let upload = &self.upload;
        let full = format!("{prefix}{name}");
        let sent = send_file(&upload.to, &full, &file.path, &upload.tuning, progress).await?;
        let known = Known {
            stamp: Stamp {
                size: sent.size,
                mtime_ns: sent.mtime_ns,
            },
            md5: sent.md5,
            etag: sent.etag,
        };
        self.journal.note(name, &known);
        crowd.with(|so_far| {
            so_far.files += 1;
            so_far.bytes += sent.size;
            so_far.moved_bytes += sent.sent_bytes;
        });
        Ok(())
    }

    async fn make_folder(
        &self,
        crowd: &Crowd<'_>,
        prefix: &str,
        name: &str,
    ) -> Result<(), StorageError> {
        let marker = format!("{prefix}{name}/");
        let to = &self.upload.to;
        to.put(&marker, Bytes::new(), &Condition::None).await?;
        crowd.with(|so_far| so_far.folders += 1);
        Ok(())
    }

    async fn remove(&self, crowd: &Crowd<'_>, entry: &Entry) -> Result<(), StorageError> {
        // Only what was seen: somebody may have written it anew.
        let etag = &entry.properties.etag;
        let removed = self.upload.to.delete(&entry.name, Some(etag)).await?;
        crowd.with(|so_far| so_far.deleted += u64::from(removed));
        Ok(())
    }

    fn check_names<'n>(&mut self, names: impl Iterator<Item = &'n String>) {
        let prefix = folder_prefix(&self.upload.prefix);
        for name in names {
            if let Err(why) = self.upload.rules.check(&format!("{prefix}{name}")) {
                self.faults.push(Fault {
                    name: name.clone(),
                    problem: StorageProblem::BadName,
                    why: why.to_owned(),
                });
            }
        }
    }

    async fn compare(
        &mut self,
        files: impl IntoIterator<Item = (String, LocalFile)>,
        remote: &Listed,
    ) -> Result<(), StorageError> {
        let mut maybe = Vec::new();
        for (name, file) in files {
            let Some(there) = remote.files.get(&name) else {
                self.send.push((name, file));
                continue;
            };
            let known = self
                .journal
                .get(&name)
                .filter(|known| known.stamp == file.stamp);
            if known.is_some_and(|known| known.etag == there.properties.etag) {
                self.unchanged += 1;
            } else if there.properties.size != file.stamp.size {
                self.send.push((name, file));
            } else if let (Some(known), Some(md5)) = (known, there.properties.md5) {
                // The bytes may be the same, written by somebody else.
                if known.md5 == md5 {
                    self.unchanged += 1;
                } else {
                    self.send.push((name, file));
                }
            } else if there.properties.md5.is_some() {
                maybe.push((name, file, there.clone()));
            } else if is_older(&file, there) {
                self.unchanged += 1;
            } else {
                self.send.push((name, file));
            }
        }
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let mut hashed = stream::iter(maybe)
            .map(|(name, file, there)| async move {
                let path = file.path.clone();
                let md5 = blocking(move || md5_of(&path)).await;
                (name, file, there, md5)
            })
            .buffered(threads.max(2));
        while let Some((name, file, there, md5)) = hashed.next().await {
            // What can't be read is found again before anything is sent.
            match md5 {
                Ok(md5) if there.properties.md5 == Some(md5) => {
                    let known = Known {
                        stamp: file.stamp,
                        md5,
                        etag: there.properties.etag.clone(),
                    };
                    self.journal.note(&name, &known);
                    self.unchanged += 1;
                }
                Ok(_) | Err(_) => self.send.push((name, file)),
            }
        }
        Ok(())
    }
}

/// Without a kept MD5, what was written after the file was is taken for the file.
fn is_older(file: &LocalFile, there: &Entry) -> bool {
    let written = there
        .properties
        .modified
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| {
            i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
        });
    file.stamp.mtime_ns <= written
}

fn walk(
    from: &Path,
    extras: &[(PathBuf, String)],
    filter: &Filter,
) -> Result<Walked, StorageError> {
    let mut walked = Walked::default();
    let name = if from.is_file() {
        let name = from.file_name().and_then(|name| name.to_str());
        name.unwrap_or_default().to_owned()
    } else {
        String::new()
    };
    walked.add(from, &name, filter)?;
    let everything = Filter::default();
    for (path, name) in extras {
        walked.add(path, name, &everything)?;
    }
    Ok(walked)
}

fn doomed(
    filter: &Filter,
    files: &std::collections::BTreeMap<String, LocalFile>,
    empty_folders: &[String],
    remote: &Listed,
) -> Vec<(String, Entry)> {
    let gone = remote
        .files
        .iter()
        .filter(|(name, _)| !files.contains_key(*name));
    let gone_folders = remote
        .folders
        .iter()
        .filter(|(name, _)| !empty_folders.contains(name));
    gone.chain(gone_folders)
        .filter(|(name, _)| filter.takes(name))
        .map(|(name, entry)| (name.clone(), entry.clone()))
        .collect()
}

/// MD5 of a local file. Blocks.
pub(crate) fn md5_of(path: &Path) -> Result<[u8; 16], StorageError> {
    let failed = |error: &std::io::Error| local_error("read", path, error);
    let mut file = File::open(path).map_err(|error| failed(&error))?;
    let mut md5 = Md5::new();
    let mut buffer = vec![0_u8; HASH_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(md5.finalize().into()),
            Ok(count) => md5.update(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(&error)),
        }
    }
}
