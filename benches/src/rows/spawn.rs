//! Real processes: `petctl run` against what a user would type instead.

use super::dispatch::to_f64;
use crate::coordinator::Coordinator;
use crate::figure::{Rounds, per_s, whole};
use crate::options::Options;
use crate::table::Row;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The size of a job whose shards are `true`.
pub(crate) struct Job {
    pub(crate) shards: u64,
    pub(crate) workers: u32,
    pub(crate) slots: u32,
}

/// In turn: `petctl run`, all of it, and `xargs -P2`.
pub(crate) fn spawn(options: &Options) -> Result<Vec<Row>> {
    let job = Job {
        shards: options.quick_or(2_000, 10_000),
        workers: 1,
        slots: 2,
    };
    let (mut petctl, mut xargs) = (Vec::new(), Vec::new());
    // Removed after the last round: ext4 without a journal makes new files slowly for minutes after old ones went.
    let mut folders = Vec::new();
    for _ in 0..options.quick_or(2, 5) {
        let folder = TempDir::with_prefix_in("spawn-", &options.folder).context("make a folder")?;
        petctl.push(rate(job.shards, petctl_run(options, folder.path(), &job)?));
        xargs.push(rate(
            job.shards,
            over_list(
                folder.path(),
                (0..job.shards).map(|shard| shard.to_string()),
                "xargs",
                &["-P2", "-n1", "true"],
            )?,
        ));
        folders.push(folder);
    }
    let ratio = Rounds::ratios(&petctl, &xargs).median();
    let (petctl, xargs) = (Rounds::new(petctl), Rounds::new(xargs));
    let parallel = match gnu_parallel(options, job.shards / 10)? {
        Some(rate) => per_s(rate),
        None => "not installed".to_owned(),
    };
    Ok(vec![Row {
        what: format!(
            "shards that spawn `true`, 2 slots, {}",
            whole(to_f64(job.shards))
        ),
        aim: "no slower than xargs -P2".to_owned(),
        measured: format!("{}, {ratio:.2} of it", per_s(petctl.median())),
        met: Some(ratio >= 1.0),
        beside: format!(
            "xargs -P2 -n1 true: {} ({}); GNU parallel -j2: {parallel}; {}",
            per_s(xargs.median()),
            xargs.spread(whole),
            petctl.spread(whole)
        ),
    }])
}

fn rate(shards: u64, took: Duration) -> f64 {
    to_f64(shards) / took.as_secs_f64()
}

/// How long `petctl run` takes, from a home and an output that are not there to its exit, logs and commits on.
pub(crate) fn petctl_run(options: &Options, folder: &Path, job: &Job) -> Result<Duration> {
    let (file, output) = (folder.join("job.toml"), folder.join("output"));
    fs::write(&file, job_file(job, &output)).context("write the job file")?;
    let (stdout, stderr) = (folder.join("stdout"), folder.join("stderr"));
    let start = Instant::now();
    let status = Command::new(&options.petctl)
        .arg("run")
        .arg(&file)
        .env("PETCTL_HOME", folder.join("home"))
        .stdin(Stdio::null())
        .stdout(File::create(&stdout).context("make a file")?)
        .stderr(File::create(&stderr).context("make a file")?)
        .status()
        .context("run petctl")?;
    let took = start.elapsed();
    if !status.success() {
        bail!(
            "WRONG: petctl run ended with {status}: {}",
            fs::read_to_string(&stderr).unwrap_or_default()
        );
    }
    check(&output.join("all"), job.shards)?;
    Ok(took)
}

/// Shards per second of a coordinator with these flags and one worker of its own, both started before.
pub(crate) fn rate_afar(options: &Options, flags: &[&str], job: &Job) -> Result<f64> {
    let coordinator = Coordinator::start_with(options, flags)?;
    let folder = TempDir::with_prefix_in("afar-", &options.folder).context("make a folder")?;
    let (file, output) = (folder.path().join("job.toml"), folder.path().join("output"));
    fs::write(&file, job_file(job, &output)).context("write the job file")?;
    let reach = |command: &str| {
        let mut petctl = Command::new(&options.petctl);
        petctl.args([command, "--coordinator", coordinator.address()]);
        petctl.arg("--token-file").arg(coordinator.token_file());
        if let Some(ca) = coordinator.ca_file() {
            petctl.arg("--ca-file").arg(ca);
        }
        petctl.env("PETCTL_HOME", folder.path().join("home"));
        petctl
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        petctl
    };
    let mut worker = reach("worker")
        .args(["--slots", &job.slots.to_string()])
        .spawn()
        .context("start a worker")?;
    let start = Instant::now();
    let status = reach("run").arg(&file).status().context("run petctl")?;
    let took = start.elapsed();
    worker.kill().context("end the worker")?;
    worker.wait().context("end the worker")?;
    if !status.success() {
        bail!("WRONG: petctl run ended with {status}");
    }
    check(&output.join("all"), job.shards)?;
    Ok(rate(job.shards, took))
}

fn job_file(job: &Job, output: &Path) -> String {
    let Job {
        shards,
        workers,
        slots,
    } = job;
    format!(
        "[job]\nname = \"spawn\"\n\n[workers]\nmin = 1\nmax = {workers}\nslots = {slots}\n\n[storage]\n\
         output = \"{}\"\n\n[[stage]]\nname = \"all\"\nkind = \"shards\"\nshards = {{ range = [0, {shards}] }}\n\
         command = [\"true\", \"{{key}}\"]\n",
        output.display()
    )
}

/// Every shard has left its manifest.
fn check(stage: &Path, shards: u64) -> Result<()> {
    let entries = fs::read_dir(stage).with_context(|| format!("read {}", stage.display()))?;
    let committed = entries
        .flatten()
        .filter(|entry| entry.path().join("manifest.json").is_file())
        .count();
    if u64::try_from(committed)? != shards {
        bail!("WRONG: {committed} shards committed, {shards} expected");
    }
    Ok(())
}

/// How long a program takes that reads a list of these, in the folder.
pub(crate) fn over_list(
    folder: &Path,
    items: impl Iterator<Item = String>,
    program: &str,
    arguments: &[&str],
) -> Result<Duration> {
    let list = folder.join("list");
    let lines: String = items.map(|item| item + "\n").collect();
    fs::write(&list, lines).context("write the list")?;
    let start = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(File::open(&list).context("open the list")?)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| format!("run {program}"))?;
    let took = start.elapsed();
    if !status.success() {
        bail!("WRONG: {program} ended with {status}");
    }
    Ok(took)
}

/// Another program of that name has no `--will-cite`.
fn is_gnu_parallel() -> bool {
    let is_gnu = Command::new("parallel")
        .args(["--will-cite", "--version"])
        .output();
    is_gnu.is_ok_and(|answer| answer.stdout.starts_with(b"GNU parallel"))
}

/// `None` where it is not installed.
fn gnu_parallel(options: &Options, shards: u64) -> Result<Option<f64>> {
    if !is_gnu_parallel() {
        return Ok(None);
    }
    let folder = TempDir::with_prefix_in("parallel-", &options.folder).context("make a folder")?;
    let took = over_list(
        folder.path(),
        (0..shards).map(|shard| shard.to_string()),
        "parallel",
        &["--will-cite", "-j2", "true"],
    )?;
    Ok(Some(rate(shards, took)))
}
