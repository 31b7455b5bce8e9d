//! What events about a job's pool say.

use super::describe::{Names, Shown, shown};
use super::{Event, LeaveReason, MemberRecord};
use crate::WorkerId;
use serde_json::{Value, json};

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the others are of other groups"
)]
pub(super) fn show(event: &Event, _names: &Names<'_>) -> Option<Shown> {
    match event {
        Event::PoolScaled {
            job: _,
            min,
            max,
            wanted,
        } => shown(
            format!("pool scaled to {wanted} workers (min {min}, max {max})"),
            json!({ "min": min, "max": max, "wanted": wanted }),
        ),
        Event::EpochFormed {
            job: _,
            epoch,
            joined,
            left,
        } => {
            let names: Vec<&str> = joined.iter().map(|m| m.name.as_str()).collect();
            let mut text = format!("epoch {epoch} formed");
            if !names.is_empty() {
                text.push_str(&format!("; joined: {}", few(&names)));
            }
            text.push_str(&departures(left));
            let fields = json!({
                "epoch": epoch.0,
                "joined": joined.iter().map(member_json).collect::<Vec<_>>(),
                "left": left_json(left),
            });
            shown(text, fields)
        }
        Event::QuorumLost { job: _, left } => shown(
            format!("too few workers for an epoch{}", departures(left)),
            json!({ "left": left_json(left) }),
        ),
        _ => None,
    }
}

fn departures(left: &[(WorkerId, LeaveReason)]) -> String {
    let mut text = String::new();
    for (reason, what) in [
        (LeaveReason::Gone, "gone"),
        (LeaveReason::Silent, "silent"),
        (LeaveReason::Left, "left"),
        (LeaveReason::ScaledDown, "drained"),
        (LeaveReason::NotBack, "not back after the restart"),
        (LeaveReason::JobEnded, "released"),
        (LeaveReason::Drained, "drained by request"),
        (LeaveReason::LeftOut, "left out"),
    ] {
        let count = left.iter().filter(|(_, r)| *r == reason).count();
        if count > 0 {
            text.push_str(&format!("; {count} {what}"));
        }
    }
    text
}

fn few(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    let mut text = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

fn member_json(member: &MemberRecord) -> Value {
    json!({
        "id": member.worker.to_string(),
        "name": member.name,
        "host": member.host,
        "address": member.address,
        "processes": member.processes,
    })
}

fn left_json(left: &[(WorkerId, LeaveReason)]) -> Vec<Value> {
    left.iter()
        .map(|(worker, reason)| json!({ "id": worker.to_string(), "reason": reason.as_str() }))
        .collect()
}
