//! From arguments to an exit code.

use super::agent::{Agent, Listening, Verdict};
use super::arguments::Arguments;
use super::host::Hosted;
use super::job::{self, Job};
use super::join::{Joined, MeetingPoint};
use super::meeting::Meeting;
use super::python::{Surroundings, find_called, interpreter, processes};
use super::scratch::Scratch;
use super::{devices, numa};
use petctl_client::read_secret;
use petctl_local::start_error;
use petctl_rendezvous::{Coordinator, Engine, Handle, random_token};
use petctl_text::Secret;
use petctl_text::obstacle::Obstacle;
use petctl_ui::error::{Code, Error};
use petctl_ui::exit::Exit;
use petctl_ui::runtime::runtime;
use petctl_ui::terminal::Output;
use petctl_worker::{ExternalCommand, News, Options, StopSignal};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

/// How long a node that has started the coordinator waits at its end for the others to be gone.
const FAREWELL: Duration = Duration::from_secs(10);
/// Nodes to wait for, where `--rdzv-conf wanted=` does not say it.
const WANTED_VARIABLE: &str = "PETCTL_WANTED";

/// Why nothing was run.
pub(super) enum Problem {
    /// What was asked for can't be.
    Usage(String),
    Error(Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<String> for Problem {
    fn from(why: String) -> Self {
        Self::Usage(why)
    }
}

/// Runs it.
pub(super) fn run(
    out: &Output,
    arguments: Arguments,
    version: &'static str,
) -> Result<u8, Problem> {
    if std::env::var_os("PETCTL_LOG").is_some() {
        petctl_job::log::to_stderr();
    }
    let meeting = Meeting::of(&arguments)?;
    for warning in &arguments.warnings {
        out.warn(warning);
    }
    let count = devices::count(arguments.processes)?;
    let wanted = wanted(&arguments)?;
    let run_id = run_id(&arguments, &meeting)?;
    let job = Job::of(&arguments, &run_id, wanted)?;
    let mut folders = Folders::make(&arguments, &run_id)?;
    let own = external_command(&arguments, count, run_id, &folders)?;
    if count > 1 && std::env::var_os("OMP_NUM_THREADS").is_none() {
        out.warn("OMP_NUM_THREADS is not set: each process gets 1 thread, so that they do not crowd this machine; set it to tune");
    }
    let token = match meeting {
        // Nobody else is to come in.
        Meeting::Alone => None,
        Meeting::At { .. } => token(&arguments)?,
    };
    let node = NodeSetup {
        arguments: &arguments,
        meeting: &meeting,
        job: &job,
        token,
        own,
        version,
    };
    let runtime = runtime(2)?;
    let ended = runtime.block_on(node.run(out, &folders));
    runtime.shutdown_background();
    folders.finish();
    Ok(match ended? {
        Verdict::Exit(code) => code,
        Verdict::Signal(number) => u8::try_from(128 + number).unwrap_or(u8::MAX),
        Verdict::Again => Exit::Unreachable.number(),
    })
}

/// All that a node is.
struct NodeSetup<'a> {
    arguments: &'a Arguments,
    meeting: &'a Meeting,
    job: &'a Job,
    /// `None`: nobody gave one.
    token: Option<Secret>,
    own: ExternalCommand,
    version: &'static str,
}

impl NodeSetup<'_> {
    async fn run(&self, out: &Output, folders: &Folders) -> Result<Verdict, Problem> {
        let listening = Listening::to(&self.arguments.signals)?;
        match self.meeting {
            Meeting::Alone => self.alone(out, folders, listening).await,
            Meeting::At {
                endpoint,
                host,
                node_rank,
            } => {
                let (endpoint, node_rank) = (endpoint.clone(), *node_rank);
                let listen = match host {
                    Some(true) => Some(endpoint.any_address()),
                    Some(false) => None,
                    None => endpoint.own_address(),
                };
                let run_id = &self.own.run_id;
                let token = self.token.clone();
                let token = token.unwrap_or_else(|| job::derived_token(run_id));
                let point = MeetingPoint {
                    endpoint: &endpoint,
                    listen,
                    token: &token,
                    job: self.job,
                };
                self.together(out, &point, node_rank, listening).await
            }
        }
    }

    /// The coordinator is in this process.
    async fn alone(
        &self,
        out: &Output,
        folders: &Folders,
        listening: Listening,
    ) -> Result<Verdict, Problem> {
        let mut options = petctl_rendezvous::Options::new(folders.work.path().join("coordinator"));
        options.engine = Engine::Memory;
        options.program_version = self.version.to_owned();
        let token = random_token().map_err(|error| {
            Error::new(Code::Bug, "the system gives no random numbers")
                .because(&std::io::Error::other(error))
        })?;
        options.token = Some(token.clone());
        let handle = Coordinator::start(options)
            .await
            .map_err(|error| start_error(&error))?;
        let address = handle.address();
        let endpoint = super::endpoint::Endpoint {
            host: address.ip().to_string(),
            port: address.port(),
        };
        let point = MeetingPoint {
            endpoint: &endpoint,
            listen: None,
            token: &token,
            job: self.job,
        };
        let ended = self.together(out, &point, None, listening).await;
        stop(&handle).await;
        ended
    }

    async fn together(
        &self,
        out: &Output,
        point: &MeetingPoint<'_>,
        node_rank: Option<u32>,
        mut listening: Listening,
    ) -> Result<Verdict, Problem> {
        let deadline = Instant::now() + self.arguments.conf.join_timeout;
        let mut hosted = None;
        let mut name = name();
        loop {
            let joined = tokio::select! {
                joined = point.join(&mut hosted, deadline, out) => joined?,
                number = listening.next() => return Ok(Verdict::Signal(number)),
            };
            let (sender, news) = unbounded_channel();
            let options = self.options(point, node_rank, name.clone(), sender);
            let mut agent = self.agent(out, joined, options, listening, news);
            let ended = agent.run().await;
            // With it its connections go: the coordinator waits for them.
            listening = agent.into_signals();
            match ended {
                Ok(Verdict::Again) if Instant::now() < deadline => {}
                Err(error) if error.is(Code::WorkerNameTaken) => {
                    // Two containers with one host name, and the same process id in each.
                    name = format!(
                        "{name}-{:04x}",
                        getrandom::u32().unwrap_or_default() & 0xffff
                    );
                }
                Ok(verdict) => {
                    if let (Verdict::Exit(_), Some(hosted)) = (verdict, hosted) {
                        farewell(hosted).await;
                    }
                    return Ok(verdict);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn options(
        &self,
        point: &MeetingPoint<'_>,
        node_rank: Option<u32>,
        name: String,
        news: UnboundedSender<News>,
    ) -> Options {
        let mut options = Options::new(point.endpoint.to_string(), name);
        options.token = Some(Secret::new(point.token.expose()));
        options.job = self.job.spec.name.clone();
        options.program_version = self.version.to_owned();
        options.node_rank = node_rank;
        options.guard = Some(petctl_ui::program::guard());
        options.advertise = self.arguments.local_addr.clone();
        let mut own = self.own.clone();
        own.news = Some(news);
        options.external_command = Some(own);
        options
    }

    fn agent<'a>(
        &self,
        out: &'a Output,
        joined: Joined,
        options: Options,
        signals: Listening,
        news: UnboundedReceiver<News>,
    ) -> Agent<'a> {
        Agent {
            out,
            options,
            client: joined.client,
            job: joined.job_id.to_string(),
            script: self.arguments.script.to_string_lossy().into_owned(),
            signals,
            stop_signal: self.own.stop_signal.clone(),
            news,
            join_timeout: self.arguments.conf.join_timeout,
            error_file: std::env::var_os("TORCHELASTIC_ERROR_FILE")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
        }
    }
}

/// Where a container ends with the node that it was made for, the coordinator would go before the others have heard
/// how the run ended.
async fn farewell(hosted: Hosted) {
    let ended = tokio::task::spawn_blocking(move || hosted.ended());
    let _late = tokio::time::timeout(FAREWELL, ended).await;
}

async fn stop(handle: &Handle) {
    handle.shutdown();
    let _late = tokio::time::timeout(FAREWELL, handle.stopped()).await;
}

/// Folders of this node.
struct Folders {
    /// Sockets, heartbeat files, the coordinator's state.
    work: Scratch,
    logs: Option<Scratch>,
    /// Made because no folder was named; goes if nothing is in it.
    log_root: Option<Scratch>,
}

impl Folders {
    fn make(arguments: &Arguments, run_id: &str) -> Result<Self, Problem> {
        let work = Scratch::make("petctl-torchrun")?;
        let prefix = job::name(run_id);
        let prefix = prefix.strip_prefix("torchrun-").unwrap_or(&prefix);
        let (root, log_root) = match arguments.log_dir.as_deref() {
            Some("/dev/null") => {
                return Ok(Self {
                    work,
                    logs: None,
                    log_root: None,
                });
            }
            Some(folder) => (absolute(folder)?, None),
            None => {
                let root = Scratch::make("torchelastic")?;
                (root.path().to_owned(), Some(root))
            }
        };
        let logs = Scratch::make_in(&root, prefix)?;
        Ok(Self {
            work,
            logs: Some(logs),
            log_root,
        })
    }

    fn finish(&mut self) {
        for folder in [&mut self.logs, &mut self.log_root].into_iter().flatten() {
            folder.keep_if_used();
        }
    }
}

fn absolute(folder: &str) -> Result<PathBuf, Problem> {
    let failed = |error: std::io::Error| {
        Error::new(
            Code::TorchrunFolder,
            format!(
                "can't make the log folder {}",
                petctl_ui::terminal::printable(folder)
            ),
        )
        .because(&error)
        .fix(Obstacle::of(&error).fix_writing("name another one by --log-dir"))
    };
    let path = std::path::absolute(folder).map_err(failed)?;
    if path.is_file() {
        return Err(failed(std::io::Error::other("it is a file")).into());
    }
    std::fs::create_dir_all(&path).map_err(failed)?;
    Ok(path)
}

fn external_command(
    arguments: &Arguments,
    count: u32,
    run_id: String,
    folders: &Folders,
) -> Result<ExternalCommand, Problem> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let called = std::env::args_os()
        .next()
        .filter(|called| Path::new(called).file_name() == Some(OsStr::new(super::NAME)))
        .and_then(|called| find_called(&called, &path));
    let python = interpreter(&Surroundings {
        python_exec: std::env::var_os("PYTHON_EXEC"),
        called,
        virtual_env: std::env::var_os("VIRTUAL_ENV").map(PathBuf::from),
        path,
    });
    let bindings = numa::bindings(arguments.numa_binding, count)?;
    let environment = environment(arguments);
    Ok(ExternalCommand {
        processes: processes(arguments, &python, count, &environment, &bindings)?,
        folder: std::env::current_dir().map_err(|error| {
            Error::new(
                Code::TorchrunFolder,
                "the folder that this was started in is gone",
            )
            .because(&error)
            .fix("start it in a folder that is there")
        })?,
        work_folder: folders.work.path().to_owned(),
        run_id,
        role: arguments.role.clone(),
        grace: arguments.shutdown_timeout,
        log_folder: folders.logs.as_ref().map(|logs| logs.path().to_owned()),
        stdout_filters: arguments.stdout_filters.clone(),
        stderr_filters: arguments.stderr_filters.clone(),
        prefix: std::env::var("TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE").ok(),
        stop_signal: StopSignal::default(),
        news: None,
    })
}

/// What the processes inherit: all but what is petctl's own, tokens among it.
fn environment(arguments: &Arguments) -> Vec<(OsString, OsString)> {
    let names: Vec<&str> = arguments
        .signals
        .iter()
        .filter_map(|number| super::signals::name(*number))
        .collect();
    std::env::vars_os()
        .filter(|(name, _)| !name.to_string_lossy().starts_with("PETCTL_"))
        .filter(|(name, _)| name != "TORCHELASTIC_SIGNALS_TO_HANDLE")
        .chain([(
            "TORCHELASTIC_SIGNALS_TO_HANDLE".into(),
            names.join(",").into(),
        )])
        .collect()
}

fn wanted(arguments: &Arguments) -> Result<u32, String> {
    if let Some(wanted) = arguments.conf.wanted {
        return Ok(wanted);
    }
    let variable = std::env::var(WANTED_VARIABLE).ok();
    let Some(text) = variable.filter(|text| !text.trim().is_empty()) else {
        return Ok(arguments.max_nodes);
    };
    let range = arguments.min_nodes..=arguments.max_nodes;
    match text.trim().parse() {
        Ok(wanted) if range.contains(&wanted) => Ok(wanted),
        Ok(_) | Err(_) => Err(format!(
            "{WANTED_VARIABLE} `{}` is no number between {} and {} of --nnodes",
            petctl_ui::terminal::printable(&text),
            arguments.min_nodes,
            arguments.max_nodes
        )),
    }
}

/// A node alone that was given no id has one of its own.
fn run_id(arguments: &Arguments, meeting: &Meeting) -> Result<String, Error> {
    let unnamed = arguments.standalone || arguments.id == "none" || arguments.id.is_empty();
    if *meeting != Meeting::Alone || !unnamed {
        return Ok(arguments.id.clone());
    }
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(Code::Bug, "the system gives no random numbers")
            .because(&std::io::Error::other(error))
    })?;
    let hex = petctl_text::hex(&bytes);
    let parts: Vec<&str> = [0..8, 8..12, 12..16, 16..20, 20..32]
        .into_iter()
        .filter_map(|range| hex.get(range))
        .collect();
    Ok(parts.join("-"))
}

fn token(arguments: &Arguments) -> Result<Option<Secret>, Error> {
    let file = arguments.conf.token_file.clone();
    let file = file.or_else(|| std::env::var_os("PETCTL_TOKEN_FILE").map(PathBuf::from));
    if let Some(file) = file.filter(|file| !file.as_os_str().is_empty()) {
        return read_secret(Some(&file), None);
    }
    let given = std::env::var_os("PETCTL_TOKEN").is_some_and(|token| !token.is_empty());
    read_secret(None, given.then_some("env:PETCTL_TOKEN"))
}

fn name() -> String {
    let system = rustix::system::uname();
    format!(
        "{}-{}",
        system.nodename().to_string_lossy(),
        std::process::id()
    )
}
