//! `petctl delete-resources`

use crate::record::Record;
use crate::site::{AzureArgs, Site, not_of_azure};
use clap::Args;
use petctl_arm::{Doomed, Removal};
use petctl_job::Context;
use petctl_settings::{Places, Sets};
use petctl_ui::error::Result;
use petctl_ui::exit::Exit;
use petctl_ui::terminal::{count, duration};
use std::path::Path;
use std::time::Duration;

/// Removes what petctl made for a place in Azure, and proves that it is gone.
///
/// Lists first what it would remove, by the tag that petctl gives what it makes and by the record of this machine. What
/// petctl did not make stays, and so does a resource group that holds other things.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  petctl delete-resources --on gpu --dry-run       what would go
  petctl delete-resources --on gpu --keep-data     the cluster goes; storage account and registry stay
  petctl delete-resources --on gpu --yes           in scripts: ask nobody")]
pub struct DeleteResourcesArgs {
    /// The place, as `petctl places` lists them [default: the settings' own].
    #[arg(long, value_name = "PLACE")]
    on: Option<String>,

    /// Override a key of a place, such as place.gpu.azure.cluster=other; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// The storage account with its containers, and the registry, stay.
    #[arg(long)]
    keep_data: bool,

    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,

    /// Do not ask.
    #[arg(short, long)]
    yes: bool,

    #[command(flatten)]
    azure: AzureArgs,
}

/// Runs it.
///
/// # Errors
/// What Azure refuses, and what is left.
pub async fn run(context: &Context, args: DeleteResourcesArgs) -> Result<Exit> {
    let sets = Sets::split(&args.set);
    let places = Places::find(Path::new(""), &sets.places, &|name| {
        std::env::var(name).ok()
    })?;
    let (entry, _) = places.choose(args.on.as_deref())?;
    let Some(site) = Site::of(entry, &args.azure) else {
        return Err(not_of_azure(&entry.name));
    };
    let arm = site.arm(context).await?;
    let record = Record::open(context, &site.blueprint.subscription, &site.name)?;
    let removal = Removal::look(&arm, &site.blueprint, &record.ids(), args.keep_data).await?;
    for (what, why) in &removal.stays {
        context.out.line(&format!("= {what}: stays, {why}"));
    }
    for doomed in &removal.doomed {
        context.out.line(&format!("- {}", doomed.shown));
    }
    let many = count(removal.doomed.len() as u64, "resource", "resources");
    if removal.doomed.is_empty() {
        context.out.line(&format!(
            "{}: nothing of petctl's is left in Azure",
            site.name
        ));
        return forget(&record, &removal);
    }
    if args.dry_run {
        context.out.line(&format!(
            "{}: {many} would be removed; nothing was changed",
            site.name
        ));
        return Ok(Exit::Success);
    }
    let question = format!(
        "Remove {many} with all that they hold from subscription {}?",
        site.blueprint.subscription
    );
    context.confirm(args.yes, &question)?;
    let say = |doomed: &Doomed, took: Duration| {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        context.out.say(&format!(
            "{}: removed ({})",
            doomed.shown,
            duration(took_ms)
        ));
    };
    removal.carry_out(&say).await?;
    context.out.line(&format!(
        "{}: {many} removed; none answers any more",
        site.name
    ));
    forget(&record, &removal)
}

fn forget(record: &Record, removal: &Removal<'_>) -> Result<Exit> {
    let mut gone: Vec<_> = removal
        .doomed
        .iter()
        .map(|doomed| doomed.id.clone())
        .collect();
    // What was written down and is not there any more is gone as well.
    let stays = &removal.stays;
    if stays.is_empty() {
        gone.extend(record.ids());
    }
    record.forget(&gone)?;
    Ok(Exit::Success)
}
