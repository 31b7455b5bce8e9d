//! Where logs are read: files below the output folder or below the scratch folders of this machine's workers, blobs
//! below the output, or through the coordinator.

use super::cri::Lines;
use petctl_client::Client;
use petctl_client::{Source, View};
use petctl_output::layout::blob;
use petctl_output::layout::{Layout, check_key};
use petctl_output::logs::LogReader;
use petctl_proto::v1::{JobStatus, ReadLogRequest, ShardRow};
use petctl_spec::StorageRoot;
use petctl_storage::{SharedStore, StorageProblem};
use petctl_ui::error::{Code, Error, Result};
use std::path::{Path, PathBuf};
use tokio_stream::StreamExt;

/// Bytes read at a time.
const PIECE_BYTES: usize = 256 * 1024;
/// Most bytes of a log that a coordinator hands on.
const MAX_REMOTE_BYTES: usize = 64 * 1024 * 1024;

/// How the logs of a job are read.
#[derive(Clone, Debug)]
pub(super) enum Reading {
    /// The output folder is on this machine.
    Files(Layout),
    /// Its workers are asked.
    Coordinator,
    /// The output is in a container.
    Blobs(Blobs),
}

/// Where the logs of a job in blob storage are.
#[derive(Clone, Debug)]
pub(super) struct Blobs {
    /// Of workers of this machine: there is what still runs.
    scratch: Vec<Layout>,
    store: SharedStore,
    /// Whether a coordinator can be asked for what runs elsewhere.
    live: bool,
}

/// One attempt's log, and how far it has been read.
#[derive(Clone, Debug)]
pub(super) struct Log {
    row: ShardRow,
    attempt: Option<u32>,
    offset: u64,
    /// Found once it is there.
    path: Option<PathBuf>,
    /// The same of a blob.
    blob: Option<String>,
}

/// A log with its unfinished lines.
#[derive(Clone, Debug)]
pub(super) struct Printed {
    pub(super) log: Log,
    pub(super) lines: Lines,
}

impl Log {
    pub(super) fn lines(self, label: &str) -> Printed {
        Printed {
            log: self,
            lines: Lines::new(label),
        }
    }
}

impl Reading {
    pub(super) async fn of(view: &mut View) -> Result<Self> {
        let status = view.status().await?;
        let root = StorageRoot::read(&status.output_root);
        if let Some(root) = root.filter(StorageRoot::is_blob) {
            return Ok(Self::Blobs(Blobs::of(view, &root, &status)?));
        }
        let layout = Layout::new(&status.output_root);
        if layout.state().is_dir() {
            return Ok(Self::Files(layout));
        }
        match &view.source {
            Source::Live(..) => Ok(Self::Coordinator),
            Source::Offline(_) => Err(Error::new(
                Code::NoLog,
                format!(
                    "the logs are gone: {} is not there",
                    layout.state().display()
                ),
            )
            .fix("put the output folder back where it was")),
        }
    }

    /// The log of an attempt; of the last one where `attempt` names none.
    pub(super) fn attempt(&self, row: &ShardRow, attempt: Option<u32>) -> Log {
        Log {
            row: row.clone(),
            attempt,
            offset: 0,
            path: None,
            blob: None,
        }
    }

    /// What was printed since the last call; empty at the end of what is there.
    pub(super) async fn read(&self, view: &mut View, log: &mut Log) -> Result<Vec<u8>> {
        match self {
            Self::Files(layout) => read_file(layout, log),
            Self::Coordinator => ask(view, log).await,
            Self::Blobs(blobs) => blobs.read(view, log).await,
        }
    }
}

async fn ask(view: &mut View, log: &mut Log) -> Result<Vec<u8>> {
    let Source::Live(_, client) = &mut view.source else {
        return Ok(Vec::new());
    };
    if log.offset > 0 {
        return Ok(Vec::new());
    }
    let data = read_remote(client, &view.job, log).await?;
    log.offset += data.len() as u64;
    Ok(data)
}

impl Blobs {
    fn of(view: &View, root: &StorageRoot, status: &JobStatus) -> Result<Self> {
        let access = view.spec().map(|spec| spec.storage.access.clone());
        let summary = status.summary.clone().unwrap_or_default();
        let name = format!("{}-{}", summary.name, summary.job_id);
        let workers = view
            .folder
            .iter()
            .filter_map(|folder| std::fs::read_dir(folder.scratch()).ok());
        let folders = workers
            .flatten()
            .flatten()
            .map(|worker| worker.path().join(&name));
        Ok(Self {
            scratch: folders
                .filter(|folder| folder.is_dir())
                .map(Layout::new)
                .collect(),
            store: petctl_storage::open(root, &access.unwrap_or_default())?,
            live: matches!(view.source, Source::Live(..)),
        })
    }

    /// What runs here is in a scratch folder, what has ended in the container, what runs elsewhere with its worker.
    async fn read(&self, view: &mut View, log: &mut Log) -> Result<Vec<u8>> {
        if log.blob.is_none() {
            let here = log
                .path
                .clone()
                .or_else(|| self.scratch.iter().find_map(|layout| find(layout, log)));
            if let Some(path) = here.filter(|path| log.offset == 0 || path.exists()) {
                let piece = read_path(path, log)?;
                if log.offset > 0 {
                    return Ok(piece);
                }
            }
        }
        if log.blob.is_none() {
            log.blob = self.find(log).await?;
        }
        match log.blob.clone() {
            Some(name) => self.read_blob(&name, log).await,
            None if self.live && log.attempt.is_none() => ask(view, log).await,
            None => Ok(Vec::new()),
        }
    }

    async fn find(&self, log: &Log) -> Result<Option<String>> {
        let row = &log.row;
        let folder = blob::logs(&row.stage_name, &row.key);
        let page = match self.store.list(&folder, None).await {
            Ok(page) => page,
            Err(error) if error.problem == StorageProblem::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let fits = |name: &String| {
            let file = name.strip_prefix(&folder).unwrap_or_default();
            match log.attempt {
                None => file.ends_with(&format!("-{:016x}.log", row.lease_id)),
                Some(attempt) => file.starts_with(&format!("{attempt}-")) && file.ends_with(".log"),
            }
        };
        let names = page.entries.into_iter().map(|entry| entry.name);
        Ok(names.filter(fits).max())
    }

    async fn read_blob(&self, name: &str, log: &mut Log) -> Result<Vec<u8>> {
        let Some(properties) = self.store.head(name).await? else {
            return Ok(Vec::new());
        };
        let end = properties.size.min(log.offset + PIECE_BYTES as u64);
        if log.offset >= end {
            return Ok(Vec::new());
        }
        let mut body = self.store.get(name, Some(log.offset..end), None).await?;
        let mut data = Vec::new();
        while let Some(piece) = body.bytes.next().await {
            data.extend_from_slice(&piece?);
        }
        log.offset += data.len() as u64;
        Ok(data)
    }
}

fn read_file(layout: &Layout, log: &mut Log) -> Result<Vec<u8>> {
    match log.path.clone().or_else(|| find(layout, log)) {
        Some(path) => read_path(path, log),
        None => Ok(Vec::new()),
    }
}

fn read_path(path: PathBuf, log: &mut Log) -> Result<Vec<u8>> {
    log.path = Some(path.clone());
    let piece = LogReader::new(&path)
        .read(log.offset, PIECE_BYTES)
        .map_err(|error| {
            Error::new(Code::NoLog, format!("can't read {}", path.display())).because(&error)
        })?;
    log.offset = piece.next_offset;
    Ok(piece.data)
}

fn find(layout: &Layout, log: &Log) -> Option<PathBuf> {
    let row = &log.row;
    check_key(&row.key).ok()?;
    match log.attempt {
        None => layout.find_log(&row.stage_name, &row.key, row.lease_id),
        Some(attempt) => find_attempt(&layout.logs(&row.stage_name, &row.key), attempt),
    }
}

/// The log of an attempt by its number; of several with one number the one with the latest lease.
fn find_attempt(folder: &Path, attempt: u32) -> Option<PathBuf> {
    let start = format!("{attempt}-");
    let entries = std::fs::read_dir(folder).ok()?;
    let fits = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(&start) && name.ends_with(".log"))
    };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(fits)
        .max()
}

async fn read_remote(client: &mut Client, job: &str, log: &Log) -> Result<Vec<u8>> {
    if log.attempt.is_some() {
        return Err(Error::new(
            Code::NoLog,
            "the logs of earlier attempts can only be read where the output folder is",
        )
        .fix("leave --attempt out for the last one"));
    }
    let request = ReadLogRequest {
        job: job.to_owned(),
        stage: log.row.stage,
        key: log.row.key.clone(),
        lease_id: log.row.lease_id,
        follow: false,
    };
    let mut stream = client.read_log(request).await?;
    let mut data = Vec::new();
    loop {
        let part = stream
            .message()
            .await
            .map_err(|status| petctl_client::refusal(client.address(), &status))?;
        let Some(part) = part else { return Ok(data) };
        data.extend(part.data);
        if data.len() > MAX_REMOTE_BYTES {
            return Ok(data);
        }
    }
}
