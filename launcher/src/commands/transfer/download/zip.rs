//! One zip file, written from the store as the bytes come. The same files make the same bytes each time: names are
//! sorted, times and rights are fixed, and so is how it is compressed.

use super::{DownloadArgs, Source, WORDS};
use crate::commands::transfer::dry_run::DryRun;
use crate::commands::transfer::{Ended, ms_since, show_failed, show_lost, watch};
use ::bytes::Bytes;
use futures::stream::{self, StreamExt};
use petctl_job::Context;
use petctl_output::manifest::ManifestLink;
use petctl_report::model::{self, Archived};
use petctl_storage::{SharedStore, StorageError};
use petctl_text::obstacle::Obstacle;
use petctl_transfer::{Download, DownloadPlan, Item, PART_ENDING, Progress, Tuning, pour};
use petctl_ui::arguments::Format;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::terminal::{Meter, bytes, count};
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;
use tokio::sync::mpsc;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// Files up to this size are fetched ahead, many at a time.
const SMALL_BYTES: u64 = 1024 * 1024;
/// Files that are fetched ahead.
const AHEAD: usize = 32;
/// What is said where something of it can't come.
const NOT_WRITTEN: &str =
    "the zip file was not written: it is whole or not there; --exclude leaves out what can't come";
/// Pieces that wait to be written.
const WAITING: usize = 16;
/// What is compressed already is stored as it is.
const PACKED: [&str; 19] = [
    "7z", "avif", "bz2", "gif", "gz", "jpeg", "jpg", "mkv", "mp3", "mp4", "npz", "parquet", "png",
    "webm", "webp", "whl", "xz", "zip", "zst",
];

/// What the writer is told.
enum Piece {
    Start { name: String, size: u64 },
    Bytes(Bytes),
    Link { name: String, target: String },
    Folder(String),
}

/// What an archive is made of, in the order of the names.
pub(super) enum Member {
    File(Item),
    Link(ManifestLink),
    Folder(String),
}

impl Member {
    fn name(&self) -> &str {
        match self {
            Self::File(item) => &item.name,
            Self::Link(link) => &link.name,
            Self::Folder(name) => name,
        }
    }
}

/// A part of the archive, on its way.
enum Ahead<'a> {
    Here(&'a Item, Vec<Bytes>),
    Later(&'a Item),
    Made(Piece),
}

/// Removes the unfinished file, unless it has become the finished one.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.0);
    }
}

pub(super) async fn write(
    context: &Context,
    args: &DownloadArgs,
    source: Source,
    path: &Path,
) -> Result<Exit> {
    let start = Instant::now();
    let store = SharedStore::clone(&source.store);
    // The plan for an empty folder: what there is, and whether its names can be.
    let listing = Download {
        from: source.store,
        what: source.wanted,
        to: path.with_extension("petctl-no-such-folder"),
        delete: false,
        journal: None,
        tuning: Tuning::default(),
    };
    let meter = Meter::default();
    let plan = match watch(context, &meter, listing.plan()).await? {
        Ended::Done(plan) => plan?,
        Ended::Stopped(exit) => return Ok(exit),
    };
    if !plan.lost().is_empty() {
        let exit = show_lost(context, plan.lost());
        context.out.say_always(NOT_WRITTEN);
        return Ok(exit);
    }
    if args.dry_run {
        show(context, args, path, &plan);
        return Ok(Exit::Success);
    }
    let mut members: Vec<Member> = plan.items().iter().cloned().map(Member::File).collect();
    let files = members.len() as u64;
    let total: u64 = plan.files().map(|(_, size)| size).sum();
    members.extend(plan.links().iter().cloned().map(Member::Link));
    members.extend(plan.folders().iter().cloned().map(Member::Folder));
    members.sort_by(|a, b| a.name().cmp(b.name()));
    meter.planned(files, total);
    let made = match watch(context, &meter, make(&store, &members, path, &meter)).await? {
        Ended::Done(Err(NotMade::Error(error))) => return Err(error),
        Ended::Done(Err(NotMade::Failed(failed))) => {
            let exit = show_failed(context, &failed, 0);
            context.out.say_always(NOT_WRITTEN);
            return Ok(exit.unwrap_or(Exit::TryAgain));
        }
        Ended::Done(Ok(made)) => made,
        Ended::Stopped(exit) => {
            context.out.say_always(
                "the zip file was not finished and is gone; the same command makes it anew",
            );
            return Ok(exit);
        }
    };
    if args.output == Format::Json {
        model::print(
            &context.out,
            Archived {
                transfer: WORDS.transfer,
                dry_run: false,
                target: path.display().to_string(),
                files,
                links: plan.links().len() as u64,
                folders: plan.folders().len() as u64,
                bytes: total,
                zip_bytes: made,
                duration_ms: ms_since(start),
            },
        );
    } else {
        context.out.line(&format!(
            "{}: {} ({}, {} as zip)",
            path.display(),
            count(files, "file", "files"),
            bytes(total),
            bytes(made)
        ));
    }
    Ok(Exit::Success)
}

/// What would be written.
fn show(context: &Context, args: &DownloadArgs, path: &Path, plan: &DownloadPlan) {
    let dry_run = DryRun {
        words: &WORDS,
        target: path.display().to_string(),
        files: plan.files().collect(),
        doomed: Vec::new(),
        folders: plan.folders(),
        links: plan.links(),
        unchanged: None,
    };
    dry_run.show(context, args.output);
}

/// Why there is no archive.
#[derive(Debug)]
pub(super) enum NotMade {
    /// These can't come; all have been tried.
    Failed(Vec<(String, StorageError)>),
    Error(Error),
}

impl From<Error> for NotMade {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Writes the archive; answers its size.
pub(super) async fn make(
    store: &SharedStore,
    members: &[Member],
    path: &Path,
    progress: &dyn Progress,
) -> Result<u64, NotMade> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let part = path.with_file_name(format!("{name}{PART_ENDING}"));
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| unwritable(path, &error))?;
    }
    let file = File::create(&part).map_err(|error| unwritable(path, &error))?;
    let unfinished = Unfinished(part.clone());
    let (sender, pieces) = mpsc::channel(WAITING);
    let writer = tokio::task::spawn_blocking(move || write_pieces(file, pieces));
    let fed = feed(store, members, sender, progress).await;
    let written = writer.await.map_err(|error| {
        Error::new(Code::Bug, "the zip file's writer did not end").because(&error)
    })?;
    // A disk that is full is why nobody took the bytes.
    let size = written.map_err(|error| unwritable(path, &error))?;
    let failed = fed.map_err(Error::from)?;
    if !failed.is_empty() {
        return Err(NotMade::Failed(failed));
    }
    fs::rename(&part, path).map_err(|error| unwritable(path, &error))?;
    drop(unfinished);
    Ok(size)
}

/// Fetches the files in their order and hands their bytes to the writer. Answers those that can't come: with one of them
/// there is no archive, but the others are tried, so that all are known at once.
async fn feed(
    store: &SharedStore,
    members: &[Member],
    sender: mpsc::Sender<Piece>,
    progress: &dyn Progress,
) -> Result<Vec<(String, StorageError)>, StorageError> {
    let mut failed = Vec::new();
    let mut note = |item: &Item, error: StorageError| match error.problem.stops_everything() {
        true => Err(error),
        false => {
            failed.push((item.name.clone(), error));
            Ok(())
        }
    };
    let mut ahead = stream::iter(members)
        .map(|member| fetch_small(store, member, progress))
        .buffered(AHEAD);
    while let Some(next) = ahead.next().await {
        let (item, chunks) = match next {
            Err((item, error)) => {
                note(item, error)?;
                continue;
            }
            Ok(Ahead::Here(item, chunks)) => (item, Some(chunks)),
            Ok(Ahead::Later(item)) => (item, None),
            Ok(Ahead::Made(piece)) => {
                if sender.send(piece).await.is_err() {
                    break;
                }
                continue;
            }
        };
        let start = Piece::Start {
            name: item.name.clone(),
            size: item.properties.size,
        };
        // Where the writer is gone, it says why itself.
        if sender.send(start).await.is_err() {
            break;
        }
        let Some(chunks) = chunks else {
            let (to, mut from) = mpsc::channel(WAITING);
            let pass_on = async {
                while let Some(bytes) = from.recv().await {
                    if sender.send(Piece::Bytes(bytes)).await.is_err() {
                        break;
                    }
                }
            };
            let (poured, ()) = tokio::join!(pour(store, item, to, progress), pass_on);
            if sender.is_closed() {
                break;
            }
            poured.or_else(|error| note(item, error))?;
            continue;
        };
        for bytes in chunks {
            if sender.send(Piece::Bytes(bytes)).await.is_err() {
                break;
            }
        }
    }
    Ok(failed)
}

async fn fetch_small<'a>(
    store: &SharedStore,
    member: &'a Member,
    progress: &dyn Progress,
) -> Result<Ahead<'a>, (&'a Item, StorageError)> {
    let item = match member {
        Member::File(item) => item,
        Member::Link(link) => {
            return Ok(Ahead::Made(Piece::Link {
                name: link.name.clone(),
                target: link.target.clone(),
            }));
        }
        Member::Folder(name) => return Ok(Ahead::Made(Piece::Folder(name.clone()))),
    };
    if item.properties.size > SMALL_BYTES {
        return Ok(Ahead::Later(item));
    }
    let (sender, mut receiver) = mpsc::channel(WAITING);
    let collect = async {
        let mut chunks = Vec::new();
        while let Some(bytes) = receiver.recv().await {
            chunks.push(bytes);
        }
        chunks
    };
    let (poured, chunks) = tokio::join!(pour(store, item, sender, progress), collect);
    poured.map_err(|error| (item, error))?;
    Ok(Ahead::Here(item, chunks))
}

/// Writes the archive until nobody sends any more; answers its size.
fn write_pieces(file: File, mut pieces: mpsc::Receiver<Piece>) -> io::Result<u64> {
    let file = Once::new(BufWriter::with_capacity(1024 * 1024, file));
    let mut zip = ZipWriter::new(file);
    let plain = |rights| {
        SimpleFileOptions::default()
            .last_modified_time(DateTime::default())
            .unix_permissions(rights)
    };
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::Start { name, size } => {
                zip.start_file(&name, options(&name, size))
                    .map_err(io::Error::other)?;
            }
            Piece::Bytes(bytes) => zip.write_all(&bytes)?,
            Piece::Link { name, target } => zip
                .add_symlink(name, target, plain(0o777))
                .map_err(io::Error::other)?,
            Piece::Folder(name) => zip
                .add_directory(name, plain(0o755))
                .map_err(io::Error::other)?,
        }
    }
    let mut file = zip.finish().map_err(io::Error::other)?;
    file.flush()?;
    file.stream_position()
}

/// Fails once: what the archive's writer still wants to write when it is dropped goes nowhere, and is no second error,
/// which it would print by itself.
struct Once<W> {
    inner: W,
    failed: bool,
}

impl<W> Once<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            failed: false,
        }
    }

    fn unless_failed<T>(
        &mut self,
        instead: T,
        work: impl FnOnce(&mut W) -> io::Result<T>,
    ) -> io::Result<T> {
        if self.failed {
            return Ok(instead);
        }
        let done = work(&mut self.inner);
        let again = |error: &io::Error| error.kind() == io::ErrorKind::Interrupted;
        self.failed = done.as_ref().is_err_and(|error| !again(error));
        done
    }
}

impl<W: Write> Write for Once<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unless_failed(bytes.len(), |inner| inner.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unless_failed((), Write::flush)
    }
}

impl<W: Seek> Seek for Once<W> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.unless_failed(0, |inner| inner.seek(to))
    }
}

fn options(name: &str, size: u64) -> SimpleFileOptions {
    let ending = name.rsplit('.').next().unwrap_or_default().to_lowercase();
    let options = SimpleFileOptions::default()
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644)
        // Compressed it may be a little larger than it is.
        .large_file(size >= 0xF000_0000);
    if PACKED.contains(&ending.as_str()) {
        options.compression_method(CompressionMethod::Stored)
    } else {
        options
            .compression_method(CompressionMethod::Deflated)
            .compression_level(Some(6))
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    let obstacle = Obstacle::behind(error);
    let what = format!("can't write {}", path.display());
    let made = if obstacle.is_full() {
        Error::foreign(Code::DiskFull.as_str(), Exit::TryAgain, what)
    } else {
        Error::new(Code::OutputUnwritable, what)
    };
    made.because(error)
        .fix(obstacle.fix_writing("name another file"))
}

#[cfg(test)]
mod tests;
