//! `petctl status` for people.

use super::{Output, Style, Table, quantity};
use crate::terminal::table::printable;
use crate::terminal::training::{is_active, show_training};
use petctl_proto::v1::{
    JobState, JobStatus, JobSummary, MemberState, Reason, ShardRow, ShardState, StageStatus,
    Submission, Verdict,
};

/// Events shown.
const MAX_EVENTS: usize = 8;
/// Characters of a stage's bar.
const BAR: u64 = 20;

/// A job's state as one word.
pub fn job_state(state: JobState) -> &'static str {
    match state {
        JobState::Unspecified => "unknown",
        JobState::Waiting => "waiting",
        JobState::Running => "running",
        JobState::Succeeded => "succeeded",
        JobState::Failed => "failed",
        JobState::Cancelling => "cancelling",
        JobState::Cancelled => "cancelled",
        JobState::Interrupted => "interrupted",
        JobState::Suspended => "suspended",
    }
}

/// A shard's state as one word.
pub fn shard_state(state: ShardState) -> &'static str {
    match state {
        ShardState::Unspecified => "unknown",
        ShardState::Blocked => "blocked",
        ShardState::Ready => "ready",
        ShardState::Running => "running",
        ShardState::Backoff => "backoff",
        ShardState::Done => "done",
        ShardState::Failed => "failed",
        ShardState::Cancelled => "cancelled",
        ShardState::Skipped => "skipped",
    }
}

/// A member's state as one word.
pub fn member_state(state: MemberState) -> &'static str {
    match state {
        MemberState::Unspecified => "unknown",
        MemberState::Active => "active",
        MemberState::Draining => "draining",
        MemberState::Silent => "silent",
        MemberState::Spare => "spare",
    }
}

/// A shard's own judgement as one word; empty where it gave none.
pub fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Unspecified => "",
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Skipped => "skipped",
    }
}

/// What became of a submission, as a sentence.
pub fn describe_submission(submission: Submission, reused: u64) -> String {
    let what = match submission {
        Submission::Unspecified | Submission::New => "accepted",
        Submission::Resumed => "goes on",
        Submission::Retried => "runs again what is missing",
        Submission::Finished => return "has succeeded before; nothing to do".to_owned(),
    };
    match reused {
        0 => what.to_owned(),
        reused => format!("{what}; {} done already", quantity::shards(reused)),
    }
}

/// One line on how a job stands, coloured.
pub fn verdict_line(style: Style, summary: &JobSummary) -> String {
    let state = job_state(summary.state());
    let state = match summary.state() {
        JobState::Succeeded => style.green(state),
        JobState::Failed | JobState::Cancelled | JobState::Cancelling => style.red(state),
        JobState::Waiting | JobState::Interrupted | JobState::Suspended => style.yellow(state),
        JobState::Unspecified | JobState::Running => style.bold(state),
    };
    format!(
        "{} {state}: {}",
        style.bold(&printable(&summary.name)),
        printable(&summary.verdict)
    )
}

/// What to do next, for a job that has ended or stands still.
pub fn exit_hint(summary: &JobSummary, resume: Option<&str>) -> Option<String> {
    let name = &summary.name;
    let commands = match summary.state() {
        JobState::Failed => vec![
            (
                format!("petctl explain {name}"),
                "why, and the commands that run those shards here",
            ),
            (format!("petctl logs {name} --failed"), "what they printed"),
        ],
        JobState::Interrupted => vec![(resume?.to_owned(), "goes on with it")],
        JobState::Cancelled => vec![(resume?.to_owned(), "runs what is missing")],
        JobState::Suspended => vec![(format!("petctl resume {name}"), "lets it go on")],
        JobState::Unspecified
        | JobState::Waiting
        | JobState::Running
        | JobState::Succeeded
        | JobState::Cancelling => return None,
    };
    let width = commands
        .iter()
        .map(|(command, _)| command.len())
        .max()
        .unwrap_or(0);
    let lines = commands
        .iter()
        .map(|(command, what)| format!("  {command:<width$}   {what}"));
    Some(format!("next:\n{}", lines.collect::<Vec<_>>().join("\n")))
}

/// The whole of `petctl status`.
pub fn show_status(out: &Output, status: &JobStatus) {
    let style = out.style();
    let Some(summary) = &status.summary else {
        return;
    };
    out.line(&verdict_line(style, summary));
    for reason in &status.waiting {
        out.line(&format!(
            "  {} {}",
            style.yellow(&format!("waits[{}]:", reason.code)),
            printable(&reason.message)
        ));
    }
    for warning in allowed_failures(status).into_iter().chain(notices(status)) {
        out.line(&format!("  {}", style.red(&warning)));
    }
    out.line(&format!("  output: {}", printable(&status.output_root)));
    if let Some(pace) = pace(status, summary) {
        out.line(&format!("  {pace}"));
    }
    show_members(out, status);
    show_stages(out, status, summary.state() != JobState::Interrupted);
    show_training(out, status);
    show_failures(out, &status.first_failures);
    show_events(out, status);
}

/// Shards of a stage that are done, without those that were skipped.
pub fn committed(stage: &StageStatus) -> u64 {
    stage.done.saturating_sub(stage.skipped)
}

/// Stages that others went on without: nobody may take what those made for the whole.
pub fn allowed_failures(status: &JobStatus) -> Vec<String> {
    let stages = status.stages.iter().filter(|stage| stage.failures_allowed);
    let sentence = |stage: &StageStatus| {
        let missing = stage.failed + stage.cancelled;
        let verb = if missing == 1 { "is" } else { "are" };
        format!(
            "{missing} of {} of stage `{}` {verb} missing, and allow_failed lets what needs it go on without",
            quantity::shards(stage.shards),
            printable(&stage.name)
        )
    };
    stages.map(sentence).collect()
}

/// What to know of its end beside its state, such as a stage in which nothing was done.
pub fn notices(status: &JobStatus) -> Vec<String> {
    let notices = status.notices.iter();
    let line = |notice: &Reason| format!("{} [{}]", printable(&notice.message), notice.code);
    notices.map(line).collect()
}

fn pace(status: &JobStatus, summary: &JobSummary) -> Option<String> {
    if summary.ended_at_ms > 0 {
        let took_ms = summary.ended_at_ms.saturating_sub(summary.submitted_at_ms);
        let ago = quantity::ago(status.at_ms, summary.ended_at_ms);
        return Some(format!("took {}, ended {ago}", quantity::duration(took_ms)));
    }
    let since = quantity::ago(status.at_ms, summary.submitted_at_ms);
    // A training says how far it is; at the rate of shards nothing can be said of it.
    let trains = status.groups.iter().any(is_active);
    let rate = if status.rate_per_s > 0.0 && !trains {
        format!(", {}", quantity::rate(status.rate_per_s))
    } else {
        String::new()
    };
    let left = status
        .left_ms
        .filter(|_| !trains)
        .map(|left_ms| format!(", about {} left", quantity::duration(left_ms)));
    (summary.submitted_at_ms > 0)
        .then(|| format!("submitted {since}{rate}{}", left.unwrap_or_default()))
}

fn show_members(out: &Output, status: &JobStatus) {
    if status.members.is_empty() {
        return;
    }
    out.line("");
    let sizes = format!(
        "{} wanted, {} to {}",
        status.wanted_workers, status.min_workers, status.max_workers
    );
    out.line(
        &out.style()
            .bold(&format!("Workers ({sizes}; epoch {})", status.epoch)),
    );
    let mut table = Table::new(&[
        "  NAME", "STATE", ">RANK", ">SLOTS", ">LEASES", ">DONE", ">PID", "HOST", "HEARD",
    ]);
    for member in &status.members {
        let active = member
            .rank
            .filter(|_| member.state() == MemberState::Active);
        let rank = active.map_or_else(|| "-".to_owned(), |rank| rank.to_string());
        table.row(vec![
            format!("  {}", member.name),
            member_state(member.state()).into(),
            rank,
            member.slots.to_string(),
            member.leases.to_string(),
            member.done.to_string(),
            member.pid.to_string(),
            member.host.clone(),
            format!("{} ago", quantity::duration(member.last_heard_ms_ago)),
        ]);
    }
    show_table(out, &table);
}

fn show_stages(out: &Output, status: &JobStatus, live: bool) {
    out.line("");
    out.line(&out.style().bold("Stages"));
    let headings = [
        "  STAGE", "KIND", "", ">DONE", ">RUNNING", ">FAILED", ">LEFT", ">RETRIES", ">MEAN S",
        "NOTE",
    ];
    let mut table = Table::new(&headings);
    for stage in &status.stages {
        let running = running(status, stage);
        let left = stage
            .shards
            .saturating_sub(stage.done + stage.failed + stage.cancelled + running);
        table.row(vec![
            format!("  {}", stage.name),
            stage.kind.clone(),
            bar(stage, running),
            format!("{}/{}", stage.done, stage.shards),
            running.to_string(),
            stage.failed.to_string(),
            left.to_string(),
            stage.retries.to_string(),
            quantity::mean_seconds(stage.mean_s, committed(stage)),
            note(stage, live),
        ]);
    }
    show_table(out, &table);
}

/// Shards of a stage that run: workers also hold some that wait for a slot, and those are left.
pub(super) fn running(status: &JobStatus, stage: &StageStatus) -> u64 {
    let slots: u64 = status
        .members
        .iter()
        .map(|member| u64::from(member.slots))
        .sum();
    if slots == 0 {
        stage.running
    } else {
        stage.running.min(slots)
    }
}

/// What the numbers do not say. Nothing waits for something while nobody works.
fn note(stage: &StageStatus, live: bool) -> String {
    let waiting = |number| if live { number } else { 0 };
    let parts = [
        (stage.reused, "reused", "reused"),
        (
            stage.verdict_fail,
            "failed its checks",
            "failed their checks",
        ),
        (stage.skipped, "skipped", "skipped"),
        (
            waiting(stage.blocked),
            "waits for other shards",
            "wait for other shards",
        ),
        (
            waiting(stage.backoff),
            "waits to be tried again",
            "wait to be tried again",
        ),
        (stage.cancelled, "cancelled", "cancelled"),
    ];
    let mut said: Vec<String> = parts
        .iter()
        .filter(|(number, ..)| *number > 0)
        .map(|(number, one, many)| format!("{number} {}", if *number == 1 { one } else { many }))
        .collect();
    if stage.speculative > 0 {
        let seconds = quantity::count(stage.speculative, "second attempt", "second attempts");
        said.push(format!(
            "{seconds} of stragglers, {} faster",
            stage.speculative_won
        ));
    }
    if stage.failures_allowed {
        said.push("others went on without what failed".to_owned());
    }
    said.join(", ")
}

fn bar(stage: &StageStatus, running: u64) -> String {
    let part = |number: u64| number.saturating_mul(BAR) / stage.shards.max(1);
    let done = part(stage.done);
    let ended = part(stage.done + stage.failed + stage.cancelled).max(done);
    let active = part(stage.done + stage.failed + stage.cancelled + running).max(ended);
    let text: String = (0..BAR)
        .map(|at| match at {
            at if at < done => '#',
            at if at < ended => '!',
            at if at < active => '>',
            _ => '-',
        })
        .collect();
    format!("[{text}]")
}

fn show_failures(out: &Output, failures: &[ShardRow]) {
    if failures.is_empty() {
        return;
    }
    out.line("");
    out.line(&out.style().bold("First failures"));
    for row in failures {
        let why = if row.message.is_empty() {
            row.reasons.join("; ")
        } else {
            row.message.clone()
        };
        let code = if row.code.is_empty() {
            String::new()
        } else {
            format!(" [{}]", row.code)
        };
        let times = quantity::count(u64::from(row.attempts), "attempt", "attempts");
        let name = format!("{}/{}", row.stage_name, printable(&row.key));
        out.line(&format!("  {name}{code}: {} ({times})", printable(&why)));
    }
}

fn show_events(out: &Output, status: &JobStatus) {
    if status.last_events.is_empty() {
        return;
    }
    out.line("");
    out.line(&out.style().bold("Last events"));
    let skip = status.last_events.len().saturating_sub(MAX_EVENTS);
    for event in status.last_events.iter().skip(skip) {
        out.line(&format!(
            "  {}  {}",
            quantity::clock(event.at_ms),
            printable(&event.text)
        ));
    }
}

/// Prints a table as data.
pub fn show_table(out: &Output, table: &Table) {
    for line in table.lines() {
        out.line(&line);
    }
}
