//! Archives of jobs' code, by the digests of their bytes.

use petctl_text::hex;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tempfile::NamedTempFile;

/// Largest archive.
pub(crate) const MAX_ARCHIVE_BYTES: u64 = 256 * 1024 * 1024;
/// All archives together; beyond that the oldest go that no open job names.
const MAX_ALL_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// The folder of the archives.
#[derive(Clone, Debug)]
pub(crate) struct CodeFolder {
    path: PathBuf,
}

/// An archive that is being written.
#[derive(Debug)]
pub(crate) struct NewArchive {
    file: NamedTempFile,
    hash: Sha256,
    bytes: u64,
    digest: String,
    folder: PathBuf,
}

impl CodeFolder {
    pub(crate) fn of(state_dir: &Path) -> Self {
        Self {
            path: state_dir.join("code"),
        }
    }

    /// An archive that is there, to be read.
    pub(crate) fn open(&self, digest: &str) -> io::Result<File> {
        File::open(self.path.join(digest))
    }

    pub(crate) fn has(&self, digest: &str) -> bool {
        self.path.join(digest).is_file()
    }

    /// Begins an archive; nobody sees it before [`NewArchive::keep`].
    pub(crate) fn begin(&self, digest: &str) -> io::Result<NewArchive> {
        fs::create_dir_all(&self.path)?;
        Ok(NewArchive {
            file: NamedTempFile::new_in(&self.path)?,
            hash: Sha256::new(),
            bytes: 0,
            digest: digest.to_owned(),
            folder: self.path.clone(),
        })
    }

    /// Removes the oldest archives that nobody needs, where they are too many.
    pub(crate) fn prune(&self, needed: &BTreeSet<String>) -> io::Result<()> {
        let mut archives: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let known = entry.metadata()?;
            archives.push((known.modified()?, known.len(), entry.path()));
        }
        archives.sort();
        let mut all: u64 = archives.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in archives {
            if all <= MAX_ALL_BYTES {
                break;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !needed.contains(name.as_ref()) {
                fs::remove_file(&path)?;
                all -= bytes;
            }
        }
        Ok(())
    }
}

/// Why an archive is not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotKept {
    #[error("an archive of code has at most {MAX_ARCHIVE_BYTES} bytes")]
    TooLarge,
    #[error("the archive's bytes have the digest {0}, not the one that was announced")]
    Other(String),
    #[error("it can't be written: {0}")]
    System(#[from] io::Error),
}

impl NewArchive {
    pub(crate) fn write(&mut self, data: &[u8]) -> Result<(), NotKept> {
        self.bytes += data.len() as u64;
        if self.bytes > MAX_ARCHIVE_BYTES {
            return Err(NotKept::TooLarge);
        }
        self.hash.update(data);
        Ok(self.file.write_all(data)?)
    }

    /// Makes it durable under its digest.
    pub(crate) fn keep(self) -> Result<(), NotKept> {
        let digest = hex(&self.hash.finalize());
        if digest != self.digest {
            return Err(NotKept::Other(digest));
        }
        self.file.as_file().sync_all()?;
        let kept = self.file.persist(self.folder.join(&digest));
        kept.map_err(|error| error.error)?;
        File::open(&self.folder)?.sync_all()?;
        Ok(())
    }
}

/// Whether a text can be the digest of an archive, and so the name of a file.
pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_kept_only_under_the_digest_of_its_bytes() {
        let state = tempfile::tempdir().unwrap();
        let folder = CodeFolder::of(state.path());
        let digest = hex(&Sha256::digest(b"print(1)"));
        let mut lie = folder.begin(&digest).unwrap();
        lie.write(b"print(2)").unwrap();
        assert!(matches!(lie.keep(), Err(NotKept::Other(_))));
        assert!(!folder.has(&digest));
        let mut archive = folder.begin(&digest).unwrap();
        archive.write(b"print").unwrap();
        assert!(!folder.has(&digest), "half an archive is nobody's");
        archive.write(b"(1)").unwrap();
        archive.keep().unwrap();
        assert!(folder.has(&digest));
        let left = fs::read_dir(state.path().join("code")).unwrap().count();
        assert_eq!(left, 1);
    }

    #[test]
    fn digests_are_no_paths() {
        assert!(is_digest(&"0a".repeat(32)));
        assert!(!is_digest("../../etc/passwd"));
        assert!(!is_digest(&"0A".repeat(32)));
    }
}
