//! Whose results an output folder holds, and how earlier ones are taken away.

use crate::error::{Code, Error, Result};
use crate::state::{read_bounded, write_whole};
use petctl_spec::JobSpec;
use petctl_worker::layout::Layout;
use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// `<output>/.petctl/job.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marker {
    pub(crate) job: String,
    /// Hex of the job's fingerprint.
    pub(crate) fingerprint: String,
}

/// What an output folder is to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// It is not there, or empty where this job writes.
    Nobody,
    /// It holds results of this very job.
    ThisJob,
    /// It holds results of a job of this name with another fingerprint.
    EarlierJob,
    /// It holds results of another job.
    OtherJob(Marker),
    /// No job, but things where this job's stages would write: the first of them.
    Strange(PathBuf),
}

/// Who has results in the output folder of this job.
pub(crate) fn owner(spec: &JobSpec, fingerprint: &str) -> Result<Owner> {
    let layout = Layout::new(&spec.storage.output);
    if layout.root().is_file() {
        let what = format!(
            "the output {} is a file; it must be a folder",
            layout.root().display()
        );
        return Err(Error::new(Code::OutputUnwritable, what).fix("choose another [storage] output"));
    }
    if let Some(marker) = read(&layout)? {
        return Ok(
            match (marker.job == spec.name, marker.fingerprint == fingerprint) {
                (true, true) => Owner::ThisJob,
                (true, false) => Owner::EarlierJob,
                (false, _) => Owner::OtherJob(marker),
            },
        );
    }
    for stage in &spec.stages {
        let folder = layout.root().join(&stage.name);
        match fs::read_dir(&folder).map(|mut entries| entries.next().is_none()) {
            Ok(true) => {}
            Ok(false) => return Ok(Owner::Strange(folder)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Ok(Owner::Strange(folder));
            }
            Err(error) => return Err(unwritable(&folder, "read", &error)),
        }
    }
    Ok(Owner::Nobody)
}

/// The error for an output that this job must not write to.
pub(crate) fn in_use(spec: &JobSpec, owner: &Owner) -> Error {
    let (output, name) = (&spec.storage.output, &spec.name);
    let elsewhere = "write elsewhere: --set storage.output=DIR";
    match owner {
        Owner::OtherJob(marker) => {
            Error::new(Code::OutputInUse, format!("the output {output} holds the results of job `{}`", marker.job)).fix(
                format!("{elsewhere}, or give up those results: petctl delete {}", marker.job),
            )
        }
        Owner::Strange(path) => Error::new(
            Code::OutputInUse,
            format!("{} is there already, and no job of petctl made it; stage outputs would mix with it", path.display()),
        )
        .fix(format!("{elsewhere}, or move it away")),
        Owner::Nobody | Owner::ThisJob | Owner::EarlierJob => Error::new(
            Code::OutputInUse,
            format!("the output {output} holds the results of another version of job `{name}`"),
        )
        .fix(format!("{elsewhere}, or take them away and run all of it again: --rerun all")),
    }
}

/// Puts the job's name on its output folder; fails where nothing can be written to it.
pub(crate) fn mark(spec: &JobSpec, fingerprint: &str) -> Result<()> {
    let layout = Layout::new(&spec.storage.output);
    let folder = layout.state();
    let marker = Marker {
        job: spec.name.clone(),
        fingerprint: fingerprint.to_owned(),
    };
    if read(&layout)?.as_ref() == Some(&marker) {
        return access(&folder, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| unwritable(&folder, "write to", &io::Error::from(error)));
    }
    fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, "make", &error))?;
    let path = folder.join("job.json");
    write_whole(&path, &marker).map_err(|error| unwritable(&path, "write", &error))
}

/// Takes the results of these stages away, with their logs: first out of sight in one step each, then for good.
///
/// `own` is taken away too when nothing of the job is to be left.
pub(crate) fn clear(output: &Path, stages: &[String], own: bool) -> Result<()> {
    let layout = Layout::new(output);
    if !layout.root().exists() {
        return Ok(());
    }
    let trash = layout.trash();
    let hidden = trash.join(format!(
        "rerun-{}-{}",
        std::process::id(),
        crate::state::now_ms()
    ));
    fs::create_dir_all(&hidden).map_err(|error| unwritable(&hidden, "make", &error))?;
    for stage in stages {
        hide(&layout.root().join(stage), &hidden.join(stage))?;
    }
    for part in ["attempts", "logs", "damaged"] {
        hide(&layout.state().join(part), &hidden.join(format!(".{part}")))?;
    }
    let doomed = if own { layout.state() } else { hidden };
    fs::remove_dir_all(&doomed).map_err(|error| unwritable(&doomed, "delete", &error))?;
    if own {
        // Only where nothing else was put into it.
        let _not_empty = fs::remove_dir(layout.root());
    }
    Ok(())
}

fn hide(from: &Path, to: &Path) -> Result<()> {
    match fs::rename(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(unwritable(from, "take away", &error)),
    }
}

/// The marker of an output folder; `None` where there is none that can be understood.
pub(crate) fn read(layout: &Layout) -> Result<Option<Marker>> {
    let path = layout.state().join("job.json");
    let text = read_bounded(&path).map_err(|error| unwritable(&path, "read", &error))?;
    Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
}

pub(crate) fn unwritable(
    path: &Path,
    verb: &str,
    cause: &(dyn std::error::Error + 'static),
) -> Error {
    Error::new(
        Code::OutputUnwritable,
        format!("can't {verb} {}", path.display()),
    )
    .because(cause)
    .fix("make it writable for you, or choose another [storage] output")
}
