//! Checks that a job asks of a worker before it may join.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use petctl_proto::v1::{Preflight, PreflightReport};
use petctl_spec::{JobSpec, PreflightSpec, parse_spec_json};

use crate::job::inherited;
use crate::logs::AttemptLog;
use crate::process::strays::WORKER_VARIABLE;
use crate::process::{Launch, Outputs, StopSwitch, resolve, spawn, watch};
use crate::supervisor::{Cause, Supervisor};

/// Between SIGTERM and SIGKILL, for a command that takes too long.
const GRACE: Duration = Duration::from_secs(2);
/// Of the command's output that is kept.
const LOG_BYTES: u64 = 64 * 1024;
const MIB: u64 = 1024 * 1024;

/// Runs the checks. Blocks until the job's own command has ended.
pub(crate) fn check(order: &Preflight, worker_id: &str) -> PreflightReport {
    let failure = match parse_spec_json(&order.spec_json) {
        Ok(spec) => run(&spec, worker_id).err(),
        Err(error) => Some(format!(
            "the job can't be read: {error}; run the same petctl on both sides"
        )),
    };
    if let Some(why) = &failure {
        tracing::warn!(job = order.job, code = "PREFLIGHT_FAILED", "{why}");
    }
    PreflightReport {
        job_id: order.job_id,
        code: failure
            .as_ref()
            .map(|_| "PREFLIGHT_FAILED".to_owned())
            .unwrap_or_default(),
        message: failure.unwrap_or_default(),
    }
}

fn run(spec: &JobSpec, worker_id: &str) -> Result<(), String> {
    let Some(checks) = &spec.workers.preflight else {
        return Ok(());
    };
    check_disk(checks.disk_mib, Path::new(&spec.storage.output))?;
    check_memory(checks.memory_mib)?;
    check_gpus(checks.gpus, visible_gpus())?;
    run_command(checks, Path::new(&spec.folder), worker_id)
}

fn check_disk(wanted_mib: u64, output: &Path) -> Result<(), String> {
    if wanted_mib == 0 {
        return Ok(());
    }
    // The folder may not have been made yet.
    let there = output
        .ancestors()
        .find(|path| path.is_dir())
        .unwrap_or(Path::new("/"));
    let space = rustix::fs::statvfs(there).map_err(|error| {
        format!(
            "can't ask for the free space in {}: {error}",
            there.display()
        )
    })?;
    let free_mib = space.f_bavail.saturating_mul(space.f_frsize) / MIB;
    at_least(
        free_mib,
        wanted_mib,
        &format!("MiB are free in {}", there.display()),
    )
}

fn check_memory(wanted_mib: u64) -> Result<(), String> {
    if wanted_mib == 0 {
        return Ok(());
    }
    let text = fs::read_to_string("/proc/meminfo")
        .map_err(|error| format!("can't ask for the free memory: {error}"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
    at_least(
        kib.unwrap_or(0) / 1024,
        wanted_mib,
        "MiB of memory are free",
    )
}

fn check_gpus(wanted: u32, seen: u32) -> Result<(), String> {
    at_least(seen.into(), wanted.into(), "GPUs are there")
}

fn at_least(have: u64, wanted: u64, what: &str) -> Result<(), String> {
    if have >= wanted {
        Ok(())
    } else {
        Err(format!("{have} {what}, and {wanted} are asked for"))
    }
}

/// Those that the driver has, and of these what CUDA_VISIBLE_DEVICES leaves.
fn visible_gpus() -> u32 {
    let devices = match fs::read_dir("/dev") {
        Ok(entries) => entries
            .flatten()
            .filter(|entry| is_gpu(&entry.file_name()))
            .count(),
        Err(_) => 0,
    };
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let named = visible.map(|text| {
        text.split(',')
            .filter(|name| !name.trim().is_empty())
            .count()
    });
    let count = named.map_or(devices, |named| named.min(devices));
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn is_gpu(name: &OsStr) -> bool {
    let number = name.to_str().and_then(|name| name.strip_prefix("nvidia"));
    number.is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn run_command(checks: &PreflightSpec, folder: &Path, worker_id: &str) -> Result<(), String> {
    let Some((program, arguments)) = checks.command.split_first() else {
        return Ok(());
    };
    let mut environment = inherited();
    environment.insert(WORKER_VARIABLE.into(), worker_id.into());
    let search_path = environment
        .get(OsStr::new("PATH"))
        .map(|value| value.as_os_str());
    let program = resolve(program, folder, search_path).map_err(|error| error.to_string())?;
    let environment: Vec<_> = environment.into_iter().collect();
    let launch = Launch {
        program: &program,
        arguments,
        folder,
        stage_environment: &environment,
        attempt_environment: &[],
    };
    let started = Instant::now();
    let child = spawn(&launch, Outputs::default()).map_err(|error| error.to_string())?;
    let timeout = Duration::from_millis(checks.timeout_ms);
    let supervisor = Supervisor::new(started, timeout, GRACE);
    // Only its tail is of interest.
    let mut log = AttemptLog::new(PathBuf::from("/dev/null"), LOG_BYTES);
    let switch = StopSwitch::new().map_err(|error| error.to_string())?;
    let mut buffer = vec![0; 16 * 1024];
    let watched = watch(
        child,
        0,
        supervisor,
        started,
        &mut log,
        &switch,
        &mut buffer,
    )
    .map_err(|error| format!("can't watch the command: {error}"))?;
    let tail = log.finish().tail;
    let last = tail.lines().rev().find(|line| !line.trim().is_empty());
    let said = last
        .map(|line| format!(": {}", super::error_file::one_line(line)))
        .unwrap_or_default();
    match (watched.cause, watched.status) {
        (Cause::Exited, Some(status)) if status.success() => Ok(()),
        (Cause::TimedOut, _) => Err(format!(
            "its command {} took longer than {} ms{said}",
            program.display(),
            checks.timeout_ms
        )),
        (_, Some(status)) => Err(format!(
            "its command {} ended with {status}{said}",
            program.display()
        )),
        (_, None) => Err(format!(
            "its command {} does not end{said}",
            program.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(script: &str, timeout_ms: u64) -> Result<(), String> {
        let checks = PreflightSpec {
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            timeout_ms,
            ..PreflightSpec::default()
        };
        run_command(&checks, Path::new("/"), "preflight-test")
    }

    #[test]
    fn a_command_decides_by_its_exit_code() {
        assert_eq!(command("true", 60_000), Ok(()));
        let why = command("echo no driver >&2; exit 3", 60_000).unwrap_err();
        assert!(
            why.contains("exit status: 3") && why.ends_with("no driver"),
            "{why}"
        );
        let why = command("echo hangs; exec sleep 1000", 50).unwrap_err();
        assert!(
            why.contains("longer than 50 ms") && why.ends_with("hangs"),
            "{why}"
        );
    }

    #[test]
    fn what_is_not_there_is_said() {
        assert_eq!(check_disk(0, Path::new("/none")), Ok(()));
        assert_eq!(check_disk(1, Path::new("/none/such")), Ok(()));
        let why = check_disk(u64::MAX, Path::new("/")).unwrap_err();
        assert!(why.contains("MiB are free in /"), "{why}");
        assert_eq!(check_memory(1), Ok(()));
        assert!(check_memory(u64::MAX).unwrap_err().contains("memory"));
        assert_eq!(
            check_gpus(2, 1).unwrap_err(),
            "1 GPUs are there, and 2 are asked for"
        );
        assert!(is_gpu(OsStr::new("nvidia3")) && !is_gpu(OsStr::new("nvidiactl")));
    }
}
