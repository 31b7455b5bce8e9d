//! What a worker does before it may join a job: the job's checks, then its setup, once.

mod errand;
mod preflight;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use petctl_codes::Code;
use petctl_process::supervisor::Stop;
use petctl_process::{StopOrder, StopSwitch};
use petctl_proto::v1::{Preflight, PreflightReport};
use petctl_spec::{JobSpec, SetupSpec, parse_spec_json};

use crate::joining::errand::Errand;
use petctl_output::layout::Layout;
use petctl_output::logs::AttemptLog;

/// Of the setup's output that is kept.
const LOG_BYTES: u64 = 4 * 1024 * 1024;
/// How many of its last lines are told when it fails.
const LAST_LINES: usize = 5;
/// Jobs whose setup is remembered; older ones would be set up again.
const MAX_REMEMBERED: usize = 1_024;

/// The checks and setups of one worker's process.
#[derive(Debug, Default)]
pub struct Joining {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Jobs whose setup was done: a reconnect does not repeat it.
    set_up: BTreeSet<u64>,
    /// Jobs that are being looked at, with what stops their commands.
    running: Vec<(u64, Arc<StopSwitch>)>,
    closed: bool,
}

impl Joining {
    /// Blocks until the checks and the setup of the job have ended. A job that is being looked at already is waited for.
    pub fn prepare(&self, order: &Preflight, worker_id: &str) -> PreflightReport {
        let failure = match parse_spec_json(&order.spec_json) {
            Ok(spec) => self.run(order.job_id, &spec, worker_id).err(),
            Err(error) => Some((
                Code::PreflightFailed,
                format!("the job can't be read: {error}; run the same petctl on both sides"),
            )),
        };
        if let Some((code, why)) = &failure {
            tracing::warn!(job = order.job, code = code.as_str(), "{why}");
        }
        let (code, message) =
            failure.map_or_else(Default::default, |(code, why)| (code.to_string(), why));
        PreflightReport {
            job_id: order.job_id,
            code,
            message,
        }
    }

    fn run(&self, job_id: u64, spec: &JobSpec, worker_id: &str) -> Result<(), (Code, String)> {
        let switch = StopSwitch::new()
            .map(Arc::new)
            .map_err(|error| (Code::PreflightFailed, error.to_string()))?;
        let mut state = self.lock();
        while state.running.iter().any(|(running, _)| *running == job_id) {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return Err((Code::PreflightFailed, "the worker ends".to_owned()));
        }
        let is_set_up = state.set_up.contains(&job_id);
        state.running.push((job_id, Arc::clone(&switch)));
        drop(state);

        let checked = preflight::check(spec, worker_id, &switch);
        let result = match (checked, &spec.setup) {
            (Err(why), _) => Err((Code::PreflightFailed, why)),
            (Ok(()), Some(setup)) if !is_set_up => {
                set_up(spec, setup, worker_id, &switch).map_err(|why| (Code::SetupFailed, why))
            }
            (Ok(()), Some(_) | None) => Ok(()),
        };

        let mut state = self.lock();
        state.running.retain(|(running, _)| *running != job_id);
        if result.is_ok() && spec.setup.is_some() {
            state.set_up.insert(job_id);
            if state.set_up.len() > MAX_REMEMBERED {
                state.set_up.pop_first();
            }
        }
        drop(state);
        self.changed.notify_all();
        result
    }

    /// Kills what runs, and starts nothing more.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        for (_, switch) in &state.running {
            switch.request(StopOrder {
                stop: Stop::Discarded,
                code: Code::WorkerLeaving.to_string(),
                message: "the worker ends".to_owned(),
            });
        }
    }

    /// Blocks until nothing runs any more, at most for this long.
    pub fn wait(&self, patience: Duration) {
        let running = |state: &mut State| !state.running.is_empty();
        let _ = self
            .changed
            .wait_timeout_while(self.lock(), patience, running);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn set_up(
    spec: &JobSpec,
    setup: &SetupSpec,
    worker_id: &str,
    switch: &StopSwitch,
) -> Result<(), String> {
    let path = log_path(spec, worker_id);
    let errand = Errand {
        command: &setup.command,
        timeout_ms: setup.timeout_ms,
        folder: Path::new(&spec.folder),
        worker_id,
        access: &spec.storage.access,
        last_lines: LAST_LINES,
    };
    tracing::info!(job = %spec.name, "setting up");
    let log = match &path {
        Some(path) => AttemptLog::new(path.clone(), LOG_BYTES),
        None => AttemptLog::new(PathBuf::from("/dev/null"), 0),
    };
    errand.run(log, switch).map_err(|why| match path {
        Some(path) if path.exists() => format!("{why} (all of it: {})", path.display()),
        Some(_) | None => why,
    })
}

/// Where its output goes; a job whose outputs are in blob storage has no folder yet.
fn log_path(spec: &JobSpec, worker_id: &str) -> Option<PathBuf> {
    let output = Path::new(&spec.storage.output);
    let folder = Layout::new(output).state().join("logs/.setup");
    output
        .is_absolute()
        .then(|| folder.join(format!("{worker_id}.log")))
}
