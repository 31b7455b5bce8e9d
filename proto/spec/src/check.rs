//! Checks a job that came over the network as JSON: what the parser promises of its own jobs is not taken on trust.

use crate::keys::RESERVED_ENV;
use crate::keys::{
    LOG_BYTES, MAX_ARGUMENTS, MAX_BACKOFF_MS, MAX_COMMAND_BYTES, MAX_DURATION_MS, MAX_ENTRIES,
    MAX_GPUS,
};
use crate::keys::{MAX_CPU_MILLI, MAX_MEMORY_MIB, MAX_RETRIES, MAX_TEXT_BYTES};
use crate::model::{
    Budgets, JobSpec, MAX_PROCESSES, MAX_SHARDS, MAX_SLOTS, MAX_STAGES, MAX_WORKERS, PreflightSpec,
    Processes, ShardSource, StageKind, StageSpec, TrainSpec, WorkersSpec,
};
use crate::shard_key::check_keys;
use crate::storage::resolve_path;
use crate::template::Template;
use crate::words::{is_identifier, is_name, shown};
use crate::workers::unit_fits;
use crate::{needs, shards};
use std::collections::{BTreeMap, BTreeSet};

/// A job that breaks the bounds or rules of a job file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {why}")]
pub struct SpecError {
    /// The key with its dots.
    pub key: String,
    /// What is wrong.
    pub why: String,
}

impl SpecError {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "INVALID_JOB_SPEC"
    }
}

/// Reads a job from JSON and checks it.
///
/// # Errors
/// [`SpecError`]: not the JSON of a job, or one that breaks a rule.
pub fn parse_spec_json(json: &str) -> Result<JobSpec, SpecError> {
    let spec = serde_json::from_str::<JobSpec>(json)
        .map_err(|error| wrong("spec_json", shown(&error.to_string())))?;
    spec.check()?;
    Ok(spec)
}

impl JobSpec {
    /// Checks the bounds and rules that a job from [`crate::parse()`] keeps: for one that came over the network.
    ///
    /// # Errors
    /// [`SpecError`]: the first rule that is broken.
    pub fn check(&self) -> Result<(), SpecError> {
        check_spec(self)
    }
}

fn check_spec(spec: &JobSpec) -> Result<(), SpecError> {
    ensure(is_name(&spec.name), "job.name", "is no name")?;
    check_path("folder", &spec.folder)?;
    check_storage("storage.output", &spec.storage.output)?;
    spec.storage
        .input
        .as_ref()
        .map_or(Ok(()), |input| check_storage("storage.input", input))?;
    check_workers(&spec.workers)?;
    ensure(
        (1..=MAX_STAGES).contains(&spec.stages.len()),
        "stage",
        "has none or too many stages",
    )?;
    let mut names = BTreeSet::new();
    for stage in &spec.stages {
        ensure(is_name(&stage.name), "stage.name", "is no name")?;
        ensure(names.insert(&stage.name), "stage.name", "is there twice")?;
        check_stage(spec, stage)?;
    }
    let counts = spec
        .stages
        .iter()
        .filter_map(|stage| shards::stage_count(&stage.kind));
    let total = counts.fold(0_u64, u64::saturating_add);
    ensure(total <= MAX_SHARDS, "stage", "has too many shards")?;
    ensure(
        !needs::has_cycle(&spec.stages),
        "stage.needs",
        "goes in a circle",
    )
}

fn check_workers(workers: &WorkersSpec) -> Result<(), SpecError> {
    let WorkersSpec {
        min,
        max,
        wanted,
        unit,
        slots,
        gpus,
        spares,
        settle_timeout_ms,
        ref preflight,
    } = *workers;
    let ordered = 1 <= min && min <= wanted && wanted <= max && max <= MAX_WORKERS;
    ensure(
        ordered,
        "workers",
        "breaks 1 <= min <= wanted <= max, or the bound of max",
    )?;
    ensure(
        unit_fits(unit, min, wanted),
        "workers.unit",
        "has no multiple from min to wanted",
    )?;
    ensure(
        (1..=MAX_SLOTS).contains(&slots),
        "workers.slots",
        "is out of range",
    )?;
    ensure(gpus <= MAX_GPUS, "workers.gpus", "is out of range")?;
    ensure(spares <= MAX_WORKERS, "workers.spares", "is out of range")?;
    ensure(
        settle_timeout_ms <= MAX_DURATION_MS,
        "workers.settle_timeout",
        "is too long",
    )?;
    preflight.as_ref().map_or(Ok(()), check_preflight)
}

fn check_preflight(preflight: &PreflightSpec) -> Result<(), SpecError> {
    let key = "workers.preflight";
    let PreflightSpec {
        disk_mib,
        memory_mib,
        gpus,
        command,
        timeout_ms,
    } = preflight;
    let sizes = *disk_mib <= MAX_MEMORY_MIB && *memory_mib <= MAX_MEMORY_MIB && *gpus <= MAX_GPUS;
    ensure(sizes, key, "is out of range")?;
    ensure(*timeout_ms <= MAX_DURATION_MS, key, "is too long")?;
    ensure(
        command.first().is_none_or(|program| !program.is_empty()),
        key,
        "has a command without a program",
    )?;
    check_command(key, command)
}

/// The bounds that every command keeps.
fn check_command(key: &str, command: &[String]) -> Result<(), SpecError> {
    let bytes = command.iter().map(String::len).sum::<usize>();
    ensure(
        command.len() <= MAX_ARGUMENTS && bytes <= MAX_COMMAND_BYTES,
        key,
        "is too long",
    )?;
    ensure(
        !command.iter().any(|argument| argument.contains('\0')),
        key,
        "holds a NUL character",
    )
}

fn check_stage(spec: &JobSpec, stage: &StageSpec) -> Result<(), SpecError> {
    let key = |name: &str| format!("stage.{}.{name}", stage.name);
    check_source(spec, stage)?;
    check_command(&key("command"), &stage.command)?;
    Template::parse(&stage.command).map_err(|error| wrong(&key("command"), error.to_string()))?;
    check_entries(&key("env"), &stage.env)?;
    let kept = stage.env.keys().any(|name| name.starts_with(RESERVED_ENV));
    ensure(
        !kept,
        &key("env"),
        "has a name that petctl keeps for itself",
    )?;
    check_entries(&key("params"), &stage.params)?;
    ensure(
        stage.timeout_ms <= MAX_DURATION_MS,
        &key("timeout"),
        "is too long",
    )?;
    ensure(
        stage.grace_ms <= MAX_DURATION_MS,
        &key("grace"),
        "is too long",
    )?;
    ensure(
        stage.deadline_ms <= MAX_DURATION_MS,
        &key("deadline"),
        "is too long",
    )?;
    ensure(
        stage.backoff_ms <= MAX_BACKOFF_MS,
        &key("backoff"),
        "is too long",
    )?;
    ensure(
        (LOG_BYTES.0..=LOG_BYTES.1).contains(&stage.log_bytes),
        &key("log_bytes"),
        "is out of range",
    )?;
    ensure(
        stage.cpu_milli <= MAX_CPU_MILLI,
        &key("cpus"),
        "is out of range",
    )?;
    ensure(
        stage.memory_mib <= MAX_MEMORY_MIB,
        &key("memory"),
        "is out of range",
    )?;
    let Budgets {
        failed,
        timed_out,
        worker_lost,
        infrastructure,
        preempted,
    } = stage.budgets;
    let budgets = [failed, timed_out, worker_lost, infrastructure, preempted];
    ensure(
        budgets.iter().all(|budget| *budget <= MAX_RETRIES),
        &key("budgets"),
        "is out of range",
    )?;
    let mut needed = BTreeSet::new();
    for need in &stage.needs {
        let other = usize::try_from(need.stage)
            .ok()
            .and_then(|index| spec.stages.get(index));
        let Some(other) = other else {
            return Err(wrong(&key("needs"), "names a stage that is not there"));
        };
        ensure(
            needed.insert(need.stage),
            &key("needs"),
            "names a stage twice",
        )?;
        let fits = !need.per_shard || needs::per_shard(stage, other);
        ensure(
            fits,
            &key("needs"),
            "is per shard between stages with different shards",
        )?;
    }
    Ok(())
}

fn check_source(spec: &JobSpec, stage: &StageSpec) -> Result<(), SpecError> {
    let key = format!("stage.{}.shards", stage.name);
    let source = match &stage.kind {
        StageKind::Once => return Ok(()),
        StageKind::Train(train) => return check_train(&stage.name, train),
        StageKind::Shards(source) => source,
    };
    match source {
        ShardSource::Glob(pattern) => {
            ensure(pattern.len() <= MAX_TEXT_BYTES, &key, "is too long")?;
            shards::ShardGlob::new(pattern).map_err(|error| wrong(&key, error.to_string()))?;
            ensure(
                spec.storage.input.is_some(),
                &key,
                "is a glob, and there is no input folder",
            )
        }
        ShardSource::Manifest(_) => Err(wrong(&key, "is a manifest, which is not built yet")),
        ShardSource::Values(values) => {
            check_keys(values).map_err(|error| wrong(&key, error.to_string()))
        }
        ShardSource::Range { .. } | ShardSource::Dates { .. } | ShardSource::Matrix(_) => {
            shards::keys(source)
                .map(drop)
                .map_err(|error| wrong(&key, error.to_string()))
        }
    }
}

fn check_train(stage: &str, train: &TrainSpec) -> Result<(), SpecError> {
    let key = |name: &str| format!("stage.{stage}.{name}");
    let TrainSpec {
        processes,
        max_restarts,
        restart_window_ms,
        grow: _,
        progress_timeout_ms,
        keep_checkpoints,
        exclude_after,
        checkpoints,
    } = train;
    let processes = match processes {
        Processes::Number(count) => (1..=MAX_PROCESSES).contains(count),
        Processes::Cpu | Processes::Gpu | Processes::Auto => true,
    };
    ensure(processes, &key("processes_per_worker"), "is out of range")?;
    for (name, count, range) in [
        ("max_restarts", max_restarts, 0..=MAX_RETRIES),
        ("keep_checkpoints", keep_checkpoints, 1..=MAX_RETRIES),
        ("exclude_after", exclude_after, 0..=MAX_RETRIES),
    ] {
        ensure(range.contains(count), &key(name), "is out of range")?;
    }
    ensure(
        (1..=MAX_DURATION_MS).contains(restart_window_ms),
        &key("restart_window"),
        "is out of range",
    )?;
    ensure(
        *progress_timeout_ms <= MAX_DURATION_MS,
        &key("progress_timeout"),
        "is too long",
    )?;
    checkpoints
        .as_ref()
        .map_or(Ok(()), |folder| check_storage(&key("checkpoints"), folder))
}

fn check_entries(key: &str, entries: &BTreeMap<String, String>) -> Result<(), SpecError> {
    ensure(entries.len() <= MAX_ENTRIES, key, "has too many entries")?;
    ensure(
        entries.keys().all(|name| is_identifier(name)),
        key,
        "has a name that is none",
    )?;
    let good = |value: &String| value.len() <= MAX_TEXT_BYTES && !value.contains('\0');
    ensure(
        entries.values().all(good),
        key,
        "has a value that is too long or holds a NUL character",
    )
}

fn check_path(key: &str, path: &str) -> Result<(), SpecError> {
    let good = path.starts_with('/') && path.len() <= 2 * MAX_TEXT_BYTES && !path.contains('\0');
    ensure(good, key, "is no absolute path")
}

/// The parser's own paths are resolved; one that is not could lead elsewhere than it seems to.
fn check_storage(key: &str, path: &str) -> Result<(), SpecError> {
    check_path(key, path)?;
    ensure(
        resolve_path("/", path) == path,
        key,
        "is not resolved: it has `.`, `..` or a `/` too many",
    )
}

fn ensure(good: bool, key: &str, why: &str) -> Result<(), SpecError> {
    if good { Ok(()) } else { Err(wrong(key, why)) }
}

fn wrong(key: &str, why: impl Into<String>) -> SpecError {
    SpecError {
        key: shown(key),
        why: why.into(),
    }
}
