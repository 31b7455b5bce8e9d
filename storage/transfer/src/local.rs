//! What the local side of a transfer says when it fails.

use petctl_storage::{StorageError, StorageProblem};
use petctl_text::obstacle::Obstacle;
use std::io;
use std::path::Path;
use tokio::task::spawn_blocking;

/// A local failure: what was tried, on which path, and what the system said.
pub(crate) fn local_error(verb: &str, path: &Path, error: &io::Error) -> StorageError {
    let message = format!("can't {verb} {}: {error}", path.display());
    let obstacle = Obstacle::of(error);
    if obstacle.is_full() {
        let mend = obstacle.fix_writing("");
        return StorageError::new(StorageProblem::Full, message).fix(format!(
            "{mend}; then give the same command again: it goes on where it stopped"
        ));
    }
    let made = StorageError::new(StorageProblem::Local, message);
    if obstacle == Obstacle::Rights {
        return made.fix("give this user the right to read and write it");
    }
    // Each side may have either.
    if obstacle == Obstacle::OtherKind {
        return made.fix("a file and a folder want the same name: move one of them away");
    }
    made.fix(obstacle.fix_writing(""))
}

/// Work on files, off the threads that serve the network. It starts at once and goes on if nobody waits for it.
pub(crate) fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> impl Future<Output = Result<T, StorageError>> + Send {
    let work = spawn_blocking(work);
    async move {
        match work.await {
            Ok(answer) => answer,
            Err(error) => Err(StorageError::new(
                StorageProblem::Unexpected,
                format!("work on a file did not end: {error}"),
            )),
        }
    }
}
