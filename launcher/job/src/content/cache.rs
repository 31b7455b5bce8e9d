//! SHA-256 of files that were read before, so that unchanged ones are not read again.
//!
//! One file of fixed-size entries behind a head line, ended by its own SHA-256: a damaged or foreign one is an empty
//! one. An entry holds for the file's size, times and inode; what was written to so shortly before it was read that a
//! later write could leave the same times is not kept.

use super::walk::Identity;
use crate::home::make_private;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// First bytes of the file; grows with the form of its entries.
const HEAD: &[u8] = b"petctl hashes 1\n";
/// Path, size, two times, device, inode, hash.
const ENTRY_BYTES: usize = 16 + 8 + 8 + 8 + 8 + 8 + 32;
/// Files that are remembered, at most: as many as a job may have shards, and some code.
const MAX_ENTRIES: usize = 1_100_000;
/// Files changed less than this before they were read are read again the next time.
const RACY_NS: i128 = 2_000_000_000;

/// A hash of contents.
pub(super) type Sha = [u8; 32];
/// The first half of the SHA-256 of a path.
type PathHash = [u8; 16];

/// What is known of files by their paths.
#[derive(Debug, Default)]
pub struct HashCache {
    path: Option<PathBuf>,
    before: BTreeMap<PathHash, (Identity, Sha)>,
    now: BTreeMap<PathHash, (Identity, Sha)>,
}

impl HashCache {
    /// Remembers nothing beyond this process.
    #[cfg(test)]
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads what an earlier run has left. What can't be read is forgotten: it only costs time.
    pub fn open(path: &Path) -> Self {
        let before = fs::read(path).ok().and_then(|bytes| decode(&bytes));
        Self {
            path: Some(path.to_owned()),
            before: before.unwrap_or_default(),
            now: BTreeMap::new(),
        }
    }

    /// The same, but leaves nothing for the next run.
    pub fn look_only(path: &Path) -> Self {
        Self {
            path: None,
            ..Self::open(path)
        }
    }

    /// The hash of a file that is still the one that was read.
    pub(super) fn get(&self, path: &Path, identity: &Identity) -> Option<Sha> {
        let key = hash_of(path);
        let (known, sha) = self.now.get(&key).or_else(|| self.before.get(&key))?;
        (known == identity).then_some(*sha)
    }

    /// Takes in a hash; `read_at_ns` is when reading began, since 1970.
    pub(super) fn put(&mut self, path: &Path, identity: Identity, sha: Sha, read_at_ns: i128) {
        let newest = identity.modified_ns.max(identity.changed_ns);
        let is_old = i128::from(newest) + RACY_NS < read_at_ns;
        if is_old && self.now.len() < MAX_ENTRIES {
            self.now.insert(hash_of(path), (identity, sha));
        }
    }

    /// Keeps one that was looked up, for the next run.
    pub(super) fn keep(&mut self, path: &Path, identity: Identity, sha: Sha) {
        if self.now.len() < MAX_ENTRIES {
            self.now.insert(hash_of(path), (identity, sha));
        }
    }

    /// Leaves what this run has seen for the next one.
    ///
    /// # Errors
    /// Those of writing the file.
    pub fn save(&self) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        if self.now == self.before {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            make_private(folder)?;
        }
        petctl_output::write_whole(path, &encode(&self.now))
    }
}

fn hash_of(path: &Path) -> PathHash {
    use std::os::unix::ffi::OsStrExt;
    super::half(&Sha256::digest(path.as_os_str().as_bytes()).into())
}

fn encode(entries: &BTreeMap<PathHash, (Identity, Sha)>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD.len() + entries.len() * ENTRY_BYTES + 32);
    bytes.extend_from_slice(HEAD);
    for (path, (identity, sha)) in entries {
        bytes.extend_from_slice(path);
        bytes.extend_from_slice(&identity.size.to_le_bytes());
        bytes.extend_from_slice(&identity.modified_ns.to_le_bytes());
        bytes.extend_from_slice(&identity.changed_ns.to_le_bytes());
        bytes.extend_from_slice(&identity.device.to_le_bytes());
        bytes.extend_from_slice(&identity.inode.to_le_bytes());
        bytes.extend_from_slice(sha);
    }
    let sum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&sum);
    bytes
}

fn decode(bytes: &[u8]) -> Option<BTreeMap<PathHash, (Identity, Sha)>> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    if Sha256::digest(body).as_slice() != sum {
        return None;
    }
    let entries = body.strip_prefix(HEAD)?;
    if entries.len() % ENTRY_BYTES != 0 {
        return None;
    }
    entries
        .chunks_exact(ENTRY_BYTES)
        .map(decode_entry)
        .collect()
}

fn decode_entry(entry: &[u8]) -> Option<(PathHash, (Identity, Sha))> {
    let (path, rest) = entry.split_first_chunk::<16>()?;
    let (size, rest) = rest.split_first_chunk::<8>()?;
    let (modified, rest) = rest.split_first_chunk::<8>()?;
    let (changed, rest) = rest.split_first_chunk::<8>()?;
    let (device, rest) = rest.split_first_chunk::<8>()?;
    let (inode, rest) = rest.split_first_chunk::<8>()?;
    let sha: Sha = rest.try_into().ok()?;
    let identity = Identity {
        size: u64::from_le_bytes(*size),
        modified_ns: i64::from_le_bytes(*modified),
        changed_ns: i64::from_le_bytes(*changed),
        device: u64::from_le_bytes(*device),
        inode: u64::from_le_bytes(*inode),
    };
    Some((*path, (identity, sha)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(modified_ns: i64) -> Identity {
        Identity {
            size: 3,
            modified_ns,
            changed_ns: modified_ns,
            device: 1,
            inode: 7,
        }
    }

    #[test]
    fn what_was_read_is_known_again_and_a_damaged_file_is_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job/hashes");
        let mut cache = HashCache::open(&path);
        let file = Path::new("/in/a");
        let old = identity(1_000);
        cache.put(file, old, [9; 32], 1_000 + RACY_NS + 1);
        cache.save().unwrap();
        let again = HashCache::open(&path);
        assert_eq!(again.get(file, &old), Some([9; 32]));
        assert_eq!(again.get(file, &identity(1_001)), None, "it was written to");
        assert_eq!(again.get(Path::new("/in/b"), &old), None);
        let mut bytes = fs::read(&path).unwrap();
        bytes[30] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(HashCache::open(&path).get(file, &old), None);
    }

    #[test]
    fn a_file_that_was_written_just_before_it_was_read_is_not_remembered() {
        let mut cache = HashCache::none();
        cache.put(Path::new("/in/a"), identity(5_000), [9; 32], 6_000);
        assert_eq!(cache.get(Path::new("/in/a"), &identity(5_000)), None);
    }
}
