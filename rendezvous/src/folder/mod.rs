//! The state folder: what lies beside the log.
//!
//! ```text
//! lock            held while a coordinator or an offline reader is there; the coordinator's pid
//! coordinator.redb  the log
//! token           mode 0600
//! port            where the last coordinator listened
//! endpoint.json   where the living one listens
//! ```

mod endpoint;
mod lock;
mod token;

pub use self::endpoint::{Endpoint, read_endpoint};
pub(crate) use self::endpoint::{publish, remember_port, remembered_port, withdraw};
pub(crate) use self::lock::FolderLock;
pub use self::token::read_token;
pub(crate) use self::token::token_of;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes a file of mode 0600 so that readers see all of it or what was there before.
fn write_whole(path: &Path, contents: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    // What a crash left behind. The folder's lock is held, so nobody else is writing it.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}
