//! `petctl worker`

use clap::Args;
use petctl_client::ConnectArgs;
use petctl_client::read_secret;
use petctl_job::Context;
use petctl_job::log;
use petctl_local::worker_error;
use petctl_output::logs::Echo;
use petctl_rendezvous::job_of_token;
use petctl_text::Secret;
use petctl_ui::arguments::parse_duration_ms;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::runtime::runtime;
use petctl_ui::signals::{Signal, Signals};
use petctl_worker::{Ended, Options, Shutdown};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;

/// How long a drained worker with `--stay` waits to be told to end.
const STAY: Duration = Duration::from_secs(5);

/// Runs shards and training processes for a coordinator, until it is told to end.
///
/// SIGTERM or Ctrl-C: it says that it leaves, stops what runs with its grace, hands it back, and ends. A second one
/// kills what still runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  petctl worker --coordinator https://head:7370 --ca-file ca.pem --token-file token --slots 4
  petctl worker --coordinator http://127.0.0.1:7370 --token env:PETCTL_TOKEN --gpus 2 --job resim")]
pub(crate) struct WorkerArgs {
    #[command(flatten)]
    connect: ConnectArgs,

    /// Name for people, unique among the coordinator's workers [default: the host's name and this process's id].
    #[arg(long)]
    name: Option<String>,

    /// Shards at a time.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(petctl_spec::MAX_SLOTS)))]
    slots: u32,

    /// GPUs of this worker.
    #[arg(long, value_name = "N", default_value_t = 0)]
    gpus: u32,

    /// Serve only this job, and end when it needs this worker no more [default: that of a worker's token, or any].
    #[arg(long, value_name = "JOB")]
    job: Option<String>,

    /// How other workers reach this one: an IP address or a host name [default: found by itself].
    #[arg(long, value_name = "HOST")]
    address: Option<String>,

    /// Its place among the workers of a training group, 0 is the first; give one to all workers or to none.
    #[arg(long, value_name = "N")]
    node_rank: Option<u32>,

    /// How long to look for a coordinator that is away, while nothing runs.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_duration_ms)]
    patience: u64,

    /// Where data of jobs in blob storage is kept while it is worked on [default: below the system's folder for
    /// temporary files].
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,

    /// Name of the machine that it runs on; for pods.
    #[arg(long, value_name = "NAME", hide = true)]
    host: Option<String>,

    /// Its number among the workers of its place; for pods.
    #[arg(long, value_name = "N", hide = true)]
    index: Option<u32>,

    /// Where the code that jobs bring is unpacked; for pods.
    #[arg(long, value_name = "DIR", hide = true)]
    code: Option<PathBuf>,

    /// CPUs that shards may ask for, in thousandths; for pods.
    #[arg(long, value_name = "N", hide = true)]
    cpu_milli: Option<u32>,

    /// Memory that shards may ask for, in MiB; for pods.
    #[arg(long, value_name = "N", hide = true)]
    memory_mib: Option<u64>,

    /// Once drained, wait to be told to end, and end as one that was: a place that starts ended workers again must take
    /// this one away first. For pods.
    #[arg(long, hide = true)]
    stay: bool,

    /// Show what commands print on stdout, beside keeping it; for pods.
    #[arg(long, hide = true)]
    echo: bool,

    /// Folder in which commands run, instead of the job's; for `petctl run`.
    #[arg(long, value_name = "DIR", hide = true)]
    folder: Option<PathBuf>,

    /// Run the job's stages with `run_mode = "local"` only, and belong to no pool; for `petctl run`.
    #[arg(long, hide = true)]
    local_stages: bool,

    /// Identity of this process, 32 hex digits; for a parent that must find what it left running.
    #[arg(long, value_name = "HEX", hide = true)]
    id: Option<String>,
}

pub(crate) fn run(context: &Context, args: WorkerArgs) -> Result<Exit> {
    let address = args
        .connect
        .coordinator
        .clone()
        .filter(|address| !address.is_empty())
        .ok_or_else(|| {
            Error::new(
                Code::Usage,
                "a worker needs a coordinator, and none was named",
            )
            .fix("petctl worker --coordinator https://HOST:PORT --ca-file FILE --token-file FILE")
        })?;
    let token = read_secret(
        args.connect.token_file.as_deref(),
        args.connect.token.as_deref(),
    )?;
    let trust = args.connect.trust(&address)?;
    // A worker's token says of which job it is.
    let its_job = token.as_ref().and_then(job_of_token).map(str::to_owned);
    log::to_stderr();
    let name = args.name.unwrap_or_else(default_name);
    let mut options = Options::new(address, name);
    options.token = token.map(|token| Secret::new(token.expose()));
    options.trust = trust;
    options.worker_id = args.id;
    options.job = args.job.or(its_job).unwrap_or_default();
    options.slots = args.slots;
    options.gpus = args.gpus;
    options.advertise = args.address;
    options.node_rank = args.node_rank;
    options.scratch = args.scratch;
    options.local_stages = args.local_stages;
    options.index = args.index;
    options.host = args.host;
    options.cpu_milli = args.cpu_milli;
    options.memory_mib = args.memory_mib;
    options.code = args.code;
    options.folder = args.folder;
    if args.echo {
        let started = Echo::start(std::io::stdout());
        let started = started.inspect_err(|error| {
            tracing::warn!(%error, "can't show what commands print; their logs are kept");
        });
        options.echo = started.ok();
    }
    options.guard = Some(petctl_ui::program::guard());
    options.program_version = context.version.to_owned();
    options.coordinator_grace = Duration::from_millis(args.patience);
    let runtime = runtime(2)?;
    let ended = runtime.block_on(serve(options, args.stay));
    runtime.shutdown_background();
    ended
}

async fn serve(options: Options, stay: bool) -> Result<Exit> {
    let mut signals = Signals::listen()?;
    let shutdown = Shutdown::default();
    let tokens = shutdown.clone();
    let (told, mut was_told) = watch::channel(Exit::Success);
    let watching = tokio::spawn(async move {
        let mut first = Exit::Success;
        loop {
            let exit = match signals.next().await {
                Signal::Interrupt => Exit::Interrupted,
                Signal::Terminate => Exit::Terminated,
                // Nobody looks any more; the coordinator still counts on it.
                Signal::HangUp => continue,
            };
            if first == Exit::Success {
                first = exit;
                told.send_replace(exit);
                tracing::info!("told to leave; once more kills what runs");
                tokens.drain.cancel();
            } else {
                tokens.now.cancel();
            }
        }
    });
    let ended = petctl_worker::run(options, shutdown).await;
    let mut exit = Exit::Success;
    match ended {
        Ok(Ended::Drained { reason }) => {
            tracing::info!(%reason, "drained");
            if stay {
                tracing::info!("waits to be told to end");
                // The sender lives as long as its task, which is ended below.
                let told = was_told.wait_for(|exit| *exit != Exit::Success);
                // Nobody takes one away that was drained by hand: it ends by itself, and another one comes.
                let told = tokio::time::timeout(STAY, told).await;
                exit = match told {
                    Ok(Ok(exit)) => *exit,
                    Ok(Err(_)) | Err(_) => Exit::Terminated,
                };
            }
        }
        Ok(Ended::Released { code, message }) => tracing::info!(%code, %message, "released"),
        Ok(Ended::Left | Ended::Stopped) => {
            tracing::info!("left");
            if stay {
                exit = *was_told.borrow();
            }
        }
        Err(error) => return Err(worker_error(&error)),
    }
    watching.abort();
    Ok(exit)
}

fn default_name() -> String {
    let system = rustix::system::uname();
    format!(
        "{}-{}",
        system.nodename().to_string_lossy(),
        std::process::id()
    )
}
