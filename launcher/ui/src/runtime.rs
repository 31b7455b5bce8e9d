//! The threads on which a command waits for a network.

use crate::{Code, Error, Exit, Result};
use tokio::runtime::{Builder, Runtime};

/// Runs a command that waits for a network.
///
/// # Errors
/// Its own, and where no threads can be started.
pub fn block_on(command: impl Future<Output = Result<Exit>>) -> Result<Exit> {
    let runtime = runtime(2)?;
    let ended = runtime.block_on(command);
    // Threads that wait for a file or a lock would keep the program from ending.
    runtime.shutdown_background();
    ended
}

/// So many threads.
///
/// # Errors
/// [`Code::Bug`] where they can't be started.
pub fn runtime(threads: usize) -> Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|error| {
            Error::new(Code::Bug, "can't start threads")
                .because(&error)
                .fix("look at the limits on processes (`ulimit -u`)")
        })
}
