//! Where things are: what is installed, and the folders of beds.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder of what petctl's tests keep outside the tree.
///
/// # Errors
/// Where neither `XDG_CACHE_HOME` nor `HOME` is set.
pub fn cache() -> Result<PathBuf, String> {
    let named = |name| env::var_os(name).filter(|value| !value.is_empty());
    named("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| named("HOME").map(|home| Path::new(&home).join(".cache")))
        .map(|cache| cache.join("petctl"))
        .ok_or_else(|| "neither XDG_CACHE_HOME nor HOME is set".to_owned())
}

/// The folder that holds a folder for each bed of this user.
///
/// # Errors
/// As [`cache`].
pub fn beds() -> Result<PathBuf, String> {
    Ok(cache()?.join("beds"))
}

/// The folder of this crate, in the checkout that runs the tests: it need not be the one they were built in.
#[must_use]
pub fn sources() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let running = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    running
        .iter()
        .flat_map(|folder| folder.ancestors())
        .map(|folder| folder.join("tests/kube"))
        .find(|folder| folder.join("install").is_file())
        .unwrap_or_else(|| own.to_owned())
}

/// The folder of what a bed needs, made by `install` if it is not there (a quarter of an hour at the first time).
///
/// # Errors
/// Where it can't be made: what `install` said last.
pub fn installed() -> Result<PathBuf, String> {
    let install = sources().join("install");
    let output = Command::new(&install)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{}: {error}", install.display()))?;
    if !output.status.success() {
        return Err(format!("{}: {}", install.display(), output.status));
    }
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(PathBuf::from(path))
}
