//! A file that can be written to without being changed.

use redb::StorageBackend;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

const PAGE_BYTES: usize = 4_096;

type Page = Box<[u8]>;

/// Reads a file and keeps what is written to it in memory. The engine repairs a log that was not closed as it opens
/// it; over this, the repair is seen by that reader alone.
#[derive(Debug)]
pub(super) struct Overlay {
    file: File,
    file_bytes: u64,
    written: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    bytes: u64,
    /// By number. A page is here whole or not at all.
    pages: BTreeMap<u64, Page>,
}

impl Overlay {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let file_bytes = file.metadata()?.len();
        Ok(Self {
            file,
            file_bytes,
            written: Mutex::new(Written {
                bytes: file_bytes,
                pages: BTreeMap::new(),
            }),
        })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the file holds at `offset`; zeros behind its end.
    fn read_file(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let available =
            usize::try_from(self.file_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (inside, behind) = out.split_at_mut(available.min(out.len()));
        behind.fill(0);
        self.file.read_exact_at(inside, offset)
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().bytes)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        if offset.saturating_add(out.len() as u64) > written.bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (page, within, range) in spans(offset, out.len()) {
            match written.pages.get(&page) {
                Some(bytes) => {
                    out[range.clone()].copy_from_slice(&bytes[within..within + range.len()])
                }
                None => self.read_file(start_of(page) + within as u64, &mut out[range])?,
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.written().bytes = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        for (page, within, range) in spans(offset, data.len()) {
            let bytes = match written.pages.entry(page) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let mut bytes = vec![0; PAGE_BYTES].into_boxed_slice();
                    self.read_file(start_of(page), &mut bytes)?;
                    entry.insert(bytes)
                }
            };
            bytes[within..within + range.len()].copy_from_slice(&data[range]);
        }
        Ok(())
    }
}

fn start_of(page: u64) -> u64 {
    page * PAGE_BYTES as u64
}

/// Cuts `length` bytes at `offset` into pages: number, first byte within it, and which of the bytes lie there.
fn spans(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + done as u64;
        // Smaller than a page.
        let within = usize::try_from(at % PAGE_BYTES as u64).unwrap_or(0);
        let count = (PAGE_BYTES - within).min(length - done);
        let range = done..done + count;
        done += count;
        Some((at / PAGE_BYTES as u64, within, range))
    })
}

#[cfg(test)]
mod tests {
    use super::Overlay;
    use redb::StorageBackend;
    use std::fs::{self, File};

    #[test]
    fn writes_are_read_back_and_the_file_stays_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, vec![7; 10_000]).unwrap();
        let overlay = Overlay::new(File::open(&path).unwrap()).unwrap();
        overlay.set_len(20_000).unwrap();
        overlay.write(4_000, &[9; 5_000]).unwrap();
        let mut read = vec![0; 12_000];
        overlay.read(0, &mut read).unwrap();
        let mut expected = vec![7; 10_000];
        expected[4_000..9_000].fill(9);
        expected.resize(12_000, 0);
        assert!(read == expected);
        assert!(overlay.read(19_999, &mut [0; 2]).is_err());
        assert!(fs::read(&path).unwrap() == vec![7; 10_000]);
    }
}
