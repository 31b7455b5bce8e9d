//! The job's code as one archive, for places that do not share this machine's files.

use super::code;
use petctl_spec::JobSpec;
use petctl_text::hex;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::terminal::bytes;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Bytes of all files of the code.
const MAX_BYTES: u64 = 100 * 1024 * 1024;
/// Files of the code.
const MAX_FILES: usize = 20_000;

/// A job's code, packed.
#[derive(Clone, Debug)]
pub struct Archive {
    /// SHA-256 of its bytes, in hex: equal code has equal archives.
    pub digest: String,
    /// A tar archive, compressed by gzip.
    pub data: Vec<u8>,
    /// Files in it.
    pub files: usize,
}

/// Packs the files that `[job] code` names; without it, those of the job file's folder, but its data.
///
/// # Errors
/// Where there is too much of it, a file can't be read, or a link leads out of the folder.
pub fn pack(spec: &JobSpec) -> Result<Archive> {
    let folder = Path::new(&spec.folder);
    let files = if spec.code.is_empty() {
        code::all(spec)?
    } else {
        code::files(spec)?.into_iter().flatten().collect()
    };
    check(folder, &files, !spec.code.is_empty())?;
    let failed = |path: &Path, error: &io::Error| {
        Error::new(Code::BadCode, format!("can't read {}", path.display()))
            .because(error)
            .fix("make it readable, or leave it out: name the code in [job] code")
    };
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::fast(),
    ));
    for relative in &files {
        let path = folder.join(relative);
        let file = File::open(&path).map_err(|error| failed(&path, &error))?;
        let known = file.metadata().map_err(|error| failed(&path, &error))?;
        // Nothing that differs from machine to machine: the same code has the same digest everywhere.
        let mut header = tar::Header::new_gnu();
        header.set_size(known.len());
        let runs = known.permissions().mode() & 0o111 != 0;
        header.set_mode(if runs { 0o755 } else { 0o644 });
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Regular);
        let appended = tar.append_data(&mut header, relative, io::Read::take(file, known.len()));
        appended.map_err(|error| failed(&path, &error))?;
    }
    let packed = tar.into_inner().and_then(flate2::write::GzEncoder::finish);
    let data = packed.map_err(|error| Error::new(Code::Bug, "can't pack code").because(&error))?;
    Ok(Archive {
        digest: hex(&Sha256::digest(&data)),
        data,
        files: files.len(),
    })
}

fn check(folder: &Path, files: &BTreeSet<PathBuf>, named: bool) -> Result<()> {
    let mut all = 0;
    let mut largest: Option<(u64, &PathBuf)> = None;
    for relative in files {
        let path = folder.join(relative);
        let real = fs::canonicalize(&path);
        let inside = fs::canonicalize(folder).and_then(|folder| Ok(real?.starts_with(folder)));
        if !inside.unwrap_or(false) {
            let what = format!(
                "the code has a link that leads out of its folder, or nowhere: {}",
                path.display()
            );
            return Err(Error::new(Code::BadCode, what)
                .fix("put the file itself there, or leave it out: name the code in [job] code"));
        }
        let size = fs::metadata(&path).map_or(0, |known| known.len());
        all += size;
        if largest.is_none_or(|(most, _)| size > most) {
            largest = Some((size, relative));
        }
    }
    if all <= MAX_BYTES && files.len() <= MAX_FILES {
        return Ok(());
    }
    let of = if named {
        "what [job] code names".to_owned()
    } else {
        format!("the job file's folder {}", folder.display())
    };
    let what = format!(
        "{of} has {} files of {} together, and at most {MAX_FILES} files of {} travel to the workers{}",
        files.len(),
        bytes(all),
        bytes(MAX_BYTES),
        largest.map_or_else(String::new, |(size, path)| format!(
            "; the largest is {} with {}",
            path.display(),
            bytes(size)
        ))
    );
    Err(Error::new(Code::CodeTooLarge, what).fix(
        "name the code alone in [job] code, such as [\"*.py\"]; put large files into the image or into storage",
    ))
}
