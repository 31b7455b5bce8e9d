//! How a running job is shown while it runs: bars on a terminal, lines at a bounded rate elsewhere.

use super::quantity;
use super::status::running;
use super::table::printable;
use super::training::{group_line, is_active};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use petctl_proto::v1::{EventRow, GroupStatus, JobStatus, StageStatus};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Lines about single shards that are printed between two lines of progress.
const MAX_EVENT_LINES: u32 = 20;
/// First distance of two lines of progress; it doubles up to [`MAX_LINE_DISTANCE`].
const MIN_LINE_DISTANCE: Duration = Duration::from_secs(2);
const MAX_LINE_DISTANCE: Duration = Duration::from_secs(30);
/// Stages that have a bar of their own.
const MAX_BARS: usize = 10;
/// Events that a person wants to see as they happen.
const TELLING: [&str; 12] = [
    "attempt_failed",
    "worker_ended",
    "shards_unreachable",
    "pool_scaled",
    "group_started",
    "group_stopping",
    "group_failed",
    "stage_deadline_passed",
    "job_suspended",
    "job_resumed",
    "job_cancelled",
    "job_reopened",
];

/// Shows a job's status again and again.
pub struct Progress {
    face: Face,
    start: Instant,
    last_event: u64,
}

enum Face {
    Quiet,
    Lines(Lines),
    Bars(Bars),
}

impl Progress {
    /// A bar on a terminal, lines elsewhere, nothing when quiet.
    pub fn new(quiet: bool, terminal: bool) -> Self {
        let face = match (quiet, terminal) {
            (true, _) => Face::Quiet,
            (false, true) => Face::Bars(Bars::new()),
            (false, false) => Face::Lines(Lines::new()),
        };
        Self {
            face,
            start: Instant::now(),
            last_event: 0,
        }
    }

    /// Shows what is new.
    pub fn update(&mut self, status: &JobStatus) {
        // What happened before anybody looked is no news. Both moments are the coordinator's.
        let watched_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let since_ms = status.at_ms.saturating_sub(watched_ms);
        let is_new =
            |event: &&EventRow| event.sequence > self.last_event && event.at_ms >= since_ms;
        let news: Vec<&EventRow> = status.last_events.iter().filter(is_new).collect();
        if let Some(newest) = news.last() {
            self.last_event = newest.sequence;
        }
        let telling = news
            .iter()
            .filter(|event| TELLING.contains(&event.kind.as_str()));
        for event in telling {
            self.event(event);
        }
        let goes_on = status
            .summary
            .as_ref()
            .is_some_and(|summary| summary.ended_at_ms == 0);
        match &mut self.face {
            Face::Quiet => {}
            // How it ended is said elsewhere.
            Face::Lines(_) if !goes_on => {}
            Face::Lines(lines) => lines.update(status),
            Face::Bars(bars) => bars.update(status),
        }
    }

    /// Says something between the bars.
    pub fn say(&self, text: &str) {
        match &self.face {
            Face::Quiet => {}
            Face::Lines(_) => write_line(text),
            Face::Bars(bars) => {
                let _closed = bars.all.println(text);
            }
        }
    }

    /// Takes the bars away.
    pub fn finish(&mut self) {
        if let Face::Bars(bars) = &self.face {
            let _closed = bars.all.clear();
        }
        self.face = Face::Quiet;
    }

    fn event(&mut self, event: &EventRow) {
        let text = format!("  {}", printable(&event.text));
        if let Face::Lines(lines) = &mut self.face {
            lines.event(&text);
        } else {
            self.say(&text);
        }
    }
}

struct Lines {
    next: Instant,
    distance: Duration,
    events: u32,
    left_out: u32,
    last: String,
}

impl Lines {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            next: now + MIN_LINE_DISTANCE,
            distance: MIN_LINE_DISTANCE,
            events: 0,
            left_out: 0,
            last: String::new(),
        }
    }

    fn update(&mut self, status: &JobStatus) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.distance = (self.distance * 2).min(MAX_LINE_DISTANCE);
        self.next = now + self.distance;
        if self.left_out > 0 {
            write_line(&format!("  … and {} more events", self.left_out));
        }
        (self.events, self.left_out) = (0, 0);
        let text = summary_line(status);
        if text != self.last {
            write_line(&text);
            self.last = text;
        }
    }

    fn event(&mut self, text: &str) {
        if self.events == MAX_EVENT_LINES {
            self.left_out += 1;
        } else {
            self.events += 1;
            write_line(text);
        }
    }
}

struct Bars {
    all: MultiProgress,
    stages: BTreeMap<usize, ProgressBar>,
    foot: ProgressBar,
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let foot = all.add(ProgressBar::new_spinner());
        foot.set_style(
            ProgressStyle::with_template("{msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        Self {
            all,
            stages: BTreeMap::new(),
            foot,
        }
    }

    fn update(&mut self, status: &JobStatus) {
        for (index, stage) in status.stages.iter().enumerate() {
            // A training says how it stands below the bars.
            if group_of(status, stage).is_some() {
                continue;
            }
            let has_bar = self.stages.contains_key(&index);
            if !has_bar && (!has_begun(stage) || self.stages.len() == MAX_BARS) {
                continue;
            }
            let bar = self.stages.entry(index).or_insert_with(|| {
                let bar = self
                    .all
                    .insert_before(&self.foot, ProgressBar::new(stage.shards));
                let style = ProgressStyle::with_template("{prefix:<16} [{bar:30}] {msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar());
                bar.set_style(style.progress_chars("##-"));
                bar.set_prefix(stage.name.clone());
                bar
            });
            bar.set_position(stage.done + stage.failed + stage.cancelled);
            bar.set_message(stage_line(status, stage));
        }
        let mut lines: Vec<String> = groups(status).collect();
        lines.push(foot_line(status));
        self.foot.set_message(lines.join("\n"));
    }
}

fn summary_line(status: &JobStatus) -> String {
    let mut parts: Vec<String> = status
        .stages
        .iter()
        .filter(|stage| group_of(status, stage).is_none())
        .filter(|stage| stage.running > 0 || (stage.done + stage.failed > 0 && !is_over(stage)))
        .map(|stage| format!("{}: {}", stage.name, stage_line(status, stage)))
        .chain(groups(status))
        .collect();
    parts.push(foot_line(status));
    parts.join("; ")
}

/// The training group of a stage that trains.
fn group_of<'a>(status: &'a JobStatus, stage: &StageStatus) -> Option<&'a GroupStatus> {
    let mut groups = status.groups.iter();
    groups.find(|group| group.stage_name == stage.name)
}

/// A line for each training that goes on.
fn groups(status: &JobStatus) -> impl Iterator<Item = String> {
    let active = status.groups.iter().filter(|group| is_active(group));
    active.map(|group| format!("{}: {}", printable(&group.stage_name), group_line(group)))
}

fn stage_line(status: &JobStatus, stage: &StageStatus) -> String {
    let mut text = format!("{} of {} done", stage.done, stage.shards);
    let running = running(status, stage);
    if running > 0 {
        text.push_str(&format!(", {running} running"));
    }
    if stage.failed > 0 {
        text.push_str(&format!(", {} failed", stage.failed));
    }
    if stage.reused > 0 {
        text.push_str(&format!(", {} reused", stage.reused));
    }
    text
}

fn foot_line(status: &JobStatus) -> String {
    if let Some(reason) = status.waiting.first() {
        return format!("waiting: {}", printable(&reason.message));
    }
    let workers = quantity::count(status.members.len() as u64, "worker", "workers");
    if status.groups.iter().any(is_active) {
        return workers;
    }
    let rate = if status.rate_per_s > 0.0 {
        format!(", {}", quantity::rate(status.rate_per_s))
    } else {
        String::new()
    };
    let left = status.left_ms.map_or_else(String::new, |left_ms| {
        format!(", about {} left", quantity::duration(left_ms))
    });
    format!("{workers}{rate}{left}")
}

fn has_begun(stage: &StageStatus) -> bool {
    stage.running + stage.done + stage.failed > 0
}

fn is_over(stage: &StageStatus) -> bool {
    stage.done + stage.failed + stage.cancelled == stage.shards
}

fn write_line(text: &str) {
    // A terminal that was closed takes nothing more; the job goes on without it.
    let _closed = writeln!(io::stderr().lock(), "{text}");
}
