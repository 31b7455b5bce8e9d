//! The part of a job that makes it the same job.

use crate::model::{JobSpec, Need, StageKind, StageSpec, StorageSpec, WorkersSpec};
use serde::Serialize;
use std::collections::BTreeMap;

/// Grows when the canonical form changes its meaning, so that old fingerprints fit no new job.
const FORM: u32 = 2;

#[derive(Serialize)]
struct Canonical<'a> {
    form: u32,
    name: &'a str,
    folder: &'a str,
    gpus: u32,
    storage: &'a StorageSpec,
    stages: Vec<CanonicalStage<'a>>,
}

#[derive(Serialize)]
struct CanonicalStage<'a> {
    name: &'a str,
    kind: &'a StageKind,
    needs: &'a [Need],
    command: &'a [String],
    env: &'a BTreeMap<String, String>,
    params: &'a BTreeMap<String, String>,
}

/// Writes a job as the one text that all equal jobs have, for its fingerprint.
///
/// What can change a result counts: names, folders, kinds, needs, commands, their environment and parameters, GPUs.
/// What only says how hard to try (workers, slots, timeouts, retries, requests) does not: a job that is resumed with a
/// longer timeout is the same job. Keys that the launcher lists are not part of it; it hashes them behind this
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
        unit: _,
        slots: _,
        gpus,
    } = workers;
    let canonical = Canonical {
        form: FORM,
        name,
        folder,
        gpus: *gpus,
        storage,
        stages: stages.iter().map(canonical_stage).collect(),
    };
    serde_json::to_string(&canonical)
}

fn canonical_stage(stage: &StageSpec) -> CanonicalStage<'_> {
    let StageSpec {
        name,
        kind,
        needs,
        command,
        env,
        params,
        timeout_ms: _,
        grace_ms: _,
        budgets: _,
        backoff_ms: _,
        log_bytes: _,
        cpu_milli: _,
        memory_mib: _,
    } = stage;
    CanonicalStage {
        name,
        kind,
        needs,
        command,
        env,
        params,
    }
}
