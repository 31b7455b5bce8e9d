//! Checks one stage: its shards, its command, its bounds.

use super::storage::{check_root, check_storage};
use super::{SpecError, check_command, ensure, wrong};
use crate::keys::RESERVED_ENV;
use crate::keys::{LOG_BYTES, MAX_BACKOFF_MS, MAX_DURATION_MS, MAX_ENTRIES, MAX_GPUS};
use crate::keys::{MAX_CPU_MILLI, MAX_MEMORY_MIB, MAX_RETRIES, MAX_TEXT_BYTES};
use crate::model::root::StorageRoot;
use crate::model::{
    Axis, Budgets, DispatchSpec, JobSpec, MAX_PROCESSES, MAX_SHARDS, MinDone, Processes, ServeSpec,
    ShardSource, StageKind, StageSpec, TrainSpec,
};
use crate::parts::needs;
use crate::shards;
use crate::shards::key::check_keys;
use petctl_text::template::Template;
use petctl_text::words::is_identifier;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check_stage(spec: &JobSpec, stage: &StageSpec) -> Result<(), SpecError> {
    let key = |name: &str| format!("stage.{}.{name}", stage.name);
    check_source(spec, stage)?;
    check_dispatch(stage)?;
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
        StageKind::Train(train) => {
            let folder = !spec.storage.output_root().is_blob() || train.checkpoints.is_some();
            let key = format!("stage.{}.checkpoints", stage.name);
            ensure(folder, &key, "is missing where the output is no folder")?;
            return check_train(&stage.name, train);
        }
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
        ShardSource::Manifest(address) => {
            check_root(&key, address)?;
            let bare = StorageRoot::read(address).is_some_and(|root| root.is_whole_container());
            ensure(!bare, &key, "is a container, not a file in it")
        }
        ShardSource::Values(values) => {
            check_keys(values).map_err(|error| wrong(&key, error.to_string()))
        }
        ShardSource::Range { .. } | ShardSource::Dates { .. } => shards::keys(source)
            .map(drop)
            .map_err(|error| wrong(&key, error.to_string())),
        ShardSource::Matrix(axes) => check_matrix(&key, source, axes),
    }
}

fn check_matrix(key: &str, source: &ShardSource, axes: &[Axis]) -> Result<(), SpecError> {
    ensure(
        (1..=shards::MAX_AXES).contains(&axes.len()),
        key,
        "has no axis, or too many",
    )?;
    let mut names = BTreeSet::new();
    for Axis { name, source } in axes {
        ensure(is_identifier(name), key, "has an axis without a name")?;
        ensure(names.insert(name), key, "has an axis twice")?;
        if let ShardSource::Values(values) = source {
            check_keys(values).map_err(|error| wrong(key, error.to_string()))?;
        }
    }
    if let Some(why) = shards::matrix_problem(axes) {
        return Err(wrong(key, why));
    }
    shards::keys(source)
        .map(drop)
        .map_err(|error| wrong(key, error.to_string()))
}

fn check_dispatch(stage: &StageSpec) -> Result<(), SpecError> {
    let key = |name: &str| format!("stage.{}.{name}", stage.name);
    let DispatchSpec {
        run_mode: _,
        serve,
        speculative: _,
        gpu_milli,
        retry_on,
        skip_on,
        allow_failed_ppm,
        min_done,
        run_after_skip: _,
    } = &stage.dispatch;
    if let StageKind::Train(_) = stage.kind {
        return ensure(
            stage.dispatch == DispatchSpec::default(),
            &key("kind"),
            "trains, and has keys of shards",
        );
    }
    if let Some(ServeSpec { start_timeout_ms }) = serve {
        ensure(
            matches!(stage.kind, StageKind::Shards(_)),
            &key("serve"),
            "is for shards",
        )?;
        ensure(
            (1..=MAX_DURATION_MS).contains(start_timeout_ms),
            &key("start_timeout"),
            "is out of range",
        )?;
    }
    let whole = *gpu_milli <= 1_000 || gpu_milli.is_multiple_of(1_000);
    ensure(
        whole && *gpu_milli <= MAX_GPUS * 1_000,
        &key("gpus"),
        "is out of range",
    )?;
    for (name, codes) in [("retry_on", retry_on), ("skip_on", skip_on)] {
        ensure(
            !codes.contains(&0) && codes.is_sorted_by(|a, b| a < b),
            &key(name),
            "has a 0, or is no sorted list of exit codes",
        )?;
    }
    ensure(
        !retry_on.iter().any(|code| skip_on.contains(code)),
        &key("skip_on"),
        "has a code of `retry_on`",
    )?;
    ensure(
        *allow_failed_ppm <= 1_000_000,
        &key("allow_failed"),
        "is out of range",
    )?;
    let possible = match min_done {
        MinDone::Nothing => true,
        MinDone::Shards(count) => (1..=MAX_SHARDS).contains(count),
        MinDone::Ppm(ppm) => (1..=1_000_000).contains(ppm),
    };
    ensure(possible, &key("min_done"), "is out of range")
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
