//! `petctl run`

use super::validate;
use clap::Args;
use petctl_client::ConnectArgs;
use petctl_client::{OfflineJob, plan_new};
use petctl_client::{Submit, Target, Unnamed, submit};
use petctl_core::Rerun;
use petctl_job::Context;
use petctl_job::content::HashCache;
use petctl_job::dated;
use petctl_job::home::{JobCard, JobFolder};
use petctl_job::outputs::Looked;
use petctl_job::program;
use petctl_job::{JobFile, Preparation, PreparedJob};
use petctl_proto::v1::{JobState, Submission, SubmitJobResponse};
use petctl_report::reuse::{Reuse, add_left, parse_rerun};
use petctl_run::{Admission, Before, Fitted, NewFolder, Settings, Watcher, local, remote};
use petctl_settings::Sets;
use petctl_spec::{JobSpec, ShardGlob};
use petctl_text::words::nearest;
use petctl_ui::arguments::parse_duration_ms;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::runtime::block_on;
use petctl_ui::terminal::count;
use std::path::{Path, PathBuf};

/// Runs a job to its verdict, or goes on with it.
///
/// Checks the job file, starts workers, shows how it goes, and ends with the verdict and a table of results. Run
/// again, the same job goes on where it stopped: what is committed is not run again, what failed is tried again. Where
/// inputs, parameters, code, commands or the image have changed since, the shards that they decide about run again,
/// and no others.
#[derive(Debug, Args)]
#[command(after_help = "\
Ctrl-C once: what runs goes on to its end, nothing new starts; the same command goes on later. Twice: what runs is \
stopped. A run whose terminal was closed goes on; `petctl list` finds it.

Secrets of blob storage come from the job file's sas_token or account_key (env:NAME or file:PATH), else from \
AZURE_STORAGE_SAS_TOKEN, AZURE_STORAGE_KEY, AZURE_STORAGE_CONNECTION_STRING or an identity; workers find them where \
this command does.

Exit codes: 0 succeeded, 1 failed, 3 cancelled, 65 bad job file, 75 try again, 77 not allowed, 78 bad configuration, \
130 Ctrl-C.

Examples:
  petctl run examples/resim/job.toml
  petctl run job.toml --workers 8 --set stage.resim.timeout=5m
  petctl run job.toml --on gpu               on the cluster that petctl.toml calls gpu
  petctl run job.toml -d                     in the background; prints the job's name
  petctl run job.toml --dry-run --why-rerun  what would run, and why
  petctl run job.toml --rerun failed         also the shards that failed their checks
  petctl run job.toml --rerun 'drives/7*'    also these, although nothing of them changed
  petctl run job.toml --rerun all --yes      everything again, earlier results are deleted")]
pub(crate) struct RunArgs {
    /// The job file.
    job_file: PathBuf,

    /// Workers, instead of the job file's `workers.max`.
    #[arg(short, long, value_name = "N")]
    workers: Option<u32>,

    /// Override a key of the job file, such as workers.max=4 or stage.resim.retries=0, or of a place, such as
    /// place.gpu.image=…; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// Leave it running in the background, and print the job's name.
    #[arg(short, long)]
    detach: bool,

    /// Say what would run, and run nothing.
    #[arg(long, conflicts_with = "detach")]
    dry_run: bool,

    /// Run shards again although nothing of them changed: `failed` (also those that failed their checks), a pattern of
    /// keys, or `all` (forgets and deletes earlier results).
    #[arg(long, value_name = "failed|all|GLOB", value_parser = parse_rerun)]
    rerun: Option<Rerun>,

    /// Say of each stage how many shards run again, why, and the first of them.
    #[arg(long)]
    why_rerun: bool,

    /// The date behind the output of a job with `dated = true`, YYYY-MM-DD [default: the day of its first start, until
    /// it has succeeded].
    #[arg(long, value_name = "DATE")]
    date: Option<String>,

    /// Do not ask before earlier results are deleted.
    #[arg(short, long)]
    yes: bool,

    /// A worker that is not heard of for this long is given up [default: 5s].
    #[arg(long, value_name = "TIME", value_parser = parse_duration_ms)]
    heartbeat_timeout: Option<u64>,

    #[arg(long, hide = true)]
    detached_child: bool,

    #[command(flatten)]
    connect: ConnectArgs,
}

impl RunArgs {
    /// Whether this process is the one in the background.
    pub(crate) fn is_detached_child(&self) -> bool {
        self.detached_child
    }
}

pub(crate) fn run(context: &Context, args: RunArgs) -> Result<Exit> {
    let sets = Sets::split(&args.set);
    let file = JobFile::find(&args.job_file, &sets.job)?;
    let beside = file.path.parent().unwrap_or(Path::new("/"));
    let target = Target::find(&args.connect, beside, &sets.places, Unnamed::Default)?;
    if args.detached_child {
        petctl_ui::program::leave_terminal()?;
    }
    let spec = file.parse()?;
    let folder = match &target {
        None => Some(context.home()?.job(&spec.name)),
        // Without a folder nothing is remembered of it here, and it can be run all the same.
        Some(_) => context.home().ok().map(|home| home.remote(&spec.name)),
    };
    // The process in the background finds the folder that the one before it has made.
    let new = folder.as_ref().and_then(NewFolder::of);
    let leaves = target.is_none() && args.detach && !args.detached_child;
    let ended = match &folder {
        Some(folder) if leaves => petctl_run::detach(context, folder, &spec.name),
        _ => block_on(start(context, args, file, spec, target, folder)),
    };
    let refused = match &ended {
        Ok(exit) => leaves && *exit != Exit::Success,
        Err(_) => true,
    };
    if let Some(new) = new.filter(|_| refused) {
        new.forget_refused();
    }
    ended
}

async fn start(
    context: &Context,
    args: RunArgs,
    file: JobFile,
    spec: JobSpec,
    target: Option<Target>,
    folder: Option<JobFolder>,
) -> Result<Exit> {
    if target.is_some() && args.detach {
        remote::check_detached(&spec)?;
    }
    let date = match (&target, &folder) {
        (Some(target), _) => date_there(&spec, args.date.as_deref(), target).await?,
        (None, Some(folder)) => date_here(&spec, args.date.as_deref(), folder)?,
        (None, None) => None,
    };
    let cache = match &folder {
        None => HashCache::default(),
        Some(folder) if args.dry_run && !folder.root().exists() => {
            HashCache::look_only(&folder.hashes())
        }
        Some(folder) => HashCache::open(&folder.hashes()),
    };
    let preparation = Preparation {
        out: &context.out,
        workers: args.workers,
        date,
        cache,
    };
    let mut job = PreparedJob::prepare(file, spec, preparation).await?;
    let fitted = match &target {
        Some(Target::Place(tunnel)) => Some(petctl_run::fit(tunnel, &mut job)?),
        Some(Target::Remote { .. } | Target::Local(_)) | None => None,
    };
    if target.is_none() {
        for warning in program::warnings(&job.spec) {
            context.out.warn(&warning);
        }
    }
    let rerun = args.rerun.unwrap_or_default();
    check_rerun(&job, &rerun)?;
    if args.dry_run {
        if let Some(fitted) = &fitted {
            context.out.say(&fitted.to_string());
        }
        return dry_run(
            context,
            &job,
            &rerun,
            args.why_rerun,
            folder.as_ref(),
            (target.as_ref(), fitted.as_ref()),
        )
        .await;
    }
    let watcher = match (args.detached_child, args.detach) {
        (true, _) => Watcher::Background,
        (false, true) => Watcher::Nobody,
        (false, false) => Watcher::Terminal,
    };
    let settings = Settings {
        // Elsewhere they are part of the job that is submitted.
        workers: args.workers.filter(|_| target.is_none()),
        rerun,
        why_rerun: args.why_rerun,
        yes: args.yes,
        heartbeat_timeout_ms: args.heartbeat_timeout,
        watcher,
    };
    match target {
        Some(target) => {
            remote::run(context, target, job, settings, (folder.as_ref(), fitted)).await
        }
        None => local::run(context, job, settings).await,
    }
}

/// A pattern that no shard's key matches asks for nothing, which nobody means.
fn check_rerun(job: &PreparedJob, rerun: &Rerun) -> Result<()> {
    let Rerun::Keys(pattern) = rerun else {
        return Ok(());
    };
    // It was read before.
    let Ok(glob) = ShardGlob::new(pattern) else {
        return Ok(());
    };
    let mut stages = 0..job.spec.stages.len();
    if stages.any(|stage| job.keys(stage).iter().any(|key| glob.matches(key))) {
        return Ok(());
    }
    let what = format!("no shard of the job has a key that `--rerun {pattern}` means");
    let fix = match nearest(pattern, ["all", "failed"]) {
        Some(near) => format!("did you mean `--rerun {near}`?"),
        None => format!(
            "`petctl report {}` shows the keys; quote a pattern such as 'drives/*'",
            job.spec.name
        ),
    };
    Err(Error::new(Code::Usage, what).fix(fix))
}

/// The date of a dated job of this machine.
fn date_here(spec: &JobSpec, asked: Option<&str>, folder: &JobFolder) -> Result<Option<String>> {
    let card = folder.card()?.filter(|_| spec.storage.dated);
    let succeeded = card
        .as_ref()
        .is_some_and(|card| has_succeeded(folder, card));
    dated::choose(spec, asked, card.as_ref(), succeeded)
}

fn has_succeeded(folder: &JobFolder, card: &JobCard) -> bool {
    // One that somebody works on has not.
    let status = OfflineJob::open(&folder.coordinator(), card).and_then(|job| job.status());
    let summary = status.ok().and_then(|status| status.summary);
    summary.is_some_and(|summary| summary.state() == JobState::Succeeded)
}

/// The same of a job of a coordinator elsewhere: its output says which date it has.
async fn date_there(
    spec: &JobSpec,
    asked: Option<&str>,
    target: &Target,
) -> Result<Option<String>> {
    if !spec.storage.dated || asked.is_some() {
        return dated::choose(spec, asked, None, false);
    }
    let mut client = target.connect().await?;
    let earlier = match client.status(&spec.name).await {
        Ok(status) => Some(status),
        Err(error) if error.code() == Code::NoSuchJob.as_str() => None,
        Err(error) => return Err(error),
    };
    let kept = earlier
        .filter(|status| {
            status
                .summary
                .as_ref()
                .is_some_and(|summary| summary.state() != JobState::Succeeded)
        })
        .and_then(|status| dated::of_output(spec, &status.output_root));
    match kept {
        Some(date) => Ok(Some(date)),
        None => dated::choose(spec, None, None, false),
    }
}

async fn dry_run(
    context: &Context,
    job: &PreparedJob,
    rerun: &Rerun,
    why: bool,
    folder: Option<&JobFolder>,
    (target, fitted): (Option<&Target>, Option<&Fitted>),
) -> Result<Exit> {
    let mut client = match target {
        Some(target) => Some(target.connect().await?),
        None => None,
    };
    if let (Some(Target::Place(tunnel)), Some(fitted)) = (target, fitted) {
        fitted.check(tunnel).await?;
    }
    let card = match folder {
        Some(folder) => folder.card()?,
        None => None,
    };
    let before = match &mut client {
        Some(client) => Before::There(remote::earlier_output(client, &job.spec.name).await?),
        None => Before::Here(card.clone().map(Box::new)),
    };
    let admission = Admission::look(job, before, rerun).await?;
    validate::show(&context.out, job);
    if admission.forgets_all() {
        context.out.say(&admission.to_string());
        return Ok(Exit::Success);
    }
    let (mut answer, left) = match (&mut client, folder, &card) {
        (Some(client), _, _) => {
            let (look, left) = admission.look_for(client, job).await?;
            let how = Submit {
                rerun: rerun.clone(),
                look,
                plan_only: true,
            };
            (submit(client, job, &how).await?, left)
        }
        (None, Some(folder), Some(card)) => {
            let job_here = OfflineJob::open(&folder.coordinator(), card)?;
            let known = job_here.status()?;
            let Looked { outputs, left } = admission.find_outputs(job, Some(&known)).await?;
            (job_here.plan(job, rerun, outputs)?, left)
        }
        (None, Some(_) | None, _) => {
            let Looked { outputs, left } = admission.find_outputs(job, None).await?;
            (plan_new(job, rerun, outputs)?, left)
        }
    };
    add_left(&mut answer, left);
    show_plan(context, job, &answer, why);
    Ok(Exit::Success)
}

fn show_plan(context: &Context, job: &PreparedJob, answer: &SubmitJobResponse, why: bool) {
    let reuse = Reuse::of(job, answer);
    let said = match (answer.submission(), reuse.sentence()) {
        (Submission::Finished, _) => "would run nothing: all shards are done".to_owned(),
        (Submission::Resumed, _) => {
            "would go on with this job: only what is missing would run".to_owned()
        }
        (Submission::New | Submission::Retried | Submission::Unspecified, Some(sentence)) => {
            format!("would go on with this job: {sentence}")
        }
        (Submission::New | Submission::Retried | Submission::Unspecified, None) => {
            "would run all of it".to_owned()
        }
    };
    context.out.say(&said);
    if why {
        for line in reuse.explained() {
            context.out.line(&line);
        }
    } else if !reuse.dropped.is_empty() {
        let shards = count(
            reuse.dropped.len() as u64,
            "shard that is",
            "shards that are",
        );
        context.out.say(&format!(
            "would put aside what {shards} no part of the job any more left"
        ));
    }
}
