//! Finds and kills what an attempt left behind outside its process group.
//!
//! This process is a child subreaper, so descendants whose parents are gone become children of its main thread;
//! a process belongs to an attempt if its environment says so. Only processes that are known by their id are reaped:
//! a child that a slot waits for is never taken from it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::iter;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, getpgrp, getpid, kill_process, test_kill_process_group, waitpgid,
    waitpid,
};
use rustix::time::{ClockId, clock_gettime};

/// How long one attempt's strays may take to die.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long to wait for a process without an environment to show one.
const UNCLEAR_PATIENCE: Duration = Duration::from_millis(200);
/// Between two looks at a process that has been killed.
const PAUSE: Duration = Duration::from_millis(1);
/// Processes that a message names.
const NAMED: usize = 5;
/// Generations that are told apart: ids that come again while they are looked at could close a circle.
const DEEPEST: usize = 1_000;
/// Largest list of children, and largest environment, that is looked at, in bytes.
const MAX_READ: usize = 256 * 1024;
/// `USER_HZ`: the kernel's unit of time in /proc, in ticks per second; the same on every Linux of today.
const USER_HZ: u64 = 100;
/// Environment variable that names an attempt's lease.
pub const LEASE_VARIABLE: &str = "PETCTL_LEASE";
/// Environment variable that names a worker.
pub const WORKER_VARIABLE: &str = "PETCTL_WORKER_ID";

/// In the environment of a process that is none of a worker's, though this process has started it.
const KEEP: &str = "PETCTL_KEEP=1";

/// Makes orphaned descendants children of this process.
pub fn become_subreaper() {
    if let Err(error) = rustix::process::set_child_subreaper(Some(getpid())) {
        tracing::debug!(%error, "can't become a subreaper; processes in sessions of their own may outlive an attempt");
    }
}

/// Waits until a group that has been killed is empty, and reaps what became ours. Only then are all descendants that
/// left the group our children.
pub fn reap_group(group: Pid) {
    let give_up = Instant::now() + PATIENCE;
    while test_kill_process_group(group) != Err(Errno::SRCH) {
        match waitpgid(group, WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(_) if Instant::now() < give_up => std::thread::sleep(PAUSE),
            Ok(None) | Err(_) => return,
        }
    }
}

/// Whether nobody is left in a group whose leader is reaped; what ended in it and became ours is reaped now.
pub fn group_is_gone(group: Pid) -> bool {
    while matches!(
        waitpgid(group, WaitOptions::NOHANG),
        Ok(Some(_)) | Err(Errno::INTR)
    ) {}
    test_kill_process_group(group) == Err(Errno::SRCH)
}

/// The re-parented processes of one attempt that have something open below a folder. One read where there are none.
pub fn holders(lease_id: u64, folder: &Path) -> Vec<Pid> {
    let orphans = orphans();
    if orphans.is_empty() {
        return Vec::new();
    }
    let wanted = format!("{LEASE_VARIABLE}={lease_id}");
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let holds = |pid: &Pid| {
        owner(*pid, &wanted) == Ownership::Mine
            && fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).is_ok_and(|open| {
                open.flatten()
                    .filter_map(|entry| fs::read_link(entry.path()).ok())
                    .any(|path| path.starts_with(&folder))
            })
    };
    orphans.into_iter().filter(holds).collect()
}

/// Names for people of the processes of a group, and of these: "gzip (process 123)", at most five.
pub fn names_of(group: Pid, others: &[Pid]) -> Vec<String> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| parse_pid(entry.file_name().to_str()?));
    let group = group.as_raw_nonzero().get();
    let is_meant = |pid: &Pid| {
        others.contains(pid)
            || State::of(*pid).is_some_and(|state| state.group == group && !state.zombie)
    };
    let name = |pid: Pid| {
        let number = pid.as_raw_nonzero();
        let name = fs::read_to_string(format!("/proc/{number}/comm")).unwrap_or_default();
        format!("{} (process {number})", petctl_text::shown(name.trim()))
    };
    pids.filter(is_meant).take(NAMED).map(name).collect()
}

/// Kills and reaps the re-parented processes of one attempt. One read where there are none.
pub fn kill_strays(lease_id: u64) {
    let wanted = format!("{LEASE_VARIABLE}={lease_id}");
    kill_orphans(|pid| owner(pid, &wanted));
}

/// Kills and reaps the re-parented processes that a worker started.
pub fn kill_strays_of(worker_id: &str) {
    let wanted = format!("{WORKER_VARIABLE}={worker_id}");
    kill_orphans(|pid| owner(pid, &wanted));
}

/// Kills and reaps all that was re-parented to this process and is in a process group of another one's: at the end
/// of a worker, when nothing runs any more.
pub fn kill_all_strays() {
    // A coordinator that this process has started goes on for others.
    kill_orphans(|pid| match owner(pid, KEEP) {
        Ownership::Mine => Ownership::Foreign,
        Ownership::Foreign | Ownership::Unclear => Ownership::Mine,
    });
}

/// Kills every process on this host that a worker started, by the worker id in its environment; for when the worker
/// itself was killed and could not do so. Returns how many there were.
pub fn sweep(worker_id: &str) -> usize {
    sweep_where(worker_id, |_| true)
}

/// As [`sweep`], but only what was started no later than then.
pub fn sweep_older(worker_id: &str, latest: Ticks) -> usize {
    sweep_where(worker_id, |pid| {
        State::of(pid).is_some_and(|state| state.started <= latest)
    })
}

/// A moment as the kernel notes the start of processes: in clock ticks since the boot, see proc_pid_stat(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticks(u64);

impl Ticks {
    /// This moment.
    #[must_use]
    pub fn now() -> Self {
        let since_boot = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(since_boot.tv_sec).unwrap_or_default();
        let part = u64::try_from(since_boot.tv_nsec).unwrap_or_default() * USER_HZ / 1_000_000_000;
        Self(seconds * USER_HZ + part)
    }
}

fn sweep_where(worker_id: &str, which: impl Fn(Pid) -> bool) -> usize {
    let wanted = format!("{WORKER_VARIABLE}={worker_id}");
    let own = getpid();
    let mut killed = BTreeSet::new();
    // A second look finds what was forked during the first.
    for _ in 0..8 {
        let before = killed.len();
        let Ok(entries) = fs::read_dir("/proc") else {
            break;
        };
        let pids = entries
            .flatten()
            .filter_map(|entry| parse_pid(entry.file_name().to_str()?));
        let is_mine = |pid: &Pid| owner(*pid, &wanted) == Ownership::Mine && which(*pid);
        let mut mine: Vec<Pid> = pids.filter(|pid| *pid != own && is_mine(pid)).collect();
        // Parents before their children: a script whose program is killed would go on with its next line. The order of
        // ids is not that of births, for they begin anew when the highest one is used up.
        mine.sort_by_cached_key(|pid| generation(*pid, parent));
        for pid in mine {
            if kill_process(pid, Signal::KILL).is_ok() {
                killed.insert(pid.as_raw_nonzero());
            }
        }
        if killed.len() == before {
            break;
        }
    }
    killed.len()
}

/// How many processes are above it, itself counted. Those that are nobody's count too: no look finds every process.
fn generation(pid: Pid, parent: impl Fn(Pid) -> Option<Pid>) -> usize {
    let line = iter::successors(Some(pid), |pid| parent(*pid));
    line.take(DEEPEST).count()
}

fn parent(pid: Pid) -> Option<Pid> {
    State::of(pid)?.parent
}

fn kill_orphans(mine: impl Fn(Pid) -> Ownership) {
    let mut orphaned = orphans();
    if orphaned.is_empty() {
        return;
    }
    let started = Instant::now();
    let own_group = getpgrp();
    // Until a look finds nothing to do: what dies hands its own children to us.
    while !orphaned.is_empty() && started.elapsed() < PATIENCE {
        let mut again = false;
        let mut pause = false;
        for pid in orphaned {
            let Some(state) = State::of(pid) else {
                continue;
            };
            // A child that this process started by other means is in its own group.
            if state.group == own_group.as_raw_nonzero().get() {
                continue;
            }
            if state.zombie {
                again |= matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(Some(_)));
                continue;
            }
            match mine(pid) {
                Ownership::Mine => {
                    let _ = kill_process(pid, Signal::KILL);
                    pause = true;
                }
                Ownership::Unclear => pause |= is_new(pid) && started.elapsed() < UNCLEAR_PATIENCE,
                Ownership::Foreign => {}
            }
        }
        if pause {
            std::thread::sleep(PAUSE);
        } else if !again {
            break;
        }
        orphaned = orphans();
    }
    remember_unclear(&mine);
}

/// Whether a process belongs to an attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ownership {
    Mine,
    Foreign,
    /// It has no environment: it is about to run another program, or dies, or has cleared it.
    Unclear,
}

/// Processes that have cleared their environment. They are not waited for a second time.
static UNCLEAR: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn is_new(pid: Pid) -> bool {
    !UNCLEAR
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .contains(&pid.as_raw_nonzero().get())
}

fn remember_unclear(mine: impl Fn(Pid) -> Ownership) {
    let unclear = orphans()
        .into_iter()
        .filter(|pid| mine(*pid) == Ownership::Unclear);
    let unclear: BTreeSet<i32> = unclear.map(|pid| pid.as_raw_nonzero().get()).collect();
    *UNCLEAR.lock().unwrap_or_else(PoisonError::into_inner) = unclear;
}

/// Children of the main thread: processes are re-parented to it, while those that slots start are the slots'.
fn orphans() -> Vec<Pid> {
    static CHILDREN: OnceLock<Option<File>> = OnceLock::new();
    let file = CHILDREN.get_or_init(|| {
        let pid = getpid().as_raw_nonzero();
        File::open(format!("/proc/{pid}/task/{pid}/children")).ok()
    });
    let Some(file) = file else { return Vec::new() };
    let mut small = [0_u8; 1024];
    let Ok(count) = file.read_at(&mut small, 0) else {
        return Vec::new();
    };
    if count < small.len() {
        return parse_pids(&small[..count]);
    }
    let mut large = vec![0_u8; MAX_READ];
    let count = file.read_at(&mut large, 0).unwrap_or(0);
    parse_pids(&large[..count])
}

fn parse_pids(text: &[u8]) -> Vec<Pid> {
    if text.is_empty() {
        return Vec::new();
    }
    String::from_utf8_lossy(text)
        .split_ascii_whitespace()
        .filter_map(parse_pid)
        .collect()
}

fn parse_pid(text: &str) -> Option<Pid> {
    Pid::from_raw(text.parse().ok()?)
}

struct State {
    zombie: bool,
    /// `None`: none that can be seen.
    parent: Option<Pid>,
    group: i32,
    started: Ticks,
}

impl State {
    fn of(pid: Pid) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        // The name in parentheses may hold anything, so fields are counted from its end: state, parent, group.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = parse_pid(fields.next()?);
        let group = fields.next()?.parse().ok()?;
        // Field 22 of all, where the group is the fifth.
        let started = Ticks(fields.nth(16)?.parse().ok()?);
        Some(Self {
            zombie: matches!(state, "Z" | "X"),
            parent,
            group,
            started,
        })
    }
}

/// The lease in a process's environment.
pub(crate) fn lease_of(pid: Pid) -> Option<u64> {
    let environment = environment(pid)?;
    let mut entries = environment.split(|&byte| byte == 0);
    entries.find_map(|entry| {
        let (name, value) = std::str::from_utf8(entry).ok()?.split_once('=')?;
        (name == LEASE_VARIABLE).then(|| value.parse().ok())?
    })
}

fn environment(pid: Pid) -> Option<Vec<u8>> {
    let path = format!("/proc/{}/environ", pid.as_raw_nonzero());
    let mut environment = Vec::new();
    let limit = u64::try_from(MAX_READ).unwrap_or(u64::MAX);
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut environment));
    (read.is_ok() && !environment.is_empty()).then_some(environment)
}

fn owner(pid: Pid, wanted: &str) -> Ownership {
    let Some(environment) = environment(pid) else {
        return Ownership::Unclear;
    };
    let has = environment
        .split(|&byte| byte == 0)
        .any(|entry| entry == wanted.as_bytes());
    if has {
        Ownership::Mine
    } else {
        Ownership::Foreign
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(number: i32) -> Pid {
        Pid::from_raw(number).unwrap()
    }

    #[test]
    fn a_parent_comes_before_its_children_whatever_their_ids() {
        // A script, a program of it, and what that started when ids had begun anew.
        let parents = [(32_001, 32_000), (300, 32_001), (32_000, 1)];
        let parent = |of: Pid| {
            let found = parents.iter().find(|(child, _)| pid(*child) == of);
            found.map(|(_, parent)| pid(*parent))
        };
        let mut pids = [pid(300), pid(32_000), pid(32_001)];
        pids.sort_by_cached_key(|pid| generation(*pid, parent));
        assert_eq!(pids, [pid(32_000), pid(32_001), pid(300)]);
        // Ids that came again while they were looked at.
        assert_eq!(generation(pid(7), |_| Some(pid(7))), DEEPEST);
    }

    #[test]
    fn a_process_knows_its_parent() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let found = parent(Pid::from_child(&child));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found, Some(getpid()));
    }
}
