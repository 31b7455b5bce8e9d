//! `petctl rendezvous`

use clap::{Args, ValueEnum};
use petctl_client::read_secret;
use petctl_job::Context;
use petctl_job::home::{make_private, state_error};
use petctl_job::log;
use petctl_kube::{Keeper, Sharing};
use petctl_local::{set_heartbeat_timeout, start_error};
use petctl_rendezvous::{Coordinator, Handle, Options, StopReason, TlsOptions, ca_path};
use petctl_ui::arguments::parse_duration_ms;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::runtime::runtime;
use petctl_ui::shell::quote;
use petctl_ui::signals::{Signal, Signals};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Where a pod is told its namespace.
const NAMESPACE_VARIABLE: &str = "POD_NAMESPACE";

/// Runs a coordinator on its own, for workers and clients on several machines.
///
/// It may be stopped and started again at any time: running shards go on, nothing finished runs again. Other machines
/// reach it with TLS, by a CA of its own, which it makes in its state and whose file it names at its start.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  petctl rendezvous                                 on this machine only
  petctl rendezvous --listen 0.0.0.0:7370           for workers on other machines
  petctl rendezvous --http 127.0.0.1:7371           with probes and metrics for Prometheus
  petctl worker --coordinator https://head:7370 --ca-file ca.pem --token-file token
  petctl run job.toml --coordinator https://head:7370 --ca-file ca.pem --token-file token")]
pub(crate) struct RendezvousArgs {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7370")]
    listen: SocketAddr,

    /// Address and port for probes and metrics over HTTP (/healthz, /readyz, /metrics): without a token, and nothing
    /// secret is told there; port 0 takes a free one [default: none].
    #[arg(long, value_name = "ADDRESS:PORT")]
    http: Option<SocketAddr>,

    /// Folder of its state [default: `rendezvous` in petctl's folder].
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// File with the token that clients and workers must show [default: `token` in its state, made if missing].
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Speak TLS on loopback too; elsewhere it is spoken anyway.
    #[arg(long, conflicts_with = "plain_text")]
    tls: bool,

    /// Speak no TLS, though other machines may connect: whoever can read the network reads data and tokens.
    #[arg(long)]
    plain_text: bool,

    /// A worker that is not heard of for this long is given up.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration_ms)]
    heartbeat_timeout: u64,

    /// Start workers as pods of the cluster in which this runs; `petctl setup` installs a coordinator that does.
    #[arg(long)]
    keep_pods: bool,

    /// Start them in these namespaces too, where a role lets it; `petctl setup --namespace-scope` says so.
    #[arg(
        long,
        value_name = "NAMESPACE,...",
        value_delimiter = ',',
        requires = "keep_pods"
    )]
    namespaces: Vec<String>,

    /// Start no more of them than this, of all jobs together [default: as many as the cluster takes].
    #[arg(
        long,
        value_name = "COUNT",
        requires = "keep_pods",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    max_pods: Option<u32>,

    /// Who gets them where they are too few for all jobs: whoever has the fewest, or whoever was submitted first.
    #[arg(long, value_enum, requires = "max_pods", default_value_t = SharingArg::Fair)]
    sharing: SharingArg,
}

/// Who gets pods where they are too few.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SharingArg {
    Fair,
    InOrder,
}

impl From<SharingArg> for Sharing {
    fn from(sharing: SharingArg) -> Self {
        match sharing {
            SharingArg::Fair => Self::Fair,
            SharingArg::InOrder => Self::InOrder,
        }
    }
}

pub(crate) fn run(context: &Context, args: RendezvousArgs) -> Result<Exit> {
    if args.http == Some(args.listen) && args.listen.port() != 0 {
        let what = format!("--http and --listen are both {}", args.listen);
        return Err(Error::new(Code::Usage, what).fix("give --http a port of its own"));
    }
    let state = match args.state {
        Some(state) => {
            std::path::absolute(&state).map_err(|error| state_error(&state, "find", &error))?
        }
        None => context.home()?.root().join("rendezvous"),
    };
    let token = read_secret(args.token_file.as_deref(), None)?;
    let is_new = !state.exists();
    make_private(&state).map_err(|error| state_error(&state, "make", &error))?;
    log::to_stderr();
    let mut options = Options::new(&state);
    options.listen = Some(args.listen);
    options.http = args.http;
    options.token = token;
    options.tls = tls(&args.listen, args.tls, args.plain_text, args.keep_pods)?;
    options.program_version = context.version.to_owned();
    set_heartbeat_timeout(&mut options, args.heartbeat_timeout)?;
    if !args.listen.ip().is_loopback() {
        options.config = options.config.for_other_hosts();
    }
    let token_file = args.token_file.unwrap_or_else(|| state.join("token"));
    let threads = std::thread::available_parallelism()
        .map_or(2, usize::from)
        .clamp(2, 8);
    let runtime = runtime(threads)?;
    let ended = runtime.block_on(async {
        let signals = Signals::listen()?;
        let keeper = if args.keep_pods {
            let room = args.max_pods.map(|most| (most, args.sharing.into()));
            Some(Keeper::around(context.version, &namespace()?, &args.namespaces, room).await?)
        } else {
            None
        };
        options.keeper = keeper.clone().map(|keeper| keeper as _);
        let started = Coordinator::start(options).await;
        let handle = started.map_err(|error| {
            let error = start_error(&error);
            // Another one that has just made it uses it.
            if is_new && !error.is(Code::StateInUse) {
                let _stays = std::fs::remove_dir_all(&state);
            }
            error
        })?;
        if let Some(keeper) = keeper {
            tokio::spawn(keeper.run(handle.clone()));
        }
        let files = (&*token_file, &*ca_path(&state));
        serve(context, handle, signals, files, args.keep_pods).await
    });
    runtime.shutdown_background();
    ended
}

/// On by itself where other machines can connect.
fn tls(
    listen: &SocketAddr,
    wanted: bool,
    plain_text: bool,
    keeps_pods: bool,
) -> Result<Option<TlsOptions>> {
    if plain_text || (listen.ip().is_loopback() && !wanted) {
        return Ok(None);
    }
    // petctl looks at none of these; other programs do.
    let mut names = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    let host = host_name();
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    if !host.is_empty() && host.chars().all(is_name) {
        names.push(host);
    }
    if !listen.ip().is_unspecified() && !listen.ip().is_loopback() {
        names.push(listen.ip().to_string());
    }
    if keeps_pods {
        let namespace = namespace()?;
        names.extend(["", ".svc"].map(|end| format!("petctl-coordinator.{namespace}{end}")));
    }
    Ok(Some(TlsOptions {
        names,
        ..TlsOptions::default()
    }))
}

fn host_name() -> String {
    let system = rustix::system::uname();
    system.nodename().to_string_lossy().into_owned()
}

/// The namespace of this process' pod.
fn namespace() -> Result<String> {
    let named = std::env::var(NAMESPACE_VARIABLE).ok();
    named.filter(|name| !name.is_empty()).ok_or_else(|| {
        let what = format!("--keep-pods wants the namespace of its pod in {NAMESPACE_VARIABLE}");
        Error::new(Code::Usage, what)
            .fix("`petctl setup --on NAME` installs a coordinator that has it; leave --keep-pods out elsewhere")
    })
}

async fn serve(
    context: &Context,
    handle: Handle,
    mut signals: Signals,
    (token_file, ca_file): (&Path, &Path),
    keeps_pods: bool,
) -> Result<Exit> {
    let (address, url) = (handle.address(), handle.url());
    context.out.line(&url);
    let file = |path: &Path| quote(&path.display().to_string());
    let ca = match handle.ca() {
        Some(_) => format!(" --ca-file {}", file(ca_file)),
        None => String::new(),
    };
    // "Every address" is none that another machine can call.
    let reached = if address.ip().is_unspecified() {
        let scheme = url.split("://").next().unwrap_or_default();
        format!("{scheme}://{}:{}", host_name(), address.port())
    } else {
        url
    };
    let hint = format!(
        "coordinator listens on {address}; on another machine, with copies of these files:\n  petctl worker \
         --coordinator {reached}{ca} --token-file {}",
        file(token_file)
    );
    if !keeps_pods {
        context.out.say(&hint);
        if let Some(address) = handle.http_address() {
            let hint = format!("probes and metrics are on http://{address}/metrics");
            context.out.say(&hint);
        }
    }
    if handle.ca().is_none() && !address.ip().is_loopback() {
        context
            .out
            .say("it speaks plain text: whoever can read the network reads data and tokens");
    }
    let exit = loop {
        tokio::select! {
            reason = handle.stopped() => return stopped(&reason),
            signal = signals.next() => match signal {
                Signal::Interrupt => break Exit::Interrupted,
                Signal::Terminate => break Exit::Terminated,
                Signal::HangUp => {}
            },
        }
    };
    context
        .out
        .say("stops; workers go on with what they run and come back when it is started again");
    handle.shutdown();
    match handle.stopped().await {
        StopReason::Requested => Ok(exit),
        reason @ (StopReason::EventLog(_) | StopReason::Bug(_)) => stopped(&reason),
    }
}

fn stopped(reason: &StopReason) -> Result<Exit> {
    match reason.code() {
        None => Ok(Exit::Success),
        Some(code) => Err(Error::foreign(
            code.as_str(),
            Exit::TryAgain,
            format!("the coordinator stopped: {reason}"),
        )),
    }
}
