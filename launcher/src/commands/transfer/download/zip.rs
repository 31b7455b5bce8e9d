//! One zip file, written from the store as the bytes come. The same files make the same bytes each time: names are
//! sorted, times and rights are fixed, and so is how it is compressed.

use super::{DownloadArgs, Source, WORDS};
use crate::commands::transfer::{Ended, ms_since, refuse, watch};
use ::bytes::Bytes;
use futures::stream::{self, StreamExt};
use petctl_job::Context;
use petctl_report::model::{self, Archived, Planned, PlannedFile};
use petctl_storage::{SharedStore, StorageError};
use petctl_text::obstacle::Obstacle;
use petctl_transfer::{Download, Item, PART_ENDING, Progress, Tuning, pour};
use petctl_ui::arguments::Format;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::terminal::{Meter, bytes, count, printable};
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
}

/// A file of the archive, on its way.
enum Ahead<'a> {
    Here(&'a Item, Vec<Bytes>),
    Later(&'a Item),
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
    if let Some(exit) = refuse(context, plan.faults()) {
        return Ok(exit);
    }
    let mut items = plan.items().to_vec();
    items.sort_by(|a, b| a.name.cmp(&b.name));
    let total: u64 = items.iter().map(|item| item.properties.size).sum();
    let files = items.len() as u64;
    if args.dry_run && args.output == Format::Json {
        model::print(&context.out, planned(&items, path));
        return Ok(Exit::Success);
    }
    if args.dry_run {
        for item in &items {
            let size = bytes(item.properties.size);
            context.out.line(&format!(
                "would fetch   {size:>10}  {}",
                printable(&item.name)
            ));
        }
        context.out.say(&format!(
            "would write {} ({}) into {}",
            count(files, "file", "files"),
            bytes(total),
            path.display()
        ));
        return Ok(Exit::Success);
    }
    meter.planned(files, total);
    let made = match watch(context, &meter, make(&store, &items, path, &meter)).await? {
        Ended::Done(made) => made?,
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

fn planned(items: &[Item], path: &Path) -> Planned {
    let file = |item: &Item| PlannedFile {
        name: item.name.clone(),
        bytes: item.properties.size,
    };
    Planned {
        transfer: WORDS.transfer,
        dry_run: true,
        target: path.display().to_string(),
        files: items.len() as u64,
        bytes: items.iter().map(|item| item.properties.size).sum(),
        unchanged: None,
        folders: 0,
        deleted: 0,
        to_move: items.iter().map(file).collect(),
        to_make: Vec::new(),
        to_delete: Vec::new(),
    }
}

/// Writes the archive; answers its size.
pub(super) async fn make(
    store: &SharedStore,
    items: &[Item],
    path: &Path,
    progress: &dyn Progress,
) -> Result<u64> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let part = path.with_file_name(format!("{name}{PART_ENDING}"));
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| unwritable(path, &error))?;
    }
    let file = File::create(&part).map_err(|error| unwritable(path, &error))?;
    let unfinished = Unfinished(part.clone());
    let (sender, pieces) = mpsc::channel(WAITING);
    let writer = tokio::task::spawn_blocking(move || write_pieces(file, pieces));
    let fed = feed(store, items, sender, progress).await;
    let written = writer.await.map_err(|error| {
        Error::new(Code::Bug, "the zip file's writer did not end").because(&error)
    })?;
    // A disk that is full is why nobody took the bytes.
    let size = written.map_err(|error| unwritable(path, &error))?;
    fed?;
    fs::rename(&part, path).map_err(|error| unwritable(path, &error))?;
    drop(unfinished);
    Ok(size)
}

/// Fetches the files in their order and hands their bytes to the writer.
async fn feed(
    store: &SharedStore,
    items: &[Item],
    sender: mpsc::Sender<Piece>,
    progress: &dyn Progress,
) -> Result<(), StorageError> {
    let mut ahead = stream::iter(items)
        .map(|item| fetch_small(store, item, progress))
        .buffered(AHEAD);
    while let Some(next) = ahead.next().await {
        let (item, chunks) = match next? {
            Ahead::Here(item, chunks) => (item, Some(chunks)),
            Ahead::Later(item) => (item, None),
        };
        let start = Piece::Start {
            name: item.name.clone(),
            size: item.properties.size,
        };
        // Where the writer is gone, it says why itself.
        if sender.send(start).await.is_err() {
            return Ok(());
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
                return Ok(());
            }
            poured?;
            continue;
        };
        for bytes in chunks {
            if sender.send(Piece::Bytes(bytes)).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn fetch_small<'a>(
    store: &SharedStore,
    item: &'a Item,
    progress: &dyn Progress,
) -> Result<Ahead<'a>, StorageError> {
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
    poured?;
    Ok(Ahead::Here(item, chunks))
}

/// Writes the archive until nobody sends any more; answers its size.
fn write_pieces(file: File, mut pieces: mpsc::Receiver<Piece>) -> io::Result<u64> {
    let file = Once::new(BufWriter::with_capacity(1024 * 1024, file));
    let mut zip = ZipWriter::new(file);
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::Start { name, size } => {
                zip.start_file(&name, options(&name, size))
                    .map_err(io::Error::other)?;
            }
            Piece::Bytes(bytes) => zip.write_all(&bytes)?,
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
mod tests {
    use super::*;
    use petctl_storage::open_folder;
    use petctl_transfer::NoProgress;
    use std::io::Read;

    async fn items(store: &SharedStore) -> Vec<Item> {
        let page = store.list("", None).await.unwrap();
        let entries = page.entries.into_iter().filter(|entry| !entry.is_folder);
        entries
            .map(|entry| Item {
                source: entry.name.clone(),
                name: entry.name,
                properties: entry.properties,
                sha256: None,
            })
            .collect()
    }

    #[tokio::test]
    async fn the_same_files_make_the_same_bytes_whenever_and_in_whatever_order_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut archives = Vec::new();
        for (round, names) in [
            ["b/x.txt", "a.png", "é/large.bin"],
            ["é/large.bin", "a.png", "b/x.txt"],
        ]
        .iter()
        .enumerate()
        {
            let from = folder.path().join(format!("from{round}"));
            for name in names {
                let path = from.join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let length = if name.contains("large") {
                    3_000_000
                } else {
                    1_000
                };
                fs::write(&path, name.as_bytes().repeat(length / name.len())).unwrap();
                let then = std::time::SystemTime::UNIX_EPOCH
                    + std::time::Duration::from_secs(1_000_000 * (round as u64 + 1));
                File::options()
                    .write(true)
                    .open(&path)
                    .unwrap()
                    .set_modified(then)
                    .unwrap();
            }
            let store = open_folder(&from).unwrap();
            let mut items = items(&store).await;
            items.sort_by(|a, b| a.name.cmp(&b.name));
            let path = folder.path().join(format!("deep/{round}.zip"));
            let size = make(&store, &items, &path, &NoProgress).await.unwrap();
            let archive = fs::read(&path).unwrap();
            assert_eq!(archive.len() as u64, size);
            archives.push(archive);
        }
        assert!(archives[0] == archives[1]);
        let mut read = zip::ZipArchive::new(io::Cursor::new(&archives[0])).unwrap();
        let names: Vec<String> = read
            .file_names()
            .map(|name| name.unwrap().into_owned())
            .collect();
        assert_eq!(names, ["a.png", "b/x.txt", "é/large.bin"]);
        let mut text = Vec::new();
        read.by_name("é/large.bin")
            .unwrap()
            .read_to_end(&mut text)
            .unwrap();
        assert!(text.starts_with("é/large.bin".as_bytes()));
        let left = fs::read_dir(folder.path().join("deep")).unwrap().count();
        assert_eq!(left, 2);
    }

    #[test]
    fn a_full_disk_is_told_to_be_one_and_once() {
        let full = || File::options().write(true).open("/dev/full").unwrap();
        for pieces in [0, 4] {
            let (sender, receiver) = mpsc::channel(WAITING);
            for number in 0..pieces {
                let name = format!("{number}.png");
                let start = Piece::Start {
                    name,
                    size: 1 << 20,
                };
                sender.try_send(start).unwrap();
                let bytes = Bytes::from(vec![7; 1 << 20]);
                sender.try_send(Piece::Bytes(bytes)).unwrap();
            }
            drop(sender);
            let error = write_pieces(full(), receiver).unwrap_err();
            let error = unwritable(Path::new("/dev/full"), &error);
            assert_eq!(error.code(), "DISK_FULL");
            assert!(error.blocks()[0].fix.starts_with("make room"), "{error:?}");
        }
        let mut once = Once::new(full());
        assert!(once.write(b"x").is_err());
        assert_eq!(once.write(b"xy").unwrap(), 2, "an error is said once");
    }

    #[tokio::test]
    async fn a_file_that_is_not_as_its_manifest_says_makes_no_archive() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "1").unwrap();
        let store = open_folder(folder.path()).unwrap();
        let mut items = items(&store).await;
        items[0].sha256 = Some([0; 32]);
        let path = folder.path().join("out.zip");
        let error = make(&store, &items, &path, &NoProgress).await.unwrap_err();
        assert_eq!(error.code(), "STORAGE_CORRUPT");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
