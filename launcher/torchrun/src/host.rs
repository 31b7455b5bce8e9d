//! The coordinator of a run of several nodes: a process and a session of its own, so that it outlives the node that
//! started it. It keeps nothing on disk and ends when it is needed no more.

use super::scratch::Scratch;
use petctl_client::Client;
use petctl_proto::v1::JobSummary;
use petctl_rendezvous::{Coordinator, Engine, Handle, Options, StartError};
use petctl_text::Secret;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::program::leave_terminal;
use petctl_ui::runtime::runtime;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// The hidden command that is the coordinator.
pub(super) const COMMAND: &str = "torchrun-coordinator";
/// Marks a process that a worker must not take for something that its scripts left behind.
const KEEP: (&str, &str) = ("PETCTL_KEEP", "1");
/// How long it may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long it stays with a run that goes on when nobody is connected. With one that has ended nobody is missed: its
/// nodes stay connected until they have heard of it.
const LONELY: Duration = Duration::from_secs(60);
/// Between two looks, and more for each connection that is looked at.
const LOOK: Duration = Duration::from_millis(100);
const LOOK_AT_ONE: Duration = Duration::from_micros(50);
const LAST_LOOKS: Duration = Duration::from_millis(20);

const LISTENS: &str = "listens";
const TAKEN: &str = "taken";

/// A coordinator that this process has started.
#[derive(Debug)]
pub(super) struct Hosted {
    /// Ends with the coordinator.
    stdout: BufReader<ChildStdout>,
}

/// What came of starting one.
#[derive(Debug)]
pub(super) enum Started {
    Runs(Hosted),
    /// The port is in use: by another node's coordinator, perhaps.
    Taken,
}

/// Starts one; returns when it listens, or can't.
pub(super) fn start(listen: SocketAddr, token: &Secret) -> Result<Started> {
    use std::os::unix::process::CommandExt;
    let failed = |error: io::Error| {
        Error::new(
            Code::TorchrunHost,
            format!("can't start a coordinator on {listen}"),
        )
        .because(&error)
        .fix("look at the limits on processes and open files (`ulimit -a`)")
    };
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("petctl")
        .arg(COMMAND)
        .arg("--listen")
        .arg(listen.to_string())
        .env_clear()
        .env(KEEP.0, KEEP.1)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    for name in ["TMPDIR", "PETCTL_LOG"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        writeln!(stdin, "{}", token.expose()).map_err(failed)?;
    }
    let stdout = child.stdout.take().map(BufReader::new);
    let mut stdout = stdout.ok_or_else(|| failed(io::Error::other("it has no stdout")))?;
    let mut line = String::new();
    stdout.read_line(&mut line).map_err(failed)?;
    match line.trim() {
        LISTENS => Ok(Started::Runs(Hosted { stdout })),
        TAKEN => {
            let _reaped = child.wait();
            Ok(Started::Taken)
        }
        why => {
            let _reaped = child.wait();
            Err(failed(io::Error::other(if why.is_empty() {
                "it ended at once".to_owned()
            } else {
                why.to_owned()
            })))
        }
    }
}

impl Hosted {
    /// Returns when it has ended.
    pub(super) fn ended(mut self) {
        let _closed = self.stdout.read_to_end(&mut Vec::new());
    }
}

/// The coordinator's own process.
///
/// # Errors
/// Where it can't be started.
pub fn run(listen: SocketAddr, version: &str) -> Result<Exit> {
    leave_terminal()?;
    let mut token = String::new();
    io::stdin()
        .read_line(&mut token)
        .map_err(|error| Error::new(Code::TokenUnreadable, "no token came").because(&error))?;
    let token = Secret::new(token.trim());
    let scratch = Scratch::make("petctl-coordinator")?;
    if std::env::var_os("PETCTL_LOG").is_some() {
        petctl_job::log::to_file(&scratch.path().join("log"))?;
    }
    let runtime = runtime(2)?;
    let ended = runtime.block_on(serve(listen, token, &scratch, version));
    runtime.shutdown_background();
    ended
}

async fn serve(
    listen: SocketAddr,
    token: Secret,
    scratch: &Scratch,
    version: &str,
) -> Result<Exit> {
    let mut options = Options::new(scratch.path());
    options.listen = Some(listen);
    options.token = Some(token.clone());
    options.engine = Engine::Memory;
    options.program_version = version.to_owned();
    let started = tokio::time::timeout(START_TIMEOUT, Coordinator::start(options)).await;
    let handle = match started {
        Ok(Ok(handle)) => handle,
        Ok(Err(StartError::PortInUse { .. })) => {
            say(TAKEN);
            return Ok(Exit::TryAgain);
        }
        Ok(Err(error)) => {
            say(&format!("{error}").replace('\n', " "));
            return Ok(Exit::TryAgain);
        }
        Err(_late) => {
            say("it did not start in time");
            return Ok(Exit::TryAgain);
        }
    };
    let mut client = Client::connect(&reachable(handle.address()), &token).await?;
    client.jobs().await?;
    let own = sockets();
    say(LISTENS);
    tokio::select! {
        reason = handle.stopped() => tracing::warn!(%reason, "the coordinator stopped"),
        () = until_lonely(&mut client, own) => {}
    }
    stop(&handle).await;
    Ok(Exit::Success)
}

/// Returns when nobody has been connected for as long as somebody may be away.
async fn until_lonely(client: &mut Client, own: usize) {
    let mut alone_since = Instant::now();
    let mut pause = LOOK;
    loop {
        tokio::time::sleep(pause).await;
        let connected = sockets().saturating_sub(own);
        let ended = client
            .jobs()
            .await
            .is_ok_and(|jobs| !jobs.is_empty() && jobs.iter().all(JobSummary::has_ended));
        if connected > 0 {
            alone_since = Instant::now();
        } else if ended || alone_since.elapsed() > LONELY {
            return;
        }
        let at_each = LOOK_AT_ONE * u32::try_from(connected).unwrap_or(u32::MAX);
        pause = if ended { LAST_LOOKS } else { LOOK } + at_each;
    }
}

async fn stop(handle: &Handle) {
    handle.shutdown();
    let _late = tokio::time::timeout(Duration::from_secs(5), handle.stopped()).await;
}

/// Open sockets of this process: its own, and one for each node and client that is connected.
fn sockets() -> usize {
    let entries = std::fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten();
    entries
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}

/// Where this process reaches its own coordinator.
fn reachable(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        let loopback: std::net::IpAddr = match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    format!("http://{address}")
}

fn say(line: &str) {
    let mut stdout = io::stdout().lock();
    // Whoever started this has gone; others may come.
    let _closed = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
