//! One attempt at one shard, from its lease to its result. Runs on the slot's thread.

use std::ffi::OsString;
use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use petctl_proto::v1::{AttemptResult, Lease, Outcome};
use petctl_spec::{Placeholders, StageSpec};

use crate::commit::{Begin, CommitError, Maker};
use crate::job::{Job, Stage};
use crate::layout::AttemptName;
use crate::logs::{AttemptLog, LogSummary};
use crate::outcome;
use crate::process::strays::{LEASE_VARIABLE, WORKER_VARIABLE};
use crate::process::{Launch, Outputs, SpawnError, StopSwitch, Watched, spawn, watch};
use crate::supervisor::{Cause, Supervisor};
use crate::validity::Validity;

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
}

/// Runs the attempt. A committed result must not be reported before its outputs are synced.
pub(crate) fn run(job: &Job, lease: &Lease, tools: SlotTools<'_>) -> AttemptResult {
    let index = usize::try_from(lease.stage).unwrap_or(usize::MAX);
    let (Some(spec), Some(stage)) = (job.spec.stages.get(index), job.stages.get(index)) else {
        let message = format!("the job has no stage with the number {}", lease.stage);
        return outcome::ended(lease, Outcome::Infrastructure, "UNKNOWN_STAGE", message);
    };
    let span = tracing::info_span!(
        "attempt", job = %job.spec.name, stage = %spec.name, shard = %lease.key, attempt = lease.attempt
    );
    let _entered = span.entered();
    let name = AttemptName {
        stage: &spec.name,
        key: &lease.key,
        attempt: lease.attempt,
        lease_id: lease.lease_id,
    };
    let result = Attempt {
        job,
        lease,
        spec,
        stage,
        name,
        tools,
    }
    .run();
    tracing::debug!(outcome = ?result.outcome(), code = result.code, duration_ms = result.duration_ms, "attempt ended");
    result
}

struct Attempt<'a> {
    job: &'a Job,
    lease: &'a Lease,
    spec: &'a StageSpec,
    stage: &'a Stage,
    name: AttemptName<'a>,
    tools: SlotTools<'a>,
}

impl Attempt<'_> {
    fn run(&mut self) -> AttemptResult {
        // A lease that was lost while it waited must not fence off the one that took its place.
        if let Err(order) = self.tools.validity.wait(self.tools.switch) {
            return outcome::stopped(self.lease, &order);
        }
        let committer = &self.job.committer;
        let folder = match committer.begin(self.maker(), self.name, self.lease.fence) {
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
        let mut log = AttemptLog::new(log_path, self.spec.log_bytes);
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

    fn run_command(
        &mut self,
        folder: &Path,
        log: &mut AttemptLog,
    ) -> Result<Watched, Box<AttemptResult>> {
        let lease = self.lease;
        let started = Instant::now();
        let child = self
            .start(folder)?
            .map_err(|error| self.not_started(&error))?;
        let timeout = Duration::from_millis(self.spec.timeout_ms);
        let grace = Duration::from_millis(self.spec.grace_ms);
        let supervisor = Supervisor::new(started, timeout, grace);
        self.tools.processes.fetch_add(1, Ordering::Relaxed);
        let watched = watch(
            child,
            lease.lease_id,
            supervisor,
            started,
            log,
            self.tools.switch,
            self.tools.buffer,
        );
        self.tools.processes.fetch_sub(1, Ordering::Relaxed);
        watched.map_err(|error| {
            let message = format!("can't watch a process: {error}");
            Box::new(outcome::ended(
                lease,
                Outcome::Infrastructure,
                "SPAWN_FAILED",
                message,
            ))
        })
    }

    fn start(&self, folder: &Path) -> Result<Result<Child, SpawnError>, Box<AttemptResult>> {
        let storage = &self.job.spec.storage;
        let values = Placeholders {
            input: None,
            input_root: storage.input.as_deref(),
            output: &folder.to_string_lossy(),
            output_root: &storage.output,
            key: &self.lease.key,
            index: u64::from(self.lease.shard),
            attempt: self.lease.attempt,
            job: &self.job.spec.name,
            stage: &self.spec.name,
            params: &self.spec.params,
            checkpoints: None,
        };
        let command = self.stage.template.render(&values).map_err(|error| {
            Box::new(outcome::ended(
                self.lease,
                Outcome::Failed,
                error.code(),
                error.to_string(),
            ))
        })?;
        let Some((program, arguments)) = command.split_first() else {
            let result = outcome::ended(
                self.lease,
                Outcome::Failed,
                "COMMAND_NOT_FOUND",
                "the command is empty",
            );
            return Err(Box::new(result));
        };
        let job_folder = Path::new(&self.job.spec.folder);
        Ok(self.stage.program(program, job_folder).and_then(|program| {
            let launch = Launch {
                program: &program,
                arguments,
                folder: job_folder,
                stage_environment: &self.stage.environment,
                attempt_environment: &self.environment(folder),
            };
            spawn(&launch, Outputs::default())
        }))
    }

    fn environment(&self, folder: &Path) -> Vec<(&'static str, OsString)> {
        let mut variables: Vec<(&'static str, OsString)> = vec![
            ("PETCTL_JOB", (&self.job.spec.name).into()),
            ("PETCTL_STAGE", (&self.spec.name).into()),
            ("PETCTL_SHARD_KEY", (&self.lease.key).into()),
            ("PETCTL_SHARD_INDEX", self.lease.shard.to_string().into()),
            ("PETCTL_ATTEMPT", self.lease.attempt.to_string().into()),
            (LEASE_VARIABLE, self.lease.lease_id.to_string().into()),
            (WORKER_VARIABLE, (&self.job.worker.id).into()),
            ("PETCTL_OUTPUT", folder.into()),
        ];
        if let Some(root) = self
            .job
            .spec
            .storage
            .input
            .as_ref()
            .filter(|_| self.stage.reads_files)
        {
            variables.push(("PETCTL_INPUT", Path::new(root).join(&self.lease.key).into()));
        }
        let visible = self
            .stage
            .variable("CUDA_VISIBLE_DEVICES")
            .and_then(|value| value.to_str());
        let gpus = self.job.spec.workers.gpus;
        if let Some(devices) = gpus_of_slot(gpus, self.job.worker.slots, self.tools.index, visible)
        {
            variables.push(("CUDA_VISIBLE_DEVICES", devices.into()));
        }
        variables
    }

    fn judge(&self, watched: &Watched) -> AttemptResult {
        let lease = self.lease;
        match (watched.cause, watched.status) {
            (Cause::Exited, Some(status)) if status.success() => self.commit(),
            (Cause::Exited, Some(status)) => {
                let result = outcome::failed_exit(lease, status, watched.elapsed);
                if self.disk_is_full() {
                    self.failed_for_space(&result.message)
                } else {
                    result
                }
            }
            (Cause::TimedOut, _) => outcome::timed_out(lease, self.spec.timeout_ms),
            (Cause::Stopped(_), _) => match self.tools.switch.order() {
                Some(order) => outcome::stopped(lease, &order),
                None => outcome::ended(lease, Outcome::Revoked, "LEASE_LOST", "the lease was lost"),
            },
            (Cause::Unkillable, _) | (Cause::Exited, None) => {
                let message = "SIGKILL did not end the process in 30 s: it hangs in the kernel, on a disk or a device";
                outcome::ended(lease, Outcome::Infrastructure, "UNKILLABLE", message)
            }
        }
    }

    fn commit(&self) -> AttemptResult {
        if let Err(order) = self.tools.validity.wait(self.tools.switch) {
            return outcome::stopped(self.lease, &order);
        }
        match self.job.committer.commit(self.maker(), self.name) {
            Ok(committed) => outcome::committed(self.lease, committed),
            Err(error) => self.refused(&error),
        }
    }

    fn maker(&self) -> Maker<'_> {
        Maker {
            job: &self.job.spec.name,
            worker: &self.job.worker.name,
        }
    }

    fn refused(&self, error: &CommitError) -> AttemptResult {
        outcome::ended(self.lease, error.outcome(), error.code(), error.to_string())
    }

    fn not_started(&self, error: &SpawnError) -> Box<AttemptResult> {
        self.stage.forget_programs();
        let mut result =
            outcome::ended(self.lease, error.outcome(), error.code(), error.to_string());
        result.exit_code = error.exit_code();
        Box::new(result)
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
        outcome::ended(self.lease, Outcome::Infrastructure, "DISK_FULL", message)
    }
}

fn note_log(result: &mut AttemptResult, log: LogSummary) {
    if result.outcome() != Outcome::Committed {
        result.log_tail = log.tail;
    }
    if let Some(cut) = log.cut {
        if !result.message.is_empty() {
            result.message.push_str("; ");
        }
        result.message.push_str(&cut);
    }
}

/// The GPUs of one slot, as `CUDA_VISIBLE_DEVICES` has them; of those in `visible`, if set. With fewer GPUs than slots
/// they are shared in turn; else each slot has a share of its own.
fn gpus_of_slot(gpus: u32, slots: u32, slot: u32, visible: Option<&str>) -> Option<String> {
    if gpus == 0 || slots == 0 {
        return None;
    }
    let devices = if gpus < slots {
        let device = slot % gpus;
        device..device + 1
    } else {
        let edge = |slot: u32| u64::from(gpus) * u64::from(slot) / u64::from(slots);
        let narrow = |edge: u64| u32::try_from(edge).unwrap_or(u32::MAX);
        narrow(edge(slot))..narrow(edge(slot + 1))
    };
    let visible: Vec<&str> = visible
        .map(|text| text.split(',').map(str::trim).collect())
        .unwrap_or_default();
    let name = |device: u32| {
        let given = usize::try_from(device)
            .ok()
            .and_then(|device| visible.get(device));
        given.map_or_else(|| device.to_string(), |name| (*name).to_owned())
    };
    Some(devices.map(name).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_divided_among_slots() {
        let cases = [
            ((0, 4, 0, None), None),
            ((1, 1, 0, None), Some("0")),
            ((8, 2, 0, None), Some("0,1,2,3")),
            ((8, 2, 1, None), Some("4,5,6,7")),
            ((3, 2, 0, None), Some("0")),
            ((3, 2, 1, None), Some("1,2")),
            ((2, 5, 3, None), Some("1")),
            ((2, 2, 1, Some("5, GPU-8f")), Some("GPU-8f")),
        ];
        for ((gpus, slots, slot, visible), expected) in cases {
            assert_eq!(
                gpus_of_slot(gpus, slots, slot, visible).as_deref(),
                expected,
                "{gpus} {slots} {slot}"
            );
        }
    }
}
