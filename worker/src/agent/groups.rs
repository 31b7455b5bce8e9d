//! Carries out what the machine says about training groups.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use petctl_codes::Code;
use petctl_group::{
    Ask, AskKind, ExternalCommand, Failure, Group, GroupOrder, Guard, Joining, Note, Plan, Socket,
    Source, checkpoint_folder, offer, remove_dropped,
};
use petctl_output::logs::Echo;
use petctl_proto::v1::{GroupPrepare, GroupProgress, GroupStart, Preflight, RankFailure};
use petctl_spec::JobSpec;
use tokio::sync::{mpsc, oneshot};

use crate::agent::machine::{GroupInput, Input};
use crate::options::Options;

/// Questions of scripts that wait for the driver.
const MAX_ASKS: usize = 64;
/// Ports that were offered lately and are not offered again.
const MAX_USED_PORTS: usize = 32;

type Reply = oneshot::Sender<Result<(), (String, String)>>;

/// The groups of one worker: one at a time.
pub(super) struct Groups {
    worker_id: String,
    external: Option<ExternalCommand>,
    guard_command: Option<Vec<std::ffi::OsString>>,
    guard: Option<Guard>,
    echo: Option<Echo>,
    spec: Option<Arc<JobSpec>>,
    /// Why no group may start, although there is a job.
    refusal: Option<String>,
    group: Option<Group>,
    /// Made when the first group starts.
    socket: Option<Socket>,
    asks: mpsc::Sender<Ask>,
    asked: mpsc::Receiver<Ask>,
    /// Scripts that wait for the coordinator's word on a checkpoint.
    waiting: BTreeMap<u64, Reply>,
    last_request: Arc<AtomicU64>,
    used_ports: Arc<Mutex<Vec<u16>>>,
    joining: Arc<Joining>,
    /// The folder of the checkpoints of the group that runs.
    checkpoints: Option<PathBuf>,
    inputs: mpsc::UnboundedSender<Input>,
}

impl Groups {
    pub(super) fn new(
        options: &Options,
        worker_id: &str,
        inputs: mpsc::UnboundedSender<Input>,
    ) -> Self {
        let (asks, asked) = mpsc::channel(MAX_ASKS);
        Self {
            worker_id: worker_id.to_owned(),
            external: options.external_command.clone(),
            guard_command: options.guard.clone(),
            guard: None,
            echo: options.echo.clone(),
            spec: None,
            refusal: None,
            group: None,
            socket: None,
            asks,
            asked,
            waiting: BTreeMap::new(),
            last_request: Arc::new(AtomicU64::new(0)),
            used_ports: Arc::default(),
            joining: Arc::default(),
            checkpoints: None,
            inputs,
        }
    }

    /// Whether this worker runs a command of its own, so that the job's folders mean nothing here.
    pub(super) fn has_external_command(&self) -> bool {
        self.external.is_some()
    }

    /// Between the first signal to its processes and SIGKILL.
    pub(super) fn grace(&self) -> Duration {
        self.external
            .as_ref()
            .map_or(Duration::ZERO, |external| external.grace)
    }

    pub(super) fn assign(&mut self, spec: Option<Arc<JobSpec>>) {
        self.spec = spec;
        self.refusal = None;
    }

    /// Starts no group before the next job is assigned.
    pub(super) fn refuse(&mut self, why: String) {
        self.refusal = Some(why);
    }

    pub(super) fn running(&self) -> u32 {
        self.group.as_ref().map_or(0, Group::running)
    }

    pub(super) fn progress(&self) -> Option<GroupProgress> {
        self.group.as_ref().map(|group| group.progress().snapshot())
    }

    /// The next thing that a script says.
    pub(super) async fn next_ask(&mut self) -> Option<Ask> {
        self.asked.recv().await
    }

    /// An input for the machine, where one follows.
    pub(super) fn answer(&mut self, ask: Ask) -> Option<Input> {
        match ask.kind {
            AskKind::Checkpoint { step, path } => {
                let request_id = next(&self.last_request);
                self.waiting.insert(request_id, ask.reply);
                Some(Input::Checkpoint {
                    request_id,
                    step,
                    path: path.to_string_lossy().into_owned(),
                })
            }
            AskKind::Progress {
                rank,
                step,
                step_time_ms,
            } => {
                if let Some(group) = &self.group {
                    group.progress().report(rank, step, step_time_ms);
                }
                let _gone = ask.reply.send(Ok(()));
                None
            }
        }
    }

    pub(super) fn prepare(&self, prepare: GroupPrepare) {
        let (inputs, used) = (self.inputs.clone(), Arc::clone(&self.used_ports));
        tokio::task::spawn_blocking(move || {
            let before = used.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match offer(&prepare, &before) {
                Ok(offer) => {
                    let mut used = used.lock().unwrap_or_else(PoisonError::into_inner);
                    used.extend(u16::try_from(offer.port).ok());
                    let excess = used.len().saturating_sub(MAX_USED_PORTS);
                    used.drain(..excess);
                    let _ = inputs.send(Input::Group(GroupInput::Offer(offer)));
                }
                // The coordinator asks somebody else when it has waited long enough.
                Err(error) => tracing::error!(%error, "no TCP port is free"),
            }
        });
    }

    pub(super) fn preflight(&self, order: Preflight) {
        let (inputs, worker_id) = (self.inputs.clone(), self.worker_id.clone());
        let joining = Arc::clone(&self.joining);
        tokio::task::spawn_blocking(move || {
            let report = joining.prepare(&order, &worker_id);
            let _ = inputs.send(Input::Group(GroupInput::Preflight(report)));
        });
    }

    /// `coordinator` is where this worker reaches it: rank 0 is there, where the order does not say.
    pub(super) fn start(&mut self, mut start: GroupStart, coordinator: Option<IpAddr>) {
        if start.master_addr.is_empty() {
            start.master_addr =
                coordinator.map_or_else(|| "127.0.0.1".to_owned(), |address| address.to_string());
        }
        self.start_guard();
        let (epoch, rank) = (start.epoch, start.first_rank);
        tracing::info!(epoch, rank, of = start.world_size, "starting a group");
        let inputs = self.inputs.clone();
        if let Err(why) = self.try_start(start) {
            // As if its first process could not be started.
            let failure = Failure {
                at: std::time::Instant::now(),
                what: RankFailure {
                    rank,
                    code: Code::RankNotStarted.to_string(),
                    message: why,
                    ..RankFailure::default()
                },
            };
            let notes = [
                Note::Failing {
                    epoch,
                    failure: Box::new(failure.clone()),
                },
                Note::Ended {
                    epoch,
                    succeeded: false,
                    failures: vec![failure],
                },
            ];
            for note in notes {
                let _ = inputs.send(Input::Group(GroupInput::Note(note)));
            }
        }
    }

    fn try_start(&mut self, start: GroupStart) -> Result<(), String> {
        if let Some(why) = &self.refusal {
            return Err(why.clone());
        }
        let Some(spec) = self.spec.clone() else {
            return Err("the job can't be run here".to_owned());
        };
        if self.socket.is_none() {
            let given = self
                .external
                .as_ref()
                .map(|external| external.work_folder.clone());
            let root = given.unwrap_or_else(std::env::temp_dir);
            let socket = Socket::start(&root, &self.worker_id, self.asks.clone())
                .map_err(|error| format!("can't make the agent's socket: {error}"))?;
            self.socket = Some(socket);
        }
        let socket = self.socket.as_ref();
        let source = Source {
            spec: &spec,
            external: self.external.as_ref(),
            worker_id: &self.worker_id,
            runtime: socket.map_or(Path::new("/tmp"), Socket::folder),
            socket: socket.map(Socket::path),
            echo: self.echo.as_ref(),
        };
        self.checkpoints = checkpoint_folder(&spec, start.stage, self.external.is_some());
        let plan = Plan::new(source, start).map_err(|error| error.to_string())?;
        let (inputs, requests) = (self.inputs.clone(), Arc::clone(&self.last_request));
        let report = move |note: Note| {
            let input = match note {
                Note::Checkpoint { step, path } => Input::Checkpoint {
                    request_id: next(&requests),
                    step,
                    path,
                },
                Note::Exited { .. } | Note::Failing { .. } | Note::Ended { .. } => {
                    Input::Group(GroupInput::Note(note))
                }
            };
            // Nobody listens any more once the worker has ended.
            let _ = inputs.send(input);
        };
        let group = Group::start(plan, report)
            .map_err(|error| format!("can't start a thread for the group: {error}"))?;
        self.group = Some(group);
        Ok(())
    }

    fn start_guard(&mut self) {
        let Some(command) = self.guard_command.as_ref().filter(|_| self.guard.is_none()) else {
            return;
        };
        match Guard::start(command, &self.worker_id) {
            Ok(guard) => self.guard = Some(guard),
            Err(error) => {
                tracing::warn!(%error, "no guard: processes may outlive this worker if it is killed")
            }
        }
    }

    pub(super) fn stop(&self, order: GroupOrder) {
        if let Some(group) = &self.group {
            group.stop(order);
        }
    }

    /// The coordinator's word on a checkpoint.
    pub(super) fn checkpoint_answered(
        &mut self,
        request_id: u64,
        code: String,
        message: String,
        drop: Vec<String>,
    ) {
        let answer = if code.is_empty() {
            Ok(())
        } else {
            Err((code, message))
        };
        match &answer {
            Ok(()) => {}
            // Of an epoch that is over: the others went on without this worker, and it stops.
            Err((code, message)) if code == Code::StaleEpoch.as_str() => {
                tracing::info!(code, "a checkpoint is not committed: {message}");
            }
            Err((code, message)) => {
                tracing::warn!(code, "a checkpoint is not committed: {message}");
            }
        }
        if let Some(reply) = self.waiting.remove(&request_id) {
            let _gone = reply.send(answer);
        }
        if let Some(folder) = self.checkpoints.clone().filter(|_| !drop.is_empty()) {
            tokio::task::spawn_blocking(move || remove_dropped(&folder, &drop));
        }
    }

    /// Kills what runs. Joining what is answered, and waiting for the other, blocks until it is gone.
    pub(super) fn close(&mut self) -> (Option<Group>, Arc<Joining>) {
        self.joining.close();
        self.stop(GroupOrder {
            stop: petctl_group::Stop::Now,
            code: Code::WorkerLeaving.to_string(),
            message: "the worker ends".to_owned(),
        });
        (self.group.take(), Arc::clone(&self.joining))
    }
}

fn next(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed) + 1
}
