//! Checks a job that came over the network as JSON: what the parser promises of its own jobs is not taken on trust.

mod stage;
mod storage;

use crate::keys::{
    MAX_ARGUMENTS, MAX_COMMAND_BYTES, MAX_DURATION_MS, MAX_ENTRIES, MAX_GPUS, MAX_MEMORY_MIB,
    MAX_TEXT_BYTES,
};
use crate::model::{
    JobSpec, MAX_SHARDS, MAX_SLOTS, MAX_STAGES, MAX_WORKERS, PreflightSpec, SetupSpec, WorkersSpec,
};
use crate::parts::job::{check_code, is_image};
use crate::parts::needs;
use crate::parts::workers::unit_fits;
use crate::shards;
use petctl_codes::Code;
use petctl_text::words::{is_name, shown};
use stage::check_stage;
use std::collections::BTreeSet;
use storage::{check_path, check_places};

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
    pub fn code(&self) -> Code {
        Code::InvalidJobSpec
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
    /// Checks the bounds and rules that a job from [`crate::file::parse()`] keeps: for one that came over the network.
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
    check_making(spec)?;
    check_places(&spec.storage)?;
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

/// What the commands are made of, and what comes before them.
fn check_making(spec: &JobSpec) -> Result<(), SpecError> {
    let image = spec.image.as_ref();
    ensure(
        image.is_none_or(|image| is_image(image) && image.len() <= MAX_TEXT_BYTES),
        "job.image",
        "is no image with its digest",
    )?;
    ensure(
        spec.code.len() <= MAX_ENTRIES,
        "job.code",
        "has too many patterns",
    )?;
    for pattern in &spec.code {
        check_code(pattern).map_err(|why| wrong("job.code", why))?;
    }
    let Some(SetupSpec {
        command,
        timeout_ms,
    }) = &spec.setup
    else {
        return Ok(());
    };
    ensure(
        command.first().is_some_and(|program| !program.is_empty()),
        "setup.command",
        "has no program",
    )?;
    check_command("setup.command", command)?;
    ensure(
        *timeout_ms <= MAX_DURATION_MS,
        "setup.timeout",
        "is too long",
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

fn ensure(good: bool, key: &str, why: &str) -> Result<(), SpecError> {
    if good { Ok(()) } else { Err(wrong(key, why)) }
}

fn wrong(key: &str, why: impl Into<String>) -> SpecError {
    SpecError {
        key: shown(key),
        why: why.into(),
    }
}
