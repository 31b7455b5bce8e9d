//! How a run ends on the screen: tables, where the outputs are, what to do next, and as the last line the verdict.

use crate::shards::show_shards;
use petctl_client::ShardQuery;
use petctl_client::View;
use petctl_job::Context;
use petctl_proto::v1::{JobStatus, ShardRow, StageStatus};
use petctl_ui::error::Result;
use petctl_ui::exit::{self, Exit};
use petctl_ui::terminal::{
    Table, allowed_failures, committed, duration, exit_hint, mean_seconds, notices, show_table,
    show_training, verdict_line,
};

/// Shards up to which each has a line.
const MAX_SHARDS: u64 = 50;
/// Failed shards shown of a larger job.
const MAX_FAILED: usize = 20;

/// Prints the results of a job that has ended.
pub async fn show_end(context: &Context, view: &mut View, status: &JobStatus) -> Result<Exit> {
    let rows = rows(view, status).await?;
    Ok(show(
        context,
        view.resume_command().as_deref(),
        status,
        &rows,
    ))
}

/// The shards that a summary shows: all of a small job, the failed ones of a large one.
pub async fn rows(view: &mut View, status: &JobStatus) -> Result<Vec<ShardRow>> {
    view.shards(&query(status)).await
}

/// Which shards a summary shows.
pub fn query(status: &JobStatus) -> ShardQuery {
    let shards = status.summary.as_ref().map_or(0, |summary| summary.shards);
    ShardQuery {
        failed_only: shards > MAX_SHARDS,
        ..ShardQuery::default()
    }
}

/// Prints them; how the job ends the program.
pub fn show(
    context: &Context,
    resume: Option<&str>,
    status: &JobStatus,
    rows: &[ShardRow],
) -> Exit {
    let out = &context.out;
    let summary = status.summary.clone().unwrap_or_default();
    let took = duration(summary.ended_at_ms.saturating_sub(summary.submitted_at_ms));
    let took = if summary.ended_at_ms > 0 {
        format!(" ({took})")
    } else {
        String::new()
    };
    show_table(out, &stages(&status.stages));
    if !rows.is_empty() {
        out.line("");
        show_shards(
            out,
            &rows[..rows.len().min(if summary.shards > MAX_SHARDS {
                MAX_FAILED
            } else {
                rows.len()
            })],
        );
    }
    if summary.shards > MAX_SHARDS {
        out.say(&format!("all shards: petctl report {}", summary.name));
    }
    show_training(out, status);
    out.line("");
    out.line(&format!("outputs: {}", status.output_root));
    if let Some(hint) = exit_hint(&summary, resume) {
        out.say(&hint);
    }
    for warning in allowed_failures(status).into_iter().chain(notices(status)) {
        out.line(&out.style().red(&warning));
    }
    out.line(&format!("{}{took}", verdict_line(out.style(), &summary)));
    exit::of_job(summary.state())
}

fn stages(stages: &[StageStatus]) -> Table {
    // Columns for what most jobs have none of would only be in the way.
    let reused = stages.iter().any(|stage| stage.reused > 0);
    let speculative = stages.iter().any(|stage| stage.speculative > 0);
    let mut headings = vec!["STAGE", ">SHARDS", ">DONE"];
    headings.extend(reused.then_some(">REUSED"));
    headings.extend([">FAILED", ">CHECKS FAILED", ">SKIPPED", ">RETRIES"]);
    headings.extend(speculative.then_some(">SECOND ATTEMPTS"));
    headings.push(">MEAN S");
    let mut table = Table::new(&headings);
    for stage in stages {
        let mut cells = vec![
            stage.name.clone(),
            stage.shards.to_string(),
            stage.done.to_string(),
        ];
        cells.extend(reused.then(|| stage.reused.to_string()));
        cells.extend([
            stage.failed.to_string(),
            stage.verdict_fail.to_string(),
            stage.skipped.to_string(),
            stage.retries.to_string(),
        ]);
        cells.extend(
            speculative.then(|| format!("{}, {} faster", stage.speculative, stage.speculative_won)),
        );
        cells.push(mean_seconds(stage.mean_s, committed(stage)));
        table.row(cells);
    }
    table
}
