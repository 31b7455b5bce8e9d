//! A local tree, sent to a store.

use super::filter::Filter;
use super::journal::{Journal, Known};
use super::local::{blocking, local_error};
use super::names::NameRules;
use super::send::{Stamp, send_file};
use super::tree::{Crowd, Fault, Listed, folder_prefix};
use super::tree_plan::{Planned, Transfer, TreePlan};
use super::tuning::{Progress, Tuning};
use super::walk::{LocalFile, NoFile, Walked};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use md5::{Digest, Md5};
use petctl_output::manifest::ManifestLink;
use petctl_storage::{Condition, Entry, SharedStore};
use petctl_storage::{StorageError, StorageProblem};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

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
pub type UploadPlan = TreePlan<Upload>;

/// A local file, and its name below the prefix.
#[derive(Debug)]
pub struct ToSend {
    name: String,
    file: LocalFile,
}

impl Planned for ToSend {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        self.file.stamp.size
    }
}

/// A blob, and its name below the prefix.
#[derive(Debug)]
pub struct ToDelete {
    name: String,
    entry: Entry,
}

impl Planned for ToDelete {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        self.entry.properties.size
    }
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
        let mut plan = TreePlan::new(self, journal);
        plan.faults = walked.faults;
        plan.faults
            .extend(walked.no_files.into_iter().map(NoFile::fault));
        plan.check_names(walked.files.keys());
        if plan.transfer.delete {
            plan.doomed = doomed(
                &plan.transfer.filter,
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
        let to_read = plan.files.iter();
        let unreadable =
            Walked::check_readable(to_read.map(|send| (send.name(), send.file.path.as_path())));
        plan.faults.extend(unreadable);
        plan.order();
        Ok(plan)
    }
}

impl Transfer for Upload {
    type File = ToSend;
    type Doomed = ToDelete;

    fn prepare(&self) -> Result<(), StorageError> {
        Ok(())
    }

    async fn move_file(
        &self,
        send: &ToSend,
        journal: &Journal,
        crowd: &Crowd<'_>,
        progress: &dyn Progress,
    ) -> Result<(), StorageError> {
        let name = format!("{}{}", folder_prefix(&self.prefix), send.name);
        let sent = send_file(&self.to, &name, &send.file.path, &self.tuning, progress).await?;
        let known = Known {
            stamp: Stamp {
                size: sent.size,
                mtime_ns: sent.mtime_ns,
            },
            md5: sent.md5,
            etag: sent.etag,
        };
        journal.note(&send.name, &known);
        crowd.with(|report| {
            report.files += 1;
            report.bytes += sent.size;
            report.moved_bytes += sent.sent_bytes;
        });
        Ok(())
    }

    async fn make_folder(&self, name: &str) -> Result<(), StorageError> {
        let marker = format!("{}{name}/", folder_prefix(&self.prefix));
        self.to
            .put(&marker, Bytes::new(), &Condition::None)
            .await
            .map(drop)
    }

    async fn make_link(&self, _: &ManifestLink) -> Result<bool, StorageError> {
        Ok(false)
    }

    async fn remove(&self, doomed: &ToDelete) -> Result<bool, StorageError> {
        // Only what was seen: somebody may have written it anew.
        let (name, etag) = (&doomed.entry.name, &doomed.entry.properties.etag);
        self.to.delete(name, Some(etag)).await
    }
}

impl TreePlan<Upload> {
    fn check_names<'n>(&mut self, names: impl Iterator<Item = &'n String>) {
        let prefix = folder_prefix(&self.transfer.prefix);
        for name in names {
            if let Err(why) = self.transfer.rules.check(&format!("{prefix}{name}")) {
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
                self.files.push(ToSend { name, file });
                continue;
            };
            let known = self
                .journal
                .get(&name)
                .filter(|known| known.stamp == file.stamp);
            if known.is_some_and(|known| known.etag == there.properties.etag) {
                self.unchanged += 1;
            } else if there.properties.size != file.stamp.size {
                self.files.push(ToSend { name, file });
            } else if let (Some(known), Some(md5)) = (known, there.properties.md5) {
                // The bytes may be the same, written by somebody else.
                if known.md5 == md5 {
                    self.unchanged += 1;
                } else {
                    self.files.push(ToSend { name, file });
                }
            } else if there.properties.md5.is_some() {
                maybe.push((name, file, there.clone()));
            } else if is_older(&file, there) {
                self.unchanged += 1;
            } else {
                self.files.push(ToSend { name, file });
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
                Ok(_) | Err(_) => self.files.push(ToSend { name, file }),
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
) -> Vec<ToDelete> {
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
        .map(|(name, entry)| ToDelete {
            name: name.clone(),
            entry: entry.clone(),
        })
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
