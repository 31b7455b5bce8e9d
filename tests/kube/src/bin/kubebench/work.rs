//! Jobs whose commands note when they have started.

use crate::place::{Place, members, open_folder};
use crate::time::{LOOK, until};
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;

/// A command that has started.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    /// In seconds since 1970.
    pub(crate) at: f64,
    /// Of a training: its group's number, and how many processes it has.
    pub(crate) epoch: u64,
    pub(crate) world: usize,
    /// The name of its pod's host: the pod's own without its last part.
    pub(crate) host: String,
}

/// What a command notes.
const NOTE: &str =
    "echo \"$(date +%s.%N) ${PETCTL_EPOCH:-0} ${WORLD_SIZE:-0} $(cat /etc/hostname)\"";

/// A job, and the folder that its commands and this process see.
pub(crate) struct Work<'p> {
    place: &'p Place,
    pub(crate) name: String,
}

impl<'p> Work<'p> {
    /// A job of so many shards, which note their starts and then sleep, if they are to, until they are stopped.
    pub(crate) fn shards(
        place: &'p Place,
        name: &str,
        shards: usize,
        workers: &str,
        sleeps: bool,
    ) -> Result<Self> {
        let stage = format!(
            "kind = \"shards\"\nshards = {{ range = [0, {shards}] }}\n\
             command = [\"sh\", \"work.sh\", \"{{output}}\"]\ngrace = \"1s\"\n"
        );
        let end = if sleeps {
            "exec sleep 1000000"
        } else {
            "echo done > \"$1/out.txt\""
        };
        Self::write(place, name, workers, &stage, end)
    }

    /// A training of three workers that notes the start of each of its processes, and then loops.
    pub(crate) fn training(place: &'p Place, name: &str) -> Result<Self> {
        let stage = "kind = \"train\"\ncommand = [\"sh\", \"work.sh\"]\nprocesses_per_worker = 1\n\
                     grow = \"now\"\ngrace = \"1s\"\nbudgets = { worker_lost = 100 }\n";
        let workers = "min = 1\nmax = 3\nwanted = 3";
        Self::write(place, name, workers, stage, "while :; do sleep 0.2; done")
    }

    fn write(place: &'p Place, name: &str, workers: &str, stage: &str, end: &str) -> Result<Self> {
        let work = Self {
            place,
            name: name.to_owned(),
        };
        let folder = place.jobs().join(name);
        fs::create_dir_all(&folder).context("make a job's folder")?;
        open_folder(&work.data())?;
        let output = work.data().join("out");
        let job = format!(
            "[job]\nname = \"{name}\"\n\n[workers]\n{workers}\n\n[storage]\noutput = \"{}\"\n\n\
             [[stage]]\nname = \"work\"\n{stage}",
            output.display()
        );
        let script = format!(
            "{NOTE} >> '{}'\n{end}\n",
            work.data().join("notes").display()
        );
        fs::write(folder.join("job.toml"), job).context("write a job file")?;
        fs::write(folder.join("work.sh"), script).context("write a script")?;
        Ok(work)
    }

    fn data(&self) -> PathBuf {
        self.place.data().join(&self.name)
    }

    /// Its job file, as a command takes it.
    pub(crate) fn file(&self) -> String {
        format!("{}/job.toml", self.name)
    }

    /// Submits it, and doesn't wait.
    pub(crate) fn submit(&self) -> Result<()> {
        self.place.ok(&["run", &self.file(), "-d"]).map(drop)
    }

    /// The same at this place of the folder's `petctl.toml`.
    pub(crate) fn submit_on(&self, on: &str) -> Result<()> {
        let arguments = ["run", &self.file(), "-d", "--on", on];
        self.place.ok(&arguments).map(drop)
    }

    /// What was noted so far.
    pub(crate) fn notes(&self) -> Vec<Note> {
        let text = fs::read_to_string(self.data().join("notes")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let note = |line: &str| {
            let mut words = line.split(' ');
            Some(Note {
                at: words.next()?.parse().ok()?,
                epoch: words.next()?.parse().ok()?,
                world: words.next()?.parse().ok()?,
                host: words.next()?.to_owned(),
            })
        };
        whole.lines().filter_map(note).collect()
    }

    /// Waits until so many commands have noted their starts.
    pub(crate) fn until_started(&self, count: usize) -> Result<Vec<Note>> {
        let what = format!("{count} commands of {} have started", self.name);
        let noted = until(&what, LOOK, || {
            let notes = self.notes();
            Ok((notes.len() >= count).then_some(notes))
        });
        noted.with_context(|| self.place.bed.state())
    }

    /// Waits until a training runs with so many processes, all of an epoch after this one; their notes.
    pub(crate) fn until_group(&self, after: u64, count: usize) -> Result<Vec<Note>> {
        let what = format!(
            "{} runs with {count} processes after epoch {after}",
            self.name
        );
        let group = until(&what, LOOK, || {
            let mut notes = self.notes();
            let epoch = notes.iter().map(|note| note.epoch).max().unwrap_or(0);
            notes.retain(|note| note.epoch == epoch && note.world == count);
            Ok((epoch > after && notes.len() == count).then_some(notes))
        });
        group.with_context(|| self.place.bed.state())
    }

    /// Submits a training and waits until its three workers are its members and its processes run.
    pub(crate) fn start_training(&self) -> Result<Vec<Note>> {
        self.submit()?;
        let group = self.until_group(0, 3)?;
        let status = self.place.until_members(&self.name, 3)?;
        anyhow::ensure!(members(&status).len() == 3, "{status}");
        Ok(group)
    }
}
