//! Small file systems: the only honest way to a full or a read-only disk.

use std::cell::Cell;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A tmpfs of its own; gone when it is dropped.
#[derive(Debug)]
pub struct Mount {
    folder: PathBuf,
    gone: Cell<bool>,
}

impl Mount {
    /// Mounts one of so many KiB at a new folder; `None`, said loudly, where this user or this machine may not mount.
    ///
    /// # Panics
    /// Where the folder can't be made.
    pub(crate) fn tmpfs(folder: PathBuf, kib: u32) -> Option<Self> {
        std::fs::create_dir_all(&folder).expect("a folder to mount at");
        let size = format!("size={kib}k,mode=0700");
        let ran = run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "petctl-it"])
            .arg(&folder));
        match ran {
            Ok(output) if output.status.success() => Some(Self {
                folder,
                gone: Cell::new(false),
            }),
            failed => {
                let why = failed.map_or_else(
                    |error| error.to_string(),
                    |o| String::from_utf8_lossy(&o.stderr).into_owned(),
                );
                let text = format!(
                    "\n!!! NOT TESTED: a full or read-only disk; mount(8) as root is needed: {}\n",
                    why.trim()
                );
                // Past the capturing of the test runner, so that it is seen.
                let _said = std::io::stderr().write_all(text.as_bytes());
                None
            }
        }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes it read-only, for root too.
    ///
    /// # Panics
    /// Where that fails.
    pub fn make_read_only(&self) {
        let ran = run(Command::new("mount")
            .args(["-o", "remount,ro"])
            .arg(&self.folder))
        .expect("mount(8) runs");
        assert!(
            ran.status.success(),
            "remount: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }

    /// Takes it away; nothing where it is gone.
    pub(crate) fn unmount(&self) {
        if !self.gone.replace(true) {
            let _ran = run(Command::new("umount").arg("-l").arg(&self.folder));
        }
    }

    /// Makes it larger.
    ///
    /// # Panics
    /// Where that fails.
    pub fn grow(&self, kib: u32) {
        let size = format!("remount,size={kib}k");
        let ran = run(Command::new("mount").args(["-o", &size]).arg(&self.folder))
            .expect("mount(8) runs");
        assert!(
            ran.status.success(),
            "remount: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn run(command: &mut Command) -> std::io::Result<Output> {
    command.output()
}
