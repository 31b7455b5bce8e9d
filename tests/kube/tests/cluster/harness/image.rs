//! The program under test, and its image on the nodes.

use petctl_test_kube::{Bed, places};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A petctl, and its image, which is on all nodes.
#[derive(Debug)]
pub(crate) struct Petctl {
    /// The program: a copy, so that a build beside the tests doesn't change it under them.
    pub(crate) program: PathBuf,
    /// The image's name.
    pub(crate) image: String,
}

/// The program under test: the one that `PETCTL_BIN` names; else `petctl` of the build that this test belongs to,
/// brought up to date.
pub(crate) fn petctl() -> &'static Petctl {
    static MADE: OnceLock<Petctl> = OnceLock::new();
    MADE.get_or_init(|| {
        let made = program().and_then(|program| make(Bed::get(), &program, "petctl"));
        made.unwrap_or_else(|error| panic!("petctl's image: {error}"))
    })
}

/// The release before: the program that `PETCTL_BEFORE` names.
pub(crate) fn petctl_before() -> &'static Petctl {
    static MADE: OnceLock<Petctl> = OnceLock::new();
    MADE.get_or_init(|| {
        let named = std::env::var_os("PETCTL_BEFORE").filter(|named| !named.is_empty());
        let named =
            named.expect("PETCTL_BEFORE names no program; tests/upgrade/install prints one");
        let made = make(Bed::get(), Path::new(&named), "before");
        made.unwrap_or_else(|error| panic!("the image of the release before: {error}"))
    })
}

/// The checkout that runs the tests, which need not be the one they were built in.
pub(crate) fn checkout() -> PathBuf {
    let sources = places::sources();
    let root = sources.parent().and_then(Path::parent);
    root.map_or_else(|| sources.clone(), Path::to_owned)
}

fn make(bed: &Bed, program: &Path, name: &str) -> Result<Petctl, String> {
    let digest = run(Command::new("sha256sum").arg(program))?;
    let digest = digest.get(..16).ok_or("sha256sum says nothing")?.to_owned();
    let image = format!("petctl.local/petctl:{digest}");
    let own = bed.folder().join(format!("petctl-{digest}"));
    if !own.exists() {
        let part = bed
            .folder()
            .join(format!("petctl-{digest}.{}", std::process::id()));
        fs::copy(program, &part).map_err(|error| error.to_string())?;
        fs::rename(&part, &own).map_err(|error| error.to_string())?;
    }
    let loaded = bed.folder().join(format!("petctl-{digest}.loaded"));
    if !loaded.exists() {
        let archive = archive(bed, &own, (name, &digest), &image)?;
        bed.load_image(&archive);
        fs::write(&loaded, "").map_err(|error| error.to_string())?;
    }
    Ok(Petctl {
        program: own,
        image,
    })
}

/// The image as a file: made once for a program, and kept until there is another of its name.
fn archive(
    bed: &Bed,
    program: &Path,
    (name, digest): (&str, &str),
    tag: &str,
) -> Result<PathBuf, String> {
    let folder = places::cache()?.join("images");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let archive = folder.join(format!("{name}-{digest}.tar"));
    if archive.exists() {
        return Ok(archive);
    }
    for other in fs::read_dir(&folder).into_iter().flatten().flatten() {
        if other.file_name().to_string_lossy().starts_with(name) {
            drop(fs::remove_file(other.path()));
        }
    }
    run(Command::new(checkout().join("docker/image"))
        .args(["--with", "buildah", "--tag", tag, "--base"])
        .arg(bed.image_archive("debian"))
        .arg("--from")
        .arg(program)
        .arg("--output")
        .arg(&archive))?;
    Ok(archive)
}

fn program() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os("PETCTL_BIN") {
        return std::path::absolute(named).map_err(|error| error.to_string());
    }
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let profile = own
        .parent()
        .and_then(Path::parent)
        .ok_or("a test lies in target/<profile>/deps")?;
    // Cargo builds no program of another crate for a test.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .args(["build", "--quiet", "-p", "petctl", "--target-dir"])
        .arg(profile.parent().unwrap_or(profile));
    match profile.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => {}
        Some(name) => {
            build.args(["--profile", name]);
        }
    }
    run(build.current_dir(checkout()))?;
    Ok(profile.join("petctl"))
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{command:?}: {}: {said}", output.status))
}
