//! What processes use, as `/proc` tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, getpid};

use crate::strays;

/// A look serves all slots for this long.
const FRESH: Duration = Duration::from_millis(125);
/// Looking may take this part of the time, one in so many: machines with very many processes are looked at less often.
const SHARE: u32 = 20;

/// All processes of this machine at one moment.
#[derive(Debug)]
pub(super) struct Usage {
    processes: BTreeMap<i32, Process>,
    /// The lease in the environment of processes that were re-parented to this one, with the moment of their start.
    leases: BTreeMap<i32, (u64, Option<u64>)>,
    stale_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    parent: i32,
    group: i32,
    started: u64,
    resident_pages: u64,
}

impl Usage {
    /// As it is now, or was a moment ago.
    pub(super) fn now() -> Arc<Self> {
        static LAST: Mutex<Option<Arc<Usage>>> = Mutex::new(None);
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        let started = Instant::now();
        if let Some(usage) = last.as_ref().filter(|usage| started < usage.stale_at) {
            return Arc::clone(usage);
        }
        let known = last
            .as_ref()
            .map(|usage| usage.leases.clone())
            .unwrap_or_default();
        let mut usage = Self::read(&known);
        usage.stale_at = Instant::now() + FRESH.max(started.elapsed() * SHARE);
        let usage = Arc::new(usage);
        *last = Some(Arc::clone(&usage));
        usage
    }

    fn read(known: &BTreeMap<i32, (u64, Option<u64>)>) -> Self {
        let mut processes = BTreeMap::new();
        let mut leases = BTreeMap::new();
        let own = getpid().as_raw_nonzero().get();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let Some(process) = fs::read_to_string(format!("/proc/{pid}/stat"))
                .ok()
                .and_then(|stat| Process::parse(&stat))
            else {
                continue;
            };
            if process.parent == own {
                let lease = match known.get(&pid) {
                    Some((started, lease)) if *started == process.started => *lease,
                    Some(_) | None => Pid::from_raw(pid).and_then(strays::lease_of),
                };
                leases.insert(pid, (process.started, lease));
            }
            processes.insert(pid, process);
        }
        Self {
            processes,
            leases,
            stale_at: Instant::now(),
        }
    }

    /// Bytes that the leader's group, its descendants and its strays have in memory. Pages that processes share count
    /// once, as far as they share them with each other, if it matters: if all of them together are over `limit`.
    pub(super) fn of(&self, leader: Pid, lease_id: u64, limit: u64) -> u64 {
        let members = self.members(leader.as_raw_nonzero().get(), lease_id);
        let page = page_bytes();
        let resident = |pid: &i32| {
            self.processes
                .get(pid)
                .map_or(0, |process| process.resident_pages.saturating_mul(page))
        };
        let together: u64 = members.iter().map(resident).sum();
        if together <= limit {
            return together;
        }
        members
            .iter()
            .map(|pid| proportional(*pid).unwrap_or_else(|| resident(pid)))
            .sum()
    }

    fn members(&self, leader: i32, lease_id: u64) -> BTreeSet<i32> {
        let strays = self.leases.iter();
        let strays = strays.filter(|(_, (_, lease))| *lease == Some(lease_id));
        let mut members: BTreeSet<i32> = strays.map(|(pid, _)| *pid).collect();
        let own = self.processes.iter();
        let own = own.filter(|(pid, process)| **pid == leader || process.group == leader);
        members.extend(own.map(|(pid, _)| *pid));
        // Until nobody's child is new.
        loop {
            let before = members.len();
            let children = self.processes.iter();
            let children: Vec<i32> = children
                .filter(|(_, process)| members.contains(&process.parent))
                .map(|(pid, _)| *pid)
                .collect();
            members.extend(children);
            if members.len() == before {
                return members;
            }
        }
    }
}

impl Process {
    /// Of `/proc/PID/stat`. The name in parentheses may hold anything, so fields are counted from its end.
    fn parse(stat: &str) -> Option<Self> {
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let parent = fields.nth(1)?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let started = fields.nth(16)?.parse().ok()?;
        let resident_pages = fields.nth(1)?.parse().ok()?;
        Some(Self {
            parent,
            group,
            started,
            resident_pages,
        })
    }
}

/// The size of what `stat` counts.
fn page_bytes() -> u64 {
    static PAGE: OnceLock<u64> = OnceLock::new();
    *PAGE.get_or_init(|| {
        let text = fs::read_to_string("/proc/self/smaps").unwrap_or_default();
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix("KernelPageSize:"));
        let kib = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(4) * 1024
    })
}

/// Its share of memory, shared pages divided among those that have them.
fn proportional(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_whatever_the_name() {
        let stat = "7 (a) b) c) S 1 5 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 1000000 77 18446744073709551615 1";
        assert_eq!(
            Process::parse(stat),
            Some(Process {
                parent: 1,
                group: 5,
                started: 4242,
                resident_pages: 77
            })
        );
        assert_eq!(Process::parse("7 (a"), None);
    }

    #[test]
    fn the_group_its_descendants_and_its_strays_are_counted_and_nobody_else() {
        let process = |parent, group| Process {
            parent,
            group,
            started: 1,
            resident_pages: 1,
        };
        let usage = Usage {
            processes: BTreeMap::from([
                (10, process(1, 10)),
                (11, process(10, 10)),
                // In a group of its own, and a child of it.
                (12, process(11, 12)),
                (13, process(12, 12)),
                // Re-parented, and a child of it.
                (14, process(1, 14)),
                (15, process(14, 14)),
                (20, process(1, 20)),
                (21, process(20, 20)),
            ]),
            leases: BTreeMap::from([(10, (1, Some(7))), (14, (1, Some(7))), (20, (1, Some(8)))]),
            stale_at: Instant::now(),
        };
        let members = usage.members(10, 7);
        assert_eq!(
            members.into_iter().collect::<Vec<_>>(),
            [10, 11, 12, 13, 14, 15]
        );
    }

    #[test]
    fn this_process_uses_some_memory() {
        let used = Usage::now().of(getpid(), 0, 0);
        assert!(used > 100_000, "{used}");
    }
}
