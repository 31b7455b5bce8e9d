//! Real workers of a training job, whose ranks note their starts.

use crate::coordinator::Coordinator;
use crate::jobs;
use crate::options::Options;
use crate::process;
use crate::torch::wait_until;
use anyhow::{Context, Result};
use petctl_spec::JobSpec;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Notes the rank, the size of the group, the epoch and itself.
const NOTE: &str = "#!/bin/sh\necho \"$RANK $WORLD_SIZE ${PETCTL_EPOCH:-0} $$\" >> \"$1\"\n[ -z \"$2\" ] || exec sleep \"$2\"\n";

/// A rank that has started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Note {
    pub(crate) world_size: u32,
    pub(crate) epoch: u64,
}

/// A script that notes its start, and its notes.
pub(crate) struct Script {
    path: PathBuf,
    notes: PathBuf,
}

impl Script {
    pub(crate) fn write(folder: &Path) -> Result<Self> {
        let path = folder.join("note.sh");
        fs::write(&path, NOTE).context("write a script")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .context("make a script executable")?;
        Ok(Self {
            path,
            notes: folder.join("notes"),
        })
    }

    /// The command of a rank; one that does not sleep ends at once.
    pub(crate) fn command(&self, sleeps: bool) -> Vec<String> {
        let mut command = vec![
            self.path.display().to_string(),
            self.notes.display().to_string(),
        ];
        if sleeps {
            command.push("100000".to_owned());
        }
        command
    }

    /// What was noted so far.
    pub(crate) fn notes(&self) -> Vec<Note> {
        let text = fs::read_to_string(&self.notes).unwrap_or_default();
        let note = |line: &str| {
            let mut words = line.split(' ').skip(1);
            Some(Note {
                world_size: words.next()?.parse().ok()?,
                epoch: words.next()?.parse().ok()?,
            })
        };
        text.lines().filter_map(note).collect()
    }

    /// Waits until so many ranks have noted their starts in an epoch after this one.
    pub(crate) fn started(
        &self,
        after: u64,
        count: usize,
        patience: Duration,
    ) -> Result<Vec<Note>> {
        wait_until(patience, || {
            let mut notes = self.notes();
            notes.retain(|note| note.epoch > after);
            (notes.len() >= count).then_some(notes)
        })
        .with_context(|| format!("wait for {count} ranks in an epoch after {after}"))
    }
}

/// A `petctl worker`; it and its ranks die with this value.
pub(crate) struct Agent {
    child: Child,
}

impl Agent {
    pub(crate) fn start(
        options: &Options,
        coordinator: &Coordinator,
        folder: &Path,
        name: &str,
    ) -> Result<Self> {
        let log = File::create(folder.join(format!("{name}.err"))).context("make a log file")?;
        let child = Command::new(&options.petctl)
            .args([
                "worker",
                "--coordinator",
                coordinator.address(),
                "--token-file",
            ])
            .arg(coordinator.token_file())
            .args(["--name", name])
            .env("PETCTL_HOME", folder.join("home"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("start a worker")?;
        Ok(Self { child })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// kill -9 of it and of its ranks, as of a whole node.
    pub(crate) fn kill(&mut self) {
        let ranks = process::descendants(self.child.id());
        let _gone = self.child.kill();
        for rank in ranks {
            process::kill(rank);
        }
        let _gone = self.child.wait();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A training job of such ranks.
pub(crate) fn job(
    coordinator: &Coordinator,
    script: &Script,
    (min, max): (u32, u32),
    processes: u32,
) -> JobSpec {
    let mut job = jobs::job("train", max, 1, &coordinator.output("train"));
    job.workers.min = min;
    let command = script.command(true);
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    jobs::train(job, processes, &command)
}
