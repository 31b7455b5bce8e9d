//! The folder of one bed, and how all of it goes away.
//!
//! Every process of a bed ends with its supervisor, however that ends: the kernel sees to it. What then is left are
//! files and control groups, and a second process, the sweeper, waits for that moment and removes them.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use petctl_test_kube::places;
use rustix::process::{Pid, Signal, kill_process};

/// How long a bed's processes may take to go, once they are killed.
const SWEEP: Duration = Duration::from_secs(20);

/// A bed's folder, locked as long as its supervisor lives.
pub(crate) struct Instance {
    /// The folder; its name is the bed's.
    pub(crate) folder: PathBuf,
    lock: File,
    sweeper: Child,
}

impl Instance {
    /// Makes a new folder, and removes what beds have left whose supervisors are gone and whose sweepers are too.
    pub(crate) fn open() -> Result<Self, String> {
        let beds = places::beds()?;
        fs::create_dir_all(&beds).map_err(|error| format!("{}: {error}", beds.display()))?;
        let failed = |error: io::Error| format!("{}: {error}", beds.display());
        // Between a folder's making and its locking nobody may take it for a left one.
        let all = File::create(beds.join("lock")).map_err(failed)?;
        all.lock().map_err(failed)?;
        for left in folders(&beds).map_err(failed)? {
            if let Some(lock) = abandoned(&left) {
                remove(&left);
                drop(lock);
            }
        }
        let folder = beds.join(fresh_name().map_err(failed)?);
        // The keys of a bed are nobody else's.
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(failed)?;
        fs::create_dir(folder.join("logs")).map_err(failed)?;
        let lock = File::create(folder.join("lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let program = std::env::current_exe().map_err(failed)?;
        let mut sweeper = Command::new(program);
        sweeper.arg("sweep").arg(&folder);
        sweeper
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // Not in reach of the terminal's keys, which end the supervisor.
        sweeper.process_group(0);
        let sweeper = sweeper.spawn().map_err(failed)?;
        Ok(Self {
            folder,
            lock,
            sweeper,
        })
    }

    /// The bed's name.
    pub(crate) fn name(&self) -> String {
        self.folder
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }

    /// Lets go of the folder, and waits until it is gone. All processes have to be killed before.
    pub(crate) fn close(mut self) {
        drop(self.lock);
        drop(self.sweeper.wait());
    }
}

/// What the sweeper does: waits for the end of the supervisor of this bed, then removes what is left of the bed.
pub(crate) fn sweep(folder: &Path) -> Result<(), String> {
    let lock = match File::open(folder.join("lock")) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    lock.lock().map_err(|error| error.to_string())?;
    remove(folder);
    Ok(())
}

/// The folders of all beds.
fn folders(beds: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(beds)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    Ok(paths
        .collect::<io::Result<Vec<_>>>()?
        .into_iter()
        .filter(|path| path.is_dir())
        .collect())
}

/// The lock of a bed's folder whose supervisor and sweeper are gone.
fn abandoned(folder: &Path) -> Option<File> {
    // One without a lock was left in the moment of its making; the lock over all of them says that it is not now.
    let lock = File::create(folder.join("lock")).ok()?;
    lock.try_lock().ok()?;
    Some(lock)
}

fn fresh_name() -> io::Result<String> {
    let mut bytes = [0_u8; 3];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Removes a bed's control groups and its files.
fn remove(folder: &Path) {
    let until = Instant::now() + SWEEP;
    let groups: Vec<PathBuf> = fs::read_to_string(folder.join("cgroups"))
        .unwrap_or_default()
        .lines()
        .map(PathBuf::from)
        .collect();
    // They are being killed already; what a kill has missed is killed here.
    let patience = Instant::now() + Duration::from_secs(2);
    while groups.iter().any(|group| group.exists()) && Instant::now() < until {
        for group in &groups {
            remove_group(group, Instant::now() > patience);
        }
        thread::sleep(Duration::from_millis(50));
    }
    // The last mounts go with the last process, which may be a moment later than its leaving of the group.
    while fs::remove_dir_all(folder).is_err() && folder.exists() && Instant::now() < until {
        thread::sleep(Duration::from_millis(100));
    }
}

/// Removes a control group and those below it, the deepest first; what still runs in them is killed if `kill`.
pub(crate) fn remove_group(group: &Path, kill: bool) {
    let Ok(below) = folders(group) else { return };
    for group in below {
        remove_group(&group, kill);
    }
    if fs::remove_dir(group).is_err() && kill {
        let processes = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        for pid in processes.lines().filter_map(|line| line.parse().ok()) {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}
