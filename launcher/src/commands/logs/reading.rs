//! Where logs are read: the files below the output folder, or through the coordinator.

use super::cri::Lines;
use crate::client::Client;
use crate::error::{Code, Error, Result};
use crate::view::{Source, View};
use petctl_proto::v1::{ReadLogRequest, ShardRow};
use petctl_worker::layout::{Layout, check_key};
use petctl_worker::logs::LogReader;
use std::path::{Path, PathBuf};

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
}

/// One attempt's log, and how far it has been read.
#[derive(Clone, Debug)]
pub(super) struct Log {
    row: ShardRow,
    attempt: Option<u32>,
    offset: u64,
    /// Found once it is there.
    path: Option<PathBuf>,
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
        }
    }

    /// What was printed since the last call; empty at the end of what is there.
    pub(super) async fn read(&self, view: &mut View, log: &mut Log) -> Result<Vec<u8>> {
        match self {
            Self::Files(layout) => read_file(layout, log),
            Self::Coordinator if log.offset > 0 => Ok(Vec::new()),
            Self::Coordinator => {
                let Source::Live(_, client) = &mut view.source else {
                    return Ok(Vec::new());
                };
                let data = read_remote(client, &view.job, log).await?;
                log.offset += data.len() as u64;
                Ok(data)
            }
        }
    }
}

fn read_file(layout: &Layout, log: &mut Log) -> Result<Vec<u8>> {
    let Some(path) = log.path.clone().or_else(|| find(layout, log)) else {
        return Ok(Vec::new());
    };
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
            .map_err(|status| crate::client::refusal(client.address(), &status))?;
        let Some(part) = part else { return Ok(data) };
        data.extend(part.data);
        if data.len() > MAX_REMOTE_BYTES {
            return Ok(data);
        }
    }
}
