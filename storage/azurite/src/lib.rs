//! Azure's own emulator, Azurite: installed with npm and started on this machine, for tests and `petctl storage serve`.

mod install;
mod sas;

pub use install::{install, installed};
pub use petctl_storage::emulator::{ACCOUNT, KEY};
pub use sas::AccountSas;

use petctl_spec::StorageAccess;
use petctl_storage::{StorageError, StorageProblem};
use rustix::process::{Pid, Signal};
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// The version that is installed.
pub const VERSION: &str = "3.35.0";

/// How long it may take to answer after its start.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long it may take to write its tables and end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Free ports that are tried: another process may take one before Azurite does.
const PORTS_TRIED: u32 = 5;
/// What it says when it is ready.
const LISTENS: &str = "successfully listens";
/// Most bytes of its last words that are repeated.
const LAST_WORDS_BYTES: usize = 500;

/// How an Azurite is started.
#[derive(Clone, Debug, Default)]
pub struct AzuriteOptions {
    /// Where it keeps its blobs; `None`: in memory, gone with it.
    pub folder: Option<PathBuf>,
    /// Its port on 127.0.0.1; 0: a free one.
    pub port: u16,
}

/// A running Azurite. Dropping it ends it, and so does the end of this process, however that comes.
///
/// It keeps its tables in memory and writes them every few seconds and at its end: a SIGKILL takes back what it
/// acknowledged just before.
#[derive(Debug)]
pub struct Azurite {
    options: AzuriteOptions,
    port: u16,
    endpoint: String,
    running: Option<Running>,
}

impl Azurite {
    /// Starts it, installing it first where it is not there, and waits until it answers. Blocks.
    ///
    /// # Errors
    /// [`StorageError`]: it can't be installed, or it ended or did not answer; its last words are in the message.
    pub fn start(options: AzuriteOptions) -> Result<Self, StorageError> {
        let program = install()?;
        if let Some(folder) = &options.folder {
            fs::create_dir_all(folder)
                .map_err(|error| failed(format!("can't make {}: {error}", folder.display())))?;
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let port = match options.port {
                0 => free_port()
                    .map_err(|error| failed(format!("there is no free port: {error}")))?,
                port => port,
            };
            match Running::start(&program, options.folder.as_deref(), port) {
                Ok(running) => {
                    return Ok(Self {
                        options,
                        port,
                        endpoint: format!("http://127.0.0.1:{port}/{ACCOUNT}"),
                        running: Some(running),
                    });
                }
                Err(_) if options.port == 0 && tries < PORTS_TRIED => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Address of its blob service with the account, as `[storage] endpoint` takes it.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The account's name.
    #[must_use]
    pub fn account(&self) -> &'static str {
        ACCOUNT
    }

    /// The account's key.
    #[must_use]
    pub fn key(&self) -> &'static str {
        KEY
    }

    /// How to reach it with its published key: an endpoint on this machine with the emulator's account needs no other
    /// credential.
    #[must_use]
    pub fn access(&self) -> StorageAccess {
        emulator_access(&self.endpoint)
    }

    /// An account SAS with these permissions (of `rwdlacup`), from now on for so long.
    #[must_use]
    pub fn sas(&self, permissions: &str, lifetime: Duration) -> String {
        emulator_sas(permissions, lifetime)
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.child.id())
    }

    /// Waits until it ends by itself; `None` where it does not run.
    ///
    /// # Errors
    /// Those of waiting for a process.
    pub fn wait(&mut self) -> io::Result<Option<std::process::ExitStatus>> {
        match &mut self.running {
            Some(running) => running.child.wait().map(Some),
            None => Ok(None),
        }
    }

    /// Ends it as a user would, so that it writes its tables; with SIGKILL where that takes too long.
    pub fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.stop();
        }
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill();
        }
    }

    /// Starts it again on the same port and folder, after [`Self::kill`] or while it runs. Blocks until it answers.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart(&mut self) -> Result<(), StorageError> {
        self.stop();
        let program = install()?;
        let folder = self.options.folder.as_deref();
        self.running = Some(Running::start(&program, folder, self.port)?);
        Ok(())
    }
}

/// How to reach the emulator's account at an endpoint on this machine: with its published key, so no other credential is
/// needed.
#[must_use]
pub fn emulator_access(endpoint: &str) -> StorageAccess {
    StorageAccess {
        account: Some(ACCOUNT.to_owned()),
        endpoint: Some(endpoint.to_owned()),
        ..StorageAccess::default()
    }
}

/// An account SAS of the emulator's account with these permissions (of `rwdlacup`), from now on for so long.
#[must_use]
pub fn emulator_sas(permissions: &str, lifetime: Duration) -> String {
    AccountSas::new(permissions, SystemTime::now() + lifetime).sign(ACCOUNT, KEY)
}

impl Drop for Azurite {
    fn drop(&mut self) {
        if self.options.folder.is_some() {
            self.stop();
        } else {
            self.kill();
        }
    }
}

/// Its process, and the one that kills it should this process be killed.
#[derive(Debug)]
struct Running {
    child: Child,
    guard: Child,
    log: PathBuf,
}

impl Running {
    fn start(program: &Path, folder: Option<&Path>, port: u16) -> Result<Self, StorageError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("petctl-azurite-{}-{number}.log", std::process::id());
        let log = std::env::temp_dir().join(name);
        let cannot = |error: io::Error| failed(format!("can't start node: {error}"));
        let words = File::create(&log).map_err(cannot)?;
        let mut command = Command::new("node");
        command
            .arg(program)
            .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()])
            .args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"])
            .env_remove("NODE_OPTIONS")
            .stdin(Stdio::null())
            .stdout(words.try_clone().map_err(cannot)?)
            .stderr(words)
            .process_group(0);
        match folder {
            Some(folder) => command.arg("--location").arg(folder),
            None => command.arg("--inMemoryPersistence"),
        };
        let child = command.spawn().map_err(cannot)?;
        let guard = guard(child.id());
        let mut running = match guard {
            Ok(guard) => Self { child, guard, log },
            Err(error) => {
                kill_group(&child);
                return Err(cannot(error));
            }
        };
        match running.answers(port) {
            Ok(()) => Ok(running),
            Err(why) => {
                let words = running.last_words();
                running.kill();
                Err(failed(format!("{why}{words}")))
            }
        }
    }

    /// Waits until it says that it listens: something else may answer on that port already.
    fn answers(&mut self, port: u16) -> Result<(), String> {
        let started = Instant::now();
        while started.elapsed() < START_TIMEOUT {
            let said = fs::read_to_string(&self.log).unwrap_or_default();
            if said.contains(LISTENS) {
                return Ok(());
            }
            match self.child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => return Err(format!("it ended at once ({status})")),
                Err(error) => return Err(error.to_string()),
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Err(format!(
            "it did not answer on port {port} within {} s",
            START_TIMEOUT.as_secs()
        ))
    }

    fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let text = text.trim();
        let from = text.floor_char_boundary(text.len().saturating_sub(LAST_WORDS_BYTES));
        match &text[from..] {
            "" => String::new(),
            words => format!("; it said: {words}"),
        }
    }

    fn stop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        let started = Instant::now();
        while started.elapsed() < STOP_TIMEOUT {
            if !matches!(self.child.try_wait(), Ok(None)) {
                break;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        self.kill();
    }

    fn kill(&mut self) {
        // The guard first: it must not kill a later process with the same number.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        kill_group(&self.child);
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.log);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A shell that waits for its stdin to be closed, as this process's end does, and then kills the group.
fn guard(group: u32) -> io::Result<Child> {
    Command::new("/bin/sh")
        .arg("-c")
        .arg(format!("read -r _ ; kill -9 -{group}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

fn kill_group(child: &Child) {
    if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    }
}

fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

fn failed(why: String) -> StorageError {
    StorageError::new(
        StorageProblem::Unavailable,
        format!("Azurite can't be started: {why}"),
    )
    .fix("choose another port, or look at what node says")
}
