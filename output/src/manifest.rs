//! `manifest.json`: what a committed folder holds, and who made it. A folder with a whole manifest is committed;
//! nothing else is.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::layout::NamedLease;
use petctl_text::hex;

/// Name of the manifest's file.
pub const FILE_NAME: &str = "manifest.json";
/// The version this program writes and reads.
pub const VERSION: u32 = 2;
/// Largest manifest that is read, in bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The contents of a committed folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`VERSION`].
    pub version: u32,
    /// Name of the job.
    pub job: String,
    /// Name of the stage.
    pub stage: String,
    /// Key of the shard.
    pub key: String,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The event log that gave its lease out; 16 hex digits, as in names of attempts.
    #[serde(with = "hex_number")]
    pub lineage: u64,
    /// The lease under which it was made; 16 hex digits.
    #[serde(with = "hex_number")]
    pub lease_id: u64,
    /// What it was made of, as 32 hex digits: inputs, parameters, code, command, image, and the outputs that it needed.
    /// Absent where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Name of the worker that made it.
    pub worker: String,
    /// RFC 3339, UTC.
    pub committed_at: String,
    /// Wall time of its command.
    pub duration_ms: u64,
    /// Every file but the manifest itself, sorted by name.
    pub files: Vec<ManifestFile>,
    /// Symbolic links, sorted by name. Each leads to a file or a folder of these outputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<ManifestLink>,
    /// Folders in which nothing is, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub empty_folders: Vec<String>,
}

/// One file of a committed folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Path below the folder, parts joined by `/`.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the contents, hex.
    pub sha256: String,
}

/// Numbers that JSON's own would lose digits of.
mod hex_number {
    use crate::layout::hex_number;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
    pub(super) fn serialize<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{number:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let text = String::deserialize(from)?;
        hex_number(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is no 16 hex digits")))
    }
}

/// One symbolic link of a committed folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestLink {
    /// Path below the folder, parts joined by `/`.
    pub name: String,
    /// What it holds: a path that starts in the link's own folder.
    pub target: String,
}

/// Why a folder does not count as committed.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// There is no manifest.
    #[error("there is no {FILE_NAME}")]
    Missing,
    /// The manifest itself can't be read.
    #[error("can't read {FILE_NAME}")]
    Read(#[source] io::Error),
    /// It is not a manifest.
    #[error("{FILE_NAME} is broken: {0}")]
    Broken(String),
    /// It is from another petctl.
    #[error("{FILE_NAME} has version {0}; this petctl reads version {VERSION}")]
    Version(u32),
    /// A file is not as the manifest says.
    #[error("{name} is not as {FILE_NAME} says: {why}")]
    File {
        /// Which one.
        name: String,
        /// How it differs.
        why: String,
    },
}

/// A manifest and the hash of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadManifest {
    /// What it says.
    pub manifest: Manifest,
    /// SHA-256 of `manifest.json`.
    pub sha256: [u8; 32],
}

impl Manifest {
    /// Reads the manifest of a folder; does not look at the files it names.
    ///
    /// # Errors
    /// [`ManifestError`], but never [`ManifestError::File`].
    pub fn read(folder: &Path) -> Result<ReadManifest, ManifestError> {
        let bytes = read_bounded(&folder.join(FILE_NAME), MAX_BYTES).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                ManifestError::Missing
            } else {
                ManifestError::Read(error)
            }
        })?;
        Ok(ReadManifest {
            manifest: Self::from_bytes(&bytes)?,
            sha256: Sha256::digest(&bytes).into(),
        })
    }

    /// A manifest as its file holds it.
    ///
    /// # Errors
    /// [`ManifestError::Broken`] or [`ManifestError::Version`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let broken = |error: serde_json::Error| ManifestError::Broken(error.to_string());
        match serde_json::from_slice::<Self>(bytes) {
            Ok(manifest) if manifest.version == VERSION => Ok(manifest),
            Ok(manifest) => Err(ManifestError::Version(manifest.version)),
            // What another version says need not be what this one reads.
            Err(error) => match serde_json::from_slice::<Versioned>(bytes) {
                Ok(other) if other.version != VERSION => Err(ManifestError::Version(other.version)),
                Ok(_) | Err(_) => Err(broken(error)),
            },
        }
    }

    /// The lease under which it was made.
    #[must_use]
    pub fn lease(&self) -> NamedLease {
        NamedLease {
            lineage: self.lineage,
            lease_id: self.lease_id,
        }
    }

    /// Reads the manifest of a folder and every file that it names, and compares.
    ///
    /// # Errors
    /// [`ManifestError`] names the first thing that is wrong.
    pub fn verify(folder: &Path) -> Result<ReadManifest, ManifestError> {
        let read = Self::read(folder)?;
        for file in &read.manifest.files {
            read.manifest.verify_file(folder, file)?;
        }
        read.manifest.verify_shape(folder)?;
        Ok(read)
    }

    /// As [`Self::read`], of what is on the disk, or waits to be written: what the disk did not take may still be in the
    /// page cache, whole and said to be written. Where a sync that follows succeeds, what was read is durable.
    ///
    /// # Errors
    /// As there.
    pub fn read_stored(folder: &Path) -> Result<ReadManifest, ManifestError> {
        match open_unfollowed(&folder.join(FILE_NAME)).and_then(|file| forget_cached(&file)) {
            Ok(()) => Self::read(folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ManifestError::Missing),
            Err(error) => Err(ManifestError::Read(error)),
        }
    }

    /// Reads one of its files in `folder`, and compares.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_file(&self, folder: &Path, file: &ManifestFile) -> Result<(), ManifestError> {
        compare(folder, file, hash_file)
    }

    /// As [`Self::verify_file`], of what is on the disk, as [`Self::read_stored`] reads.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_stored_file(
        &self,
        folder: &Path,
        file: &ManifestFile,
    ) -> Result<(), ManifestError> {
        compare(folder, file, |path| {
            let file = open_unfollowed(path)?;
            forget_cached(&file)?;
            hash(file)
        })
    }

    /// Compares what else is in `folder`: links and empty folders.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_shape(&self, folder: &Path) -> Result<(), ManifestError> {
        match self.changed_shape(folder).into_iter().next() {
            Some((name, why)) => Err(ManifestError::File { name, why }),
            None => Ok(()),
        }
    }

    /// Total size of the files, in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.files
            .iter()
            .map(|file| file.bytes)
            .fold(0, u64::saturating_add)
    }
}

/// Holds a file of `folder` to what its manifest says.
fn compare(
    folder: &Path,
    file: &ManifestFile,
    hash_file: impl Fn(&Path) -> io::Result<(u64, String)>,
) -> Result<(), ManifestError> {
    let differs = |why: String| ManifestError::File {
        name: file.name.clone(),
        why,
    };
    if crate::layout::check_relative(&file.name).is_err() {
        return Err(ManifestError::Broken(format!(
            "it names the file {:?}",
            file.name
        )));
    }
    let (bytes, sha256) =
        hash_file(&folder.join(&file.name)).map_err(|error| differs(error.to_string()))?;
    if bytes != file.bytes {
        return Err(differs(format!("it has {bytes} bytes, not {}", file.bytes)));
    }
    if sha256 != file.sha256 {
        return Err(differs("its SHA-256 differs".to_owned()));
    }
    Ok(())
}

/// Size and SHA-256 of a regular file, read once. Links are not followed.
///
/// # Errors
/// Those of opening and reading it.
pub fn hash_file(path: &Path) -> io::Result<(u64, String)> {
    hash(open_unfollowed(path)?)
}

fn open_unfollowed(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    // NONBLOCK: a pipe put in the file's place must not hold the worker up.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Drops from the page cache what the kernel calls clean, so that the next read is one of the disk: after a write that
/// failed, pages are called clean too. What still has to be written is for a sync to come, which says whether it was.
fn forget_cached(file: &File) -> io::Result<()> {
    match rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed) {
        // Not every file system has a cache that can be told.
        Ok(()) | Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn hash(mut file: File) -> io::Result<(u64, String)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 64 * 1024];
    let mut bytes = 0_u64;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((bytes, hex(&hasher.finalize()))),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                bytes += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A whole file, or an error where it is larger than `limit_bytes`.
///
/// # Errors
/// Those of opening and reading it.
pub fn read_bounded(path: &Path, limit_bytes: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    file.take(limit_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit_bytes {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {limit_bytes} bytes"),
        ));
    }
    Ok(bytes)
}
