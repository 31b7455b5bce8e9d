//! `petctl delete-resources`

use crate::record::Record;
use crate::shown;
use crate::site::{AzureArgs, SiteArgs};
use clap::Args;
use petctl_arm::Removal;
use petctl_azure::Resource;
use petctl_job::Context;
use petctl_ui::error::Result;
use petctl_ui::exit::Exit;
use petctl_ui::terminal::count;
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
    #[command(flatten)]
    site: SiteArgs,

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
    let site = args.site.find(&args.azure)?;
    let arm = site.arm(context).await?;
    let record = Record::open(context, &site.blueprint.subscription, &site.name)?;
    let removal = Removal::look(&arm, &site.blueprint, &record.ids(), args.keep_data).await?;
    for (what, why) in &removal.stays {
        context.out.line(&format!("= {what}: stays, {why}"));
    }
    for doomed in &removal.doomed {
        context.out.line(&format!("- {doomed}"));
    }
    let many = count(removal.doomed.len() as u64, "resource", "resources");
    if removal.doomed.is_empty() {
        context.out.line(&format!(
            "{}: nothing of petctl's is left in Azure",
            site.name
        ));
        if args.dry_run {
            return Ok(Exit::Success);
        }
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
    let say = |doomed: &Resource, took: Duration| {
        let took = shown(took);
        context.out.say(&format!("{doomed}: removed ({took})"));
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
