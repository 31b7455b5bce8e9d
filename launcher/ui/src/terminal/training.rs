//! Training groups for people.

use super::table::printable;
use super::{Output, Style, quantity};
use petctl_proto::v1::{FirstCause, GroupStatus, JobState, JobStatus};

/// Causes that a status shows.
const MAX_CAUSES: usize = 3;
/// Lines of the newest cause's log that a status shows.
const MAX_TAIL: usize = 5;
/// Ranks that a line names.
const MAX_RANKS: usize = 12;

/// Whether the group's processes run, or workers gather for it.
pub fn is_active(group: &GroupStatus) -> bool {
    ["gathering", "preparing", "running", "stopping"].contains(&group.phase.as_str())
}

/// How the job's training groups stand; nothing for a job without one.
pub fn show_training(out: &Output, status: &JobStatus) {
    if status.groups.is_empty() {
        return;
    }
    out.line("");
    out.line(&out.style().bold("Training"));
    for group in &status.groups {
        show_group(out, status, group);
    }
}

/// Why the groups failed, with the whole of what is kept of it.
pub fn show_causes(out: &Output, status: &JobStatus) {
    for group in &status.groups {
        for cause in &group.causes {
            out.line("");
            out.line(&cause_line(out.style(), status.at_ms, cause));
            show_tail(out, cause, usize::MAX);
        }
    }
}

/// One line for a progress display.
pub(super) fn group_line(group: &GroupStatus) -> String {
    let mut parts = vec![group.phase.clone()];
    if group.epoch > 0 {
        parts.push(format!("epoch {}", group.epoch));
    }
    if group.running_since_ms > 0 {
        parts.push(ranks(group));
    }
    if let Some(step) = group.step {
        parts.push(format!("step {}", quantity::thousands(step)));
    }
    if let Some(newest) = group.checkpoints.first() {
        parts.push(format!("checkpoint {}", quantity::thousands(newest.step)));
    }
    if group.running_since_ms > 0 {
        parts.push(format!("{} at risk", quantity::duration(group.at_risk_ms)));
    }
    if group.restarts_used > 0 {
        parts.push(restarts(group));
    }
    if group.joining > 0 {
        parts.push(joining(group));
    }
    parts.join(", ")
}

fn show_group(out: &Output, status: &JobStatus, group: &GroupStatus) {
    let (style, now_ms) = (out.style(), status.at_ms);
    let state = status
        .summary
        .as_ref()
        .map_or(JobState::Unspecified, |s| s.state());
    out.line(&format!(
        "  {} {}",
        printable(&group.stage_name),
        standing(style, state, now_ms, group)
    ));
    for line in checkpoint_lines(now_ms, group) {
        out.line(&format!("    {line}"));
    }
    if group.joining > 0 {
        out.line(&format!("    {}", joining(group)));
    }
    for (what, reasons) in [("slow", &group.stragglers), ("left out", &group.left_out)] {
        // What the job as a whole waits for has been said.
        for reason in reasons
            .iter()
            .filter(|reason| !status.waiting.contains(reason))
        {
            let head = style.yellow(&format!("{what}[{}]:", reason.code));
            out.line(&format!("    {head} {}", printable(&reason.message)));
        }
    }
    for (index, cause) in group.causes.iter().take(MAX_CAUSES).enumerate() {
        out.line(&format!("    {}", cause_line(style, now_ms, cause)));
        if index == 0 {
            show_tail(out, cause, MAX_TAIL);
        }
    }
    if group.causes.len() > MAX_CAUSES {
        let more = (group.causes.len() - MAX_CAUSES) as u64;
        out.line(&format!(
            "    and {} before: petctl explain",
            quantity::count(more, "failure", "failures")
        ));
    }
}

/// `running: epoch 3, 16 ranks at 10.0.0.4:29511 for 12 min 3 s, step 1,200, 1 of 3 restarts used`
fn standing(style: Style, state: JobState, now_ms: u64, group: &GroupStatus) -> String {
    let phase = match group.phase.as_str() {
        "failed" if state == JobState::Cancelled => style.red("cancelled"),
        "blocked" | "gathering" if state == JobState::Suspended => style.yellow("suspended"),
        // It has run before: its workers are gone, or other work of the job has its turn.
        "blocked" if group.epoch > 0 => style.yellow("not running"),
        "succeeded" => style.green(&group.phase),
        "failed" => style.red(&group.phase),
        "running" => style.bold(&group.phase),
        other => style.yellow(other),
    };
    let mut parts = Vec::new();
    if group.epoch > 0 {
        parts.push(format!("epoch {}", group.epoch));
    }
    if group.running_since_ms > 0 {
        let address = printable(&group.master_addr);
        let master = if address.is_empty() {
            format!("port {}", group.master_port)
        } else if address.contains(':') {
            format!("[{address}]:{}", group.master_port)
        } else {
            format!("{address}:{}", group.master_port)
        };
        let ran_ms = now_ms.saturating_sub(group.running_since_ms);
        parts.push(format!(
            "{} at {master} for {}",
            ranks(group),
            quantity::duration(ran_ms)
        ));
    }
    if let Some(step) = group.step {
        parts.push(format!("step {}", quantity::thousands(step)));
    }
    if group.restarts_used > 0 || group.running_since_ms > 0 {
        parts.push(restarts(group));
    }
    if parts.is_empty() {
        return phase;
    }
    format!("{phase}: {}", parts.join(", "))
}

fn checkpoint_lines(now_ms: u64, group: &GroupStatus) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(newest) = group.checkpoints.first() {
        let older = match group.checkpoints.len() - 1 {
            0 => String::new(),
            older => format!("; {older} older kept"),
        };
        lines.push(format!(
            "checkpoint: step {}, {}: {}{older}",
            quantity::thousands(newest.step),
            quantity::ago(now_ms, newest.at_ms),
            printable(&newest.path)
        ));
    }
    if group.running_since_ms > 0 {
        let steps = group.at_risk_steps.map_or_else(String::new, |steps| {
            format!(", {}", quantity::count(steps, "step", "steps"))
        });
        let since = if group.checkpoints.is_empty() {
            "; no checkpoint yet"
        } else {
            ""
        };
        lines.push(format!(
            "at risk: {}{steps}{since}",
            quantity::duration(group.at_risk_ms)
        ));
    }
    lines
}

/// `failed[RANK_FAILED] 2 min ago in epoch 2: rank 3 on node-2 (local-2): RuntimeError: boom; ranks 0, 1 after it;
/// cost a restart`
fn cause_line(style: Style, now_ms: u64, cause: &FirstCause) -> String {
    let head = style.red(&format!("failed[{}]", cause.code));
    // Of a lost worker the message itself says which.
    let who = cause.rank.map_or_else(String::new, |rank| {
        format!("rank {rank} on {} ({}): ", cause.host, cause.worker)
    });
    let cost = match cause.charged.as_str() {
        "restart" => "; cost a restart",
        "worker_lost" => "; cost a lost worker",
        _ => "",
    };
    format!(
        "{head} {} in epoch {}: {}{}{}{cost}",
        quantity::ago(now_ms, cause.at_ms),
        cause.epoch,
        printable(&who),
        printable(&cause.message),
        others(&cause.others)
    )
}

fn others(others: &[u32]) -> String {
    if others.is_empty() {
        return String::new();
    }
    let named: Vec<String> = others.iter().take(MAX_RANKS).map(u32::to_string).collect();
    let more = match others.len().saturating_sub(MAX_RANKS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let noun = if others.len() == 1 { "rank" } else { "ranks" };
    format!("; {noun} {}{more} after it", named.join(", "))
}

fn show_tail(out: &Output, cause: &FirstCause, most: usize) {
    let lines: Vec<&str> = cause.log_tail.lines().collect();
    for line in &lines[lines.len().saturating_sub(most)..] {
        out.line(&format!("      | {}", printable(line)));
    }
}

fn ranks(group: &GroupStatus) -> String {
    quantity::count(u64::from(group.world_size), "rank", "ranks")
}

fn restarts(group: &GroupStatus) -> String {
    format!(
        "{} of {} restarts used",
        group.restarts_used, group.max_restarts
    )
}

fn joining(group: &GroupStatus) -> String {
    let workers = quantity::count(u64::from(group.joining), "worker joins", "workers join");
    format!("{workers} at the next checkpoint")
}

#[cfg(test)]
mod tests {
    use super::*;
    use petctl_proto::v1::CheckpointRow;

    fn running() -> GroupStatus {
        GroupStatus {
            stage_name: "fit".into(),
            phase: "running".into(),
            epoch: 3,
            world_size: 4,
            master_addr: "10.0.0.4".into(),
            master_port: 29_511,
            running_since_ms: 10_000,
            restarts_used: 1,
            max_restarts: 3,
            checkpoints: vec![CheckpointRow {
                step: 1_000,
                path: "/out/fit/checkpoints/step-1000".into(),
                epoch: 2,
                at_ms: 40_000,
            }],
            at_risk_ms: 12_000,
            at_risk_steps: Some(200),
            step: Some(1_200),
            joining: 2,
            ..GroupStatus::default()
        }
    }

    #[test]
    fn a_running_group_says_what_would_be_lost() {
        let group = running();
        assert_eq!(
            group_line(&group),
            "running, epoch 3, 4 ranks, step 1,200, checkpoint 1,000, 12 s at risk, 1 of 3 restarts used, \
             2 workers join at the next checkpoint"
        );
        assert_eq!(
            standing(Style::new(false), JobState::Running, 52_000, &group),
            "running: epoch 3, 4 ranks at 10.0.0.4:29511 for 42 s, step 1,200, 1 of 3 restarts used"
        );
        assert_eq!(
            checkpoint_lines(52_000, &group),
            [
                "checkpoint: step 1,000, 12 s ago: /out/fit/checkpoints/step-1000",
                "at risk: 12 s, 200 steps"
            ]
        );
        assert!(is_active(&group));
    }

    #[test]
    fn a_cause_names_the_first_rank_and_folds_the_others() {
        let cause = FirstCause {
            epoch: 2,
            at_ms: 1_000,
            rank: Some(3),
            worker: "local-2".into(),
            host: "node-2".into(),
            code: "RANK_FAILED".into(),
            message: "RuntimeError: boom".into(),
            others: (0..20).collect(),
            charged: "restart".into(),
            ..FirstCause::default()
        };
        assert_eq!(
            cause_line(Style::new(false), 31_000, &cause),
            "failed[RANK_FAILED] 30 s ago in epoch 2: rank 3 on node-2 (local-2): RuntimeError: boom; \
             ranks 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 8 more after it; cost a restart"
        );
        let lost = FirstCause {
            rank: None,
            others: Vec::new(),
            charged: "worker_lost".into(),
            ..cause
        };
        assert!(
            cause_line(Style::new(false), 1_000, &lost)
                .ends_with("in epoch 2: RuntimeError: boom; cost a lost worker")
        );
    }
}
