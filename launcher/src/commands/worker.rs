//! `petctl worker`

use super::{Context, runtime};
use crate::backend::signals::{Signal, Signals};
use crate::cli::{ConnectArgs, VERSION, parse_duration_ms};
use crate::client::read_secret;
use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use crate::log;
use clap::Args;
use petctl_worker::{Ended, Options, Shutdown, Token, WorkerError};
use std::path::PathBuf;
use std::time::Duration;

/// Runs shards and training processes for a coordinator, until it is told to end.
///
/// SIGTERM or Ctrl-C: it says that it leaves, stops what runs with its grace, hands it back, and ends. A second one
/// kills what still runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  petctl worker --coordinator http://head:7370 --token-file token --slots 4
  petctl worker --coordinator http://head:7370 --token env:PETCTL_TOKEN --gpus 2 --job resim")]
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

    /// Serve only this job, and end when it needs this worker no more.
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

    /// Run the job's stages with `run_mode = "local"` only, and belong to no pool; for `petctl run`.
    #[arg(long, hide = true)]
    launcher: bool,

    /// Identity of this process, 32 hex digits; for a parent that must find what it left running.
    #[arg(long, value_name = "HEX", hide = true)]
    id: Option<String>,
}

pub(crate) fn run(_context: &Context, args: WorkerArgs) -> Result<Exit> {
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
            .fix("petctl worker --coordinator http://HOST:PORT --token-file FILE")
        })?;
    let token = read_secret(
        args.connect.token_file.as_deref(),
        args.connect.token.as_deref(),
    )?;
    log::to_stderr();
    let name = args.name.unwrap_or_else(default_name);
    let mut options = Options::new(address, name);
    options.token = token.map(|token| Token::new(token.expose()));
    options.worker_id = args.id;
    options.job = args.job.unwrap_or_default();
    options.slots = args.slots;
    options.gpus = args.gpus;
    options.advertise = args.address;
    options.node_rank = args.node_rank;
    options.scratch = args.scratch;
    options.launcher = args.launcher;
    options.guard = Some(super::guard::command());
    options.program_version = VERSION.to_owned();
    options.coordinator_grace = Duration::from_millis(args.patience);
    let runtime = runtime(2)?;
    let ended = runtime.block_on(serve(options));
    runtime.shutdown_background();
    ended
}

async fn serve(options: Options) -> Result<Exit> {
    let mut signals = Signals::listen()?;
    let shutdown = Shutdown::default();
    let tokens = shutdown.clone();
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
                tracing::info!("told to leave; once more kills what runs");
                tokens.drain.cancel();
            } else {
                tokens.now.cancel();
            }
        }
    });
    let ended = petctl_worker::run(options, shutdown).await;
    watching.abort();
    match ended {
        Ok(Ended::Drained { reason }) => tracing::info!(%reason, "drained"),
        Ok(Ended::Released { code, message }) => tracing::info!(%code, %message, "released"),
        Ok(Ended::Left) => tracing::info!("left"),
        Ok(Ended::Stopped) => tracing::info!("stopped"),
        Err(error) => return Err(failed(&error)),
    }
    Ok(Exit::Success)
}

pub(crate) fn failed(error: &WorkerError) -> Error {
    match error {
        WorkerError::BadOption { what, fix } => {
            Error::foreign(error.code(), Exit::Usage, what).fix(*fix)
        }
        WorkerError::CoordinatorLost {
            address,
            waited,
            cause,
        } => {
            let message = format!("no coordinator at {address} for {} s", waited.as_secs());
            Error::foreign(error.code(), Exit::Unreachable, message)
                .because(&std::io::Error::other(cause.clone()))
                .fix("check that it runs, and that the address is right")
        }
        WorkerError::System { source, .. } => {
            Error::foreign(error.code(), Exit::TryAgain, error.to_string())
                .because(source)
                .fix("look at the limits on processes and open files (`ulimit -a`)")
        }
        WorkerError::Refused {
            address,
            code,
            message,
        } => refused(address, code, message),
    }
}

/// A refusal. The coordinator's sentences end with "; what to do", or say only what is wrong.
fn refused(address: &str, code: &str, message: &str) -> Error {
    if !code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') {
        // No coordinator's word, but that of gRPC.
        let what = format!("{address} is no coordinator, or one of another version");
        return Error::new(Code::NotACoordinator, what)
            .because(&std::io::Error::other(format!("{code}: {message}")))
            .fix("check the address, and that both sides are of the same version (`petctl --version`)");
    }
    let exit = match code {
        "TOKEN_MISSING" | "TOKEN_WRONG" => Exit::NotAllowed,
        "PROTOCOL_MISMATCH" | "WORKER_NAME_TAKEN" => Exit::BadConfiguration,
        _ => Exit::TryAgain,
    };
    let (what, fix) = message
        .split_once("; ")
        .unwrap_or((message, "use one version of petctl everywhere (`petctl --version`); if it is the same, report this as a bug"));
    let what = format!("the coordinator at {address} refused this worker: {what}");
    Error::foreign(code, exit, what).fix(fix)
}

fn default_name() -> String {
    let system = rustix::system::uname();
    format!(
        "{}-{}",
        system.nodename().to_string_lossy(),
        std::process::id()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_its_code_once_with_what_to_do_and_its_exit_code() {
        for (code, message, exit) in [
            (
                "TOKEN_WRONG",
                "it is another's; give the right one",
                Exit::NotAllowed,
            ),
            (
                "PROTOCOL_MISMATCH",
                "the worker speaks another version; use one",
                Exit::BadConfiguration,
            ),
            (
                "WORKER_NAME_TAKEN",
                "a worker called `w` is connected; use another",
                Exit::BadConfiguration,
            ),
            (
                "BAD_MESSAGE",
                "a worker's name has 1 to 255 bytes",
                Exit::TryAgain,
            ),
            ("Unimplemented", "no such thing", Exit::Unreachable),
        ] {
            let error = failed(&WorkerError::Refused {
                address: "http://h:1".to_owned(),
                code: code.to_owned(),
                message: message.to_owned(),
            });
            let said = error.to_string();
            assert_eq!(error.exit(), exit, "{said}");
            assert_eq!(said.matches(code).count(), 1, "{said}");
            assert!(said.contains("\n  fix: "), "{said}");
        }
    }
}
