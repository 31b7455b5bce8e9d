//! Checks that a job asks of a worker before it may join.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use petctl_process::StopSwitch;
use petctl_spec::JobSpec;

use crate::joining::errand::Errand;
use petctl_output::logs::AttemptLog;

/// Of the command's output that is kept.
const LOG_BYTES: u64 = 64 * 1024;
const MIB: u64 = 1024 * 1024;

/// Runs the checks that a job asks for. Blocks until the job's own command has ended.
///
/// # Errors
/// What is missing.
pub(super) fn check(spec: &JobSpec, worker_id: &str, switch: &StopSwitch) -> Result<(), String> {
    let Some(checks) = &spec.workers.preflight else {
        return Ok(());
    };
    // What goes to blob storage is written here first.
    let place = if spec.storage.output_root().is_blob() {
        std::env::temp_dir()
    } else {
        PathBuf::from(&spec.storage.output)
    };
    check_disk(checks.disk_mib, &place)?;
    check_memory(checks.memory_mib)?;
    check_gpus(checks.gpus, visible_gpus())?;
    if checks.command.is_empty() {
        return Ok(());
    }
    // Only its tail is of interest.
    let log = AttemptLog::new(PathBuf::from("/dev/null"), LOG_BYTES);
    let errand = Errand {
        command: &checks.command,
        timeout_ms: checks.timeout_ms,
        folder: Path::new(&spec.folder),
        worker_id,
        access: &spec.storage.access,
        last_lines: 1,
    };
    errand.run(log, switch)
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

#[cfg(test)]
mod tests {
    use super::*;

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
