//! `petctl verify`

use crate::commands::storage::access::AccessArgs;
use crate::commands::transfer::download::job::Committed;
use crate::commands::transfer::{Ended, FilterArgs, ms_since, show_faults, watch};
use clap::Args;
use futures::stream::{self, StreamExt as _};
use petctl_client::{ConnectArgs, ShardQuery, View};
use petctl_job::Context;
use petctl_proto::v1::{ShardRow, ShardState};
use petctl_report::model::{self, FileError, Verified};
use petctl_run::checkpoints::gone;
use petctl_spec::StorageRoot;
use petctl_storage::{SharedStore, StorageError, StorageProblem};
use petctl_transfer::{Fault, Item, Progress, check_file};
use petctl_ui::arguments::Format;
use petctl_ui::error::Result;
use petctl_ui::exit::Exit;
use petctl_ui::terminal::{Meter, bytes, count, shards};
use std::path::Path;
use std::time::Instant;

/// Files that are read at a time.
const PARALLEL: usize = 16;

/// Reads the committed outputs of a job again, and compares every file with its manifest.
///
/// Says which files are damaged and which are gone, and changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
What is gone is made again by the next `petctl run` of the job. What is damaged is made again by --rerun.

Exit code 0: all is as it was committed; 1: something is not.

Examples:
  petctl verify us101
  petctl verify us101 --include 'resim/**'   one stage
  petctl verify us101 -o json")]
pub(crate) struct VerifyArgs {
    /// The job's name.
    job: String,

    #[command(flatten)]
    filter: FilterArgs,

    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,

    #[command(flatten)]
    access: AccessArgs,

    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) async fn run(context: &Context, args: VerifyArgs) -> Result<Exit> {
    let start = Instant::now();
    let mut view = View::open(context, &args.connect, Some(&args.job)).await?;
    let filter = args.filter.read()?;
    // Before the listing: what is committed between the two is no fault.
    let rows = view.shards(&ShardQuery::default()).await?;
    let Committed {
        store,
        outputs,
        status,
    } = Committed::list(&mut view, &args.access, &filter).await?;
    // A training commits checkpoints, no outputs.
    let trains = |name: &str| {
        let mut stages = status.stages.iter();
        stages.any(|stage| stage.name == name && stage.kind == "train")
    };
    let mut faults = outputs.items.faults;
    let is_gone = |row: &&ShardRow| {
        row.state() == ShardState::Done
            && !outputs
                .shards
                .contains(&(row.stage_name.clone(), row.key.clone()))
            && !trains(&row.stage_name)
    };
    faults.extend(rows.iter().filter(is_gone).map(|row| Fault {
        name: format!("{}/{}", row.stage_name, row.key),
        problem: StorageProblem::NotFound,
        why: "the shard is done, but its outputs are gone".to_owned(),
    }));
    let root = StorageRoot::read(&status.output_root);
    let output = root.as_ref().and_then(StorageRoot::folder);
    let can_see = |path: &Path| output.is_some_and(|root| path.starts_with(root) && root.exists());
    faults.extend(gone(&status, can_see).map(|(group, checkpoint)| Fault {
        name: format!("{}/checkpoints", group.stage_name),
        problem: StorageProblem::NotFound,
        why: format!(
            "the training has succeeded, but its last checkpoint {} is gone",
            checkpoint.path
        ),
    }));
    faults.retain(|fault| filter.takes(&fault.name));
    let files = outputs.items.files.len() as u64;
    let size: u64 = outputs
        .items
        .files
        .iter()
        .map(|item| item.properties.size)
        .sum();
    let meter = Meter::default();
    meter.planned(files, size);
    let read = read_all(&store, &outputs.items.files, &meter);
    faults.extend(match watch(context, &meter, read).await? {
        Ended::Done(faults) => faults?,
        Ended::Stopped(exit) => return Ok(exit),
    });
    faults.sort_by(|a, b| a.name.cmp(&b.name));
    let verified = Verified {
        job: view.job.clone(),
        whole: faults.is_empty(),
        shards: outputs.shards.len() as u64,
        files,
        bytes: size,
        errors: faults.iter().map(file_error).collect(),
        duration_ms: ms_since(start),
    };
    show_faults(context, &faults, how_to_mend);
    match args.output {
        Format::Json => model::print(&context.out, &verified),
        Format::Text => context.out.line(&sentence(&verified)),
    }
    Ok(if verified.whole {
        Exit::Success
    } else {
        Exit::JobFailed
    })
}

/// Reads files whole, and compares each with the hash that it must have. An error is what would end every other read
/// alike.
async fn read_all(
    store: &SharedStore,
    items: &[Item],
    progress: &dyn Progress,
) -> Result<Vec<Fault>, StorageError> {
    let checks = items.iter().map(|item| async move {
        match check_file(store, item, progress).await {
            Ok(()) => Ok(None),
            Err(error) if error.problem.stops_everything() => Err(error),
            Err(error) => Ok(Some(Fault {
                name: item.name.clone(),
                problem: error.problem,
                why: error.message,
            })),
        }
    });
    let mut checks = stream::iter(checks).buffer_unordered(PARALLEL);
    let mut faults = Vec::new();
    while let Some(fault) = checks.next().await {
        faults.extend(fault?);
    }
    Ok(faults)
}

fn how_to_mend(problem: StorageProblem) -> &'static str {
    match problem {
        StorageProblem::NotFound => "run the job again: what is gone is made again",
        StorageProblem::Corrupt
        | StorageProblem::Changed
        | StorageProblem::BadName
        | StorageProblem::Local
        | StorageProblem::Denied
        | StorageProblem::Blocked
        | StorageProblem::Expired
        | StorageProblem::NoCredential
        | StorageProblem::Full
        | StorageProblem::Unavailable
        | StorageProblem::Unexpected => "have it made again: petctl run JOB.toml --rerun SHARD",
    }
}

fn sentence(verified: &Verified) -> String {
    let read = format!(
        "{} in {} ({})",
        count(verified.files, "file", "files"),
        shards(verified.shards),
        bytes(verified.bytes)
    );
    let job = &verified.job;
    match verified.errors.len() as u64 {
        0 => format!("{job}: {read} are as they were committed"),
        errors => format!(
            "{job}: {} damaged or gone; {read} were read",
            count(errors, "file or shard is", "files or shards are")
        ),
    }
}

fn file_error(fault: &Fault) -> FileError {
    FileError {
        name: fault.name.clone(),
        code: StorageError::new(fault.problem, "")
            .code()
            .as_str()
            .to_owned(),
        message: fault.why.clone(),
    }
}
