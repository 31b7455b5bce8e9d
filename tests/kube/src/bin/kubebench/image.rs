//! The program that is measured, in its image on the nodes.

use anyhow::{Context, Result, bail};
use petctl_test_kube::{Bed, places};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A copy of the program, so that a build beside doesn't change it, and the name of its image, which is on all nodes.
pub(crate) fn load(bed: &Bed, program: &Path) -> Result<(PathBuf, String)> {
    let digest = run(Command::new("sha256sum").arg(program))?;
    let digest = digest.get(..16).context("sha256sum says nothing")?;
    let own = bed.folder().join(format!("bench-petctl-{digest}"));
    let tag = format!("petctl.local/petctl:bench-{digest}");
    if !own.exists() {
        fs::copy(program, &own).with_context(|| format!("copy {}", program.display()))?;
        let archive = bed.folder().join(format!("bench-petctl-{digest}.tar"));
        let sources = places::sources();
        let checkout = sources.parent().and_then(Path::parent);
        let script = checkout.unwrap_or(&sources).join("docker/image");
        run(Command::new(script)
            .args(["--with", "buildah", "--tag", &tag, "--base"])
            .arg(bed.image_archive("debian"))
            .arg("--from")
            .arg(&own)
            .arg("--output")
            .arg(&archive))?;
        bed.load_image(&archive);
        fs::remove_file(&archive).context("remove an archive that is loaded")?;
    }
    Ok((own, tag))
}

/// What a command prints; what it complains of, if it fails.
fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("{command:?}: {}: {}", output.status, said.trim())
}
