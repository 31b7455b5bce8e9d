//! Logs of a training's processes: one per rank and epoch, kept for good.

use super::LogsArgs;
use super::cri::{Lines, Printer};
use super::reading::{Log, Reading};
use super::stream::{self, Pieces};
use petctl_client::{Source, View};
use petctl_job::Context;
use petctl_proto::v1::{GroupStatus, JobStatus, ShardRow};
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::terminal::{Output, count};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Most ranks whose lines are put in the order of their times; of more, one log comes after the other.
const MAX_MERGED: usize = 256;

/// The processes of one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Epoch {
    stage: u32,
    stage_name: String,
    number: u64,
    ranks: Vec<u32>,
}

impl Epoch {
    fn row(&self, rank: u32) -> ShardRow {
        ShardRow {
            stage: self.stage,
            stage_name: self.stage_name.clone(),
            key: format!("epoch-{}/rank-{rank}", self.number),
            lease_id: self.number,
            ..ShardRow::default()
        }
    }

    fn label(&self, rank: u32) -> String {
        if self.ranks.len() == 1 {
            String::new()
        } else {
            format!("[rank {rank}] ")
        }
    }
}

/// The training that is meant: the one of `--stage`, else the one that started last.
pub(super) fn group<'a>(status: &'a JobStatus, stage: Option<&str>) -> Option<&'a GroupStatus> {
    match stage {
        Some(stage) => status.groups.iter().find(|group| group.stage_name == stage),
        None => status.groups.iter().max_by_key(|group| group.epoch),
    }
}

/// The epoch that is meant, with the ranks that are; `None` where none was started yet.
pub(super) async fn epoch(args: &LogsArgs, view: &mut View) -> Result<Option<Epoch>> {
    let status = view.status().await?;
    let Some(group) = group(&status, args.stage.as_deref()) else {
        return Err(no_training(args, &view.job, &status));
    };
    let newest = group.epoch;
    let number = args.epoch.unwrap_or(newest);
    if newest == 0 {
        return Ok(None);
    }
    let world = if number == newest {
        Some(group.world_size)
    } else {
        world_size(view, &group.stage_name, number).await?
    };
    let Some(world) = world else {
        return Err(Error::new(
            Code::NoLog,
            format!(
                "epoch {number} of `{}` started no process",
                group.stage_name
            ),
        )
        .fix(format!(
            "the newest is {newest}; `petctl events {}` lists them",
            view.job
        )));
    };
    let ranks = match args.rank {
        Some(rank) if rank < world => vec![rank],
        Some(rank) => {
            let known = count(u64::from(world), "rank", "ranks");
            return Err(Error::new(
                Code::NoLog,
                format!("epoch {number} has {known}, and {rank} is not one"),
            )
            .fix(format!("its ranks are 0 to {}", world.saturating_sub(1))));
        }
        None => (0..world).collect(),
    };
    Ok(Some(Epoch {
        stage: group.stage,
        stage_name: group.stage_name.clone(),
        number,
        ranks,
    }))
}

fn no_training(args: &LogsArgs, job: &str, status: &JobStatus) -> Error {
    let trainings: Vec<&str> = status
        .groups
        .iter()
        .map(|group| group.stage_name.as_str())
        .collect();
    let fix = if trainings.is_empty() {
        format!("leave --rank and --epoch out; `petctl report {job}` lists its shards")
    } else {
        format!("its training stages are {}", trainings.join(", "))
    };
    let what = match &args.stage {
        Some(stage) => format!("job `{job}` has no training stage `{stage}`"),
        None => format!("job `{job}` has no training stage"),
    };
    Error::new(Code::NoLog, what).fix(fix)
}

/// How many processes an earlier epoch had.
async fn world_size(view: &mut View, stage: &str, epoch: u64) -> Result<Option<u32>> {
    let events = view.events().await?;
    let started = events
        .iter()
        .filter(|event| event.kind == "group_started" && event.epoch == epoch);
    let mut sizes = started.filter_map(|event| {
        let fields: serde_json::Value = serde_json::from_str(&event.fields_json).ok()?;
        let same = fields["stage"].as_str() == Some(stage);
        let size = fields["world_size"].as_u64().filter(|_| same)?;
        u32::try_from(size).ok()
    });
    Ok(sizes.next_back())
}

/// Prints what an epoch's ranks have printed, in the order of time; whether there was anything.
pub(super) async fn print(
    out: &Output,
    reading: &Reading,
    view: &mut View,
    epoch: &Epoch,
    printer: Printer,
) -> Result<bool> {
    let mut any = false;
    for ranks in epoch.ranks.chunks(MAX_MERGED) {
        let mut sources = Vec::with_capacity(ranks.len());
        for rank in ranks {
            let label = epoch.label(*rank);
            sources.push(Merged::new(
                reading.attempt(&epoch.row(*rank), None),
                &label,
            ));
        }
        any |= merge(out, reading, view, sources, printer).await?;
    }
    Ok(any)
}

/// Prints the log of the rank that failed first; of a training that failed as a whole those of all its ranks.
pub(super) async fn print_cause(
    out: &Output,
    reading: &Reading,
    view: &mut View,
    group: &GroupStatus,
    printer: Printer,
) -> Result<bool> {
    let cause = group
        .causes
        .iter()
        .find_map(|cause| Some((cause, cause.rank?)));
    let (number, ranks) = match cause {
        Some((cause, rank)) => (cause.epoch, vec![rank]),
        None => (group.epoch, (0..group.world_size).collect()),
    };
    let epoch = Epoch {
        stage: group.stage,
        stage_name: group.stage_name.clone(),
        number,
        ranks,
    };
    let source = |rank: &u32| {
        let label = format!("{}/rank {rank}: ", group.stage_name);
        Merged::new(reading.attempt(&epoch.row(*rank), None), &label)
    };
    let sources = epoch.ranks.iter().take(MAX_MERGED).map(source).collect();
    merge(out, reading, view, sources, printer).await
}

/// One log of several that are printed as one.
struct Merged {
    log: Log,
    lines: Lines,
    /// Stored lines that were read and not printed.
    buffer: Vec<u8>,
    at: usize,
}

impl Merged {
    fn new(log: Log, label: &str) -> Self {
        Self {
            log,
            lines: Lines::new(label),
            buffer: Vec::new(),
            at: 0,
        }
    }

    /// Sees to it that a whole stored line is there; `false` at the end of the log.
    async fn fill(&mut self, reading: &Reading, view: &mut View) -> Result<bool> {
        while !self.buffer[self.at..].contains(&b'\n') {
            let piece = reading.read(view, &mut self.log).await?;
            if piece.is_empty() {
                return Ok(self.at < self.buffer.len());
            }
            self.buffer.drain(..self.at);
            self.at = 0;
            self.buffer.extend(piece);
        }
        Ok(true)
    }

    /// When the next line was printed. Times are written so that their letters have their order.
    fn stamp(&self) -> Vec<u8> {
        let rest = &self.buffer[self.at..];
        let end = rest.iter().position(|byte| *byte == b' ' || *byte == b'\n');
        rest[..end.unwrap_or(rest.len())].to_vec()
    }

    fn line(&mut self) -> &[u8] {
        let rest = &self.buffer[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(rest.len(), |end| end + 1);
        let start = self.at;
        self.at += length;
        &self.buffer[start..start + length]
    }
}

async fn merge(
    out: &Output,
    reading: &Reading,
    view: &mut View,
    mut sources: Vec<Merged>,
    printer: Printer,
) -> Result<bool> {
    let mut next = BinaryHeap::new();
    for (index, source) in sources.iter_mut().enumerate() {
        if source.fill(reading, view).await? {
            next.push(Reverse((source.stamp(), index)));
        }
    }
    let any = !next.is_empty();
    let mut text = Vec::new();
    while let Some(Reverse((_, index))) = next.pop() {
        let source = &mut sources[index];
        let line = source.line().to_vec();
        text.extend(printer.text(&mut source.lines, &line));
        if source.fill(reading, view).await? {
            next.push(Reverse((source.stamp(), index)));
        }
        if text.len() > PRINTED_BYTES {
            out.data(&text);
            text.clear();
        }
        if out.is_closed() {
            return Ok(true);
        }
    }
    for source in &mut sources {
        text.extend(printer.end(&mut source.lines));
    }
    out.data(&text);
    Ok(any)
}

/// Bytes that are printed at a time.
const PRINTED_BYTES: usize = 64 * 1024;

/// The logs of a training as they grow, over its epochs.
pub(super) struct Following {
    printer: Printer,
    stage: Option<String>,
    only: Option<u64>,
    rank: Option<u32>,
    /// The newest epoch that was met.
    met: Option<u64>,
    /// By epoch and rank, so that epochs come in their order.
    open: BTreeMap<(u64, u32), Open>,
}

/// A log that may still grow.
struct Open {
    from: From,
    lines: Lines,
    /// Its epoch is over: it is read to its end once more.
    ended: bool,
}

/// Where a growing log is read.
enum From {
    File(Box<Log>),
    Coordinator(Pieces),
}

impl Following {
    pub(super) fn new(args: &LogsArgs, printer: Printer) -> Self {
        Self {
            printer,
            stage: args.stage.clone(),
            only: args.epoch,
            rank: args.rank,
            met: None,
            open: BTreeMap::new(),
        }
    }

    /// Takes in how the training stands.
    pub(super) async fn list(
        &mut self,
        context: &Context,
        reading: &Reading,
        view: &mut View,
        status: &JobStatus,
    ) -> Result<()> {
        let Some(group) = group(status, self.stage.as_deref()) else {
            return Ok(());
        };
        let live = group.running_since_ms > 0 || group.phase == "stopping";
        for ((epoch, _), open) in &mut self.open {
            open.ended |= *epoch != group.epoch || !live;
        }
        let wanted = self.only.unwrap_or(group.epoch);
        if group.epoch < wanted || wanted == 0 || self.met >= Some(wanted) {
            return Ok(());
        }
        let world = if wanted == group.epoch {
            group.world_size
        } else {
            world_size(view, &group.stage_name, wanted)
                .await?
                .unwrap_or(0)
        };
        self.met = Some(wanted);
        let ranks: Vec<u32> = match self.rank {
            Some(rank) => vec![rank],
            None => (0..world).collect(),
        };
        if self.rank.is_some_and(|rank| rank >= world) {
            context
                .out
                .say(&format!("epoch {wanted} has no such rank: {world} in all"));
            return Ok(());
        }
        context.out.say(&format!(
            "{}: epoch {wanted}: {}",
            group.stage_name,
            count(u64::from(world), "rank", "ranks")
        ));
        let epoch = Epoch {
            stage: group.stage,
            stage_name: group.stage_name.clone(),
            number: wanted,
            ranks,
        };
        for rank in &epoch.ranks {
            let row = epoch.row(*rank);
            let from = match (reading, &view.source) {
                (Reading::Coordinator, Source::Live(target, _)) => {
                    From::Coordinator(stream::open(target.clone(), &view.job, &row))
                }
                (Reading::Files(_) | Reading::Coordinator | Reading::Blobs(_), _) => {
                    From::File(Box::new(reading.attempt(&row, None)))
                }
            };
            let open = Open {
                from,
                lines: Lines::new(&epoch.label(*rank)),
                ended: wanted != group.epoch || !live,
            };
            self.open.insert((wanted, *rank), open);
        }
        Ok(())
    }

    /// Prints what is new; `ended`: nothing more will come.
    pub(super) async fn print(
        &mut self,
        context: &Context,
        reading: &Reading,
        view: &mut View,
        ended: bool,
    ) -> Result<()> {
        for open in self.open.values_mut() {
            open.ended |= ended;
            loop {
                let piece = match &mut open.from {
                    From::File(log) => reading.read(view, log).await?,
                    From::Coordinator(pieces) => pieces.next(open.ended).await?,
                };
                if piece.is_empty() {
                    break;
                }
                context
                    .out
                    .data(&self.printer.text(&mut open.lines, &piece));
                if context.out.is_closed() {
                    return Ok(());
                }
            }
            if open.ended {
                context.out.data(&self.printer.end(&mut open.lines));
            }
        }
        self.open.retain(|_, open| !open.ended);
        Ok(())
    }

    /// Whether the one epoch that was asked for is over and printed.
    pub(super) fn is_over(&self) -> bool {
        self.only.is_some() && self.met.is_some() && self.open.is_empty()
    }
}
