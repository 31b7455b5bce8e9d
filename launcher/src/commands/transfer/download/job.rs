//! The committed outputs of a job, wherever they are.

use super::{DownloadArgs, Source};
use crate::commands::storage::access::AccessArgs;
use petctl_client::View;
use petctl_job::Context;
use petctl_proto::v1::{JobState, JobStatus};
use petctl_spec::StorageRoot;
use petctl_storage::{Need, SharedStore, open};
use petctl_transfer::{Filter, Outputs, Wanted, committed_outputs};
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::terminal::{count, job_state, shards};

/// What a job has committed, and the store that holds it.
pub(crate) struct Committed {
    pub(crate) store: SharedStore,
    pub(crate) outputs: Outputs,
    pub(crate) status: JobStatus,
}

impl Committed {
    /// Lists it.
    pub(crate) async fn list(
        view: &mut View,
        access: &AccessArgs,
        filter: &Filter,
    ) -> Result<Self> {
        let status = view.status().await?;
        let Some(root) = StorageRoot::read(&status.output_root) else {
            return Err(Error::new(
                Code::OutputMissing,
                format!(
                    "the output of job `{}` is no location: {:?}",
                    view.job, status.output_root
                ),
            ));
        };
        if let Some(folder) = root.folder().filter(|folder| !folder.is_dir()) {
            return Err(Error::new(
                Code::OutputMissing,
                format!(
                    "the output of job `{}`, {}, is not on this machine",
                    view.job,
                    folder.display()
                ),
            )
            .fix("fetch it on the machine that the job wrote to, or run the job again"));
        }
        let job_access = view.spec().map(|spec| &spec.storage.access);
        let store = open(&root, &access.access(job_access)?)?;
        store.require(&[Need::List, Need::Read])?;
        let mut stages: Vec<String> = status
            .stages
            .iter()
            .map(|stage| stage.name.clone())
            .collect();
        stages.sort();
        let outputs = committed_outputs(&store, root.folder(), &stages, filter).await?;
        Ok(Self {
            store,
            outputs,
            status,
        })
    }
}

/// Finds the job and lists what it has committed.
pub(super) async fn outputs(context: &Context, args: &DownloadArgs) -> Result<Source> {
    let mut view = View::open(context, &args.connect, Some(&args.source)).await?;
    let filter = args.filter.read()?;
    let Committed {
        store,
        outputs: found,
        status,
    } = Committed::list(&mut view, &args.access, &filter).await?;
    let summary = status.summary.clone().unwrap_or_default();
    match summary.state() {
        JobState::Succeeded => {}
        state @ (JobState::Unspecified
        | JobState::Waiting
        | JobState::Running
        | JobState::Suspended
        | JobState::Failed
        | JobState::Cancelling
        | JobState::Cancelled
        | JobState::Interrupted) => context.out.warn(&format!(
            "job `{}` is {}: {} of {} committed by now, and no others are taken",
            view.job,
            job_state(state),
            found.shards.len(),
            shards(summary.shards)
        )),
    }
    let items = &found.items;
    if items.files.is_empty() && items.links.is_empty() && items.faults.is_empty() {
        let what = if args.filter.is_empty() {
            "they hold no files"
        } else {
            "no file of them fits"
        };
        context.out.say(&format!(
            "{} committed, and {what}",
            count(found.shards.len() as u64, "shard is", "shards are")
        ));
    }
    Ok(Source {
        store,
        wanted: Wanted::Items(found.items),
        shown: status.output_root,
        single: false,
    })
}
