//! `petctl storage rm`

use super::access::AccessArgs;
use super::location::Location;
use super::ls::nothing;
use crate::commands::transfer::{Ended, FilterArgs, watch};
use clap::Args;
use petctl_job::Context;
use petctl_storage::{ETag, Need, SharedStore, StorageError, StorageProblem};
use petctl_transfer::Progress as _;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::terminal::{Meter, bytes, count, printable};
use std::collections::VecDeque;
use tokio::task::JoinSet;

/// Names that are removed at a time.
const AT_ONCE: usize = 32;

/// Removes a file, or everything below a prefix.
#[derive(Debug, Args)]
#[command(after_help = "\
What was written anew since it was listed stays.

Examples:
  petctl storage rm az://raw/us101/scene.xml
  petctl storage rm az://raw/old --recursive --dry-run
  petctl storage rm az://raw/old --recursive --include '*.tmp' --yes")]
pub(crate) struct RmArgs {
    /// az://CONTAINER/NAME, az://CONTAINER/PREFIX or a local path.
    location: String,

    /// Everything below the location.
    #[arg(short, long)]
    recursive: bool,

    #[command(flatten)]
    filter: FilterArgs,

    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,

    /// Do not ask.
    #[arg(short, long)]
    yes: bool,

    #[command(flatten)]
    access: AccessArgs,
}

pub(crate) async fn run(context: &Context, args: RmArgs) -> Result<Exit> {
    let location = Location::read(&args.location)?;
    let filter = args.filter.read()?;
    let store = location.open(&args.access.access(None)?)?;
    store.require(&[Need::Delete])?;
    let mut doomed: VecDeque<(String, u64, ETag)> = VecDeque::new();
    if !location.is_folder
        && let Some(properties) = store.head(&location.prefix).await?
    {
        doomed.push_back((location.prefix.clone(), properties.size, properties.etag));
    }
    let prefix = location.folder_prefix();
    let mut mark = None;
    let mut below = 0_u64;
    loop {
        let page = store.list(&prefix, mark.as_deref()).await?;
        below += page.entries.len() as u64;
        // One is enough to know that --recursive is missing.
        if below > 0 && !args.recursive {
            break;
        }
        for entry in page.entries {
            let name = entry.name.strip_prefix(&prefix).unwrap_or(&entry.name);
            if filter.takes(name) {
                doomed.push_back((entry.name, entry.properties.size, entry.properties.etag));
            }
        }
        below += page.left_out.len() as u64;
        for left_out in &page.left_out {
            context.out.warn(&format!(
                "{}: {}, and stays",
                printable(&left_out.name),
                left_out.why
            ));
        }
        mark = page.mark;
        if mark.is_none() {
            break;
        }
    }
    if doomed.is_empty() && below > 0 && !args.recursive {
        return Err(Error::new(
            Code::Usage,
            format!(
                "{} is no file, but there are files below it",
                location.shown()
            ),
        )
        .fix("give --recursive to remove all of them; --dry-run says which"));
    }
    if doomed.is_empty() && below == 0 {
        return Err(nothing(&location).into());
    }
    let total: u64 = doomed.iter().map(|(_, size, _)| size).sum();
    let what = format!(
        "{} ({})",
        count(doomed.len() as u64, "file", "files"),
        bytes(total)
    );
    if args.dry_run {
        for (name, size, _) in &doomed {
            context.out.line(&format!(
                "would remove {:>10}  {}",
                bytes(*size),
                printable(name)
            ));
        }
        context.out.say(&format!("would remove {what}"));
        return Ok(Exit::Success);
    }
    context.confirm(
        args.yes,
        &format!("Remove {what} at {} for good?", location.shown()),
    )?;
    let meter = Meter::default();
    meter.doomed(doomed.len() as u64);
    let removed = match watch(context, &meter, remove(&store, doomed, &meter)).await? {
        Ended::Done(removed) => removed?,
        Ended::Stopped(exit) => {
            context.out.say_always(&format!(
                "stopped: {} are gone; the same command removes the rest",
                count(meter.gone(), "file", "files")
            ));
            return Ok(exit);
        }
    };
    context.out.line(&format!(
        "{}: {} removed",
        location.shown(),
        count(removed, "file", "files")
    ));
    Ok(Exit::Success)
}

async fn remove(
    store: &SharedStore,
    mut doomed: VecDeque<(String, u64, ETag)>,
    meter: &Meter,
) -> Result<u64> {
    let mut running: JoinSet<Result<bool, StorageError>> = JoinSet::new();
    let mut removed = 0;
    let mut failed: Option<StorageError> = None;
    loop {
        while running.len() < AT_ONCE
            && !failed
                .as_ref()
                .is_some_and(|error| error.problem.stops_everything())
            && let Some((name, _, etag)) = doomed.pop_front()
        {
            let store = SharedStore::clone(store);
            running.spawn(async move { store.delete(&name, Some(&etag)).await });
        }
        match running.join_next().await {
            None => break,
            Some(Ok(Ok(gone))) => {
                removed += u64::from(gone);
                meter.removed(u64::from(gone));
            }
            // Somebody wrote it since: it is another one.
            Some(Ok(Err(error))) if error.problem == StorageProblem::Changed => {}
            Some(Ok(Err(error))) => failed = failed.or(Some(error)),
            Some(Err(error)) => {
                return Err(Error::new(Code::Bug, "a removal did not end").because(&error));
            }
        }
    }
    match failed {
        None => Ok(removed),
        Some(error) => Err(error.into()),
    }
}
