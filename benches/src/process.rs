//! What the system says of a process.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use std::fs;
use std::time::Duration;

/// `USER_HZ`: the kernel's unit of time in /proc, the same on every Linux of today.
const TICKS_PER_S: f64 = 100.0;

/// CPU time of all threads so far, in the kernel and out of it.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    // The name may hold spaces; it ends at the last bracket. utime and stime are fields 14 and 15 of proc(5).
    let (_, rest) = text
        .rsplit_once(')')
        .with_context(|| format!("{path} is not as it should be"))?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |index: usize| {
        fields
            .get(index)
            .and_then(|field| field.parse::<u32>().ok())
    };
    let (user, system) = ticks(11)
        .zip(ticks(12))
        .with_context(|| format!("{path} is not as it should be"))?;
    Ok(Duration::from_secs_f64(
        (f64::from(user) + f64::from(system)) / TICKS_PER_S,
    ))
}

/// Memory that it holds now, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<f64> {
    status_bytes(pid, "VmRSS:")
}

/// Most memory that it ever held, in bytes.
pub(crate) fn peak_resident_bytes(pid: u32) -> Result<f64> {
    status_bytes(pid, "VmHWM:")
}

fn status_bytes(pid: u32, name: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line
        .and_then(|line| line.split_whitespace().next())
        .and_then(|kib| kib.parse::<f64>().ok());
    Ok(kib.with_context(|| format!("{path} has no {name}"))? * 1024.0)
}

/// Lets this process, and what it starts, have so many files open. The soft limit is 1,024 on most systems.
pub(crate) fn raise_file_limit(wanted: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|maximum| maximum < wanted) {
        bail!(
            "{wanted} open files are needed, and `ulimit -Hn` allows {:?}",
            limit.maximum
        );
    }
    let limit = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, limit).context("raise the file limit")
}

/// kill -9; nothing where it is gone.
pub(crate) fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _gone = kill_process(pid, Signal::KILL);
    }
}

/// Children, their children and so on, as far as the kernel still knows whose they are.
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut next = vec![pid];
    while let Some(parent) = next.pop() {
        let threads = fs::read_dir(format!("/proc/{parent}/task"))
            .into_iter()
            .flatten();
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            let children = children
                .split_ascii_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok());
            for child in children {
                found.push(child);
                next.push(child);
            }
        }
    }
    found
}
