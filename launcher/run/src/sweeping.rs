//! What lost attempts leave at an output, taken away: at the end of a run, or at the start of the next one.

use petctl_commit::{BlobCommitter, Committer, SweepOptions};
use petctl_job::Context;
use petctl_job::PreparedJob;
use petctl_job::home::{JobFolder, make_private, state_error};
use petctl_output::layout::Layout;
use petctl_ui::error::Result;
use std::fs;
use std::io;
use std::path::Path;

/// Sweeps at the start of a run what the run before could not, while none of its workers lives.
pub(crate) async fn before(
    context: &Context,
    folder: &JobFolder,
    job: &PreparedJob,
    adopted: usize,
    lineage: u64,
) -> Result<()> {
    if let Some(output) = job.spec.storage.output_root().folder() {
        if adopted == 0 {
            sweep_folder(output).await;
        }
        return Ok(());
    }
    let mark = folder.unswept();
    if mark.exists() && adopted == 0 {
        sweep(context, folder, job, lineage, false).await;
    }
    remember(folder, job)
}

/// Notes that attempts of this job may leave something, until a sweep has ended well.
pub(crate) fn remember(folder: &JobFolder, job: &PreparedJob) -> Result<()> {
    if !job.spec.storage.output_root().is_blob() {
        return Ok(());
    }
    let mark = folder.unswept();
    make_private(folder.root()).map_err(|error| state_error(folder.root(), "make", &error))?;
    fs::write(&mark, "").map_err(|error| state_error(&mark, "write", &error))
}

/// Sweeps when all workers have left. What can't be swept now is left for the next run.
/// `lineage` is that of the coordinator's leases.
pub(crate) async fn sweep(
    context: &Context,
    folder: &JobFolder,
    job: &PreparedJob,
    lineage: u64,
    ended: bool,
) {
    if ended {
        forget_staged(folder);
    }
    let root = job.spec.storage.output_root();
    if let Some(output) = root.folder() {
        sweep_folder(output).await;
        return;
    }
    if !folder.unswept().exists() {
        return;
    }
    let swept = async {
        let store = petctl_storage::open(&root, &job.spec.storage.access)?;
        let options = SweepOptions {
            lineage,
            ended,
            ..SweepOptions::default()
        };
        BlobCommitter::new(store).sweep(&options).await
    };
    match swept.await {
        Ok(swept) => {
            tracing::info!(attempts = swept.attempts, blobs = swept.blobs, bytes = swept.bytes, "swept the output");
            // It may never have been there.
            let _gone = fs::remove_file(folder.unswept());
        }
        Err(error) => context.out.warn(&format!(
            "what lost attempts left in {root} is not swept yet: {error}; the next `petctl run` of this job tries again"
        )),
    }
}

/// Takes away the folders of attempts that did not commit. Nobody works on the output any more: one run has it, and its
/// workers have left. Those of a job that has ended may still stop attempts that lost; what these write counts for nothing.
async fn sweep_folder(output: &Path) {
    let output = output.to_owned();
    let sweep = move || {
        // Nothing is made where nothing is.
        if Layout::new(&output).all_attempts().is_dir() {
            Committer::open(output).and_then(|committer| committer.sweep_attempts(&[]))
        } else {
            Ok(0)
        }
    };
    match tokio::task::spawn_blocking(sweep).await {
        Ok(Ok(attempts)) => tracing::info!(attempts, "swept the output"),
        Ok(Err(error)) => {
            tracing::warn!(%error, "can't sweep the output; the next run tries again")
        }
        Err(error) => tracing::error!(%error, "the sweep of the output ended"),
    }
}

/// What was staged here is of no use to a job that has ended; its logs stay.
fn forget_staged(folder: &JobFolder) {
    let workers = fs::read_dir(folder.scratch())
        .into_iter()
        .flatten()
        .flatten();
    let places =
        workers.flat_map(|worker| fs::read_dir(worker.path()).into_iter().flatten().flatten());
    for place in places.map(|place| place.path()) {
        let layout = Layout::new(&place);
        let removed = if layout.all_logs().is_dir() {
            remove_all_but(&place, &layout.state())
                .and_then(|()| remove_all_but(&layout.state(), &layout.all_logs()))
        } else if place.is_dir() {
            fs::remove_dir_all(&place)
        } else {
            Ok(())
        };
        if let Err(error) = removed {
            tracing::info!(%error, "can't remove what was staged");
        }
    }
}

fn remove_all_but(folder: &Path, kept: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path() == kept {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
