//! Whose results an output holds, and how earlier ones are taken away.

mod blobs;
mod folder;

pub(crate) use blobs::count_below;

use crate::error::{Code, Error, Result};
use petctl_spec::{JobSpec, StorageRoot};
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::path::Path;

/// `<output>/.petctl/job.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marker {
    pub(crate) job: String,
    /// Hex of the job's fingerprint.
    pub(crate) fingerprint: String,
}

/// What an output is to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// It is not there, or empty where this job writes.
    Nobody,
    /// It holds results of this very job.
    ThisJob,
    /// It holds results of a job of this name with another fingerprint.
    EarlierJob(Marker),
    /// It holds results of another job.
    OtherJob(Marker),
    /// No job, but things where this job's stages would write: the first of them.
    Strange(String),
}

/// A shard's outputs, by the names of its stage and its key.
pub(crate) type Place<'a> = (&'a str, &'a str);

/// Who has results in the output of this job.
pub(crate) async fn owner(spec: &JobSpec, fingerprint: &str) -> Result<Owner> {
    if let Some(marker) = read(spec).await? {
        return Ok(
            match (marker.job == spec.name, marker.fingerprint == fingerprint) {
                (true, true) => Owner::ThisJob,
                (true, false) => Owner::EarlierJob(marker),
                (false, _) => Owner::OtherJob(marker),
            },
        );
    }
    let strange = match spec.storage.output_root() {
        StorageRoot::Folder(root) => folder::strange(Path::new(&root), spec)?,
        root @ StorageRoot::Container { .. } => blobs::strange(spec, &root).await?,
    };
    Ok(strange.map_or(Owner::Nobody, Owner::Strange))
}

/// The error for an output that this job must not write to.
pub(crate) fn in_use(spec: &JobSpec, owner: &Owner) -> Error {
    let (output, name) = (&spec.storage.output, &spec.name);
    let elsewhere = "write elsewhere: --set storage.output=PLACE";
    match owner {
        Owner::OtherJob(marker) => {
            Error::new(Code::OutputInUse, format!("the output {output} holds the results of job `{}`", marker.job)).fix(
                format!("{elsewhere}, or give up those results: petctl delete {}", marker.job),
            )
        }
        Owner::Strange(path) => Error::new(
            Code::OutputInUse,
            format!("{path} is there already, and no job of petctl made it; stage outputs would mix with it"),
        )
        .fix(format!("{elsewhere}, or move it away")),
        Owner::Nobody | Owner::ThisJob | Owner::EarlierJob(_) => Error::new(
            Code::OutputInUse,
            format!(
                "the output {output} holds the results of another version of job `{name}`, of which nothing is known here"
            ),
        )
        .fix(format!("{elsewhere}, or take them away and run all of it again: --rerun all")),
    }
}

/// Puts the job's name on its output; fails where nothing can be written to it.
pub(crate) async fn mark(spec: &JobSpec, fingerprint: &str) -> Result<()> {
    let marker = Marker {
        job: spec.name.clone(),
        fingerprint: fingerprint.to_owned(),
    };
    match spec.storage.output_root() {
        StorageRoot::Folder(root) => folder::mark(Path::new(&root), &marker),
        root @ StorageRoot::Container { .. } => blobs::mark(spec, &root, &marker).await,
    }
}

/// The marker of a job's output; `None` where there is none that can be understood.
pub(crate) async fn read(spec: &JobSpec) -> Result<Option<Marker>> {
    match spec.storage.output_root() {
        StorageRoot::Folder(root) => folder::read(Path::new(&root)),
        root @ StorageRoot::Container { .. } => blobs::read(spec, &root).await,
    }
}

/// Takes the results of these stages away, with their logs.
///
/// `own` is taken away too when nothing of the job is to be left.
pub(crate) async fn clear(spec: &JobSpec, stages: &[String], own: bool) -> Result<()> {
    match spec.storage.output_root() {
        StorageRoot::Folder(root) => folder::clear(Path::new(&root), stages, own),
        root @ StorageRoot::Container { .. } => blobs::clear(spec, &root, stages, own).await,
    }
}

/// Takes away the committed outputs of shards that are no part of the job any more. `stands` says whether a shard is
/// still one, or has one below it.
pub(crate) async fn drop_shards(
    spec: &JobSpec,
    dropped: &[Place<'_>],
    stands: &dyn Fn(Place<'_>) -> bool,
) -> Result<u64> {
    let doomed: Vec<Place<'_>> = dropped
        .iter()
        .copied()
        .filter(|place| !stands(*place))
        .collect();
    match spec.storage.output_root() {
        StorageRoot::Folder(root) => folder::drop_shards(Path::new(&root), &doomed),
        root @ StorageRoot::Container { .. } => blobs::drop_shards(spec, &root, &doomed).await,
    }
}

pub(crate) fn unwritable(
    path: &dyn Display,
    verb: &str,
    cause: &(dyn std::error::Error + 'static),
) -> Error {
    Error::new(Code::OutputUnwritable, format!("can't {verb} {path}"))
        .because(cause)
        .fix("make it writable for you, or choose another [storage] output")
}
