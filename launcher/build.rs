//! Names the commit in `petctl --version`.
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=PETCTL_COMMIT");
    if let Some(commit) = std::env::var("PETCTL_COMMIT")
        .ok()
        .filter(|commit| !commit.is_empty())
    {
        println!("cargo::rustc-env=PETCTL_COMMIT={commit}");
        return;
    }
    let commit = git(&["rev-parse", "--short=10", "HEAD"]);
    watch();
    let shown = match commit {
        None => "unknown".to_owned(),
        Some(commit) if is_dirty() => format!("{commit}-dirty"),
        Some(commit) => commit,
    };
    println!("cargo::rustc-env=PETCTL_COMMIT={shown}");
}

/// Whether tracked files differ from the commit.
fn is_dirty() -> bool {
    git(&["status", "--porcelain", "--untracked-files=no"])
        .is_some_and(|changes| !changes.is_empty())
}

/// Runs again when another commit is checked out, and when a file that goes into the program changes.
fn watch() {
    for name in ["HEAD", "index", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", name]) {
            watch_path(&path);
        }
    }
    for path in [
        "src",
        "client",
        "job",
        "layouts",
        "report",
        "run",
        "torchrun",
        "ui",
        "../output",
        "../places",
        "../proto",
        "../rendezvous",
        "../storage",
        "../worker",
        "../Cargo.toml",
        "../Cargo.lock",
    ] {
        watch_path(path);
    }
}

fn watch_path(path: &str) {
    if Path::new(path).exists() {
        println!("cargo::rerun-if-changed={path}");
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
