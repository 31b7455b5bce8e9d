//! What an attempt wrote: every file, hashed; or why it can't be committed.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Dir, DirEntry, FileType, Mode, OFlags};

use crate::CommitError;
use crate::report;
use petctl_output::manifest::{self, ManifestFile, hash_file};
use petctl_output::result;

/// Most files and folders one attempt may write.
pub const MAX_FILES: usize = 100_000;
/// Deepest nesting of folders.
const MAX_DEPTH: usize = 64;

/// The outputs of one attempt.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    /// Sorted by name.
    pub(super) files: Vec<ManifestFile>,
    /// Whether `result.json` is among them.
    pub(super) has_result: bool,
}

/// Walks the folder. Links that stay inside are left as they are, and what they lead to is counted once.
pub(super) fn walk(root: &Path) -> Result<Outputs, CommitError> {
    let mut walker = Walker {
        root,
        real_root: None,
        entries: 0,
        outputs: Outputs::default(),
    };
    walker.folder(root, "", 0)?;
    let mut outputs = walker.outputs;
    outputs.files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(outputs)
}

struct Walker<'a> {
    root: &'a Path,
    real_root: Option<PathBuf>,
    entries: usize,
    outputs: Outputs,
}

impl Walker<'_> {
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), CommitError> {
        if depth > MAX_DEPTH {
            return Err(escapes(
                prefix,
                format!("is nested more than {MAX_DEPTH} folders deep"),
            ));
        }
        for entry in self.entries_of(folder)? {
            let file_name = OsStr::from_bytes(entry.file_name().to_bytes());
            let path = folder.join(file_name);
            let Some(file_name) = file_name.to_str() else {
                let name = format!("{prefix}{}", file_name.to_string_lossy());
                return Err(CommitError::NameNotUtf8 { name });
            };
            let name = format!("{prefix}{file_name}");
            let mut kind = entry.file_type();
            if kind == FileType::Unknown {
                let metadata = fs::symlink_metadata(&path)
                    .map_err(|error| self.io("look at", &path, error))?;
                kind = FileType::from_raw_mode(metadata.mode());
            }
            match kind {
                FileType::Directory => self.folder(&path, &format!("{name}/"), depth + 1)?,
                FileType::RegularFile => self.file(&path, name)?,
                FileType::Symlink => self.link(&path, &name)?,
                FileType::Fifo
                | FileType::Socket
                | FileType::CharacterDevice
                | FileType::BlockDevice
                | FileType::Unknown => {
                    return Err(escapes(&name, "is a pipe, socket or device".into()));
                }
            }
        }
        Ok(())
    }

    /// All of them before the first is looked at: files are put into the folder meanwhile.
    fn entries_of(&mut self, folder: &Path) -> Result<Vec<DirEntry>, CommitError> {
        let mut entries = Vec::new();
        for entry in open(folder).map_err(|error| self.io("list", folder, error))? {
            let entry = entry.map_err(|errno| self.io("list", folder, errno.into()))?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            self.entries += 1;
            if self.entries > MAX_FILES {
                return Err(CommitError::TooManyFiles { limit: MAX_FILES });
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    fn file(&mut self, path: &Path, name: String) -> Result<(), CommitError> {
        if name == manifest::FILE_NAME {
            return Err(CommitError::ReservedName { name });
        }
        let metadata =
            fs::symlink_metadata(path).map_err(|error| self.io("look at", path, error))?;
        // Looked at before it is hashed: hashing 100 MB of result.json to then refuse it would be for nothing.
        if name == result::FILE_NAME {
            report::check_size(metadata.len())?;
            self.outputs.has_result = true;
        }
        // Whoever writes to another name of it later would change what is committed.
        if metadata.nlink() > 1 {
            make_own(path).map_err(|error| self.io("copy", path, error))?;
        }
        let (bytes, sha256) = hash_file(path).map_err(|error| self.io("read", path, error))?;
        self.outputs.files.push(ManifestFile {
            name,
            bytes,
            sha256,
        });
        Ok(())
    }

    fn link(&mut self, path: &Path, name: &str) -> Result<(), CommitError> {
        if name == manifest::FILE_NAME || name == result::FILE_NAME {
            return Err(escapes(name, "is a symbolic link".into()));
        }
        let target = fs::read_link(path).map_err(|error| self.io("read", path, error))?;
        if target.is_absolute() {
            return Err(escapes(
                name,
                format!(
                    "is a symbolic link to {}, an absolute path",
                    target.display()
                ),
            ));
        }
        let real_root = match &self.real_root {
            Some(real_root) => real_root.clone(),
            None => {
                fs::canonicalize(self.root).map_err(|error| self.io("resolve", self.root, error))?
            }
        };
        // By its text too: a link that goes up and comes back by the attempt's own name breaks when it is published.
        let inside = stays_below(name, &target)
            && fs::canonicalize(path).is_ok_and(|real| real.starts_with(&real_root));
        self.real_root = Some(real_root);
        if inside {
            return Ok(());
        }
        Err(escapes(
            name,
            format!(
                "is a symbolic link to {}, which is not inside the output folder",
                target.display()
            ),
        ))
    }

    /// The folder can vanish under the walk, when a later attempt takes it away.
    fn io(&self, verb: &'static str, path: &Path, error: io::Error) -> CommitError {
        if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(self.root).is_err() {
            return CommitError::OutputGone;
        }
        if error.kind() == io::ErrorKind::NotADirectory && path == self.root {
            return escapes(
                "the folder $PETCTL_OUTPUT itself",
                "is no folder any more".into(),
            );
        }
        CommitError::io(verb, path, error)
    }
}

/// Whether a link at `name` with this text never climbs above the root.
fn stays_below(name: &str, target: &Path) -> bool {
    let mut depth = name.matches('/').count();
    for part in target.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(_) => depth += 1,
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

/// Puts a copy in a file's place, so that it shares its bytes with no other name.
fn make_own(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let copy = tempfile::Builder::new()
        .prefix(".")
        .suffix(".own")
        .tempfile_in(folder)?
        .into_temp_path();
    // The mode goes with it.
    fs::copy(path, &copy)?;
    copy.persist(path)?;
    Ok(())
}

/// Does not follow a link that was put in the folder's place.
fn open(folder: &Path) -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(Dir::new(rustix::fs::open(folder, flags, Mode::empty())?)?)
}

fn escapes(name: &str, why: String) -> CommitError {
    CommitError::Escapes {
        name: name.to_owned(),
        why,
    }
}
