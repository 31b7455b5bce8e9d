//! Where the `kubebed` program is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::places;

/// The program that `KUBEBED_BIN` names; else `kubebed` of the build that this test belongs to, which lies beside it: a
/// test runs as `target/<profile>/deps/…`, a program as `target/<profile>/…`, and this one is `target/<profile>/kubebed`.
///
/// Cargo builds no program of another crate for a test. So where that file is missing, or older than its sources, it is
/// built.
pub(crate) fn kubebed() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os("KUBEBED_BIN") {
        return Ok(PathBuf::from(named));
    }
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let profile = own
        .parent()
        .map(|folder| match folder.file_name() {
            Some(name) if name == "deps" => folder.parent().unwrap_or(folder),
            _ => folder,
        })
        .ok_or("a test lies in target/<profile>/deps")?;
    let program = profile.join("kubebed");
    let built = modified(&program);
    let newest = newest(&places::sources().join("src"));
    if built.is_none_or(|built| newest.is_some_and(|newest| newest > built)) {
        build(profile)?;
    }
    Ok(program)
}

fn modified(file: &Path) -> Option<SystemTime> {
    fs::metadata(file)
        .and_then(|metadata| metadata.modified())
        .ok()
}

fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let times = entries.filter_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            newest(&path)
        } else {
            modified(&path)
        }
    });
    times.max()
}

fn build(profile: &Path) -> Result<(), String> {
    let target = profile
        .parent()
        .ok_or("a test lies in target/<profile>/deps")?;
    let name = profile.file_name().unwrap_or_default();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args([
            "build",
            "--quiet",
            "-p",
            "petctl-test-kube",
            "--bin",
            "kubebed",
        ])
        .arg("--target-dir")
        .arg(target);
    if name != "debug" {
        command.arg("--profile").arg(name);
    }
    let status = command.current_dir(places::sources()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("kubebed could not be built: {status}")),
        Err(error) => Err(format!("cargo can't be started: {error}")),
    }
}
