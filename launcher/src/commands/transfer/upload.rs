//! `petctl upload`

use crate::commands::storage::access::AccessArgs;
use crate::commands::storage::location::Location;
use crate::commands::transfer::tree::Tree;
use crate::commands::transfer::{FilterArgs, HeldJournal, Words};
use clap::Args;
use petctl_job::Context;
use petctl_layouts::Extras;
use petctl_report::model::Transfer;
use petctl_storage::{Need, SharedStore};
use petctl_text::obstacle::Obstacle;
use petctl_transfer::{Tuning, Upload};
use petctl_ui::arguments::Format;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::shell::quote;
use petctl_ui::terminal::{count, printable};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Sends a folder or a file to blob storage: what has changed, by block, in parallel.
#[derive(Debug, Args)]
#[command(after_help = "\
What is there already is not sent again: files by their time and size or their MD5, blocks of files that were \
interrupted by their bytes. So after Ctrl-C, a kill or a lost network the same command goes on. Links to files are \
followed; links to folders are refused, unless --exclude leaves them out. A file that changes while it is read is named at the end; the others are sent.

Examples:
  petctl upload recordings az://raw/us101
  petctl upload recordings az://raw/us101 --exclude '*.tmp' --delete --dry-run
  petctl upload scene az://raw/scene --layout datagen --script drive.py --wheel sim-1.0-py3-none-any.whl
  petctl upload recordings az://raw --account NAME --sas-token file:sas.txt --create")]
pub(crate) struct UploadArgs {
    /// Folder, whose contents are sent, or file.
    #[arg(required_unless_present = "show_layout")]
    path: Option<PathBuf>,

    /// Where to: az://CONTAINER/PREFIX, or a local folder.
    #[arg(required_unless_present = "show_layout")]
    target: Option<String>,

    #[command(flatten)]
    filter: FilterArgs,

    /// Remove from the target what the source has no more; asks.
    #[arg(long)]
    delete: bool,

    /// Make the container where it is missing.
    #[arg(long)]
    create: bool,

    /// Say what would be sent and removed, and change nothing.
    #[arg(long)]
    dry_run: bool,

    /// Do not ask.
    #[arg(short, long)]
    yes: bool,

    /// How to print the result.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,

    #[command(flatten)]
    layout: LayoutArgs,

    #[command(flatten)]
    access: AccessArgs,
}

/// What the folder must hold.
#[derive(Debug, Args)]
#[command(next_help_heading = "Layout")]
struct LayoutArgs {
    /// Check the folder before a byte is sent: `datagen`, or a TOML file of your own.
    #[arg(long, value_name = "NAME|FILE")]
    layout: Option<String>,

    /// Print the layout, and do nothing.
    #[arg(long, requires = "layout")]
    show_layout: bool,

    /// A script to send along; may be given again.
    #[arg(long, value_name = "FILE", requires = "layout")]
    script: Vec<PathBuf>,

    /// A folder of assets to send along; may be given again.
    #[arg(long, value_name = "DIR", requires = "layout")]
    asset_dir: Vec<PathBuf>,

    /// A Python wheel to send along; may be given again.
    #[arg(long, value_name = "FILE", requires = "layout")]
    wheel: Vec<PathBuf>,
}

const WORDS: Words = Words {
    transfer: Transfer::Upload,
    verb: "send",
    done: "sent",
    there: "there",
};

pub(crate) async fn run(context: &Context, args: UploadArgs) -> Result<Exit> {
    let (path, target) = match (&args.layout.layout, &args.path, &args.target) {
        (Some(name), _, _) if args.layout.show_layout => {
            context.out.data(petctl_layouts::text(name)?.as_bytes());
            return Ok(Exit::Success);
        }
        (_, Some(path), Some(target)) => (path, target),
        // The command line does not come this far without them.
        (_, _, _) => return Err(Error::new(Code::Usage, "name what to send and where to")),
    };
    check_order(path, target)?;
    let from = std::path::absolute(path).map_err(|error| unreadable(path, &error))?;
    if let Err(error) = std::fs::metadata(&from) {
        let error = unreadable(path, &error);
        return Err(match path.to_str() {
            Some(name) if context.home()?.find_job(Some(name)).is_ok() => error.fix(format!(
                "`{name}` is a job; fetch its outputs first: petctl download {name} FOLDER; then petctl upload FOLDER {}",
                quote(target)
            )),
            Some(_) | None => error,
        });
    }
    let location = Location::read(target)?;
    let extras = match check_layout(context, &args.layout, &from)? {
        Ok(extras) => extras,
        Err(exit) => return Ok(exit),
    };
    let store = location.open(&args.access.access(None)?)?;
    store.require(&needs(&args))?;
    let start = Instant::now();
    let journal = HeldJournal::hold(
        context,
        "upload",
        &from.display().to_string(),
        &store.address(&location.prefix),
    )?;
    // A folder is made by what is put into it.
    let make = args.create || !location.is_blob();
    if make && !args.dry_run {
        store.create().await?;
    }
    let upload = Upload {
        from,
        extras,
        to: SharedStore::clone(&store),
        prefix: location.prefix.clone(),
        filter: args.filter.read()?,
        delete: args.delete,
        rules: location.rules(),
        may_be_missing: make,
        journal: Some(journal.path.clone()),
        tuning: Tuning::default(),
    };
    let tree = Tree {
        words: WORDS,
        target: location.shown(),
        shown: location.shown(),
        dry_run: args.dry_run,
        yes: args.yes,
        format: args.output,
        start,
    };
    tree.carry_out(context, upload.plan()).await
}

fn needs(args: &UploadArgs) -> Vec<Need> {
    let mut needs = vec![Need::List];
    if args.dry_run {
        return needs;
    }
    needs.push(Need::Write);
    if args.delete {
        needs.push(Need::Delete);
    }
    if args.create {
        needs.push(Need::Create);
    }
    needs
}

/// What the flags of a layout add; all that is wrong is said.
fn check_layout(
    context: &Context,
    args: &LayoutArgs,
    folder: &Path,
) -> Result<Result<Vec<(PathBuf, String)>, Exit>> {
    let Some(name) = &args.layout else {
        return Ok(Ok(Vec::new()));
    };
    let layout = petctl_layouts::load(name)?;
    let extras = Extras {
        scripts: args.script.clone(),
        asset_dirs: args.asset_dir.clone(),
        wheels: args.wheel.clone(),
    };
    let checked = petctl_layouts::check(&layout, folder, &extras);
    if checked.faults.is_empty() {
        let about = match layout.about.as_str() {
            "" => String::new(),
            about => format!(" ({})", printable(about)),
        };
        context.out.say(&format!(
            "the folder fits the layout {}{about}",
            layout.name
        ));
        return Ok(Ok(checked.extras));
    }
    for fault in &checked.faults {
        context.out.error(&fault.error());
    }
    context.out.say(&format!(
        "{} against the layout {}; nothing was sent",
        count(checked.faults.len() as u64, "fault", "faults"),
        layout.name
    ));
    Ok(Err(Code::LayoutMismatch
        .exit()
        .unwrap_or(Exit::BadConfiguration)))
}

/// An address stands where what is sent does.
fn check_order(path: &Path, target: &str) -> Result<()> {
    let Some(from) = path.to_str().filter(|from| Location::is_address(from)) else {
        return Ok(());
    };
    if path.exists() {
        return Ok(());
    }
    let what = format!("upload sends what is on this machine, and {from} is an address");
    Err(Error::new(Code::Usage, what).fix(if Location::is_address(target) {
        format!("fetch it first: petctl download {} FOLDER", quote(from))
    } else {
        let (from, target) = (quote(from), quote(target));
        format!(
            "name the target last: petctl upload {target} {from}; or fetch it: petctl download {from} {target}"
        )
    }))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::new(
        Code::InputNotFound,
        format!("can't find {}", path.display()),
    )
    .because(error)
    .fix(Obstacle::of(error).fix_reading("name a folder or a file that is there"))
}
