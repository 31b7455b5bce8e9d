//! The loop that feeds the machine and carries out what it says.

mod jobs;
mod logs;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use petctl_data::Host;
use petctl_group::Ask;
use petctl_process::strays;
use petctl_proto::v1::{Assignment, AttachRequest, AttachResponse};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::agent::code::Courier;
use crate::agent::driver::jobs::Broken;
use crate::agent::groups::Groups;
use crate::agent::link::{Connection, Failure, Target};
use crate::agent::machine::{Effect, Identity, Input, Machine};
use crate::agent::setup::{check, own_cpu_milli, own_memory_mib, random_bytes, random_id};
use crate::agent::tenure::Tenure;
use crate::options::{Ended, Execution, Options, Shutdown, WorkerError};
use crate::shard::{Job, Slots, WorkerName};

/// Results taken up at a time.
const BATCH: usize = 1_024;
/// How long slots may take to end once everything has been killed.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
/// How long the last logs may take to be uploaded.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(5);

type Connecting = Pin<Box<dyn Future<Output = Result<Connection, Failure>> + Send>>;

/// Runs a worker until it is drained, released or shut down. One worker per process: it becomes the process's child
/// subreaper, and kills the processes that its attempts leave behind.
///
/// # Errors
/// [`WorkerError`]: a bad option, a coordinator that refuses it, or none for too long.
pub async fn run(options: Options, shutdown: Shutdown) -> Result<Ended, WorkerError> {
    let mut driver = Driver::start(options)?;
    let ended = driver.serve(&shutdown).await;
    if !matches!(ended, Ok(Ended::Stopped)) {
        // What is on its way now are logs of failed attempts. What comes too late stays unsent.
        let _ = tokio::time::timeout(UPLOAD_PATIENCE, driver.slots.finish_uploading()).await;
    }
    driver.close().await;
    ended
}

struct Driver {
    machine: Machine,
    target: Target,
    courier: Courier,
    slots: Slots,
    groups: Groups,
    /// Where this worker reaches the coordinator, by the last connection.
    coordinator: Option<std::net::IpAddr>,
    was_connected: bool,
    execution: Execution,
    worker: WorkerName,
    job: Option<Result<Arc<Job>, Broken>>,
    /// Whose the output of the job is, and the job as it was assigned.
    tenure: Option<(Tenure, Assignment)>,
    /// The record of a run that has ended is being taken away.
    ending: Option<JoinHandle<()>>,
    /// For jobs in blob storage.
    host: Host,
    local: mpsc::UnboundedSender<Input>,
    /// Bounded by the leases that the worker holds and the log requests it accepts.
    inputs: mpsc::UnboundedReceiver<Input>,
    connecting: Option<Connecting>,
    connection: Option<Connection>,
    finished: Option<Result<Ended, WorkerError>>,
}

/// What the loop woke up for.
enum Event {
    Abort,
    Leave,
    Connected(Result<Connection, Failure>),
    Inbound(Result<Option<AttachResponse>, Failure>),
    Local(Input),
    Asked(Ask),
    OutputChangedHands,
    CodeFetched,
    Room,
    Due,
}

impl Driver {
    fn start(options: Options) -> Result<Self, WorkerError> {
        check(&options)?;
        let target = Target::new(
            &options.address,
            options.token.as_ref(),
            options.trust.clone(),
        )?;
        let worker_id = match options.worker_id.clone() {
            Some(worker_id) => worker_id,
            None => random_id()?,
        };
        let worker = WorkerName {
            id: worker_id.clone(),
            name: options.name.clone(),
            slots: options.slots,
            echo: options.echo.clone(),
        };
        let (local, inputs) = mpsc::unbounded_channel();
        let groups = Groups::new(&options, &worker_id, local.clone());
        let processes = options
            .external_command
            .as_ref()
            .map_or(0, |external| external.processes.len());
        let host = options.host.unwrap_or_else(|| {
            rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned()
        });
        let identity = Identity {
            worker_id,
            name: options.name,
            host,
            pid: std::process::id(),
            job: options.job,
            slots: options.slots,
            gpus: options.gpus,
            cpu_milli: options.cpu_milli.unwrap_or_else(own_cpu_milli),
            memory_mib: options.memory_mib.unwrap_or_else(own_memory_mib),
            program_version: options.program_version,
            address: options.address,
            advertise: options.advertise.unwrap_or_default(),
            processes: u32::try_from(processes).unwrap_or(u32::MAX),
            node_rank: options.node_rank,
            index: options.index,
            local_stages: options.local_stages,
        };
        strays::become_subreaper();
        let reporter = local.clone();
        let threads = if options.execution == Execution::Nothing {
            0
        } else {
            options.slots
        };
        let slots = Slots::start(threads, move |result| {
            // Nobody listens any more once the worker has ended.
            let _ = reporter.send(Input::Ended(vec![result]));
        })
        .map_err(|source| WorkerError::System {
            verb: "start the slots",
            source,
        })?;
        let seed = u64::from_le_bytes(random_bytes()?);
        Ok(Self {
            machine: Machine::new(Instant::now(), identity, options.coordinator_grace, seed),
            courier: Courier::new(options.code, options.folder, target.clone()),
            target,
            slots,
            groups,
            coordinator: None,
            was_connected: false,
            execution: options.execution,
            worker,
            job: None,
            tenure: None,
            ending: None,
            host: Host::new(options.scratch),
            local,
            inputs,
            connecting: None,
            connection: None,
            finished: None,
        })
    }

    async fn serve(&mut self, shutdown: &Shutdown) -> Result<Ended, WorkerError> {
        let mut left = false;
        self.feed(Input::Tick);
        loop {
            if let Some(ended) = self.finished.take() {
                return ended;
            }
            match self.next_event(shutdown, left).await {
                Event::Abort => self.feed(Input::Abort),
                Event::Leave => {
                    left = true;
                    self.feed(Input::Leave {
                        reason: "it was told to stop".to_owned(),
                    });
                }
                Event::Connected(Ok(connection)) => {
                    self.connecting = None;
                    self.was_connected = true;
                    if let Some(route) = connection.route {
                        self.coordinator = Some(route.coordinator);
                    }
                    self.connection = Some(connection);
                }
                Event::Connected(Err(failure)) => self.failed(failure),
                Event::Inbound(Ok(Some(response))) => self.received(response),
                Event::CodeFetched => {
                    for response in self.courier.take_held() {
                        self.received(response);
                    }
                }
                Event::Inbound(Ok(None)) => {
                    self.courier.forget();
                    self.feed(Input::Disconnected {
                        cause: "it ended the stream".to_owned(),
                    });
                }
                Event::Inbound(Err(failure)) => self.failed(failure),
                Event::Local(input) => self.take_local(input),
                Event::Asked(ask) => {
                    if let Some(input) = self.groups.answer(ask) {
                        self.feed(input);
                    }
                }
                Event::OutputChangedHands => self.output_changed_hands(),
                Event::Room => self.send(),
                Event::Due => self.feed(Input::Tick),
            }
        }
    }

    async fn next_event(&mut self, shutdown: &Shutdown, left: bool) -> Event {
        let wants_room = self.machine.has_message(Instant::now());
        let deadline = self.machine.deadline();
        let (sender, inbound) = match &mut self.connection {
            Some(connection) => (connection.sender.as_ref(), Some(&mut connection.inbound)),
            None => (None, None),
        };
        tokio::select! {
            biased;
            () = shutdown.now.cancelled() => Event::Abort,
            () = shutdown.drain.cancelled(), if !left => Event::Leave,
            connected = connected(self.connecting.as_mut()) => Event::Connected(connected),
            response = receive(inbound) => Event::Inbound(response),
            Some(input) = self.inputs.recv() => Event::Local(input),
            Some(ask) = self.groups.next_ask() => Event::Asked(ask),
            () = changes_hands(self.tenure.as_mut()) => Event::OutputChangedHands,
            () = self.courier.fetched() => Event::CodeFetched,
            () = wait_for_room(sender), if wants_room => Event::Room,
            () = sleep_until(deadline) => Event::Due,
        }
    }

    async fn close(mut self) {
        drop(self.connection);
        if let Some(ending) = self.ending {
            // It has a time limit of its own.
            let _ended = ending.await;
        }
        let slots = self.slots;
        let (group, joining) = self.groups.close();
        let closing = tokio::task::spawn_blocking(move || {
            if let Some(group) = group {
                group.join();
            }
            slots.close();
            joining.wait(CLOSE_PATIENCE);
            strays::kill_all_strays();
        });
        if tokio::time::timeout(CLOSE_PATIENCE, closing).await.is_err() {
            tracing::warn!("a process does not die of SIGKILL; the worker ends without it");
        }
    }

    fn received(&mut self, response: AttachResponse) {
        if let Some(response) = self.courier.receive(response) {
            self.feed(Input::Received(response));
        }
    }

    fn failed(&mut self, failure: Failure) {
        self.connecting = None;
        self.courier.forget();
        self.feed(match failure {
            Failure::Refused { code, message } => Input::Refused { code, message },
            Failure::Untrusted(why) if self.was_connected => Input::Disconnected {
                cause: why.to_string(),
            },
            Failure::Untrusted(why) => Input::Untrusted(why),
            Failure::Broken { cause } => Input::Disconnected { cause },
        });
    }

    /// Takes what else is there along, so that results go out in batches.
    fn take_local(&mut self, first: Input) {
        let mut ended = Vec::new();
        let mut next = Some(first);
        while let Some(input) = next {
            if let Input::Ended(results) = input {
                ended.extend(results);
            } else {
                self.feed(input);
            }
            next = if ended.len() < BATCH {
                self.inputs.try_recv().ok()
            } else {
                None
            };
        }
        if !ended.is_empty() {
            self.feed(Input::Ended(ended));
        }
    }

    fn send(&mut self) {
        let (running, queued) = self.slots.counts();
        let running = running.saturating_add(self.groups.running());
        let progress = if self.machine.wants_progress() {
            self.groups.progress()
        } else {
            None
        };
        let Some(sender) = self
            .connection
            .as_ref()
            .and_then(|connection| connection.sender.clone())
        else {
            return;
        };
        let next = self
            .machine
            .next_message(Instant::now(), running, queued, progress);
        if let Some(message) = next {
            // There is room. If the stream is gone, its other half says so.
            let _ = sender.try_send(message);
        }
        self.feed(Input::Tick);
    }

    fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let (running, _) = self.slots.counts();
            let busy = running.saturating_add(self.slots.uploading());
            for effect in self.machine.handle(Instant::now(), busy, input) {
                inputs.extend(self.carry_out(effect));
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Connect(hello) => {
                self.connecting = Some(Box::pin(self.target.clone().connect(*hello)))
            }
            Effect::Disconnect => (self.connecting, self.connection) = (None, None),
            Effect::CloseSending => {
                if let Some(connection) = &mut self.connection {
                    connection.sender = None;
                }
            }
            Effect::Renew(until) => self.slots.validity().renew(until),
            Effect::Invalidate => self.slots.validity().end(),
            Effect::Assign(assignment) => self.assign(&assignment),
            Effect::JobEnded => {
                if let Some((tenure, _)) = self.tenure.take() {
                    self.ending = Some(tokio::spawn(tenure.end()));
                }
            }
            Effect::Forget => {
                self.job = None;
                self.tenure = None;
                self.groups.assign(None);
                self.slots.retire();
            }
            Effect::Enqueue(leases) => return self.enqueue(leases),
            Effect::Withdraw { wanted, with } => {
                let lease_ids = self.slots.withdraw(wanted.as_ref());
                return (!lease_ids.is_empty()).then_some(Input::Withdrawn { lease_ids, with });
            }
            Effect::Stop { wanted, order } => self.slots.stop(wanted.as_ref(), &order),
            Effect::ReadLog(request, may_grow) => self.read_log(request, may_grow),
            Effect::PrepareGroup(prepare) => self.groups.prepare(prepare),
            Effect::StartGroup(start) => self.groups.start(start, self.coordinator),
            Effect::StopGroup(order) => self.groups.stop(order),
            Effect::CheckpointAnswered {
                request_id,
                code,
                message,
                drop,
            } => self
                .groups
                .checkpoint_answered(request_id, code, message, drop),
            Effect::Preflight(order) => self.groups.preflight(order),
            Effect::Rename => match random_id() {
                Ok(worker_id) => return Some(Input::Renamed { worker_id }),
                Err(error) => self.finished = Some(Err(error)),
            },
            Effect::Finish(ended) => self.finished = Some(ended),
        }
        None
    }
}

async fn connected(connecting: Option<&mut Connecting>) -> Result<Connection, Failure> {
    match connecting {
        Some(connecting) => connecting.await,
        None => std::future::pending().await,
    }
}

async fn receive(
    inbound: Option<&mut tonic::Streaming<AttachResponse>>,
) -> Result<Option<AttachResponse>, Failure> {
    match inbound {
        Some(inbound) => inbound
            .message()
            .await
            .map_err(|status| Failure::of(&status)),
        None => std::future::pending().await,
    }
}

/// Never, where there is no output to look after.
async fn changes_hands(tenure: Option<&mut (Tenure, Assignment)>) {
    match tenure {
        Some((tenure, _)) => tenure.changed().await,
        None => std::future::pending().await,
    }
}

/// Returns when a message fits; never, where the stream is gone.
async fn wait_for_room(sender: Option<&mpsc::Sender<AttachRequest>>) {
    match sender {
        Some(sender) if sender.reserve().await.is_ok() => {}
        Some(_) | None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
