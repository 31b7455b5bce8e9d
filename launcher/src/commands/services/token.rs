//! `petctl token`

use clap::Args;
use petctl_client::read_secret;
use petctl_job::Context;
use petctl_local::start_error;
use petctl_rendezvous::{job_of_token, read_token, worker_token};
use petctl_text::words::is_name;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use std::path::{Path, PathBuf};

/// Prints a token for workers of one job: it opens nothing else at the coordinator.
///
/// It is made of the coordinator's own token, and asks nobody: the job need not be there yet. Another token of the
/// coordinator makes all of them worthless.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  petctl token --job us101 > worker-token                       on the coordinator's machine
  petctl token --job us101 --token-file token > worker-token    with a copy of its token
  petctl worker --coordinator https://head:7370 --ca-file ca.pem --token-file worker-token")]
pub(crate) struct TokenArgs {
    /// The job that its workers may serve.
    #[arg(long, value_name = "JOB")]
    job: String,

    /// Folder of the coordinator's state [default: `rendezvous` in petctl's folder].
    #[arg(long, value_name = "DIR", conflicts_with = "token")]
    state: Option<PathBuf>,

    /// File with the coordinator's own token, instead of its state.
    #[arg(
        long,
        value_name = "FILE",
        env = "PETCTL_TOKEN_FILE",
        hide_env_values = true
    )]
    token_file: Option<PathBuf>,

    /// Where else that token is: env:NAME, file:PATH, or - for stdin. Never the token itself.
    #[arg(long, value_name = "SOURCE")]
    token: Option<String>,
}

pub(crate) fn run(context: &Context, args: TokenArgs) -> Result<Exit> {
    if !is_name(&args.job) {
        let what = format!("`{}` is no name of a job", args.job);
        return Err(Error::new(Code::Usage, what)
            .fix("a job is called as its file says: small letters, digits and `-`"));
    }
    let token = match args.state {
        // Typed, it counts more than a variable.
        Some(state) => of_state(&state)?,
        None => match read_secret(args.token_file.as_deref(), args.token.as_deref())? {
            Some(token) => token,
            None => of_state(&context.home()?.root().join("rendezvous"))?,
        },
    };
    if job_of_token(&token).is_some() {
        let what = "a worker's token makes no tokens";
        return Err(Error::new(Code::TokenOfWorker, what)
            .fix("give the coordinator's own: the file `token` of its state folder"));
    }
    context.out.line(worker_token(&token, &args.job).expose());
    Ok(Exit::Success)
}

fn of_state(state: &Path) -> Result<petctl_text::Secret> {
    let token = read_token(state).map_err(|error| start_error(&error))?;
    token.ok_or_else(|| {
        let what = format!("no coordinator has left a token in {}", state.display());
        Error::new(Code::TokenUnreadable, what)
            .fix("name its state by --state, or a copy of its token by --token-file")
    })
}
