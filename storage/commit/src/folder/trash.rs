//! Folders leave by a rename; what they hold is deleted on a thread of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};

use super::calls;
use crate::steps;
use petctl_text::hex;

/// The trash folder of one output folder.
#[derive(Debug)]
pub(super) struct Trash {
    folder: PathBuf,
    next: AtomicU64,
    deleter: OnceLock<Option<Sender<PathBuf>>>,
}

impl Trash {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            next: AtomicU64::new(0),
            deleter: OnceLock::new(),
        }
    }

    /// Moves a folder away and has it deleted. False where it was gone already or could not be moved.
    pub(super) fn take(&self, path: &Path) -> bool {
        match self.take_or_fail(path) {
            Ok(taken) => taken,
            Err(error) => {
                tracing::info!(path = %path.display(), %error, "could not remove the folder of an attempt");
                false
            }
        }
    }

    /// The same; `Ok(false)` where it was gone already.
    pub(super) fn take_or_fail(&self, path: &Path) -> io::Result<bool> {
        let place = self.take_away(path)?;
        let taken = place.is_some();
        if let Some(place) = place {
            self.delete(place);
        }
        Ok(taken)
    }

    /// Moves a folder into the trash, where it stays: its place there, or `None` where it was gone already.
    pub(super) fn take_away(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let place = self.folder.join(self.unique_name(path)?);
        match calls::rename("take", path, &place) {
            Ok(()) => Ok(Some(place)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.folder.exists() => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes a folder that is in the trash.
    fn delete(&self, path: PathBuf) {
        // Nobody looks into the trash.
        if steps::is_held() {
            return;
        }
        let deleter = self.deleter.get_or_init(|| {
            let (sender, receiver) = channel::<PathBuf>();
            let thread = std::thread::Builder::new()
                .name("petctl-trash".into())
                .spawn(move || {
                    for path in receiver {
                        delete_now(&path);
                    }
                });
            thread.ok().map(|_| sender)
        });
        if let Some(Err(unsent)) = deleter.as_ref().map(|deleter| deleter.send(path)) {
            delete_now(&unsent.0);
        }
    }

    /// Unique among all processes that use this trash.
    fn unique_name(&self, path: &Path) -> io::Result<String> {
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("attempt");
        let cut = name.floor_char_boundary(200);
        Ok(format!(
            "{}.{}-{}",
            &name[..cut],
            hex(&random),
            self.next.fetch_add(1, Ordering::Relaxed)
        ))
    }
}

/// A process that still writes there can make the first try fail; what stays is left to the next sweep.
pub(super) fn delete_now(path: &Path) {
    for _ in 0..3 {
        match fs::remove_dir_all(path) {
            Ok(()) => return,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "could not empty the trash")
            }
        }
    }
}
