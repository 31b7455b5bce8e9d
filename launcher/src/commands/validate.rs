//! `petctl validate`

use clap::Args;
use petctl_job::Context;
use petctl_job::content::HashCache;
use petctl_job::dated;
use petctl_job::owner::{self, Owner};
use petctl_job::program;
use petctl_job::{JobFile, Preparation, PreparedJob};
use petctl_report::model::{self, CheckedStage, Need, Validation};
use petctl_spec::{Grow, JobSpec, Processes, RunMode, StageSpec, TrainSpec, format_duration_ms};
use petctl_ui::arguments::Format;
use petctl_ui::error::Result;
use petctl_ui::exit::Exit;
use petctl_ui::terminal::{Output, Table, count, show_table};
use std::path::{Path, PathBuf};

/// Checks a job before its start.
///
/// Reads the job file, lists the shards, looks at the input, the output and the programs; changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 the job can be started; 65 the job file or its input is wrong; 78 the output can't be used.

Examples:
  petctl validate job.toml
  petctl validate job.toml --set workers.max=16
  petctl validate --schema > job-file.schema.json     for editors that complete TOML")]
pub(crate) struct ValidateArgs {
    /// The job file.
    #[arg(required_unless_present = "schema")]
    job_file: Option<PathBuf>,

    /// Override a key of the job file, such as workers.max=4 or stage.resim.retries=0; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// Print the JSON schema of job files instead.
    #[arg(long, conflicts_with_all = ["job_file", "set"])]
    schema: bool,

    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(crate) async fn run(context: &Context, args: ValidateArgs) -> Result<Exit> {
    let Some(path) = &args.job_file else {
        context.out.data(petctl_spec::schema_text().as_bytes());
        return Ok(Exit::Success);
    };
    match args.output {
        Format::Text => {
            let (job, warnings) = check(context, path, &args.set).await?;
            for warning in &warnings {
                context.out.warn(warning);
            }
            show(&context.out, &job);
            Ok(Exit::Success)
        }
        Format::Json => Ok(print(&context.out, check(context, path, &args.set).await)),
    }
}

async fn check(
    context: &Context,
    path: &Path,
    set: &[String],
) -> Result<(PreparedJob, Vec<String>)> {
    let file = JobFile::find(path, set)?;
    let spec = file.parse()?;
    // Without a folder for petctl's state nothing is remembered, and nothing else changes.
    let folder = context.home().ok().map(|home| home.job(&spec.name));
    let card = folder
        .as_ref()
        .and_then(|folder| folder.card().ok().flatten());
    let date = dated::choose(&spec, None, card.as_ref(), false)?;
    let preparation = Preparation {
        out: &context.out,
        workers: None,
        date,
        cache: folder.map_or_else(HashCache::default, |folder| {
            HashCache::look_only(&folder.hashes())
        }),
    };
    let job = PreparedJob::prepare(file, spec, preparation).await?;
    let warnings = program::warnings(&job.spec);
    let owner = owner::look(&job.spec, &job.fingerprint_hex()).await?;
    let known = card.is_some_and(|card| card.knows(&owner, &job.spec.storage.output));
    match owner {
        // As a run does it: what another version has made is taken over, or gives way.
        Owner::Nobody | Owner::ThisJob | Owner::EarlierJob(_) => {}
        Owner::Strange(_) if known => {}
        Owner::Strange(path) => return Err(owner::strange(&path)),
        Owner::OtherJob(record) => return Err(owner::in_use(&job.spec, &record)),
    }
    Ok((job, warnings))
}

/// What the job is, in a table of its stages.
pub(crate) fn show(out: &Output, job: &PreparedJob) {
    let spec = &job.spec;
    out.line(&format!(
        "{}: {} is valid: {}",
        spec.name,
        job.file.shown,
        job.describe_work()
    ));
    out.line(&format!(
        "  input:   {}",
        spec.storage.input.as_deref().unwrap_or("-")
    ));
    out.line(&format!("  output:  {}", spec.storage.output));
    out.line(&format!("  workers: {}", workers(spec)));
    out.line("");
    let mut table = Table::new(&[
        "  STAGE", "KIND", ">SHARDS", "NEEDS", ">TIMEOUT", ">RETRIES", "COMMAND",
    ]);
    for (index, stage) in spec.stages.iter().enumerate() {
        table.row(vec![
            format!("  {}", stage.name),
            if stage.dispatch.run_mode == RunMode::Local {
                format!("{}, local", stage.kind.as_str())
            } else {
                stage.kind.as_str().to_owned()
            },
            job.shard_count(index).to_string(),
            needs(spec, stage),
            if stage.timeout_ms > 0 {
                format_duration_ms(stage.timeout_ms)
            } else {
                "-".to_owned()
            },
            retries(stage).to_string(),
            short_command(stage),
        ]);
    }
    show_table(out, &table);
    for stage in &spec.stages {
        if let Some(train) = stage.kind.training() {
            out.line("");
            for line in training(spec, stage, train) {
                out.line(&format!("  {line}"));
            }
        }
    }
}

/// How a stage trains.
fn training(spec: &JobSpec, stage: &StageSpec, train: &TrainSpec) -> [String; 3] {
    let grow = match train.grow {
        Grow::Checkpoint => "grows at checkpoints",
        Grow::Now => "grows at once",
    };
    let hung = match train.progress_timeout_ms {
        0 => String::new(),
        timeout_ms => format!(
            ", and again after {} without progress",
            format_duration_ms(timeout_ms)
        ),
    };
    [
        format!("{}: {}, {grow}", stage.name, processes(train.processes)),
        format!(
            "  {} in {} without a failure, {}{hung}",
            count(u64::from(train.max_restarts), "restart", "restarts"),
            format_duration_ms(train.restart_window_ms),
            count(
                u64::from(stage.budgets.worker_lost),
                "lost worker",
                "lost workers"
            )
        ),
        format!(
            "  checkpoints: {}, {} kept",
            train.checkpoint_folder(&spec.storage.output, &stage.name),
            train.keep_checkpoints
        ),
    ]
}

fn processes(processes: Processes) -> String {
    match processes {
        Processes::Number(number) => format!(
            "{} per worker",
            count(u64::from(number), "process", "processes")
        ),
        Processes::Cpu => "a process per CPU".to_owned(),
        Processes::Gpu => "a process per GPU".to_owned(),
        Processes::Auto => "a process per GPU, or per CPU where there is none".to_owned(),
    }
}

fn workers(spec: &JobSpec) -> String {
    let sizes = &spec.workers;
    let slots = count(u64::from(sizes.slots), "slot", "slots");
    let gpus = if sizes.gpus > 0 {
        format!(", {} each", count(u64::from(sizes.gpus), "GPU", "GPUs"))
    } else {
        String::new()
    };
    let unit = if sizes.unit > 1 {
        format!(", in multiples of {}", sizes.unit)
    } else {
        String::new()
    };
    let spares = if sizes.spares > 0 {
        format!(", {}", count(u64::from(sizes.spares), "spare", "spares"))
    } else {
        String::new()
    };
    format!(
        "{} to {}{unit}, {} wanted{spares}, {slots} each{gpus}",
        sizes.min, sizes.max, sizes.wanted
    )
}

fn retries(stage: &StageSpec) -> u32 {
    let training = stage.kind.training();
    training.map_or(stage.budgets.failed, |train| train.max_restarts)
}

fn needed(spec: &JobSpec, stage: &StageSpec) -> Vec<Need> {
    let needs = stage.needs.iter().filter_map(|need| {
        let needed = spec.stages.get(usize::try_from(need.stage).ok()?)?;
        Some(Need {
            stage: needed.name.clone(),
            per_shard: need.per_shard,
        })
    });
    needs.collect()
}

fn needs(spec: &JobSpec, stage: &StageSpec) -> String {
    let names: Vec<String> = needed(spec, stage)
        .into_iter()
        .map(|need| match need.per_shard {
            true => format!("{} (per shard)", need.stage),
            false => need.stage,
        })
        .collect();
    if names.is_empty() {
        "-".to_owned()
    } else {
        names.join(", ")
    }
}

fn short_command(stage: &StageSpec) -> String {
    const MAX: usize = 48;
    let command = stage.command.join(" ");
    let text = command.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= MAX {
        text
    } else {
        text.chars().take(MAX - 1).chain(['…']).collect()
    }
}

fn print(out: &Output, checked: Result<(PreparedJob, Vec<String>)>) -> Exit {
    match checked {
        Ok((job, warnings)) => {
            model::print(out, validated(&job, warnings));
            Exit::Success
        }
        Err(error) => {
            model::print(out, Validation::from(&error));
            error.exit()
        }
    }
}

fn validated(job: &PreparedJob, warnings: Vec<String>) -> Validation {
    let checked = |(index, stage): (usize, &StageSpec)| CheckedStage {
        stage: stage.name.clone(),
        kind: (&stage.kind).into(),
        shards: job.shard_count(index),
        needs: needed(&job.spec, stage),
        command: stage.command.clone(),
    };
    Validation {
        valid: true,
        job: Some(job.spec.name.clone()),
        fingerprint: Some(job.fingerprint_hex()),
        shards: Some(job.all_shards()),
        stages: job.spec.stages.iter().enumerate().map(checked).collect(),
        warnings,
        errors: Vec::new(),
    }
}
