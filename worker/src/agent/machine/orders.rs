//! Effects that take leases away from the slots.

use std::collections::BTreeSet;

use petctl_codes::Code;
use petctl_group::{GroupOrder, Stop as GroupEnd};
use petctl_process::StopOrder;
use petctl_process::supervisor::Stop;
use petctl_proto::v1::{AttemptResult, Outcome, Revocation};

use crate::agent::machine::Effect;

/// Nobody waits for these any more: out of the queue, killed where they run, and nothing of them is reported.
pub(super) fn discard(wanted: Option<BTreeSet<u64>>, why: &str, effects: &mut Vec<Effect>) {
    let order = StopOrder {
        stop: Stop::Discarded,
        code: Code::LeaseLost.to_string(),
        message: why.to_owned(),
    };
    effects.push(Effect::Withdraw {
        wanted: wanted.clone(),
        with: AttemptResult::default(),
    });
    effects.push(Effect::Stop { wanted, order });
}

pub(super) fn hand_back_queued(code: Code, reason: &str, effects: &mut Vec<Effect>) {
    let with = unstarted(Outcome::Returned, code.as_str(), reason);
    effects.push(Effect::Withdraw { wanted: None, with });
}

pub(super) fn revoke(revocation: Revocation, effects: &mut Vec<Effect>) {
    let wanted: BTreeSet<u64> = revocation.lease_ids.into_iter().collect();
    let outcome = if revocation.only_if_queued {
        Outcome::Returned
    } else {
        Outcome::Revoked
    };
    let with = unstarted(outcome, &revocation.code, &revocation.message);
    effects.push(Effect::Withdraw {
        wanted: Some(wanted.clone()),
        with,
    });
    if !revocation.only_if_queued {
        let order = StopOrder {
            stop: Stop::Revoked,
            code: revocation.code,
            message: revocation.message,
        };
        effects.push(Effect::Stop {
            wanted: Some(wanted),
            order,
        });
    }
}

fn unstarted(outcome: Outcome, code: &str, message: &str) -> AttemptResult {
    AttemptResult {
        outcome: outcome.into(),
        code: code.to_owned(),
        message: message.to_owned(),
        ..AttemptResult::default()
    }
}

/// SIGTERM, grace, SIGKILL for what runs of a training group.
pub(super) fn stop_group(code: Code, message: &str, effects: &mut Vec<Effect>) {
    effects.push(Effect::StopGroup(GroupOrder {
        stop: GroupEnd::Asked,
        code: code.to_string(),
        message: message.to_owned(),
    }));
}

/// SIGKILL: its epoch goes on without it, or is over.
pub(super) fn kill_group(code: Code, message: &str, effects: &mut Vec<Effect>) {
    effects.push(Effect::StopGroup(GroupOrder {
        stop: GroupEnd::Now,
        code: code.to_string(),
        message: message.to_owned(),
    }));
}
