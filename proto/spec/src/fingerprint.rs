//! The part of a job that makes it the same job.

use crate::model::{JobSpec, StageSpec, StorageSpec, WorkersSpec};
use serde::Serialize;

/// Grows when the canonical form changes its meaning, so that old fingerprints fit no new job.
const FORM: u32 = 1;

#[derive(Serialize)]
struct Canonical<'a> {
    form: u32,
    name: &'a str,
    folder: &'a str,
    unit: u32,
    slots: u32,
    gpus: u32,
    storage: &'a StorageSpec,
    stages: &'a [StageSpec],
}

/// Writes a job as the one text that all equal jobs have, for its fingerprint.
///
/// The counts of workers (`min`, `max`, `wanted`) are left out: a job that is resumed with more or fewer workers is
/// the same job. Everything else counts. Keys that the launcher lists are not part of it; it hashes them behind this
/// text.
///
/// # Errors
/// None in practice; those of the JSON writer are handed on.
pub fn canonical_json(spec: &JobSpec) -> Result<String, serde_json::Error> {
    // Taken apart by name: a new field does not compile until it is decided here whether it counts.
    let JobSpec {
        name,
        folder,
        workers,
        storage,
        stages,
    } = spec;
    let WorkersSpec {
        min: _,
        max: _,
        wanted: _,
        unit,
        slots,
        gpus,
    } = workers;
    let canonical = Canonical {
        form: FORM,
        name,
        folder,
        unit: *unit,
        slots: *slots,
        gpus: *gpus,
        storage,
        stages,
    };
    serde_json::to_string(&canonical)
}
