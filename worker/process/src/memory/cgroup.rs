//! Control groups (version 2), where this worker may make some below its own.
//!
//! A group that hands memory down to child groups may hold no process itself, so a worker that is alone in its group
//! (the first process of a container, a service with `Delegate=yes`) first moves itself into a child of it. Where
//! others are there too, or anything is refused, there are none, and memory is watched instead.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::Pid;

/// Names of this program's groups start with it; the id of the worker's process follows.
const PREFIX: &str = "petctl-";
/// How long the processes of a group may take to die.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(2);

/// A group of one attempt. It goes when this is dropped, and all in it are killed.
#[derive(Debug)]
pub(super) struct Cgroup {
    folder: PathBuf,
}

/// A group for the process, with all that it starts from now on. `None` where this worker can't make one.
pub(super) fn make(lease_id: u64, limit_bytes: u64, leader: Pid) -> Option<Cgroup> {
    static BASE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let base = BASE.get_or_init(|| {
        let base = own_folder().and_then(|own| prepare(&own, std::process::id()));
        match &base {
            Some(base) => {
                remove_leftovers(base);
                tracing::info!(folder = %base.display(), "memory is held by control groups");
            }
            None => tracing::debug!("no control groups here; memory is watched"),
        }
        base
    });
    let name = format!("{PREFIX}{}-{lease_id:016x}", std::process::id());
    Cgroup::make(&base.as_ref()?.join(name), limit_bytes, leader)
        .inspect_err(
            |error| tracing::debug!(%error, "can't make a control group; memory is watched"),
        )
        .ok()
}

impl Cgroup {
    fn make(folder: &Path, limit_bytes: u64, leader: Pid) -> io::Result<Self> {
        match fs::create_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        let group = Self {
            folder: folder.to_owned(),
        };
        group.set("memory.max", &limit_bytes.to_string())?;
        // Not there in kernels without swap, and before 4.19.
        let _ = group.set("memory.swap.max", "0");
        let _ = group.set("memory.oom.group", "1");
        group.take(leader)?;
        Ok(group)
    }

    /// The leader, and what it has started meanwhile.
    fn take(&self, leader: Pid) -> io::Result<()> {
        let mut taken = vec![leader.as_raw_nonzero().get()];
        self.set("cgroup.procs", &taken[0].to_string())?;
        let mut next = 0;
        while let Some(parent) = taken.get(next).copied() {
            next += 1;
            for child in children(parent) {
                if !taken.contains(&child) {
                    // It may have ended, or been born in the group.
                    let _ = self.set("cgroup.procs", &child.to_string());
                    taken.push(child);
                }
            }
        }
        Ok(())
    }

    /// Whether the kernel killed for want of memory in it.
    pub(super) fn out_of_memory(&self) -> bool {
        let events = fs::read_to_string(self.folder.join("memory.events")).unwrap_or_default();
        has_killed(&events)
    }

    /// The most that was used, where the kernel tells.
    pub(super) fn peak(&self) -> Option<u64> {
        let text = fs::read_to_string(self.folder.join("memory.peak")).ok()?;
        text.trim().parse().ok()
    }

    fn set(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.folder.join(file), value)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let give_up = Instant::now() + PATIENCE;
        while fs::remove_dir(&self.folder).is_err() && self.folder.exists() {
            let _ = self.set("cgroup.kill", "1");
            if Instant::now() >= give_up {
                tracing::debug!(folder = %self.folder.display(), "a control group does not go");
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

fn has_killed(events: &str) -> bool {
    events.lines().any(|line| {
        line.split_once(' ')
            .is_some_and(|(name, count)| name == "oom_kill" && count.trim() != "0")
    })
}

fn children(parent: i32) -> Vec<i32> {
    let text =
        fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    text.split_ascii_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// This process's group.
fn own_folder() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    folder_of(&groups, &mounts)
}

fn folder_of(groups: &str, mounts: &str) -> Option<PathBuf> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    let mut fields = mount.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    let below = Path::new(path).strip_prefix(root).ok()?;
    let climbs = below.components().any(|part| part.as_os_str() == "..");
    (!climbs).then(|| Path::new(point).join(below))
}

/// The folder below which groups with a bound on memory can be made.
fn prepare(own: &Path, pid: u32) -> Option<PathBuf> {
    let has_memory = |file: &str| {
        let text = fs::read_to_string(own.join(file)).unwrap_or_default();
        text.split_ascii_whitespace().any(|name| name == "memory")
    };
    if has_memory("cgroup.subtree_control") {
        return Some(own.to_owned());
    }
    let inside = fs::read_to_string(own.join("cgroup.procs")).ok()?;
    if !has_memory("cgroup.controllers") || inside.trim() != pid.to_string() {
        return None;
    }
    let place = own.join(format!("{PREFIX}{pid}"));
    fs::create_dir(&place).ok()?;
    let moved = fs::write(place.join("cgroup.procs"), pid.to_string())
        .and_then(|()| fs::write(own.join("cgroup.subtree_control"), "+memory"));
    if moved.is_err() {
        let _ = fs::write(own.join("cgroup.procs"), pid.to_string());
        let _ = fs::remove_dir(&place);
        return None;
    }
    Some(own.to_owned())
}

/// Groups of workers that were killed.
fn remove_leftovers(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(owner);
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            drop(Cgroup {
                folder: entry.path(),
            });
        }
    }
}

/// The worker whose group has this name.
fn owner(name: &str) -> Option<u32> {
    let rest = name.strip_prefix(PREFIX)?;
    rest.split_once('-')
        .map_or(rest, |(pid, _)| pid)
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_below_its_mount() {
        let mount = |root: &str| {
            format!(
                "30 20 0:26 / /proc rw - proc proc rw\n31 20 0:27 {root} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw"
            )
        };
        let cases = [
            ("0::/", "/", Some("/sys/fs/cgroup/")),
            ("1:cpu:/x\n0::/a/b\n", "/", Some("/sys/fs/cgroup/a/b")),
            ("0::/a/b", "/a", Some("/sys/fs/cgroup/b")),
            ("0::/a/b", "/c", None),
            ("0::/../x", "/", None),
            ("1:cpu:/x", "/", None),
        ];
        for (groups, root, expected) in cases {
            assert_eq!(
                folder_of(groups, &mount(root)),
                expected.map(PathBuf::from),
                "{groups} {root}"
            );
        }
        assert_eq!(folder_of("0::/", "no mount"), None);
    }

    #[test]
    fn groups_are_made_only_where_memory_is_handed_down_or_this_process_is_alone() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path();
        let set = |file: &str, text: &str| fs::write(own.join(file), text).unwrap();
        assert_eq!(prepare(own, 7), None);
        set("cgroup.controllers", "cpu memory\n");
        set("cgroup.subtree_control", "cpu\n");
        set("cgroup.procs", "7\n8\n");
        assert_eq!(prepare(own, 7), None);
        set("cgroup.procs", "7\n");
        assert_eq!(prepare(own, 7), Some(own.to_owned()));
        let read = |file: &str| fs::read_to_string(own.join(file)).unwrap();
        assert_eq!(read("petctl-7/cgroup.procs"), "7");
        assert_eq!(read("cgroup.subtree_control"), "+memory");
        set("cgroup.subtree_control", "memory\n");
        set("cgroup.procs", "");
        assert_eq!(prepare(own, 9), Some(own.to_owned()));
    }

    #[test]
    fn a_group_has_its_bounds_before_its_process() {
        let folder = tempfile::tempdir().unwrap();
        let own = Pid::from_raw(std::process::id().try_into().unwrap()).unwrap();
        let group = Cgroup::make(&folder.path().join("g"), 1 << 30, own).unwrap();
        let read = |file: &str| fs::read_to_string(folder.path().join("g").join(file)).unwrap();
        assert_eq!(read("memory.max"), "1073741824");
        assert_eq!(
            (read("memory.swap.max"), read("memory.oom.group")),
            ("0".into(), "1".into())
        );
        assert!(!read("cgroup.procs").is_empty());
        assert!(!group.out_of_memory());
        fs::write(
            folder.path().join("g/memory.events"),
            "max 7\noom 1\noom_kill 1\n",
        )
        .unwrap();
        assert!(group.out_of_memory());
        std::mem::forget(group);
    }

    #[test]
    fn a_kill_for_want_of_memory_is_read_from_the_events() {
        assert!(has_killed("low 0\noom 2\noom_kill 1\noom_group_kill 1\n"));
        assert!(!has_killed("low 0\noom 2\noom_kill 0\n"));
        assert!(!has_killed(""));
    }

    #[test]
    fn a_group_names_its_worker() {
        assert_eq!(owner("petctl-12"), Some(12));
        assert_eq!(owner("petctl-12-00000000000000ab"), Some(12));
        assert_eq!(owner("petctl-x"), None);
        assert_eq!(owner("other"), None);
    }
}
