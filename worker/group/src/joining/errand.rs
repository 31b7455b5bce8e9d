//! A command of a job that a worker runs before it joins.

use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, Instant};

use petctl_process::inherited;
use petctl_process::strays::WORKER_VARIABLE;
use petctl_process::supervisor::{Cause, Supervisor};
use petctl_process::{Launch, Outputs, StopSwitch, Terms, resolve, spawn, watch};
use petctl_spec::StorageAccess;

use petctl_output::logs::AttemptLog;

/// Between SIGTERM and SIGKILL, for a command that takes too long.
const GRACE: Duration = Duration::from_secs(2);

/// What to run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Errand<'a> {
    /// Program and arguments.
    pub(super) command: &'a [String],
    pub(super) timeout_ms: u64,
    /// Where it runs.
    pub(super) folder: &'a Path,
    pub(super) worker_id: &'a str,
    /// Names secrets that the command does not get.
    pub(super) access: &'a StorageAccess,
    /// How many of the last lines that it printed say why it failed.
    pub(super) last_lines: usize,
}

impl Errand<'_> {
    /// Blocks until it has ended.
    ///
    /// # Errors
    /// How it failed, and its last words.
    pub(super) fn run(self, mut log: AttemptLog, switch: &StopSwitch) -> Result<(), String> {
        let Some((program, arguments)) = self.command.split_first() else {
            return Ok(());
        };
        let mut environment = inherited(self.access);
        environment.insert(WORKER_VARIABLE.into(), self.worker_id.into());
        let search_path = environment
            .get(OsStr::new("PATH"))
            .map(|value| value.as_os_str());
        let program =
            resolve(program, self.folder, search_path).map_err(|error| error.to_string())?;
        let environment: Vec<_> = environment.into_iter().collect();
        let launch = Launch {
            program: &program,
            arguments,
            folder: self.folder,
            stage_environment: &environment,
            attempt_environment: &[],
        };
        let started = Instant::now();
        let child = spawn(&launch, Outputs::default()).map_err(|error| error.to_string())?;
        let timeout = Duration::from_millis(self.timeout_ms);
        let terms = Terms::new(0, Supervisor::new(started, timeout, GRACE), started);
        let mut buffer = vec![0; 16 * 1024];
        let watched = watch(child, terms, &mut log, switch, &mut buffer)
            .map_err(|error| format!("can't watch the command: {error}"))?;
        let said = self.last_words(&log.finish().tail);
        let program = program.display();
        match (watched.cause, watched.status) {
            (Cause::Exited, Some(status)) if status.success() => Ok(()),
            (Cause::TimedOut, _) => Err(format!(
                "its command {program} took longer than {} ms{said}",
                self.timeout_ms
            )),
            (Cause::Stopped(_), _) => Err(format!("its command {program} was stopped{said}")),
            (
                Cause::Exited | Cause::LeftRunning | Cause::MemoryExceeded | Cause::Unkillable,
                Some(status),
            ) => Err(format!("its command {program} ended with {status}{said}")),
            (
                Cause::Exited | Cause::LeftRunning | Cause::MemoryExceeded | Cause::Unkillable,
                None,
            ) => Err(format!("its command {program} does not end{said}")),
        }
    }

    fn last_words(&self, tail: &str) -> String {
        let lines = tail.lines().rev().filter(|line| !line.trim().is_empty());
        let mut last: Vec<_> = lines
            .take(self.last_lines)
            .map(petctl_text::words::one_line)
            .collect();
        last.reverse();
        if last.is_empty() {
            String::new()
        } else {
            format!(": {}", last.join(" / "))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use petctl_process::StopOrder;
    use petctl_process::supervisor::Stop;

    fn switch() -> StopSwitch {
        StopSwitch::new().unwrap()
    }

    fn run(script: &str, timeout_ms: u64, switch: &StopSwitch) -> Result<(), String> {
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        let errand = Errand {
            command: &command,
            timeout_ms,
            folder: Path::new("/"),
            worker_id: "errand-test",
            access: &StorageAccess::default(),
            last_lines: 2,
        };
        let log = AttemptLog::new(PathBuf::from("/dev/null"), 0);
        errand.run(log, switch)
    }

    fn command(script: &str, timeout_ms: u64) -> Result<(), String> {
        run(script, timeout_ms, &switch())
    }

    #[test]
    fn a_command_decides_by_its_exit_code() {
        assert_eq!(command("true", 60_000), Ok(()));
        let why = command("echo one; echo no driver >&2; exit 3", 60_000).unwrap_err();
        assert!(why.contains("exit status: 3"), "{why}");
        assert!(why.contains("one") && why.contains("no driver"), "{why}");
        let why = command("echo hangs; exec sleep 1000", 50).unwrap_err();
        assert!(
            why.contains("longer than 50 ms") && why.ends_with("hangs"),
            "{why}"
        );
    }

    #[test]
    fn a_command_ends_with_its_worker() {
        let switch = switch();
        switch.request(StopOrder {
            stop: Stop::Discarded,
            code: String::new(),
            message: String::new(),
        });
        let why = run("exec sleep 1000", 0, &switch).unwrap_err();
        assert!(why.contains("was stopped"), "{why}");
    }
}
