//! The part of a job that makes it the same job.

use crate::model::{
    DispatchSpec, JobSpec, MinDone, Need, Processes, ShardSource, StageKind, StageSpec,
    StorageAccess, StorageSpec, TrainSpec, WorkersSpec,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// Grows when the canonical form changes its meaning, so that old fingerprints fit no new job.
const FORM: u32 = 3;

#[derive(Serialize)]
struct Canonical<'a> {
    form: u32,
    name: &'a str,
    folder: &'a str,
    gpus: u32,
    storage: CanonicalStorage<'a>,
    stages: Vec<CanonicalStage<'a>>,
}

/// Which data it is; not how it is reached.
#[derive(Serialize)]
struct CanonicalStorage<'a> {
    input: &'a Option<String>,
    output: &'a str,
    account: &'a Option<String>,
    endpoint: &'a Option<String>,
}

#[derive(Serialize)]
struct CanonicalStage<'a> {
    name: &'a str,
    kind: CanonicalKind<'a>,
    needs: &'a [Need],
    command: &'a [String],
    env: &'a BTreeMap<String, String>,
    params: &'a BTreeMap<String, String>,
    skip_on: &'a [u8],
    #[serde(skip_serializing_if = "is_default")]
    min_done: MinDone,
    #[serde(skip_serializing_if = "is_default")]
    run_after_skip: bool,
}

/// Keys that came later change the form of those jobs only that have them.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What of a stage decides whether its shards must run again, whichever shards they are.
#[derive(Serialize)]
struct StageContentForm<'a> {
    form: u32,
    name: &'a str,
    kind: ContentKind<'a>,
    needs: BTreeMap<&'a str, bool>,
    command: &'a [String],
    env: &'a BTreeMap<String, String>,
    params: &'a BTreeMap<String, String>,
    skip_on: &'a [u8],
    /// Relative to the job's folder where it lies there: the folder itself may move.
    input: Option<&'a str>,
    account: &'a Option<String>,
    endpoint: &'a Option<String>,
}

/// A stage's kind without its shards.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum ContentKind<'a> {
    Shards,
    Once,
    Train {
        processes: Processes,
        checkpoints: Option<&'a str>,
    },
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
/// training processes per worker, exit codes that stand for a skipped shard and what follows from skipped shards, and
/// which account the data is in.
/// What only says how hard to try (workers, slots, timeouts, retries, restarts, requests), where it runs, or how data is
/// reached does not: a job that is resumed with a longer timeout is the same job. Keys that the launcher lists, and the
/// digests of inputs, code and image, are not part of it; it hashes them behind this text.
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
        storage: canonical_storage(storage),
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
        dispatch,
    } = stage;
    let (skip_on, min_done, run_after_skip) = canonical_dispatch(dispatch);
    CanonicalStage {
        name,
        kind: canonical_kind(kind),
        needs,
        command,
        env,
        params,
        skip_on,
        min_done,
        run_after_skip,
    }
}

fn canonical_dispatch(dispatch: &DispatchSpec) -> (&[u8], MinDone, bool) {
    let DispatchSpec {
        run_mode: _,
        serve: _,
        speculative: _,
        gpu_milli: _,
        retry_on: _,
        skip_on,
        allow_failed_ppm: _,
        min_done,
        run_after_skip,
    } = dispatch;
    (skip_on, *min_done, *run_after_skip)
}

fn canonical_storage(storage: &StorageSpec) -> CanonicalStorage<'_> {
    let StorageSpec {
        input,
        output,
        // The date itself stands in `output`.
        dated: _,
        stage_bytes: _,
        incomplete_input: _,
        mounts: _,
        access,
    } = storage;
    let StorageAccess {
        account,
        endpoint,
        sas_token: _,
        account_key: _,
        client_id: _,
    } = access;
    CanonicalStorage {
        input,
        output,
        account,
        endpoint,
    }
}

/// Writes what of a stage decides whether all its shards must run again, for [`crate::StageContent::command`].
///
/// Command, environment, parameters, kind, what it needs by name, where the inputs are, and the exit codes of skipped
/// shards; not the list of its shards, so that a longer range leaves the others alone. `None`: there is no such stage.
#[must_use]
pub fn canonical_stage_json(spec: &JobSpec, stage_index: usize) -> Option<String> {
    let stage = spec.stages.get(stage_index)?;
    let canonical = canonical_stage(stage);
    let needs = stage.needs.iter().filter_map(|need| {
        let needed = spec.stages.get(usize::try_from(need.stage).ok()?)?;
        Some((needed.name.as_str(), need.per_shard))
    });
    let storage = canonical_storage(&spec.storage);
    let kind = match canonical.kind {
        CanonicalKind::Shards(_) => ContentKind::Shards,
        CanonicalKind::Once => ContentKind::Once,
        CanonicalKind::Train {
            processes,
            checkpoints,
        } => ContentKind::Train {
            processes,
            checkpoints: checkpoints.as_deref().map(|path| below(&spec.folder, path)),
        },
    };
    let form = StageContentForm {
        form: FORM,
        name: canonical.name,
        kind,
        needs: needs.collect(),
        command: canonical.command,
        env: canonical.env,
        params: canonical.params,
        skip_on: canonical.skip_on,
        input: storage
            .input
            .as_deref()
            .map(|path| below(&spec.folder, path)),
        account: storage.account,
        endpoint: storage.endpoint,
    };
    serde_json::to_string(&form).ok()
}

/// The path relative to a folder, where it lies in it.
fn below<'a>(folder: &str, path: &'a str) -> &'a str {
    let rest = path.strip_prefix(folder);
    rest.and_then(|rest| rest.strip_prefix('/')).unwrap_or(path)
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
