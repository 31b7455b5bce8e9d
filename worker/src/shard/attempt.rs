//! One attempt at one shard, from its lease to its result. Runs on the slot's thread.

use std::path::Path;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use petctl_attempt::{AttemptPaths, Validity, identity, outcome};
use petctl_codes::Code;
use petctl_commit::report;
use petctl_commit::{Begin, CommitError, Maker};
use petctl_process::supervisor::{Cause, Supervisor};
use petctl_process::{MemoryHold, StopSwitch, Terms, Watched, watch};
use petctl_proto::v1::{AttemptResult, Lease, Outcome};
use petctl_spec::StageSpec;
use rustix::process::Pid;

use crate::shard::command::Command;
use crate::shard::job::{Job, Stage};
use crate::shard::serve::{self, Warm};
use petctl_output::layout::AttemptName;
use petctl_output::logs::{AttemptLog, LogSummary};

/// A command that fails while less than this is free, in bytes, is taken to have failed for want of space.
const LITTLE_SPACE: u64 = 1024 * 1024;

/// What a slot brings along.
#[derive(Debug)]
pub(crate) struct SlotTools<'a> {
    /// Number of the slot, from 0.
    pub(crate) index: u32,
    pub(crate) switch: &'a StopSwitch,
    pub(crate) validity: &'a Validity,
    /// Processes that run on this worker.
    pub(crate) processes: &'a AtomicU32,
    /// For reading outputs.
    pub(crate) buffer: &'a mut [u8],
    pub(crate) warm: &'a mut Warm,
}

/// Runs the attempt. A committed result must not be reported before its outputs are synced.
pub(crate) fn run(job: &Job, lease: &Lease, tools: SlotTools<'_>) -> AttemptResult {
    let index = usize::try_from(lease.stage).unwrap_or(usize::MAX);
    let (Some(spec), Some(stage)) = (job.spec.stages.get(index), job.stages.get(index)) else {
        let message = format!("the job has no stage with the number {}", lease.stage);
        return outcome::ended(lease, Outcome::Infrastructure, Code::UnknownStage, message);
    };
    let span = tracing::info_span!(
        "attempt", job = %job.spec.name, stage = %spec.name, shard = %lease.key, attempt = lease.attempt
    );
    let _entered = span.entered();
    let name = identity::name(lease, &spec.name);
    let result = match job.paths(lease, stage, tools.switch) {
        Ok((paths, _hold)) => Attempt {
            job,
            lease,
            spec,
            stage,
            name,
            paths,
            tools,
        }
        .run(),
        Err(result) => *result,
    };
    tracing::debug!(outcome = ?result.outcome(), code = result.code, duration_ms = result.duration_ms, "attempt ended");
    result
}

struct Attempt<'a> {
    job: &'a Job,
    lease: &'a Lease,
    spec: &'a StageSpec,
    stage: &'a Stage,
    name: AttemptName<'a>,
    paths: AttemptPaths,
    tools: SlotTools<'a>,
}

impl Attempt<'_> {
    fn run(&mut self) -> AttemptResult {
        // A lease that was lost while it waited must not fence off the one that took its place.
        if let Err(order) = self.tools.validity.wait(self.tools.switch) {
            return outcome::stopped(self.lease, &order);
        }
        if let Some(ended) = self.job.claim(self.lease, self.name, self.tools.switch) {
            return ended;
        }
        let committer = &self.job.committer;
        let begun = if self.job.sends() || identity::is_first(self.lease) {
            // What is sent begins where it is sent to, and before a first attempt there was nobody to look for.
            committer.make_folder(self.name).map(Begin::Folder)
        } else {
            committer.begin(self.maker(), self.name, self.lease.fence)
        };
        let folder = match begun {
            Ok(Begin::Folder(folder)) => folder,
            Ok(Begin::Adopted(committed)) => return outcome::committed(self.lease, committed),
            Err(error) => return self.refused(&error),
        };
        let result = self.run_in(&folder);
        if result.outcome() != Outcome::Committed {
            committer.discard(self.name);
        }
        result
    }

    fn run_in(&mut self, folder: &Path) -> AttemptResult {
        let log_path = self.job.committer.layout().log(self.name);
        let title = || format!("{}/{}", self.spec.name, self.lease.key);
        let log = AttemptLog::new(log_path, self.spec.log_bytes);
        let mut log = log.echoing(self.job.worker.echo.as_ref(), title);
        if serve::serves(self.spec) {
            return self.run_served(folder, log);
        }
        let watched = match self.run_command(folder, &mut log) {
            Ok(watched) => watched,
            Err(result) => return *result,
        };
        let log = log.finish();
        let mut result = self.judge(&watched);
        outcome::set_exit(&mut result, watched.status, watched.elapsed);
        note_log(&mut result, log);
        result
    }

    fn run_served(&mut self, folder: &Path, mut log: AttemptLog) -> AttemptResult {
        let command = Command {
            job: self.job,
            lease: self.lease,
            spec: self.spec,
            stage: self.stage,
            paths: &self.paths,
            slot: self.tools.index,
        };
        let tools = serve::Tools {
            warm: &mut *self.tools.warm,
            switch: self.tools.switch,
            processes: self.tools.processes,
            buffer: &mut *self.tools.buffer,
        };
        let served = serve::run(&command, folder, tools, &mut log);
        let log = log.finish();
        let mut result = match served {
            Ok(elapsed) => {
                let mut result = self.commit(elapsed);
                outcome::set_exit(&mut result, None, elapsed);
                result
            }
            Err(result) => *result,
        };
        note_log(&mut result, log);
        result
    }

    fn run_command(
        &mut self,
        folder: &Path,
        log: &mut AttemptLog,
    ) -> Result<Watched, Box<AttemptResult>> {
        let lease = self.lease;
        let started = Instant::now();
        // The file goes when the process has ended.
        let (child, _file) = self.command().start(folder)?;
        let timeout = Duration::from_millis(self.spec.timeout_ms);
        let grace = Duration::from_millis(self.spec.grace_ms);
        let terms = Terms {
            lease_id: lease.lease_id,
            supervisor: Supervisor::new(started, timeout, grace),
            started,
            memory: MemoryHold::new(
                self.spec.memory_mib,
                Pid::from_child(&child),
                lease.lease_id,
            ),
            waits_for: Some(folder.to_owned()),
        };
        self.tools.processes.fetch_add(1, Ordering::Relaxed);
        let watched = watch(child, terms, log, self.tools.switch, self.tools.buffer);
        self.tools.processes.fetch_sub(1, Ordering::Relaxed);
        watched.map_err(|error| {
            let message = format!("can't watch a process: {error}");
            Box::new(outcome::ended(
                lease,
                Outcome::Infrastructure,
                Code::SpawnFailed,
                message,
            ))
        })
    }

    fn judge(&self, watched: &Watched) -> AttemptResult {
        let lease = self.lease;
        match (watched.cause, watched.status) {
            (Cause::Exited, Some(status)) if status.success() => self.commit(watched.elapsed),
            (Cause::Exited | Cause::MemoryExceeded, Some(_)) if watched.excess.is_some() => {
                outcome::memory_exceeded(lease, watched.excess)
            }
            (Cause::Exited | Cause::MemoryExceeded, Some(status)) => {
                if let Some(code) = self.skips(status) {
                    return self.skip(code, watched.elapsed);
                }
                let result = outcome::failed_exit(lease, status, watched.elapsed);
                if self.disk_is_full() {
                    self.failed_for_space(&result.message)
                } else {
                    result
                }
            }
            (Cause::LeftRunning, _) => {
                outcome::left_running(lease, self.spec.grace_ms, &watched.left)
            }
            (Cause::TimedOut, _) => outcome::timed_out(lease, self.spec.timeout_ms),
            (Cause::Stopped(_), _) => match self.tools.switch.order() {
                Some(order) => outcome::stopped(lease, &order),
                None => outcome::ended(
                    lease,
                    Outcome::Revoked,
                    Code::LeaseLost,
                    "the lease was lost",
                ),
            },
            (Cause::Unkillable, _) | (Cause::Exited | Cause::MemoryExceeded, None) => {
                let message = "SIGKILL did not end the process in 30 s: it hangs in the kernel, on a disk or a device";
                outcome::ended(lease, Outcome::Infrastructure, Code::Unkillable, message)
            }
        }
    }

    /// The exit code, where it says that there is nothing to do for this shard.
    fn skips(&self, status: ExitStatus) -> Option<u8> {
        let code = u8::try_from(status.code()?).ok()?;
        self.spec.dispatch.skip_on.contains(&code).then_some(code)
    }

    /// Its verdict is written down with its outputs, so that whoever adopts them knows it too.
    fn skip(&self, code: u8, elapsed: Duration) -> AttemptResult {
        let folder = self.job.committer.layout().attempt(self.name);
        match report::write_skipped(&folder, &format!("exit code {code} (skip_on)")) {
            Ok(()) => self.commit(elapsed),
            Err(error) => self.refused(&error),
        }
    }

    fn command(&self) -> Command<'_> {
        Command {
            job: self.job,
            lease: self.lease,
            spec: self.spec,
            stage: self.stage,
            paths: &self.paths,
            slot: self.tools.index,
        }
    }

    fn commit(&self, elapsed: Duration) -> AttemptResult {
        // The lease is looked at when all is sent.
        if self.job.sends() {
            return outcome::to_be_sent(self.lease);
        }
        if let Err(order) = self.tools.validity.wait(self.tools.switch) {
            return outcome::stopped(self.lease, &order);
        }
        match self.job.committer.commit(self.maker(), self.name, elapsed) {
            Ok(committed) => outcome::committed(self.lease, committed),
            Err(error) => self.refused(&error),
        }
    }

    fn maker(&self) -> Maker<'_> {
        identity::maker(self.lease, &self.job.spec.name, &self.job.worker.name)
    }

    fn refused(&self, error: &CommitError) -> AttemptResult {
        outcome::ended(
            self.lease,
            outcome::of_commit(error),
            error.code(),
            error.to_string(),
        )
    }

    fn disk_is_full(&self) -> bool {
        let root = self.job.committer.layout().root();
        rustix::fs::statvfs(root)
            .is_ok_and(|space| space.f_bavail.saturating_mul(space.f_frsize) < LITTLE_SPACE)
    }

    fn failed_for_space(&self, how: &str) -> AttemptResult {
        let root = self.job.committer.layout().root().display();
        let message = format!(
            "the command {how} while less than 1 MiB is free in {root}; free some space there"
        );
        outcome::ended(self.lease, Outcome::Infrastructure, Code::DiskFull, message)
    }
}

fn note_log(result: &mut AttemptResult, log: LogSummary) {
    if result.outcome() != Outcome::Committed {
        result.log_tail = log.tail;
        outcome::add_last_words(result);
    }
    if let Some(cut) = log.cut {
        if !result.message.is_empty() {
            result.message.push_str("; ");
        }
        result.message.push_str(&cut);
    }
}
