//! A worker's attempts: through the output step by step, to the disk, and only then into a report.

use super::{Held, Phase, Surroundings, Worker};
use crate::output::attempt::{Around, Attempt, Came};
use crate::output::maker::Maker;
use crate::output::{Name, Output};
use crate::plan::Broken;
use petctl_core::{Adopted, AttemptReport, Code, LeaseId, Lineage, Outcome, ShardId, Verdict};

use std::io::Write as _;

/// Files of each shard's outputs.
pub const FILES: u32 = 1;
/// Their bytes, where they are whole.
pub const BYTES: u64 = 10;

/// An attempt's way through the output.
#[derive(Clone, Debug)]
pub(super) struct Making {
    pub(super) attempt: Attempt,
    next_at: u64,
    began_at: u64,
    /// It is told to stop when it can.
    pub(super) revoked: Option<Outcome>,
}

/// A result on its way to the disk.
#[derive(Clone, Debug)]
pub(super) struct Syncing {
    attempt: Attempt,
    report: Box<AttemptReport>,
    since: u64,
    /// When the sync is done, and when outputs of before go.
    done_at: u64,
    synced: bool,
}

impl Worker {
    pub(super) fn start_attempts(&mut self, at: &mut Surroundings<'_>) {
        let running = self
            .held
            .values()
            .filter(|h| matches!(h.phase, Phase::Makes(_) | Phase::Runs { .. }))
            .count();
        let free = (self.slots as usize).saturating_sub(running);
        let queued: Vec<LeaseId> = self
            .held
            .iter()
            .filter(|(_, h)| matches!(h.phase, Phase::Queued))
            .map(|(l, _)| *l)
            .collect();
        let valid = at.now < self.valid_until;
        for (place, lease) in queued.into_iter().enumerate() {
            let Some(held) = self.held.get_mut(&lease) else {
                continue;
            };
            if self.draining {
                let report = ended(lease, held.grant.shard, Outcome::Returned);
                held.phase = Phase::Reported(Box::new(report));
                continue;
            }
            // A lease that was lost while it waited must not fence off the one that took its place.
            if place >= free || !valid {
                continue;
            }
            *at.attempts += 1;
            let maker = Maker::new(&held.grant, *at.attempts, at.broken);
            held.phase = Phase::Makes(Making {
                attempt: Attempt::begin(maker, at.output.is_blob),
                next_at: at.now,
                began_at: at.now,
                revoked: None,
            });
        }
    }

    pub(super) fn end_attempts(&mut self, at: &mut Surroundings<'_>) -> Vec<AttemptReport> {
        let mut reports = Vec::new();
        let valid = at.now < self.valid_until;
        for (lease, held) in &mut self.held {
            let shard = held.grant.shard;
            match &mut held.phase {
                Phase::Runs {
                    making,
                    began_at,
                    ends_at,
                } if *ends_at <= at.now => {
                    if at.rng.u32(0..1_000) < at.fail_permille {
                        making.attempt.discard(at.output);
                        let report = failed(*lease, shard, at);
                        reports.push(report.clone());
                        held.phase = Phase::Reported(Box::new(report));
                    } else if valid {
                        let mut making = making.clone();
                        making.began_at = *began_at;
                        making.attempt.publish(at.output.is_blob, verdict(at));
                        held.phase = Phase::Makes(making);
                    }
                    // Else it waits, uncommitted, until the lease is confirmed.
                }
                Phase::Queued
                | Phase::Makes(_)
                | Phase::Runs { .. }
                | Phase::Syncs
                | Phase::Reported(_) => {}
            }
            let Phase::Makes(making) = &mut held.phase else {
                continue;
            };
            let Some(came) = making.goes_on(valid, at) else {
                continue;
            };
            let (maker, duration_ms) = (&making.attempt.maker, at.now - making.began_at);
            let report = match (came, making.revoked) {
                (Came::On, _) => continue,
                (Came::Runs, Some(outcome)) => {
                    making.attempt.discard(at.output);
                    ended(*lease, shard, outcome)
                }
                (Came::Runs, None) => {
                    // Some are stragglers.
                    let slow = if at.rng.u32(0..20) == 0 { 10 } else { 1 };
                    held.phase = Phase::Runs {
                        making: making.clone(),
                        began_at: at.now,
                        ends_at: at.now + at.rng.u64(0..=at.work_ms) * slow,
                    };
                    continue;
                }
                (Came::Adopted(name, verdict), _) => {
                    let adopted = adopted(name, maker.name);
                    let mut report = committed(*lease, shard, adopted, verdict);
                    if adopted.is_none() {
                        report.duration_ms = duration_ms;
                    }
                    report
                }
                (Came::Published(verdict), _) => AttemptReport {
                    duration_ms,
                    ..committed(*lease, shard, None, verdict)
                },
                (Came::Overtaken, _) => {
                    making.attempt.discard(at.output);
                    coded(*lease, shard, Outcome::Revoked, Code::Overtaken)
                }
                (Came::Gone, _) => {
                    making.attempt.discard(at.output);
                    coded(*lease, shard, Outcome::Infrastructure, Code::OutputGone)
                }
            };
            if report.outcome == Outcome::Committed && at.broken != Some(Broken::SyncFirst) {
                let (since, took) = (at.now, at.rng.u64(0..500) + at.pause());
                let syncing = Syncing {
                    attempt: making.attempt.clone(),
                    report: Box::new(report),
                    since,
                    done_at: since + took,
                    synced: false,
                };
                self.syncing.insert(*lease, syncing);
                held.phase = Phase::Syncs;
                continue;
            }
            tell(&report, &making.attempt, at.output);
            reports.push(report.clone());
            held.phase = Phase::Reported(Box::new(report));
        }
        if at.broken == Some(Broken::Resend) {
            for report in &reports {
                self.held.remove(&report.lease);
            }
        }
        reports
    }

    /// Outputs become durable, those of before go, and only then somebody hears of it.
    pub(super) fn sync(&mut self, at: &mut Surroundings<'_>, reports: &mut Vec<AttemptReport>) {
        let mut told = Vec::new();
        for (lease, syncing) in &mut self.syncing {
            if syncing.done_at > at.now {
                continue;
            }
            if syncing.synced {
                syncing.attempt.settle(at.output);
                told.push(*lease);
                continue;
            }
            at.output.sync(syncing.since);
            syncing.synced = true;
            syncing.done_at = at.now + at.pause();
        }
        for lease in told {
            let Some(syncing) = self.syncing.remove(&lease) else {
                continue;
            };
            tell(&syncing.report, &syncing.attempt, at.output);
            if at.broken == Some(Broken::Resend) {
                self.held.remove(&lease);
            } else if let Some(held) = self.held.get_mut(&lease) {
                held.phase = Phase::Reported(syncing.report.clone());
            }
            reports.push(*syncing.report);
        }
    }

    pub(super) fn finish_loose(&mut self, at: &mut Surroundings<'_>) {
        let valid = at.now < self.valid_until;
        self.loose.retain_mut(|making| {
            let came = making.goes_on(valid, at);
            if matches!(came, Some(Came::Runs | Came::Overtaken | Came::Gone)) {
                making.attempt.discard(at.output);
            }
            matches!(came, None | Some(Came::On))
        });
    }
}

impl Held {
    pub(super) fn stop(&mut self, lease: LeaseId, outcome: Outcome, at: &mut Surroundings<'_>) {
        match &mut self.phase {
            // What is at the output just now can't be stopped.
            Phase::Makes(making) => {
                making.revoked = Some(outcome);
                return;
            }
            Phase::Runs { making, .. } => making.attempt.discard(at.output),
            Phase::Queued | Phase::Syncs | Phase::Reported(_) => {}
        }
        self.phase = Phase::Reported(Box::new(ended(lease, self.grant.shard, outcome)));
    }
}

impl Making {
    /// Takes the step that is due; most take a moment, some much longer.
    fn goes_on(&mut self, valid: bool, at: &mut Surroundings<'_>) -> Option<Came> {
        if self.next_at > at.now {
            return None;
        }
        let before = at.trace.then(|| self.attempt.clone());
        let came = self.attempt.step(&mut Around {
            now: at.now,
            output: at.output,
            rng: at.rng,
            rightful: valid && at.holds_output,
        });
        if let Some(before) = before {
            let stands = at.output.committed(&self.attempt.maker.place);
            let _ = writeln!(
                std::io::stderr(),
                "{:>8} {before} came to {came:?}; {stands:?} stands",
                at.now
            );
        }
        self.next_at = at.now + at.pause();
        Some(came)
    }
}

impl Surroundings<'_> {
    /// How long the next step at the output is in coming: most take a moment, some are in the hands of a storage that
    /// hangs.
    fn pause(&mut self) -> u64 {
        match self.rng.u32(0..1_000) {
            of if of < self.hang_permille => self.rng.u64(0..40_000),
            0..5 => self.rng.u64(0..6_000),
            5..100 => self.rng.u64(0..200),
            100.. => 0,
        }
    }
}

/// Whose outputs stand, where they are not the attempt's own.
fn adopted(stands: Name, own: Name) -> Option<Adopted> {
    (stands != own).then_some(Adopted {
        lineage: Lineage(stands.lineage),
        lease: LeaseId(stands.lease),
    })
}

/// Somebody hears of it from now on.
fn tell(report: &AttemptReport, attempt: &Attempt, output: &mut Output) {
    if report.outcome == Outcome::Committed {
        let own = attempt.maker.name;
        let name = report.adopted.map_or(own, |adopted| Name {
            lineage: adopted.lineage.0,
            lease: adopted.lease.0,
        });
        output.told(&attempt.maker.place, name);
    }
}

fn verdict(at: &mut Surroundings<'_>) -> Verdict {
    if at.rng.u32(0..100) == 0 {
        Verdict::Fail
    } else if at.rng.u32(0..16) == 0 {
        Verdict::Skipped
    } else {
        Verdict::Pass
    }
}

fn committed(
    lease: LeaseId,
    shard: ShardId,
    adopted: Option<Adopted>,
    verdict: Verdict,
) -> AttemptReport {
    AttemptReport {
        verdict,
        adopted,
        files: FILES,
        bytes: BYTES,
        ..ended(lease, shard, Outcome::Committed)
    }
}

fn failed(lease: LeaseId, shard: ShardId, at: &mut Surroundings<'_>) -> AttemptReport {
    let exited = at.rng.bool();
    let outcome = if exited {
        Outcome::Failed
    } else {
        Outcome::TimedOut
    };
    AttemptReport {
        exit_code: exited.then(|| at.rng.i32(1..=2)),
        ..ended(lease, shard, outcome)
    }
}

fn coded(lease: LeaseId, shard: ShardId, outcome: Outcome, code: Code) -> AttemptReport {
    AttemptReport {
        code: code.to_string(),
        ..ended(lease, shard, outcome)
    }
}

pub(super) fn ended(lease: LeaseId, shard: ShardId, outcome: Outcome) -> AttemptReport {
    AttemptReport {
        lease,
        shard,
        outcome,
        ..AttemptReport::default()
    }
}
