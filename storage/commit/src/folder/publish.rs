//! The one step by which outputs become visible.

use std::fs;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// How often a parent folder may be removed just after we made it.
const MAX_PARENTS: u32 = 10;

/// Renames the attempt's folder to its place. `NOENT` means that the attempt's folder is gone; `EXIST` or `NOTEMPTY`
/// that something is there already.
pub(super) fn publish(folder: &Path, target: &Path) -> Result<(), Errno> {
    let mut made = 0;
    loop {
        match rename_no_replace(folder, target) {
            // The parent is missing, for the first shard of a stage or of a sub folder; or the attempt's folder is.
            Err(Errno::NOENT) if made < MAX_PARENTS && fs::symlink_metadata(folder).is_ok() => {}
            other => return other,
        }
        made += 1;
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        }
    }
}

fn rename_no_replace(folder: &Path, target: &Path) -> Result<(), Errno> {
    match renameat_with(CWD, folder, CWD, target, RenameFlags::NOREPLACE) {
        // The file system does not know the flag. A committed folder is never empty, and a plain rename refuses to
        // replace a folder that is not empty.
        Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::rename(folder, target),
        other => other,
    }
}
