//! What the system says of a process.

use anyhow::{Context, Result};
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
