//! What an attempt wrote: every file, hashed; or why it can't be committed.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, DirEntry, FileType, Mode, OFlags};

use super::calls;
use crate::error::Refused;
use crate::{CommitError, report};
use petctl_codes::Code;
use petctl_output::manifest::{self, ManifestFile, ManifestLink, hash_file};
use petctl_output::result;
use petctl_output::shape::stays_below;

/// Most files and folders one attempt may write.
pub const MAX_FILES: usize = 100_000;
/// Deepest nesting of folders.
const MAX_DEPTH: usize = 64;

/// Most names that an error gives.
const MAX_NAMED: usize = 100;

/// The outputs of one attempt.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    /// Sorted by name.
    pub(super) files: Vec<ManifestFile>,
    /// Sorted by name.
    pub(super) links: Vec<ManifestLink>,
    /// Sorted.
    pub(super) empty_folders: Vec<String>,
    /// Whether `result.json` is among them.
    pub(super) has_result: bool,
}

/// Walks the folder. Links that stay inside are left as they are, and what they lead to is counted once; one that leads
/// inside by an absolute path is made relative, since the folder is going to move.
pub(super) fn walk(root: &Path) -> Result<Outputs, CommitError> {
    let mut walker = Walker {
        root,
        real_root: None,
        entries: 0,
        outputs: Outputs::default(),
        refused: Vec::new(),
    };
    walker.folder(root, "", 0)?;
    let Walker {
        mut outputs,
        mut refused,
        ..
    } = walker;
    if !refused.is_empty() {
        refused.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        return Err(CommitError::Refused(refused));
    }
    outputs.files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    outputs.links.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    outputs.empty_folders.sort_unstable();
    Ok(outputs)
}

struct Walker<'a> {
    root: &'a Path,
    real_root: Option<PathBuf>,
    entries: usize,
    outputs: Outputs,
    refused: Vec<Refused>,
}

impl Walker<'_> {
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), CommitError> {
        if depth > MAX_DEPTH {
            let why = format!("is nested more than {MAX_DEPTH} folders deep");
            self.refuse(Code::OutputEscapes, prefix, why);
            return Ok(());
        }
        let entries = match self.entries_of(folder) {
            Err(error) if depth > 0 && is_denied(&error) => {
                self.unreadable(prefix.trim_end_matches('/'));
                return Ok(());
            }
            entries => entries?,
        };
        if entries.is_empty() && depth > 0 {
            let name = prefix.trim_end_matches('/').to_owned();
            self.outputs.empty_folders.push(name);
        }
        for entry in entries {
            let file_name = OsStr::from_bytes(entry.file_name().to_bytes());
            let path = folder.join(file_name);
            let Some(file_name) = file_name.to_str() else {
                let name = format!("{prefix}{}", file_name.to_string_lossy());
                let why = "has a name that is not UTF-8".to_owned();
                self.refuse(Code::OutputNameNotUtf8, &name, why);
                continue;
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
                FileType::Symlink => self.link(&path, name)?,
                FileType::Fifo
                | FileType::Socket
                | FileType::CharacterDevice
                | FileType::BlockDevice
                | FileType::Unknown => {
                    let why = "is a pipe, socket or device".to_owned();
                    self.refuse(Code::OutputEscapes, &name, why);
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
            let why = "is a name that petctl writes itself".to_owned();
            self.refuse(Code::OutputReservedName, &name, why);
            return Ok(());
        }
        // Its bytes don't count any more.
        if !self.refused.is_empty() {
            return Ok(());
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
        let hashed = calls::own("hash own", path, || hash_file(path));
        let hashed = hashed.map_err(|error| self.io("read", path, error));
        let (bytes, sha256) = match hashed {
            Err(error) if is_denied(&error) => {
                self.unreadable(&name);
                return Ok(());
            }
            hashed => hashed?,
        };
        self.outputs.files.push(ManifestFile {
            name,
            bytes,
            sha256,
        });
        Ok(())
    }

    fn link(&mut self, path: &Path, name: String) -> Result<(), CommitError> {
        let escapes = Code::OutputEscapes;
        if name == manifest::FILE_NAME || name == result::FILE_NAME {
            self.refuse(escapes, &name, "is a symbolic link".into());
            return Ok(());
        }
        let mut target = fs::read_link(path).map_err(|error| self.io("read", path, error))?;
        let real_root = match &self.real_root {
            Some(real_root) => real_root.clone(),
            None => {
                fs::canonicalize(self.root).map_err(|error| self.io("resolve", self.root, error))?
            }
        };
        let leads_to = format!("is a symbolic link to {}, ", target.display());
        let mut moves = false;
        if target.is_absolute() {
            let below = [self.root, &real_root].map(|root| target.strip_prefix(root).ok());
            let Some(below) = below.into_iter().flatten().next() else {
                let why = "which is not inside the output folder";
                self.refuse(escapes, &name, leads_to + why);
                return Ok(());
            };
            target = relative(&name, below);
            moves = true;
        }
        self.real_root = Some(real_root.clone());
        let leads_inside = fs::canonicalize(path).map(|real| real.starts_with(&real_root));
        // By its text too: a link that goes up and comes back by the attempt's own name breaks when it is published.
        let why = match leads_inside {
            Ok(true) if stays_below(&name, &target) => None,
            Ok(_) => Some("which is not inside the output folder"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some("where nothing is"),
            Err(_) => Some("which can't be followed"),
        };
        if let Some(why) = why {
            self.refuse(escapes, &name, leads_to + why);
            return Ok(());
        }
        let Some(text) = target.to_str() else {
            let why = leads_to + "a name that is not UTF-8";
            self.refuse(Code::OutputNameNotUtf8, &name, why);
            return Ok(());
        };
        if moves {
            replace_link(path, &target).map_err(|error| self.io("link", path, error))?;
        }
        self.outputs.links.push(ManifestLink {
            name,
            target: text.to_owned(),
        });
        Ok(())
    }

    /// The command made it so: it was the one to give rights.
    fn unreadable(&mut self, name: &str) {
        let why = "has rights that let nobody read it".to_owned();
        self.refuse(Code::OutputEscapes, name, why);
    }

    /// All are looked at, so that all that is wrong is said at once.
    fn refuse(&mut self, code: Code, name: &str, why: String) {
        if self.refused.len() < MAX_NAMED {
            let name = name.to_owned();
            self.refused.push(Refused { code, name, why });
        }
    }

    /// The folder can vanish under the walk, when a later attempt takes it away.
    fn io(&self, verb: &'static str, path: &Path, error: io::Error) -> CommitError {
        if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(self.root).is_err() {
            return CommitError::OutputGone;
        }
        if error.kind() == io::ErrorKind::NotADirectory && path == self.root {
            return CommitError::Refused(vec![Refused {
                code: Code::OutputEscapes,
                name: "the folder $PETCTL_OUTPUT itself".to_owned(),
                why: "is no folder any more".to_owned(),
            }]);
        }
        CommitError::io(verb, path, error)
    }
}

fn is_denied(error: &CommitError) -> bool {
    matches!(error, CommitError::Folder { reason, .. } if reason.kind() == io::ErrorKind::PermissionDenied)
}

/// What a link at `name` holds to lead to `below` the root.
fn relative(name: &str, below: &Path) -> PathBuf {
    let mut target: PathBuf = (0..name.matches('/').count()).map(|_| "..").collect();
    target.extend(below.components());
    if target.as_os_str().is_empty() {
        target.push(".");
    }
    target
}

/// Puts another link in a link's place.
fn replace_link(path: &Path, target: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let made = tempfile::Builder::new()
        .prefix(".")
        .suffix(".own")
        .make_in(folder, |new| symlink(target, new))?;
    made.into_temp_path().persist(path)?;
    Ok(())
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
    calls::own("list own", folder, || {
        Ok(Dir::new(rustix::fs::open(folder, flags, Mode::empty())?)?)
    })
}
