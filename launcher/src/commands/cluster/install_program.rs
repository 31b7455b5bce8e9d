//! `petctl install-program`: what the first container of a worker's pod does.

use clap::Args;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Puts this program into a folder, with the folders beside it that a worker needs there.
#[derive(Debug, Args)]
pub(crate) struct InstallProgramArgs {
    /// Where: `bin/petctl`, `home`, `code` and `scratch` below it.
    folder: PathBuf,
}

pub(crate) fn run(args: &InstallProgramArgs) -> Result<Exit> {
    let failed = |path: &Path, error: &io::Error| {
        Error::new(Code::StateFolder, format!("can't write {}", path.display()))
            .because(error)
            .fix("the pod needs a volume there that its user may write: an emptyDir")
    };
    let own = std::env::current_exe()
        .map_err(|error| Error::new(Code::Bug, "can't find this program").because(&error))?;
    let bin = args.folder.join("bin");
    for folder in ["bin", "home", "code", "scratch"] {
        let folder = args.folder.join(folder);
        fs::create_dir_all(&folder).map_err(|error| failed(&folder, &error))?;
        // The commands' container may run as another user.
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(&folder, open).map_err(|error| failed(&folder, &error))?;
    }
    // Under another name first: one that runs may not be written to.
    let (new, program) = (bin.join(".petctl.new"), bin.join("petctl"));
    fs::copy(&own, &new).map_err(|error| failed(&new, &error))?;
    let runs = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&new, runs).map_err(|error| failed(&new, &error))?;
    fs::rename(&new, &program).map_err(|error| failed(&program, &error))?;
    // Nobody puts another program there.
    fs::set_permissions(&bin, fs::Permissions::from_mode(0o755))
        .map_err(|error| failed(&bin, &error))?;
    Ok(Exit::Success)
}
