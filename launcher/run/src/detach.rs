//! `petctl run -d`: the same program again, in the background.

use petctl_job::Context;
use petctl_job::home::{JobFolder, state_error};
use petctl_job::log::rotate;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};

/// Hidden argument of the program in the background.
pub(crate) const CHILD_ARGUMENT: &str = "--detached-child";
/// What it writes to its stdout when the job is accepted, before the job's name.
const ACCEPTED: &str = "accepted ";
/// Most bytes of its log that are shown when it is not.
const MAX_SAID_BYTES: u64 = 64 * 1024;

/// Starts the program again with the same arguments, and waits until it has the job accepted.
pub fn detach(context: &Context, folder: &JobFolder, name: &str) -> Result<Exit> {
    folder.make()?;
    let path = folder.run_log();
    let failed = |verb: &str, error: &io::Error| state_error(&path, verb, error);
    rotate(&path).map_err(|error| failed("put aside", &error))?;
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .mode(0o600)
        .open(&path);
    let mut log = log.map_err(|error| failed("open", &error))?;
    let start = log
        .seek(SeekFrom::End(0))
        .map_err(|error| failed("read", &error))?;
    let stderr = log.try_clone().map_err(|error| failed("open", &error))?;
    let mut child = Command::new(petctl_ui::program::own_program())
        .arg0("petctl")
        .args(std::env::args_os().skip(1))
        .arg(CHILD_ARGUMENT)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .map_err(|error| {
            Error::new(Code::WorkerStart, "can't start petctl in the background").because(&error)
        })?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        let mut reader = BufReader::new(stdout.take(4096));
        reader
            .read_line(&mut line)
            .map_err(|error| failed("hear of", &error))?;
    }
    if line.starts_with(ACCEPTED) {
        context.out.line(name);
        context.out.say(&format!(
            "runs in the background (process {}). petctl status {name} --wait    petctl logs {name} -f    petctl cancel {name}",
            child.id()
        ));
        return Ok(Exit::Success);
    }
    let status = child.wait().map_err(|error| failed("wait for", &error))?;
    repeat(&mut log, start).map_err(|error| failed("read", &error))?;
    Ok(exit_of(status))
}

/// In the background: tells the process that waits. Nothing else may be written to stdout, for nobody reads it then.
pub(super) fn accepted(name: &str) {
    let mut stdout = io::stdout().lock();
    let written = writeln!(stdout, "{ACCEPTED}{name}").and_then(|()| stdout.flush());
    if let Err(error) = written {
        tracing::info!(%error, "whoever started this run has gone");
    }
}

/// Says what the program in the background said.
fn repeat(log: &mut File, start: u64) -> io::Result<()> {
    log.seek(SeekFrom::Start(start))?;
    let mut said = Vec::new();
    log.take(MAX_SAID_BYTES).read_to_end(&mut said)?;
    io::stderr().lock().write_all(&said)
}

/// How the program in the background ended is how this one ends.
fn exit_of(status: ExitStatus) -> Exit {
    let own = status.code().and_then(Exit::of_number);
    own.unwrap_or(Exit::TryAgain)
}
