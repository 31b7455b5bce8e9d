//! `petctl storage create`

use super::access::AccessArgs;
use super::location::Location;
use clap::Args;
use petctl_job::Context;
use petctl_storage::Need;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;

/// Makes a container.
#[derive(Debug, Args)]
#[command(after_help = "\
A container that is there already is left as it is.

Examples:
  petctl storage create az://raw
  petctl storage create az://raw --account NAME --account-key env:KEY")]
pub(crate) struct CreateArgs {
    /// az://CONTAINER.
    location: String,

    #[command(flatten)]
    access: AccessArgs,
}

pub(crate) async fn run(context: &Context, args: CreateArgs) -> Result<Exit> {
    let location = Location::read(&args.location)?;
    if !location.is_blob() {
        let what = format!(
            "create makes a container, and {} is a path on this machine",
            location.shown()
        );
        return Err(Error::new(Code::Usage, what).fix(
            "write its address: petctl storage create az://CONTAINER; folders are made by what is put into them",
        ));
    }
    if !location.prefix.is_empty() {
        return Err(Error::new(
            Code::Usage,
            format!("{} is no container: it has a prefix", location.shown()),
        )
        .fix("name the container alone; prefixes need not be made"));
    }
    let store = location.open(&args.access.access(None)?)?;
    store.require(&[Need::Create])?;
    let made = store.create().await?;
    let what = if made { "made" } else { "was there already" };
    context.out.line(&format!("{}: {what}", location.shown()));
    Ok(Exit::Success)
}
