//! Installing Azurite once, for all processes of a user.

use crate::VERSION;
use petctl_storage::{StorageError, StorageProblem};
use petctl_text::obstacle::Obstacle;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Azurite's own program, below its folder.
const PROGRAM: &str = "node_modules/azurite/dist/src/blob/main.js";

/// Azurite's program, if it is installed.
#[must_use]
pub fn installed() -> Option<PathBuf> {
    let program = folder()?.join(PROGRAM);
    program.is_file().then_some(program)
}

/// Installs Azurite into `$XDG_CACHE_HOME/petctl/azurite-VERSION` with npm, unless it is there, and gives its program.
/// Two that install at the same time wait for each other. Blocks, for a minute on a slow network.
///
/// # Errors
/// [`StorageError`]: node or npm is missing, or npm failed.
pub fn install() -> Result<PathBuf, StorageError> {
    need("node")?;
    if let Some(program) = installed() {
        return Ok(program);
    }
    need("npm")?;
    let folder = folder().ok_or_else(|| {
        failed("neither HOME nor XDG_CACHE_HOME is set".to_owned()).fix("set HOME")
    })?;
    let parent = folder.parent().unwrap_or(&folder);
    let cannot = |error: io::Error| {
        let fix = Obstacle::of(&error).fix_writing("set XDG_CACHE_HOME to another folder");
        failed(format!("{} can't be written: {error}", parent.display())).fix(fix)
    };
    fs::create_dir_all(parent).map_err(cannot)?;
    let lock = File::create(parent.join("azurite.lock")).map_err(cannot)?;
    lock.lock().map_err(cannot)?;
    // Somebody else may have done it while we waited.
    if let Some(program) = installed() {
        return Ok(program);
    }
    let fresh = parent.join(format!("azurite-{VERSION}.new"));
    if fresh.exists() {
        fs::remove_dir_all(&fresh).map_err(cannot)?;
    }
    fs::create_dir(&fresh).map_err(cannot)?;
    npm(&fresh)?;
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(cannot)?;
    }
    fs::rename(&fresh, &folder).map_err(cannot)?;
    installed().ok_or_else(|| failed(format!("npm put no {PROGRAM} into its package")))
}

fn npm(folder: &Path) -> Result<(), StorageError> {
    tracing::info!(version = VERSION, "installing Azurite with npm");
    let output = Command::new("npm")
        .args([
            "install",
            "--no-audit",
            "--no-fund",
            "--no-save",
            "--loglevel=error",
        ])
        .arg("--prefix")
        .arg(folder)
        .arg(format!("azurite@{VERSION}"))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(format!("npm can't be run: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = lines
        .iter()
        .rev()
        .take(5)
        .rev()
        .copied()
        .collect::<Vec<_>>();
    Err(failed(format!(
        "npm failed ({}): {}",
        output.status,
        last.join(" / ")
    ))
    .fix("check the network and npm's registry; `npm ping` says whether it answers"))
}

fn need(program: &str) -> Result<(), StorageError> {
    let run = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match run {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(format!("`{program} --version` ended with {status}"))),
        Err(error) => Err(failed(format!("there is no {program} ({error})"))
            .fix("Azurite is a Node.js program: install Node.js 18 or later, with npm")),
    }
}

fn folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = set("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    Some(cache.join("petctl").join(format!("azurite-{VERSION}")))
}

fn failed(why: String) -> StorageError {
    StorageError::new(
        StorageProblem::Unavailable,
        format!("Azurite can't be installed: {why}"),
    )
}
