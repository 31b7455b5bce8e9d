//! `petctl explain`

use clap::Args;
use petctl_client::ConnectArgs;
use petctl_client::{View, check_stage};
use petctl_job::Context;
use petctl_proto::v1::{JobStatus, Reason, ShardRow};
use petctl_report::model::{self, Explained, Explanation, Training};
use petctl_report::reproduce;
use petctl_spec::{JobSpec, ONCE_KEY, TRAIN_KEY};
use petctl_ui::arguments::Format;
use petctl_ui::error::{Code, Result};
use petctl_ui::exit::Exit;
use petctl_ui::terminal::{printable, shard_state, show_causes};

/// Shards for which a command is shown.
const MAX_COMMANDS: usize = 3;

/// Says why a job or a shard waits or failed, and how to run that shard here.
#[derive(Debug, Args)]
#[command(after_help = "\
The command that it prints runs the shard by hand, here, in the job's folder; its outputs go to a new folder of \
their own, so that nothing of the job changes.

Examples:
  petctl explain resim                     why the job waits, or why it failed
  petctl explain resim drive-7.xml         the same for one shard; the start of its key is enough
  petctl explain resim --stage summary     the same for a stage that runs once")]
pub(crate) struct ExplainArgs {
    /// The job's name [default: the latest job].
    job: Option<String>,

    /// The shard's key, or the start of it.
    shard: Option<String>,

    /// The shard's stage, where several have that key.
    #[arg(long, value_name = "STAGE")]
    stage: Option<String>,

    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,

    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) async fn run(context: &Context, args: ExplainArgs) -> Result<Exit> {
    let mut view = View::open(context, &args.connect, args.job.as_deref()).await?;
    let mut status = view.status().await?;
    check_stage(&status, args.stage.as_deref())?;
    let stage = args.stage.as_deref().unwrap_or_default();
    let shard = match args.shard.as_deref() {
        Some(shard) => shard,
        None => only_shard(&status, stage),
    };
    let answer = view.explain(stage, shard).await.map_err(|error| {
        let lists = format!("`petctl report {}` lists the shards", view.job);
        if error.is(Code::NoSuchShard) {
            error.fix(lists)
        } else {
            error
        }
    })?;
    status
        .groups
        .retain(|group| stage == group.stage_name || (stage.is_empty() && shard.is_empty()));
    let spec = view.spec();
    let commands: Vec<(&ShardRow, Option<String>)> = answer
        .shards
        .iter()
        .map(|row| {
            (
                row,
                spec.and_then(|spec| reproduce::command(spec, row).ok()),
            )
        })
        .collect();
    match args.output {
        Format::Json => {
            let explained =
                |(row, command): (&ShardRow, Option<String>)| Explained::new(row, command);
            model::print(
                &context.out,
                Explanation {
                    job: view.job.clone(),
                    why: answer.reasons.iter().map(model::Reason::from).collect(),
                    rows: commands.into_iter().map(explained).collect(),
                    training: status.groups.iter().map(Training::from).collect(),
                },
            );
        }
        Format::Text => {
            show_reasons(context, &answer.reasons);
            show_causes(&context.out, &status);
            show_commands(context, &commands, args.shard.is_some(), spec);
        }
    }
    Ok(Exit::Success)
}

/// The shard that is meant by a stage alone: one that runs once or trains has no other.
fn only_shard(status: &JobStatus, stage: &str) -> &'static str {
    let known = status.stages.iter().find(|known| known.name == stage);
    match known.map(|stage| stage.kind.as_str()) {
        Some("once") => ONCE_KEY,
        Some("train") => TRAIN_KEY,
        Some(_) | None => "",
    }
}

fn show_reasons(context: &Context, reasons: &[Reason]) {
    let style = context.out.style();
    for reason in reasons {
        context.out.line(&format!(
            "{} {}",
            style.bold(&format!("[{}]", reason.code)),
            printable(&reason.message)
        ));
    }
}

fn show_commands(
    context: &Context,
    commands: &[(&ShardRow, Option<String>)],
    asked: bool,
    spec: Option<&JobSpec>,
) {
    for (row, command) in commands.iter().take(MAX_COMMANDS) {
        context.out.line("");
        context.out.line(&format!(
            "{}/{}: {}",
            row.stage_name,
            printable(&row.key),
            shard_state(row.state())
        ));
        let trains = spec.is_some_and(|spec| trains(spec, row));
        // Of a training the cause has shown them.
        if !row.log_tail.is_empty() && !trains {
            context.out.line("  its last lines:");
            for line in row.log_tail.lines() {
                context.out.line(&format!("    {}", printable(line)));
            }
        }
        if let Some(command) = command {
            context.out.line(if trains {
                "  to run one process of it here, on its own:"
            } else {
                "  to run it again here:"
            });
            context.out.line(&format!("    {command}"));
        }
    }
    if commands.len() > MAX_COMMANDS {
        context.out.say(&format!(
            "and {} more: petctl report --failed",
            commands.len() - MAX_COMMANDS
        ));
    }
    if asked && spec.is_none() {
        context
            .out
            .say("the command is only known on the machine that submitted the job");
    }
}

fn trains(spec: &JobSpec, row: &ShardRow) -> bool {
    let stage = usize::try_from(row.stage).ok();
    stage
        .and_then(|stage| spec.stages.get(stage))
        .is_some_and(|stage| stage.kind.training().is_some())
}
