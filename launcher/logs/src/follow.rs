//! Logs as they grow, over attempts, until the job ends.

use super::cri::Printer;
use super::reading::{Printed, Reading};
use super::{Labels, LogsArgs, ranks, started};
use petctl_client::is_away;
use petctl_client::{Source, View};
use petctl_job::Context;
use petctl_proto::v1::{JobState, JobStatus, ShardRow, ShardState};
use petctl_ui::error::Result;
use petctl_ui::exit::Exit;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Distance of two looks at the files.
const LOOK: Duration = Duration::from_millis(100);
/// Distance of two looks at the shards, at least; ten times what a look takes.
const LIST: Duration = Duration::from_millis(250);

/// A shard by stage and index.
type Shard = (u32, u32);

pub(super) async fn run(context: &Context, args: &LogsArgs, mut view: View) -> Result<Exit> {
    let labels = if args.shard.is_some() {
        Labels::None
    } else {
        Labels::StageAndKey
    };
    let reading = Reading::of(&mut view).await?;
    let status = view.status().await?;
    let mut ranks = args
        .wants_ranks(&status)
        .then(|| ranks::Following::new(args, Printer::new(args.timestamps, Labels::None)));
    let wants_shards = args.wants_shards(&status);
    if ranks.is_some() && !wants_shards {
        // Says what is wrong with what was asked for.
        ranks::epoch(args, &mut view).await?;
    }
    let mut following = Following {
        printer: Printer::new(args.timestamps, labels),
        seen: BTreeMap::new(),
        open: BTreeMap::new(),
        // Of one shard all is wanted; of many, what happens from now on.
        from_start: args.shard.is_some() || args.failed,
    };
    let mut list_at = Instant::now();
    loop {
        let mut ended = false;
        if Instant::now() >= list_at {
            let start = Instant::now();
            let status = current(context, args, &mut view).await?;
            ended = has_settled(&view, &status);
            if wants_shards {
                let rows = started(view.shards(&args.query()).await?, &status);
                following.list(&reading, rows);
            }
            if let Some(ranks) = &mut ranks {
                ranks.list(context, &reading, &mut view, &status).await?;
            }
            list_at = Instant::now() + LIST.max(start.elapsed() * 10);
        }
        following.print(context, &reading, &mut view, ended).await?;
        if let Some(ranks) = &mut ranks {
            ranks.print(context, &reading, &mut view, ended).await?;
            ended |= ranks.is_over();
        }
        if ended || context.out.is_closed() {
            return Ok(Exit::Success);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// How the job stands. Finds its coordinator again.
async fn current(context: &Context, args: &LogsArgs, view: &mut View) -> Result<JobStatus> {
    match view.status().await {
        Err(error) if is_away(&error) => {
            let Source::Live(target, _) = &view.source else {
                return Err(error);
            };
            *view = match &view.folder {
                // Its run may have ended: then the state folder is read.
                Some(_) => View::open(context, &args.connect, Some(&view.job)).await?,
                None => {
                    let source = Source::Live(target.clone(), Box::new(target.reconnect().await?));
                    View {
                        job: view.job.clone(),
                        noted: view.noted.take(),
                        card: None,
                        folder: None,
                        source,
                    }
                }
            };
            view.status().await
        }
        status => status,
    }
}

/// Whether nothing more will be printed: the job has ended, or nobody works on it any more.
fn has_settled(view: &View, status: &JobStatus) -> bool {
    let state = status.summary.as_ref().map(|summary| summary.state());
    matches!(view.source, Source::Offline(_)) || state.is_none_or(JobState::has_ended)
}

struct Following {
    printer: Printer,
    /// The attempt of each shard that was met last.
    seen: BTreeMap<Shard, u64>,
    /// By lease, so that attempts come in their order.
    open: BTreeMap<(Shard, u64), Open>,
    from_start: bool,
}

/// A log that may still grow.
struct Open {
    printed: Printed,
    /// Its attempt has ended: it is read to its end once more.
    ended: bool,
}

impl Following {
    /// Takes in what shards do now.
    fn list(&mut self, reading: &Reading, rows: Vec<ShardRow>) {
        let skip_ended = self.seen.is_empty() && !self.from_start;
        for row in rows {
            let shard = (row.stage, row.shard);
            let running = row.state() == ShardState::Running;
            let before = self.seen.insert(shard, row.lease_id);
            if let Some(before) = before
                && (before != row.lease_id || !running)
                && let Some(open) = self.open.get_mut(&(shard, before))
            {
                open.ended = true;
            }
            if before == Some(row.lease_id) || (skip_ended && !running) {
                continue;
            }
            let label = self.printer.label(&row);
            let printed = reading.attempt(&row, None).lines(&label);
            self.open.insert(
                (shard, row.lease_id),
                Open {
                    printed,
                    ended: !running,
                },
            );
        }
    }

    /// Prints what is new.
    async fn print(
        &mut self,
        context: &Context,
        reading: &Reading,
        view: &mut View,
        ended: bool,
    ) -> Result<()> {
        for open in self.open.values_mut() {
            open.ended |= ended;
            let printed = &mut open.printed;
            loop {
                let piece = reading.read(view, &mut printed.log).await?;
                if piece.is_empty() {
                    break;
                }
                context
                    .out
                    .data(&self.printer.text(&mut printed.lines, &piece));
                if context.out.is_closed() {
                    return Ok(());
                }
            }
            if open.ended {
                context.out.data(&self.printer.end(&mut printed.lines));
            }
        }
        self.open.retain(|_, open| !open.ended);
        Ok(())
    }
}
