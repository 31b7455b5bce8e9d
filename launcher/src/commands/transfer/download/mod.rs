//! `petctl download`

pub(crate) mod job;
mod zip;

use crate::commands::storage::access::AccessArgs;
use crate::commands::storage::location::Location;
use crate::commands::transfer::tree::Tree;
use crate::commands::transfer::{FilterArgs, HeldJournal, Words};
use clap::Args;
use petctl_client::ConnectArgs;
use petctl_job::Context;
use petctl_report::model::Transfer;
use petctl_storage::{Need, SharedStore};
use petctl_transfer::{Download, Item, Items, Tuning, Wanted};
use petctl_ui::arguments::Format;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::shell::quote;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Fetches the outputs of a job, or what is in blob storage, to a folder or into one zip file.
#[derive(Debug, Args)]
#[command(after_help = "\
Of a job only committed outputs are taken, as STAGE/SHARD/FILE, and each file's hash is compared with its manifest. \
While the job runs, that is what is committed so far. What is here already is not fetched again; after Ctrl-C or a kill \
the same command goes on. A zip file of the same outputs has the same bytes each time; it is written without a copy in \
between, and not gone on with when it was interrupted.

A source with a / in it is a location (az://CONTAINER/PREFIX, ./folder), anything else the name of a job.

Examples:
  petctl download resim results
  petctl download resim --zip out.zip --include '*.png' --include results_summary.json
  petctl download resim summary --include 'resim/**'
  petctl download az://raw/us101 recordings --dry-run")]
pub(crate) struct DownloadArgs {
    /// Name of a job, az://CONTAINER/PREFIX or a local path with a / in it.
    source: String,

    /// Folder that gets the files; for a single file also its new name.
    #[arg(required_unless_present = "zip", conflicts_with = "zip")]
    path: Option<PathBuf>,

    /// Write one zip file instead.
    #[arg(long, value_name = "FILE")]
    zip: Option<PathBuf>,

    /// Replace the zip file where it is there already.
    #[arg(long, requires = "zip")]
    force: bool,

    #[command(flatten)]
    filter: FilterArgs,

    /// Remove from the folder what the source has no more; asks. Not for jobs.
    #[arg(long, conflicts_with = "zip")]
    delete: bool,

    /// Say what would be fetched and removed, and change nothing.
    #[arg(long)]
    dry_run: bool,

    /// Do not ask.
    #[arg(short, long)]
    yes: bool,

    /// How to print the result.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,

    #[command(flatten)]
    access: AccessArgs,

    #[command(flatten)]
    connect: ConnectArgs,
}

const WORDS: Words = Words {
    transfer: Transfer::Download,
    verb: "fetch",
    done: "fetched",
    there: "here",
};

/// Where files come from.
struct Source {
    store: SharedStore,
    wanted: Wanted,
    /// As it is typed.
    shown: String,
    /// A single file's name is the last part of the path, where that is no folder.
    single: bool,
}

pub(crate) async fn run(context: &Context, args: DownloadArgs) -> Result<Exit> {
    check_order(&args)?;
    check_job_first(context, &args)?;
    let target = target(&args)?;
    if let Target::Zip(path) = &target
        && !args.force
        && path.exists()
    {
        return Err(Error::new(
            Code::TargetExists,
            format!("{} is there already", path.display()),
        )
        .fix("name another file, or replace it by --force"));
    }
    let source = if Location::looks_like_one(&args.source) {
        of_location(&args).await?
    } else {
        if args.delete {
            return Err(
                Error::new(Code::Usage, "--delete is not for the outputs of a job")
                    .fix("fetch them into an empty folder"),
            );
        }
        job::outputs(context, &args).await?
    };
    match target {
        Target::Zip(path) => zip::write(context, &args, source, &path).await,
        Target::Folder(path) => to_folder(context, &args, source, &path).await,
    }
}

/// An address stands where the folder or the zip file does: as a path it would be made here.
fn check_order(args: &DownloadArgs) -> Result<()> {
    let Some(path) = args.path.as_ref().or(args.zip.as_ref()) else {
        return Ok(());
    };
    let Some(to) = path.to_str().filter(|to| Location::is_address(to)) else {
        return Ok(());
    };
    let what = format!("download writes to this machine, and {to} is an address");
    let (from, to) = (quote(&args.source), quote(to));
    Err(Error::new(Code::Usage, what).fix(if args.zip.is_some() {
        format!("write it here first: petctl download {from} --zip FILE; then petctl upload FILE {to}")
    } else if Location::is_address(&args.source) {
        format!("fetch it first: petctl download {from} FOLDER; then petctl upload FOLDER {to}")
    } else {
        format!(
            "name the target last: petctl download {to} {from}; or send it: petctl upload {from} {to}"
        )
    }))
}

/// A folder stands where the job does, and the job where the folder does.
fn check_job_first(context: &Context, args: &DownloadArgs) -> Result<()> {
    let Some(to) = args.path.as_ref().and_then(|path| path.to_str()) else {
        return Ok(());
    };
    let elsewhere = args.connect.coordinator.is_some() || args.connect.on.is_some();
    if elsewhere || Location::looks_like_one(to) {
        return Ok(());
    }
    let (home, from) = (context.home()?, &args.source);
    let is_job = |name: &str| home.find_job(Some(name)).is_ok();
    if !Path::new(from).is_dir() || is_job(from) || Path::new(to).exists() || !is_job(to) {
        return Ok(());
    }
    let what = format!("the job is named first, and `{from}` is a folder here, `{to}` a job");
    Err(Error::new(Code::Usage, what).fix(format!("petctl download {} {}", quote(to), quote(from))))
}

enum Target {
    Folder(PathBuf),
    Zip(PathBuf),
}

fn target(args: &DownloadArgs) -> Result<Target> {
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(|error| {
            Error::new(
                Code::Usage,
                format!("can't use the path {}", path.display()),
            )
            .because(&error)
        })
    };
    match (&args.zip, &args.path) {
        (Some(path), _) => Ok(Target::Zip(absolute(path)?)),
        (None, Some(path)) => Ok(Target::Folder(absolute(path)?)),
        // The command line does not come this far without one.
        (None, None) => Err(Error::new(Code::Usage, "name a folder, or a file by --zip")),
    }
}

async fn of_location(args: &DownloadArgs) -> Result<Source> {
    let location = Location::read(&args.source)?;
    let store = location.open(&args.access.access(None)?)?;
    store.require(&[Need::List, Need::Read])?;
    let filter = args.filter.read()?;
    let single = if location.is_folder || location.prefix.is_empty() {
        None
    } else {
        store.head(&location.prefix).await?
    };
    let wanted = match single {
        Some(properties) => {
            let name = location.prefix.rsplit('/').next().unwrap_or_default();
            let file = Item {
                source: location.prefix.clone(),
                name: name.to_owned(),
                properties,
                sha256: None,
            };
            Wanted::Items(Items {
                files: vec![file],
                ..Items::default()
            })
        }
        None => Wanted::Prefix(location.prefix.clone(), filter),
    };
    Ok(Source {
        store,
        single: matches!(wanted, Wanted::Items(_)),
        wanted,
        shown: location.shown(),
    })
}

async fn to_folder(
    context: &Context,
    args: &DownloadArgs,
    mut source: Source,
    path: &Path,
) -> Result<Exit> {
    let start = Instant::now();
    let folder = rename_single(&mut source, path);
    let journal = HeldJournal::hold(
        context,
        "download",
        &source.store.address(&source.shown),
        &path.display().to_string(),
    )?;
    let download = Download {
        from: source.store,
        what: source.wanted,
        to: folder.clone(),
        delete: args.delete,
        journal: Some(journal.path.clone()),
        tuning: Tuning::default(),
    };
    let tree = Tree {
        words: WORDS,
        target: folder.display().to_string(),
        shown: path.display().to_string(),
        dry_run: args.dry_run,
        yes: args.yes,
        format: args.output,
        start,
    };
    tree.carry_out(context, download.plan()).await
}

/// The folder that gets the files. A single file goes into a folder that is there, else it gets the name.
fn rename_single(source: &mut Source, path: &Path) -> PathBuf {
    if source.single
        && !path.is_dir()
        && let Wanted::Items(items) = &mut source.wanted
        && let [item] = items.files.as_mut_slice()
        && let (Some(folder), Some(name)) = (
            path.parent(),
            path.file_name().and_then(|name| name.to_str()),
        )
    {
        item.name = name.to_owned();
        return folder.to_owned();
    }
    path.to_owned()
}
