//! Processes of this machine, found by their environment.

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::fs;
use std::iter;

/// Generations that are told apart: ids that come again while they are looked at could close a circle.
const DEEPEST: usize = 1_000;

/// A living process.
#[derive(Clone, Debug)]
pub struct Proc {
    /// Its id.
    pub pid: u32,
    /// Its arguments, joined by blanks.
    pub command: String,
}

/// Living processes (zombies not counted) that have `NAME=VALUE` in their environment.
pub fn processes_with(name: &str, value: &str) -> Vec<Proc> {
    let wanted = format!("{name}={value}");
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let found = pids.filter(|pid| {
        // Gone between two looks, or somebody else's.
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|&byte| byte == 0)
            .any(|entry| entry == wanted.as_bytes())
            && is_alive(*pid)
    });
    found
        .map(|pid| Proc {
            pid,
            command: command_line(pid),
        })
        .collect()
}

/// kill -9 of all of them, parents before their children, as if all had died at once: nobody lives to see a child
/// killed, and to act on it. Ids don't tell who is whose child, for they begin anew when the highest one is used up.
pub(crate) fn kill_all(mut processes: Vec<Proc>) {
    processes.sort_by_cached_key(|process| generation(process.pid, parent));
    for process in processes {
        kill(process.pid);
    }
}

/// Who started the process, or took it over; `None`: it is gone.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}

/// How many processes are above it, itself counted. Those that bear no mark count too: no look finds every process.
fn generation(pid: u32, parent: impl Fn(u32) -> Option<u32>) -> usize {
    let line = iter::successors(Some(pid), |pid| parent(*pid));
    line.take(DEEPEST).count()
}

/// Whether the process is there and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_ascii_whitespace().next());
    !matches!(state, None | Some("Z" | "X"))
}

/// The most memory that the process has had, in KiB.
pub fn peak_rss_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// Sends a signal. False where the process is gone.
pub fn send(pid: u32, signal: Signal) -> bool {
    to_pid(pid).is_some_and(|pid| kill_process(pid, signal).is_ok())
}

/// Sends a signal to a process group.
pub fn signal_group(pid: u32, signal: Signal) -> bool {
    to_pid(pid).is_some_and(|pid| kill_process_group(pid, signal).is_ok())
}

/// kill -9.
pub fn kill(pid: u32) -> bool {
    send(pid, Signal::KILL)
}

/// SIGSTOP.
pub fn stop(pid: u32) -> bool {
    send(pid, Signal::STOP)
}

/// SIGCONT.
pub fn continue_(pid: u32) -> bool {
    send(pid, Signal::CONT)
}

fn to_pid(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

fn command_line(pid: u32) -> String {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&arguments)
        .replace('\0', " ")
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_before_children_whatever_their_ids() {
        // A run, its workers, a command of each; ids began anew at 300 after the first worker.
        let parents = [(700, 32_001), (32_001, 32_000), (32_000, 1)];
        let more = [(301, 300), (300, 32_000), (302, 301), (1, 0)];
        let parents: Vec<(u32, u32)> = parents.into_iter().chain(more).collect();
        let parent = |pid| parents.iter().find(|(child, _)| *child == pid);
        let mut pids = vec![300, 301, 302, 700, 32_000, 32_001];
        pids.sort_by_cached_key(|pid| generation(*pid, |pid| parent(pid).map(|(_, above)| *above)));
        assert_eq!(pids, [32_000, 300, 32_001, 301, 700, 302]);
    }

    #[test]
    fn a_circle_has_an_end() {
        assert_eq!(generation(7, |pid| Some(15 - pid)), DEEPEST);
    }
}
