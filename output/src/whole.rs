//! Small files that readers see whole.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use tempfile::NamedTempFile;

/// Writes a file of mode 0600 so that readers, and whoever comes after a crash, see all of it or what was there before.
///
/// # Errors
/// Those of the file system; what was there before stands, unless it is the last sync that fails.
pub fn write_whole(path: &Path, contents: &[u8]) -> io::Result<()> {
    let file = draft(path, contents)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    // Its name is part of what must outlive a power cut.
    File::open(folder_of(path))?.sync_all()
}

/// As [`write_whole`], for what need not outlive the machine's next start: nothing is synced.
///
/// # Errors
/// Those of the file system; what was there before stands.
pub fn write_whole_unsynced(path: &Path, contents: &[u8]) -> io::Result<()> {
    draft(path, contents)?.persist(path)?;
    Ok(())
}

fn draft(path: &Path, contents: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .prefix(".")
        .suffix(".unfinished")
        .tempfile_in(folder_of(path))?;
    file.write_all(contents)?;
    Ok(file)
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent();
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::write_whole;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_is_replaced_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("endpoint");
        write_whole(&path, b"one").unwrap();
        write_whole(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o600
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_can_not_be_written_leaves_what_was_there_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder");
        fs::create_dir(&path).unwrap();
        write_whole(&path, b"one").unwrap_err();
        assert!(path.is_dir());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
