//! The part of a job that makes it the same job.

use crate::model::{
    JobSpec, Need, Processes, ShardSource, StageKind, StageSpec, StorageSpec, TrainSpec,
    WorkersSpec,
};
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
    kind: CanonicalKind<'a>,
    needs: &'a [Need],
    command: &'a [String],
    env: &'a BTreeMap<String, String>,
    params: &'a BTreeMap<String, String>,
}

/// As [`StageKind`] writes itself, without what only says how hard to try.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum CanonicalKind<'a> {
    Shards(&'a ShardSource),
    Once,
    Train {
        processes: Processes,
        checkpoints: &'a Option<String>,
    },
}

/// Writes a job as the one text that all equal jobs have, for its fingerprint.
///
/// What can change a result counts: names, folders, kinds, needs, commands, their environment and parameters, GPUs,
/// training processes per worker.
/// What only says how hard to try (workers, slots, timeouts, retries, restarts, requests) does not: a job that is resumed with a
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
        image: _,
        code: _,
        setup: _,
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
        spares: _,
        settle_timeout_ms: _,
        preflight: _,
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
        deadline_ms: _,
        dispatch: _,
    } = stage;
    CanonicalStage {
        name,
        kind: canonical_kind(kind),
        needs,
        command,
        env,
        params,
    }
}

fn canonical_kind(kind: &StageKind) -> CanonicalKind<'_> {
    match kind {
        StageKind::Shards(source) => CanonicalKind::Shards(source),
        StageKind::Once => CanonicalKind::Once,
        StageKind::Train(train) => {
            let TrainSpec {
                processes,
                max_restarts: _,
                restart_window_ms: _,
                grow: _,
                progress_timeout_ms: _,
                keep_checkpoints: _,
                exclude_after: _,
                checkpoints,
            } = train;
            CanonicalKind::Train {
                processes: *processes,
                checkpoints,
            }
        }
    }
}
