//! Whose results an output holds, and how earlier ones are taken away.

mod aside;
mod blobs;
mod folder;
mod hold;

pub use aside::PutAside;
pub use blobs::count_below;
pub use hold::{Hold, host};

use petctl_output::owner::OwnerRecord;
use petctl_spec::{JobSpec, StorageSpec};
use petctl_text::obstacle::Obstacle;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::terminal::Meter;
use std::fmt::Display;
use std::sync::Arc;

/// What an output is to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// It is not there, or empty where this job writes.
    Nobody,
    /// It holds results of this very job.
    ThisJob,
    /// It holds results of a job of this name with another fingerprint.
    EarlierJob(OwnerRecord),
    /// It holds results of another job.
    OtherJob(OwnerRecord),
    /// No job, but things where this job's stages would write: the first of them.
    Strange(String),
}

/// A shard, by the names of its stage and its key.
pub type ShardName<'a> = (&'a str, &'a str);

/// Who has results in the output of this job.
pub async fn look(spec: &JobSpec, fingerprint: &str) -> Result<Owner> {
    if let Some(record) = read(&spec.storage).await? {
        return Ok(
            match (record.job == spec.name, record.fingerprint == fingerprint) {
                (true, true) => Owner::ThisJob,
                (true, false) => Owner::EarlierJob(record),
                (false, _) => Owner::OtherJob(record),
            },
        );
    }
    let root = spec.storage.output_root();
    let strange = match root.folder() {
        Some(folder) => folder::strange(folder, spec)?,
        None => blobs::strange(spec, &root).await?,
    };
    Ok(strange.map_or(Owner::Nobody, Owner::Strange))
}

/// The error for an output that holds the results of another job.
pub fn in_use(spec: &JobSpec, by: &OwnerRecord) -> Error {
    let (output, job) = (&spec.storage.output, &by.job);
    let what = format!("the output {output} holds the results of job `{job}`");
    Error::new(Code::OutputInUse, what).fix(format!(
        "{ELSEWHERE}, or give up those results: petctl delete {job}"
    ))
}

/// The error for something that stands where the job's stages would write.
pub fn strange(path: &str) -> Error {
    let what = format!(
        "{path} is there already, and no job of petctl made it; stage outputs would mix with it"
    );
    Error::new(Code::OutputInUse, what).fix(format!("{ELSEWHERE}, or move it away"))
}

const ELSEWHERE: &str = "write elsewhere: --set storage.output=PLACE";

/// Puts the job's name on its output; fails where nothing can be written to it.
pub async fn mark(spec: &JobSpec, fingerprint: &str) -> Result<()> {
    let record = OwnerRecord {
        job: spec.name.clone(),
        fingerprint: fingerprint.to_owned(),
    };
    let root = spec.storage.output_root();
    match root.folder() {
        Some(folder) => folder::mark(folder, &record),
        None => blobs::mark(spec, &root, &record).await,
    }
}

/// The record of a job's output; `None` where there is none that can be understood.
pub async fn read(storage: &StorageSpec) -> Result<Option<OwnerRecord>> {
    let root = storage.output_root();
    match root.folder() {
        Some(folder) => folder::read(folder),
        None => blobs::read(storage, &root).await,
    }
}

/// Takes the results of these stages away, with their logs.
///
/// `own` is taken away too when nothing of the job is to be left. The meter is told of all that goes. What is dropped in
/// the middle, or fails, can be gone on with by the same again.
pub async fn clear(spec: &JobSpec, stages: &[String], own: bool, meter: &Arc<Meter>) -> Result<()> {
    let root = spec.storage.output_root();
    match root.folder() {
        Some(folder) => folder::clear(folder, stages, own, meter).await,
        None => blobs::clear(spec, &root, stages, own, meter).await,
    }
}

/// Puts aside the committed outputs of shards that are no part of the job any more. `stands` says whether a shard is
/// still one, or has one below it; `lineage` is that of the coordinator's leases.
pub async fn put_aside(
    spec: &JobSpec,
    dropped: &[ShardName<'_>],
    stands: &dyn Fn(ShardName<'_>) -> bool,
    lineage: u64,
) -> Result<u64> {
    let doomed: Vec<ShardName<'_>> = dropped
        .iter()
        .copied()
        .filter(|place| !stands(*place))
        .collect();
    let root = spec.storage.output_root();
    match root.folder() {
        Some(folder) => folder::put_aside(folder, &doomed),
        None => blobs::put_aside(spec, &root, &doomed, lineage).await,
    }
}

pub(crate) fn unwritable(
    path: &dyn Display,
    verb: &str,
    cause: &(dyn std::error::Error + 'static),
) -> Error {
    let what = format!("can't {verb} {path}");
    let obstacle = Obstacle::behind(cause);
    let error = if obstacle.is_full() {
        Error::foreign(Code::DiskFull.as_str(), Exit::TryAgain, what)
    } else {
        Error::new(Code::OutputUnwritable, what)
    };
    error
        .because(cause)
        .fix(obstacle.fix_writing("choose another [storage] output"))
}
