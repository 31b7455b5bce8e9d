//! `petctl storage serve`

use clap::Args;
use petctl_azurite::{self as azurite, ACCOUNT, Azurite, AzuriteOptions};
use petctl_job::Context;
use petctl_job::watch::exit_of;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::shell::quote;
use petctl_ui::signals::Signals;
use std::path::PathBuf;

/// Starts Azurite, Azure's own emulator of blob storage, on this machine.
#[derive(Debug, Args)]
#[command(after_help = "\
The first start installs it with npm into $XDG_CACHE_HOME/petctl. stdout says what to put into the environment or a job \
file. It runs until Ctrl-C.

Examples:
  petctl storage serve                  in memory, on port 10000
  petctl storage serve --folder blobs   what is stored is there at the next start
  petctl storage serve --port 0         on a free port")]
pub(crate) struct ServeArgs {
    /// Where it keeps the blobs [default: in memory, gone when it ends].
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,

    /// Its port on 127.0.0.1; 0: a free one.
    #[arg(long, value_name = "PORT", default_value_t = 10_000)]
    port: u16,
}

pub(crate) async fn run(context: &Context, args: ServeArgs) -> Result<Exit> {
    let mut signals = Signals::listen()?;
    if azurite::installed().is_none() {
        context.out.say(&format!(
            "installing Azurite {} with npm; this happens once",
            azurite::VERSION
        ));
    }
    let folder = args.folder.as_deref().map(std::path::absolute).transpose();
    let folder =
        folder.map_err(|error| Error::new(Code::Usage, "can't use that folder").because(&error))?;
    let options = AzuriteOptions {
        folder,
        port: args.port,
    };
    let start = tokio::task::spawn_blocking(move || Azurite::start(options));
    let started = tokio::select! {
        started = start => started,
        signal = signals.next() => return Ok(exit_of(signal)),
    };
    let azurite = started.map_err(|error| {
        Error::new(Code::Bug, "the start of Azurite did not end").because(&error)
    })??;
    let endpoint = azurite.endpoint();
    let connection = format!(
        "DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={};BlobEndpoint={endpoint};",
        azurite.key()
    );
    context.out.line(&format!(
        "export AZURE_STORAGE_CONNECTION_STRING={}",
        quote(&connection)
    ));
    context.out.say(&format!(
        "or in a job file:\n  [storage]\n  account = \"{ACCOUNT}\"\n  endpoint = \"{endpoint}\"\n\
         or with commands: --account {ACCOUNT} --endpoint {endpoint}\n\
         the key is the one that Microsoft has published for its emulator\n\
         running; Ctrl-C ends it"
    ));
    let signal = signals.next().await;
    let ended = tokio::task::spawn_blocking(move || drop(azurite)).await;
    ended.map_err(|error| {
        Error::new(Code::Bug, "the end of Azurite did not come").because(&error)
    })?;
    Ok(exit_of(signal))
}
