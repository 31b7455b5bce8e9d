//! Where the `petctl` under test is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The program under test: the one that `PETCTL_BIN` names; else `petctl` of the build that this test belongs to,
/// which lies beside it: a test runs as `target/<profile>/deps/it-…`, and the program is `target/<profile>/petctl`.
///
/// Cargo builds no program of another crate for a test. So where that file is missing, or older than petctl's sources
/// (an old program must not be tested by accident), `cargo build -p petctl` is run, once per test run.
///
/// # Panics
/// Where there is none and it can't be built.
pub fn petctl() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| match std::env::var_os("PETCTL_BIN") {
        Some(named) => {
            let path = std::path::absolute(&named).expect("PETCTL_BIN is a path");
            assert!(
                path.is_file(),
                "PETCTL_BIN names no file: {}",
                path.display()
            );
            path
        }
        None => beside_the_test(),
    })
}

/// The program of the release before, which `tests/upgrade/install` builds: the one that `PETCTL_BEFORE` names.
///
/// # Panics
/// Where it names none.
pub fn petctl_before() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let named = std::env::var_os("PETCTL_BEFORE");
        let named =
            named.expect("PETCTL_BEFORE names no program; tests/upgrade/install prints one");
        let path = std::path::absolute(&named).expect("PETCTL_BEFORE is a path");
        assert!(path.is_file(), "there is no {}", path.display());
        path
    })
}

fn beside_the_test() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own file");
    let profile = own
        .parent()
        .and_then(Path::parent)
        .expect("a test lies in target/<profile>/deps");
    let program = profile.join("petctl");
    let built = fs::metadata(&program)
        .and_then(|metadata| metadata.modified())
        .ok();
    if built.is_none_or(|built| newest_source().is_some_and(|source| source > built)) {
        build(profile);
    }
    assert!(
        program.is_file(),
        "there is no {} after the build; name one by PETCTL_BIN",
        program.display()
    );
    program
}

/// The checkout that runs the tests, which need not be the one they were built in.
fn root() -> PathBuf {
    let folder = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs the tests");
    Path::new(&folder).join("../..")
}

fn newest_source() -> Option<SystemTime> {
    let root = root();
    let folders = [
        "launcher",
        "output",
        "places",
        "proto",
        "rendezvous",
        "storage",
        "worker",
    ]
    .map(|folder| root.join(folder));
    let files = folders.iter().flat_map(walkdir::WalkDir::new).flatten();
    let sources = files.filter(|file| {
        let extension = file
            .path()
            .extension()
            .and_then(|extension| extension.to_str());
        let tests = file
            .path()
            .components()
            .any(|part| part.as_os_str() == "tests");
        !tests && matches!(extension, Some("rs" | "proto"))
    });
    sources
        .filter_map(|file| file.metadata().ok()?.modified().ok())
        .max()
}

fn build(profile: &Path) {
    let target = profile
        .parent()
        .expect("a test lies in target/<profile>/deps");
    let name = profile
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a profile has a name");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "-p", "petctl", "--target-dir"])
        .arg(target);
    if name != "debug" {
        command.args(["--profile", name]);
    }
    let built = command
        .current_dir(root())
        .status()
        .expect("cargo can be started");
    assert!(built.success(), "petctl could not be built: {built}");
}
