//! The folder of one test, and what must be true of it at the end.

use crate::ask::Ask;
use crate::command::Petctl;
use crate::mount::Mount;
use crate::network::{Family, Network};
use crate::process::{kill_all, parent, processes_with};
use crate::wait::wait_within;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;
use tempfile::TempDir;

/// Environment variable that marks every process of a test. Commands of shards inherit it too.
const MARK: &str = "IT_WORLD";
/// How long processes may take to be gone after the last command has ended.
const LEAVE: Duration = Duration::from_secs(20);
/// Lines of each log that a failed test shows.
const TAIL: usize = 25;

/// The folder of one test.
#[derive(Debug)]
pub struct World {
    /// Taken away before the folder that they are in, and after the logs in them were shown.
    mounts: RefCell<Vec<Rc<Mount>>>,
    /// Taken away when nothing runs in them any more.
    networks: RefCell<Vec<Rc<Network>>>,
    folder: TempDir,
    mark: String,
    logs: Cell<u32>,
    /// Texts that a warning may have.
    expected: RefCell<Vec<String>>,
    allowed: RefCell<Vec<String>>,
    /// Variables of every petctl of this world.
    variables: RefCell<BTreeMap<String, OsString>>,
    /// What runs as `petctl`, where it is another one.
    program: Cell<Option<&'static Path>>,
    finished: Cell<bool>,
}

impl World {
    /// A new, empty one.
    ///
    /// # Panics
    /// Where there is no room for temporary files.
    #[expect(
        clippy::new_without_default,
        reason = "it makes folders and is no plain value"
    )]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("petctl-it-")
            .tempdir()
            .expect("a temporary folder can be made");
        let mark = folder
            .path()
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let world = Self {
            mounts: RefCell::default(),
            networks: RefCell::default(),
            folder,
            mark,
            logs: Cell::new(0),
            expected: RefCell::default(),
            allowed: RefCell::default(),
            variables: RefCell::default(),
            program: Cell::new(None),
            finished: Cell::new(false),
        };
        for folder in [
            world.home(),
            world.job_folder().join("gates"),
            world.path("logs"),
        ] {
            fs::create_dir_all(&folder).expect("a folder of the test can be made");
        }
        world
    }

    /// Something in the test's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// petctl's own folder.
    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// The folder of job files, in which commands run.
    pub fn job_folder(&self) -> PathBuf {
        self.path("job")
    }

    /// Where jobs of [`crate::Job`] put their outputs.
    pub fn output(&self) -> PathBuf {
        self.job_folder().join("out")
    }

    /// petctl's folder of one job.
    pub fn state_of(&self, job: &str) -> PathBuf {
        self.home().join("jobs").join(job)
    }

    /// Writes an executable script into the job folder.
    ///
    /// # Panics
    /// Where it can't be written.
    pub fn script(&self, name: &str, body: &str) {
        let path = self.job_folder().join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("a script can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .expect("a script can be made executable");
    }

    /// Opens a gate that the commands of [`crate::Job`] wait at: a shard's key, or `all`.
    ///
    /// # Panics
    /// Where it can't be written.
    pub fn open_gate(&self, name: &str) {
        fs::write(self.job_folder().join("gates").join(name), "").expect("a gate can be opened");
    }

    /// What commands of [`crate::Job`] have noted at their starts: key, pid and attempt of each.
    pub fn starts(&self) -> Vec<Start> {
        let text = fs::read_to_string(self.job_folder().join("starts")).unwrap_or_default();
        // The last line may be half written while it is read.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().filter_map(Start::parse).collect()
    }

    /// Sets an environment variable for every petctl that is started from now on.
    pub fn set_env(&self, name: &str, value: impl Into<OsString>) {
        let mut variables = self.variables.borrow_mut();
        variables.insert(name.to_owned(), value.into());
    }

    /// Takes one away again.
    pub fn remove_env(&self, name: &str) {
        self.variables.borrow_mut().remove(name);
    }

    /// What is started from now on is this petctl.
    pub fn use_petctl(&self, program: &'static Path) {
        self.program.set(Some(program));
    }

    pub(crate) fn program(&self) -> &'static Path {
        self.program.get().unwrap_or_else(crate::petctl)
    }

    /// A petctl of this world.
    pub fn petctl(&self) -> Petctl<'_> {
        Petctl::new(self)
    }

    /// `petctl run` of a job file in the job folder.
    pub fn run(&self, job_file: &str) -> Petctl<'_> {
        self.petctl()
            .arg("run")
            .arg(self.job_folder().join(job_file))
    }

    /// Mounts a small file system in the test's folder; `None`, said loudly, where that can't be done.
    pub fn mount(&self, name: &str, kib: u32) -> Option<Rc<Mount>> {
        let mount = Rc::new(Mount::tmpfs(self.path(name), kib)?);
        self.mounts.borrow_mut().push(Rc::clone(&mount));
        Some(mount)
    }

    /// So many hosts, each with an address of its own; `None`, said loudly, where that can't be done.
    pub fn network(&self, hosts: u32, family: Family) -> Option<Rc<Network>> {
        let network = Rc::new(Network::new(hosts, family)?);
        self.networks.borrow_mut().push(Rc::clone(&network));
        Some(network)
    }

    /// Asks about jobs of this world.
    pub fn ask(&self) -> Ask<'_> {
        Ask::new(self, Vec::new(), None)
    }

    /// A warning or error with this text is what the test wants to see: where none comes, the test fails.
    pub fn expect_warning(&self, text: &str) {
        self.expected.borrow_mut().push(text.to_owned());
    }

    /// A warning or error with this text may come or not, as chance has it.
    pub fn allow_warning(&self, text: &str) {
        self.allowed.borrow_mut().push(text.to_owned());
    }

    /// Living processes of this test, shards' commands too.
    pub fn processes(&self) -> Vec<crate::Proc> {
        processes_with(MARK, &self.mark)
    }

    /// Living workers that a `petctl run` of this test has started. A child that has not yet become its command still
    /// looks like the worker that forked it, and is none.
    pub fn workers(&self) -> Vec<crate::Proc> {
        let mut workers = self.processes();
        workers.retain(|process| process.command.starts_with("petctl worker"));
        let pids: Vec<u32> = workers.iter().map(|process| process.pid).collect();
        workers.retain(|process| parent(process.pid).is_none_or(|pid| !pids.contains(&pid)));
        workers
    }

    /// kill -9 of every process of this test, as a power cut would.
    pub fn kill_everything(&self) {
        // What is forked while one look goes on is found by the next.
        loop {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            kill_all(left);
        }
    }

    /// Holds the world to its end: nothing runs, no log has a warning.
    ///
    /// # Panics
    /// Where something does or has.
    pub fn finish(self) {
        let what = "end of all processes of the test";
        let mut left = Vec::new();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_within(what, LEAVE, || {
                left = self.processes();
                left.is_empty().then_some(())
            });
        }));
        assert!(ended.is_ok(), "processes are left: {left:#?}");
        self.verify_logs();
        self.finished.set(true);
    }

    /// Logs have the warnings that were expected, and no others.
    fn verify_logs(&self) {
        let (expected, allowed) = (self.expected.borrow(), self.allowed.borrow());
        let (mut unexpected, mut seen) = (Vec::new(), vec![false; expected.len()]);
        for path in self.log_files() {
            let log = read_log(&path);
            for line in log.lines().filter(|line| is_warning(line)) {
                for (text, seen) in expected.iter().zip(&mut seen) {
                    *seen |= line.contains(text.as_str());
                }
                let named = expected.iter().chain(&*allowed);
                let named = named.into_iter().any(|text| line.contains(text.as_str()));
                if !named || line.contains("panicked") || line.contains("has a bug") {
                    unexpected.push(format!("{}: {line}", path.display()));
                }
            }
        }
        assert!(
            unexpected.is_empty(),
            "unexpected in the logs:\n{}",
            unexpected.join("\n")
        );
        let missing: Vec<&String> = expected
            .iter()
            .zip(seen)
            .filter_map(|(text, seen)| (!seen).then_some(text))
            .collect();
        assert!(missing.is_empty(), "expected in a log: {missing:?}");
    }

    /// Logs of petctl's own parts.
    fn log_files(&self) -> Vec<PathBuf> {
        let folders = [self.path("logs"), self.home()];
        let files = folders
            .iter()
            .flat_map(|folder| walkdir::WalkDir::new(folder).sort_by_file_name());
        let paths = files.filter_map(|entry| entry.ok().map(walkdir::DirEntry::into_path));
        let logs = |path: &PathBuf| {
            path.extension()
                .and_then(|extension| extension.to_str())
                .is_some_and(|extension| {
                    matches!(extension, "log" | "err") || extension.starts_with("log.")
                })
        };
        paths.filter(logs).collect()
    }

    pub(crate) fn next_log(&self, title: &str) -> PathBuf {
        self.logs.set(self.logs.get() + 1);
        self.path("logs")
            .join(format!("{:04}-{title}", self.logs.get()))
    }

    /// Gives another program than petctl what a petctl of this world has: its environment and its folder.
    pub fn prepare(&self, command: &mut Command) {
        self.set_environment(command);
    }

    pub(crate) fn set_environment(&self, command: &mut Command) {
        let own = std::env::vars_os().map(|(name, _)| name);
        let foreign = |name: &OsString| {
            let name = name.as_encoded_bytes();
            name.starts_with(b"PETCTL_") || name.starts_with(b"AZURE_")
        };
        for name in own.filter(foreign) {
            command.env_remove(name);
        }
        command
            .env(MARK, &self.mark)
            .env("PETCTL_HOME", self.home())
            .env("NO_COLOR", "1")
            .env_remove("XDG_STATE_HOME")
            .env_remove("RUST_LOG")
            .envs(&*self.variables.borrow())
            .current_dir(self.job_folder());
    }

    fn take_away(&self) {
        for mount in self.mounts.borrow().iter() {
            mount.unmount();
        }
        for network in self.networks.borrow().iter() {
            network.remove();
        }
    }

    fn show_logs(&self) {
        let mut text = format!("-- logs of {}\n", self.folder.path().display());
        for path in self.log_files() {
            let log = read_log(&path);
            let lines: Vec<&str> = log.lines().collect();
            if !lines.is_empty() {
                text.push_str(&format!(
                    "-- {}\n{}\n",
                    path.display(),
                    lines[lines.len().saturating_sub(TAIL)..].join("\n")
                ));
            }
        }
        let _shown = std::io::stderr().write_all(text.as_bytes());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill_everything();
        if std::thread::panicking() {
            self.show_logs();
            if std::env::var_os("PETCTL_IT_KEEP").is_some() {
                self.folder.disable_cleanup(true);
            }
            self.take_away();
        } else {
            self.take_away();
            assert!(self.finished.get(), "a test ends its world with finish()");
        }
    }
}

/// What a command noted at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Key of its shard.
    pub key: String,
    /// Its process.
    pub pid: u32,
    /// 1 for the first attempt.
    pub attempt: u32,
}

impl Start {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let key = words.next()?.to_owned();
        Some(Self {
            key,
            pid: words.next()?.parse().ok()?,
            attempt: words.next()?.parse().ok()?,
        })
    }
}

/// A copy of a folder with all that is in it, as it is.
///
/// # Panics
/// Where it can't be made.
pub fn copy_tree(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(
        copied.is_ok_and(|copied| copied.success()),
        "cp -a {} {}",
        from.display(),
        to.display()
    );
}

fn read_log(path: &Path) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

fn is_warning(line: &str) -> bool {
    let level = line
        .split_ascii_whitespace()
        .nth(1)
        .is_some_and(|word| matches!(word, "WARN" | "ERROR"));
    level || line.contains("panicked") || line.contains("error[BUG]") || line.contains("has a bug")
}

/// A path as a word of a job file.
pub(crate) fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}
