//! The one step by which outputs become visible.

use std::path::Path;

use rustix::io::Errno;

use super::calls;

/// How often a parent folder may be removed just after we made it.
const MAX_PARENTS: u32 = 10;

/// Renames the attempt's folder to its place. `NOENT` means that the attempt's folder is gone; `EXIST` or `NOTEMPTY`
/// that something is there already. `name` is that of the step.
pub(super) fn publish(name: &'static str, folder: &Path, target: &Path) -> Result<(), Errno> {
    let mut made = 0;
    loop {
        match calls::rename_no_replace(name, folder, target) {
            // The parent is missing, for the first shard of a stage or of a sub folder; or the attempt's folder is.
            Err(Errno::NOENT) if made < MAX_PARENTS && calls::look_at("own", folder).is_ok() => {}
            other => return other,
        }
        made += 1;
        if let Some(parent) = target.parent() {
            calls::make_all(parent)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        }
    }
}
