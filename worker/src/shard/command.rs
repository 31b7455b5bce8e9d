//! What is started for a shard: what [`ShardContext`] says, with what is of the lease on top.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;

use petctl_attempt::{AttemptPaths, ShardContext, outcome};
use petctl_codes::Code;
use petctl_commit::CommitError;
use petctl_process::strays::{LEASE_VARIABLE, WORKER_VARIABLE};
use petctl_process::{Launch, Outputs, SpawnError, spawn};
use petctl_proto::v1::{AttemptResult, GpuShare, Lease, Outcome};
use petctl_spec::{Placeholders, StageSpec};

use crate::shard::job::{Job, Stage};

/// Everything that decides what is started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Command<'a> {
    pub(crate) job: &'a Job,
    pub(crate) lease: &'a Lease,
    pub(crate) spec: &'a StageSpec,
    pub(crate) stage: &'a Stage,
    pub(crate) paths: &'a AttemptPaths,
    /// Number of the slot, from 0.
    pub(crate) slot: u32,
}

/// A program with its arguments, and what its environment has beyond the stage's.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(&'static str, OsString)>,
}

/// The file that says all of a shard. It goes when this is dropped.
#[derive(Debug)]
pub(crate) struct ShardFile(PathBuf);

impl Drop for ShardFile {
    fn drop(&mut self) {
        // Gone already where a later attempt has cleared up.
        let _ = fs::remove_file(&self.0);
    }
}

type Refused = Box<AttemptResult>;

impl<'a> Command<'a> {
    /// Starts it for one shard, whose outputs go to `folder`. The file, where there is one, must outlive the process.
    pub(crate) fn start(&self, folder: &Path) -> Result<(Child, Option<ShardFile>), Refused> {
        let context = self.context();
        let own = context.own_params();
        let file = if context.has_file(self.stage.reads_shard_file) {
            Some(self.write_shard_file(folder, &own)?)
        } else {
            None
        };
        let path = file.as_ref().map(|file| file.0.to_string_lossy());
        let output = folder.to_string_lossy();
        let values = context.values(&output, path.as_deref(), &own);
        let file_path = file.as_ref().map(|file| file.0.as_os_str());
        let mut environment = context.environment(folder.as_os_str(), file_path);
        environment.extend(self.environment_of_lease());
        let prepared = self.prepare(&values, environment)?;
        let child = self.launch(&prepared, |launch| spawn(launch, Outputs::default()))?;
        Ok((child, file))
    }

    /// For a warm process of the stage, of whichever shard.
    pub(crate) fn warm(&self) -> Result<Prepared, Refused> {
        let context = self.context();
        let mut environment = context.environment_of_stage();
        environment.extend(self.environment_of_lease());
        self.prepare(&context.values_of_stage(), environment)
    }

    /// Starts a program in the way given.
    pub(crate) fn launch(
        &self,
        prepared: &Prepared,
        start: impl FnOnce(&Launch<'_>) -> Result<Child, SpawnError>,
    ) -> Result<Child, Refused> {
        let launch = Launch {
            program: &prepared.program,
            arguments: &prepared.arguments,
            folder: Path::new(&self.job.spec.folder),
            stage_environment: &self.stage.environment,
            attempt_environment: &prepared.environment,
        };
        start(&launch).map_err(|error| self.not_started(&error))
    }

    /// The shard, as its command is told of it.
    pub(crate) fn context(&self) -> ShardContext<'a> {
        ShardContext {
            job: &self.job.spec,
            stage: self.spec,
            key: &self.lease.key,
            index: self.lease.shard,
            attempt: self.lease.attempt,
            paths: self.paths,
        }
    }

    /// The devices that are this lease's, as `CUDA_VISIBLE_DEVICES` has them.
    pub(crate) fn devices(&self) -> Option<String> {
        let visible = self
            .stage
            .variable("CUDA_VISIBLE_DEVICES")
            .and_then(|value| value.to_str());
        if !self.lease.gpus.is_empty() {
            return Some(gpus_of_lease(&self.lease.gpus, visible));
        }
        let gpus = self.job.spec.workers.gpus;
        gpus_of_slot(gpus, self.job.worker.slots, self.slot, visible)
    }

    /// By which strays are found, and the devices.
    fn environment_of_lease(&self) -> Vec<(&'static str, OsString)> {
        let mut variables: Vec<(&'static str, OsString)> = vec![
            (LEASE_VARIABLE, self.lease.lease_id.to_string().into()),
            (WORKER_VARIABLE, (&self.job.worker.id).into()),
        ];
        if let Some(devices) = self.devices() {
            variables.push(("CUDA_VISIBLE_DEVICES", devices.into()));
        }
        variables
    }

    fn prepare(
        &self,
        values: &Placeholders<'_>,
        environment: Vec<(&'static str, OsString)>,
    ) -> Result<Prepared, Refused> {
        let failed = |code: Code, message: String| {
            Box::new(outcome::ended(self.lease, Outcome::Failed, code, message))
        };
        let mut command = self
            .stage
            .template
            .render(values)
            .map_err(|error| failed(error.code(), error.to_string()))?
            .into_iter();
        let Some(program) = command.next() else {
            return Err(failed(
                Code::CommandNotFound,
                "the command is empty".to_owned(),
            ));
        };
        let program = self
            .stage
            .program(&program, Path::new(&self.job.spec.folder))
            .map_err(|error| self.not_started(&error))?;
        Ok(Prepared {
            program,
            arguments: command.collect(),
            environment,
        })
    }

    /// Beside the attempt's folder: inside it would be an output.
    fn write_shard_file(
        &self,
        folder: &Path,
        own: &BTreeMap<String, String>,
    ) -> Result<ShardFile, Refused> {
        let mut name = folder.as_os_str().to_owned();
        name.push(".json");
        let path = PathBuf::from(name);
        let text = serde_json::to_vec(&self.context().describe(folder.to_string_lossy(), own));
        let written = text
            .map_err(std::io::Error::from)
            .and_then(|text| fs::write(&path, text));
        match written {
            Ok(()) => Ok(ShardFile(path)),
            Err(error) => {
                let error = CommitError::io("write", &path, error);
                drop(ShardFile(path));
                Err(Box::new(outcome::ended(
                    self.lease,
                    outcome::of_commit(&error),
                    error.code(),
                    error.to_string(),
                )))
            }
        }
    }

    fn not_started(&self, error: &SpawnError) -> Refused {
        self.stage.forget_programs();
        let mut result =
            outcome::ended(self.lease, error.outcome(), error.code(), error.to_string());
        result.exit_code = error.exit_code();
        Box::new(result)
    }
}

/// Names of a worker's devices: those in `visible`, where it is set, else their numbers.
fn device_name(visible: Option<&str>, device: u32) -> String {
    let mut names = visible.into_iter().flat_map(|text| text.split(','));
    let given = usize::try_from(device)
        .ok()
        .and_then(|device| names.nth(device));
    given.map_or_else(|| device.to_string(), |name| name.trim().to_owned())
}

fn gpus_of_lease(shares: &[GpuShare], visible: Option<&str>) -> String {
    let mut names: Vec<String> = Vec::new();
    for share in shares {
        let name = device_name(visible, share.device);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(",")
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
    let names: Vec<_> = devices.map(|device| device_name(visible, device)).collect();
    Some(names.join(","))
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

    #[test]
    fn the_gpus_of_a_lease_are_named_as_this_worker_sees_them() {
        let share = |device, milli| GpuShare { device, milli };
        assert_eq!(
            gpus_of_lease(&[share(2, 1_000), share(3, 1_000)], None),
            "2,3"
        );
        assert_eq!(gpus_of_lease(&[share(1, 250)], Some("4, GPU-8f")), "GPU-8f");
        assert_eq!(gpus_of_lease(&[share(0, 500), share(0, 500)], None), "0");
        assert_eq!(gpus_of_lease(&[share(7, 500)], Some("4")), "7");
    }
}
