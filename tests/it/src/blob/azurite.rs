//! Azurite, Azure's own emulator of the blob service: a real server, to be killed and started again.

use crate::blob::Blobs;
use crate::blob::sas::{self, Sas};
use crate::wait::{wait_for, wait_until};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use tempfile::TempDir;

/// Makes what Azurite acknowledges durable.
const DURABLE: &str = include_str!("durable.js");
/// What it says when it does, before its address.
const LISTENS: &str = "successfully listens on http://127.0.0.1:";
/// Ends when the test's own end of its stdin is closed, and takes Azurite with it: whoever kills a test leaves nothing.
const KEEPER: &str = r#"exec 3<&0
"$@" </dev/null 3<&- &
read -r _nothing <&3
kill -9 $!"#;

/// One account on one Azurite. Its processes carry no mark of a test's world.
#[derive(Debug)]
pub struct Azurite {
    folder: TempDir,
    port: OnceLock<u16>,
    account: String,
    key: String,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    keeper: Child,
    /// Closed when it shall end.
    held: ChildStdin,
    /// Azurite's own process.
    pid: u32,
}

impl Azurite {
    /// The one that tests share which do it no harm; each takes a container of its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Azurite> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// One of the test's own.
    ///
    /// # Panics
    /// Where it can't be installed or started.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("petctl-it-azurite-")
            .tempdir()
            .expect("a folder for Azurite");
        fs::write(folder.path().join("durable.js"), DURABLE).expect("a file for Azurite");
        let azurite = Self {
            folder,
            port: OnceLock::new(),
            account: "itaccount".to_owned(),
            // Nobody else's: a test may search for it.
            key: sas::new_key(),
            running: Mutex::new(None),
        };
        azurite.start_again();
        azurite
    }

    /// Starts it after [`Self::kill`], on the same data and port.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn start_again(&self) {
        wait_until("Azurite that listens", || self.try_start());
    }

    /// Not where it ended at once: its port was taken for a moment.
    fn try_start(&self) -> bool {
        let path = self.folder.path().join("azurite.log");
        let log = File::create(&path).expect("a log for Azurite");
        let errors = log.try_clone().expect("a log for Azurite");
        let port = self.port.get().copied().unwrap_or(0);
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "azurite", "node", "-r"]);
        command.arg(self.folder.path().join("durable.js"));
        command.arg(program());
        command.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()]);
        command.arg("-l").arg(self.folder.path().join("data"));
        command.args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"]);
        command
            .env("AZURITE_ACCOUNTS", format!("{}:{}", self.account, self.key))
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors);
        let mut keeper = command.spawn().expect("sh can be started");
        let held = keeper.stdin.take().expect("its stdin is a pipe");
        let pid = wait_for("Azurite's process", || child_of(keeper.id()));
        let port = wait_for("Azurite that has started", || {
            let said = fs::read_to_string(&path).unwrap_or_default();
            let port = said.split_once(LISTENS).and_then(|(_, rest)| {
                let digits = rest.split(|letter: char| !letter.is_ascii_digit());
                digits.into_iter().next()?.parse::<u16>().ok()
            });
            // Its address ends with the line.
            let listens = port.filter(|_| said.ends_with('\n')).map(Some);
            listens.or_else(|| (!crate::process::is_alive(pid)).then_some(None))
        });
        let running = Running { keeper, held, pid };
        let Some(port) = port else {
            let mut running = running;
            drop(running.held);
            let _ended = running.keeper.wait();
            return false;
        };
        let _same = self.port.set(port);
        *self.running.lock().expect("nobody panicked with it") = Some(running);
        true
    }

    /// kill -9. What it acknowledged is kept.
    ///
    /// # Panics
    /// Where it does not run.
    pub fn kill(&self) {
        let running = self.running.lock().expect("nobody panicked with it").take();
        let mut running = running.expect("it runs");
        crate::process::kill(running.pid);
        wait_until("the end of Azurite", || {
            !crate::process::is_alive(running.pid)
        });
        drop(running.held);
        let _ended = running.keeper.wait();
    }

    /// Whether it was not killed.
    pub fn runs(&self) -> bool {
        self.running.lock().is_ok_and(|running| running.is_some())
    }

    /// The account's name.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The account's key, in base64.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Its port.
    ///
    /// # Panics
    /// Where it never listened.
    pub fn port(&self) -> u16 {
        *self.port.get().expect("it has started")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port()).into()
    }

    /// `http://127.0.0.1:PORT/ACCOUNT`
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/{}", self.port(), self.account)
    }

    /// A SAS of the account.
    pub fn sas(&self, sas: &Sas) -> String {
        sas.sign(&self.account, &self.key)
    }

    /// What looks at its blobs, past petctl.
    pub fn blobs(&self, container: &str) -> Blobs {
        Blobs::new(
            self.port(),
            &self.account,
            self.sas(&Sas::default()),
            container,
        )
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        if self.runs() {
            self.kill();
        }
    }
}

/// Azurite's main file, installed where it is not there yet.
fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        petctl_azurite::install().unwrap_or_else(|error| panic!("{error}; {}", error.fix))
    })
}

/// The one child of a process.
fn child_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_ascii_whitespace().next()?.parse().ok()
}
