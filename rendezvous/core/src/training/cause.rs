//! Why a training group failed: which of its failures was the first, and what that costs.

use crate::training::{Hang, Training};
use crate::{
    Cause, Charge, Code, Epoch, Group, Membership, Millis, RankFailure, WorkerId,
    state::group::blame_key,
};
use petctl_spec::{Budgets, TrainSpec};

/// A worker that was lost with its processes.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    pub(crate) worker: WorkerId,
    /// When its stream broke, or when it was last heard of; `None`: some time while nobody coordinated.
    pub(crate) at: Option<Millis>,
    pub(crate) code: Code,
    pub(crate) message: String,
}

/// Processes die of a lost worker before its loss is noticed: a loss is the cause of what failed up to this long
/// before it.
pub(crate) const LOSS_SHADOW_MS: u64 = 1_000;

/// Most ranks that a cause lists as having failed after it.
const MAX_OTHERS: usize = 1_000;

/// The first cause of an epoch's end, not yet charged. No failure is older than the start of its processes, whatever a
/// worker's clock says.
pub(crate) fn first_cause(
    now: Millis,
    started: Millis,
    epoch: Epoch,
    training: &Training,
    members: &[Membership],
) -> Cause {
    let mut failures: Vec<(Millis, u32, WorkerId, &RankFailure)> = training
        .parts
        .iter()
        .flat_map(|(worker, part)| {
            part.failures
                .iter()
                .map(|(rank, (at, failure))| ((*at).max(started), *rank, *worker, failure))
        })
        .collect();
    failures.sort_unstable_by_key(|(at, rank, worker, _)| (*at, *rank, *worker));
    let hang = training.hang.as_ref();
    let first = [failures.first().map(|(at, ..)| *at), hang.map(|h| h.at)];
    let first = first.into_iter().flatten().min();
    let loss = training
        .losses
        .iter()
        .min_by_key(|loss| loss.at)
        .filter(|loss| match (loss.at, first) {
            (Some(at), Some(first)) => at <= first.plus(LOSS_SHADOW_MS),
            (None, _) | (_, None) => true,
        });
    let all = failures.iter().map(|(_, rank, ..)| *rank);
    let mut cause = if let Some(loss) = loss {
        of_loss(loss, first.unwrap_or(now), all.collect())
    } else if let Some(hang) = hang {
        of_hang(hang, training, all.collect())
    } else if let Some((at, rank, worker, failure)) = failures.first() {
        let cause = of_failure(*at, *rank, failure, all.skip(1).collect());
        (cause, Some(*worker))
    } else {
        let cause = Cause {
            at: now,
            code: Code::GroupFailed.as_str().to_owned(),
            message: "a worker stopped its processes, and nobody had asked it to".to_owned(),
            charged: Charge::Restart,
            ..nothing()
        };
        (cause, None)
    };
    let member = cause
        .1
        .and_then(|worker| Some((worker, training.parts.get(&worker)?.group_rank)))
        .and_then(|(worker, rank)| {
            members
                .get(rank as usize)
                .filter(|m| m.member.worker == worker)
        });
    if let Some(member) = member {
        cause.0.worker.clone_from(&member.member.name);
        cause.0.host.clone_from(&member.member.host);
    }
    cause.0.epoch = epoch;
    cause.0.others.truncate(MAX_OTHERS);
    cause.0
}

fn nothing() -> Cause {
    Cause {
        epoch: Epoch(0),
        at: Millis(0),
        rank: None,
        local_rank: None,
        worker: String::new(),
        host: String::new(),
        code: String::new(),
        message: String::new(),
        log_tail: String::new(),
        exit_code: None,
        signal: 0,
        others: Vec::new(),
        charged: Charge::Nothing,
    }
}

fn of_loss(loss: &Loss, or_at: Millis, others: Vec<u32>) -> (Cause, Option<WorkerId>) {
    let cause = Cause {
        at: loss.at.unwrap_or(or_at),
        code: loss.code.as_str().to_owned(),
        message: loss.message.clone(),
        others,
        charged: Charge::WorkerLost,
        ..nothing()
    };
    (cause, Some(loss.worker))
}

fn of_failure(at: Millis, rank: u32, failure: &RankFailure, others: Vec<u32>) -> Cause {
    Cause {
        at,
        rank: Some(rank),
        local_rank: Some(failure.local_rank),
        code: failure.code.clone(),
        message: failure.message.clone(),
        log_tail: failure.log_tail.clone(),
        exit_code: failure.exit_code,
        signal: failure.signal,
        others,
        charged: Charge::Restart,
        ..nothing()
    }
}

/// Where steps are reported and one rank is behind all others, it is named.
fn of_hang(hang: &Hang, training: &Training, others: Vec<u32>) -> (Cause, Option<WorkerId>) {
    let mut steps: Vec<(u64, u32, WorkerId, u32)> = training
        .parts
        .iter()
        .flat_map(|(worker, part)| {
            let first = part.first_rank;
            part.steps
                .iter()
                .map(move |(rank, (step, _))| (*step, *rank, *worker, rank.saturating_sub(first)))
        })
        .collect();
    steps.sort_unstable();
    let behind = match steps.as_slice() {
        [slow, next, ..] if slow.0 < next.0 => Some((*slow, next.0)),
        _ => None,
    };
    let quiet = format!("nothing happened for {} s", hang.quiet_ms / 1_000);
    let mut cause = Cause {
        at: hang.at,
        code: Code::RankHung.as_str().to_owned(),
        message: format!("{quiet}, in no rank"),
        others,
        charged: Charge::Restart,
        ..nothing()
    };
    if let Some(((step, rank, worker, local_rank), next)) = behind {
        cause.message = format!("{quiet}; it is at step {step}, the others at {next} or later");
        cause.rank = Some(rank);
        cause.local_rank = Some(local_rank);
        return (cause, Some(worker));
    }
    (cause, None)
}

/// What a cause makes of the budgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bill {
    pub(crate) restarts_used: u32,
    pub(crate) lost_used: u32,
    /// No restart is left.
    pub(crate) over: bool,
}

/// Charges a cause. A group that was well for a whole window has its budgets back.
pub(crate) fn charge(
    cause: &Cause,
    group: &Group,
    train: &TrainSpec,
    budgets: &Budgets,
    now: Millis,
) -> Bill {
    let (mut restarts_used, mut lost_used) = used(group, train, now);
    let over = match cause.charged {
        Charge::Nothing => false,
        Charge::Restart => take_one(&mut restarts_used, train.max_restarts),
        Charge::WorkerLost => take_one(&mut lost_used, budgets.worker_lost),
    };
    Bill {
        restarts_used,
        lost_used,
        over,
    }
}

/// Restarts and lost workers that are charged now.
pub(crate) fn used(group: &Group, train: &TrainSpec, now: Millis) -> (u32, u32) {
    let well = group
        .healthy_since
        .is_some_and(|since| now.since(since) >= train.restart_window_ms);
    if well && train.restart_window_ms > 0 {
        (0, 0)
    } else {
        (group.restarts_used, group.lost_used)
    }
}

fn take_one(used: &mut u32, budget: u32) -> bool {
    let over = *used >= budget;
    *used = used.saturating_add(1).min(budget);
    over
}

/// Whether a worker was the first cause so often that training goes better without it.
pub(crate) fn is_left_out(group: &Group, train: &TrainSpec, worker: &str, host: &str) -> bool {
    train.exclude_after > 0
        && !group.blame.is_empty()
        && group
            .blame
            .get(&blame_key(worker, host))
            .is_some_and(|times| *times >= train.exclude_after)
}
