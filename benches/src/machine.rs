//! What the figures were measured on.

use crate::figure::Rounds;
use rustix::fs::statfs;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

/// `TMPFS_MAGIC` and `RAMFS_MAGIC` of linux/magic.h.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// Synced writes that are timed.
const SYNCS: usize = 50;

/// Several lines, for above the table.
pub(crate) fn describe(commit: &str, folder: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown CPU".to_owned());
    let memory = field("/proc/meminfo", "MemTotal").unwrap_or_else(|| "unknown".to_owned());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown").to_owned();
    let mut text = format!(
        "commit {commit}; {cores} cores of {cpu}; memory {memory}; load at the start {load}\n"
    );
    match sync_us(folder) {
        Ok(us) => text.push_str(&format!(
            "one synced write of 4 KiB in the state's folder: {us:.0} us (median)\n"
        )),
        Err(error) => text.push_str(&format!(
            "WARNING: can't sync a file in {}: {error}\n",
            folder.display()
        )),
    }
    if load.parse::<f64>().is_ok_and(|load| load > 0.5) {
        text.push_str("WARNING: other work was running on this machine; the figures are lower than they should be\n");
    }
    if is_in_memory(folder) {
        text.push_str("WARNING: the folder is in memory, so that \"durable\" costs nothing; choose one by --folder\n");
    }
    text
}

/// What "durable" costs on this disk, once.
fn sync_us(folder: &Path) -> io::Result<f64> {
    let mut file = tempfile::tempfile_in(folder)?;
    let sync = |file: &mut File| {
        let start = Instant::now();
        file.write_all(&[0; 4_096])?;
        file.sync_data()?;
        Ok(start.elapsed().as_secs_f64() * 1e6)
    };
    let rounds = (0..SYNCS)
        .map(|_| sync(&mut file))
        .collect::<io::Result<Vec<f64>>>()?;
    Ok(Rounds::new(rounds).median())
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':')
        .map(|(_, value)| value.trim().to_owned())
}

fn is_in_memory(folder: &Path) -> bool {
    // The type's width differs between platforms.
    statfs(folder)
        .is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|kind| IN_MEMORY.contains(&kind)))
}
