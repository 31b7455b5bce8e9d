//! `petctl storage cat`

use super::access::AccessArgs;
use super::location::Location;
use super::ls::nothing;
use clap::Args;
use petctl_job::Context;
use petctl_storage::{Need, SharedStore, StorageProblem};
use petctl_transfer::{Item, NoProgress, pour};
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::shell::quote;
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

/// There is no file of that name; there may be some below it.
async fn no_file(location: &Location, store: &SharedStore) -> Result<Error> {
    let below = store.list(&location.folder_prefix(), None).await?;
    if below.entries.is_empty() {
        return Ok(nothing(location).into());
    }
    let shown = location.shown();
    let what = format!("cat shows one file, and {shown} is a folder");
    Ok(Error::new(Code::Usage, what).fix(format!(
        "name a file in it: petctl storage ls {} shows them; or fetch all of it: petctl download {} FOLDER",
        quote(&shown),
        quote(&shown)
    )))
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
        return Err(no_file(&location, &store).await?);
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
