//! `petctl storage cat`

use super::access::AccessArgs;
use super::location::Location;
use super::ls::nothing;
use clap::Args;
use petctl_job::Context;
use petctl_storage::{Need, StorageProblem};
use petctl_transfer::{Item, NoProgress, pour};
use petctl_ui::error::Result;
use petctl_ui::exit::Exit;
use tokio::sync::mpsc;

/// Writes the bytes of a file to stdout.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  petctl storage cat az://raw/us101/scene.xml | head
  petctl storage cat az://extracted/us101/summary/all/results_summary.json | jq .")]
pub(crate) struct CatArgs {
    /// az://CONTAINER/NAME or a local file.
    location: String,

    #[command(flatten)]
    access: AccessArgs,
}

pub(crate) async fn run(context: &Context, args: CatArgs) -> Result<Exit> {
    let location = Location::read(&args.location)?;
    let store = location.open(&args.access.access(None)?)?;
    store.require(&[Need::Read])?;
    let properties = if location.prefix.is_empty() {
        None
    } else {
        store.head(&location.prefix).await?
    };
    let Some(properties) = properties else {
        return Err(nothing(&location).into());
    };
    let item = Item {
        source: location.prefix.clone(),
        name: location.prefix.clone(),
        properties,
        sha256: None,
    };
    let (sender, mut bytes) = mpsc::channel(16);
    let poured = pour(&store, &item, sender, &NoProgress);
    let shown = async {
        while let Some(bytes) = bytes.recv().await {
            context.out.data(&bytes);
            // Nobody reads any more (`| head`): dropping the channel ends the fetch.
            if context.out.is_closed() {
                break;
            }
        }
        drop(bytes);
    };
    let (poured, ()) = tokio::join!(poured, shown);
    match poured {
        Err(error) if error.problem == StorageProblem::Local && context.out.is_closed() => {
            Ok(Exit::Success)
        }
        Err(error) => Err(error.into()),
        Ok(()) => Ok(Exit::Success),
    }
}
