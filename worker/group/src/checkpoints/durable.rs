//! A checkpoint that is said to be complete is on disk before anybody hears of it: its predecessors go on that word.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Syncs a checkpoint, a file or a folder with all that is in it, and the folders that its names are in. Blocks.
///
/// # Errors
/// Those of the file system: nothing is known to be on disk then.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    let real = fs::canonicalize(path)?;
    sync_tree(&real)?;
    for parent in [real.parent(), path.parent()].into_iter().flatten() {
        sync_folder(parent)?;
    }
    Ok(())
}

fn sync_tree(path: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_dir() {
        for entry in fs::read_dir(path)? {
            sync_tree(&entry?.path())?;
        }
        sync_folder(path)
    } else if kind.is_file() {
        File::open(path)?.sync_all()
    } else {
        // A link's bytes are its folder's.
        Ok(())
    }
}

/// Some network file systems have nothing to sync of a folder, and say that it can't be done.
fn sync_folder(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_folders_and_links_to_them_are_synced_and_what_is_gone_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("step-1");
        fs::create_dir_all(folder.join("deep/empty")).unwrap();
        fs::write(folder.join("deep/shard.bin"), "x").unwrap();
        std::os::unix::fs::symlink("gone", folder.join("dangling")).unwrap();
        std::os::unix::fs::symlink(&folder, root.path().join("latest")).unwrap();
        sync(&folder).unwrap();
        sync(&folder.join("deep/shard.bin")).unwrap();
        sync(&root.path().join("latest")).unwrap();
        let gone = sync(&root.path().join("step-2")).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    }
}
