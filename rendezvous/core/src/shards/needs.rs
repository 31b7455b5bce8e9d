//! What a shard needs: what its end makes ready, and what it makes impossible.

use crate::context::JobContext;
use crate::state::job::Phase;
use crate::{Event, Job, ShardId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Whether what a shard needs is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    Met,
    Pending,
    /// It was skipped, and with it what needs it.
    Skipped,
    /// Will never be: it failed, or was cancelled.
    Failed,
}

impl JobContext<'_> {
    /// A shard is committed: what waited for it alone is ready, or is skipped with it.
    pub(crate) fn unblock(&mut self, done: ShardId) {
        let with_it: Vec<ShardId> = of_each_shard(self.job, done)
            .filter(|shard| needs_of(self.job, *shard) == Needs::Skipped)
            .collect();
        self.unblock_all(&[done], &with_it);
    }

    /// These shards need one that was skipped, so they are skipped as well, and what needs them.
    pub(crate) fn skip(&mut self, first: &[ShardId]) {
        self.unblock_all(&[], first);
    }

    /// Some shards are committed, others are skipped: what waited for them alone is ready, or is skipped too.
    fn unblock_all(&mut self, done: &[ShardId], skipped: &[ShardId]) {
        let skipped = skipped_with(self.job, skipped);
        let ended: Vec<ShardId> = done.iter().chain(&skipped).copied().collect();
        if !skipped.is_empty() {
            self.record(Event::ShardsSkipped {
                job: self.id,
                shards: skipped,
            });
        }
        let job = &*self.job;
        let next = ended.iter().flat_map(|shard| of_each_shard(job, *shard));
        let ready = next.filter(|shard| needs_of(job, *shard) == Needs::Met);
        let ready = ready.collect();
        self.are_settled(&ended.iter().map(|shard| shard.stage).collect(), ready);
    }

    /// These shards have just failed for good: what needs them will never run, and what may do without them starts.
    pub(crate) fn give_up(&mut self, failed: &[ShardId]) {
        let job = &*self.job;
        let mut touched: BTreeSet<u32> = failed.iter().map(|s| s.stage).collect();
        let unreachable = unreachable(job, failed, false);
        touched.extend(unreachable.iter().map(|s| s.stage));
        self.mark_unreachable(unreachable);
        self.are_settled(&touched, Vec::new());
    }

    /// Shards that need something that will never be.
    pub(crate) fn give_up_needs(&mut self, first: &[ShardId]) {
        let job = &*self.job;
        let unreachable = unreachable(job, first, true);
        let touched = unreachable.iter().map(|s| s.stage).collect();
        self.mark_unreachable(unreachable);
        self.are_settled(&touched, Vec::new());
    }

    fn mark_unreachable(&mut self, shards: BTreeSet<ShardId>) {
        if !shards.is_empty() {
            self.record(Event::ShardsUnreachable {
                job: self.id,
                shards: shards.into_iter().collect(),
            });
        }
    }

    /// Shards of these stages ended, by which others are `ready`; some of the stages may have nothing pending any more.
    fn are_settled(&mut self, stages: &BTreeSet<u32>, mut ready: Vec<ShardId>) {
        let job = &*self.job;
        let mut lost = Vec::new();
        for stage in stages {
            if job.stages[*stage as usize].is_settled() {
                for (shard, needs) in waits_for_all_of(job, *stage) {
                    match needs {
                        Needs::Met => ready.push(shard),
                        // Too little of the stage was really done.
                        Needs::Failed => lost.push(shard),
                        Needs::Pending | Needs::Skipped => {}
                    }
                }
            }
        }
        self.are_ready(ready);
        if !lost.is_empty() {
            self.give_up_needs(&lost);
        }
    }

    /// Before what has not begun: chains end early, and little lies around half done.
    fn are_ready(&mut self, mut ready: Vec<ShardId>) {
        if ready.is_empty() {
            return;
        }
        // A stage may need another both as a whole and through a second need: each shard is queued once.
        ready.sort_unstable();
        ready.dedup();
        longest_first(self.job, &mut ready);
        let started = ready.iter().map(|s| s.stage).collect();
        self.note_started(&started);
        for shard in ready.into_iter().rev() {
            self.make_ready(shard, true);
        }
    }
}

/// Within each stage, those first that are expected to run longest.
pub(crate) fn longest_first(job: &Job, shards: &mut [ShardId]) {
    if job.stages.iter().all(|stage| stage.expected_ms.is_empty()) {
        return;
    }
    let expected =
        |shard: &ShardId| job.stages[shard.stage as usize].expected(shard.index as usize);
    shards.sort_by_key(|shard| (shard.stage, Reverse(expected(shard)), shard.index));
}

/// What needs a stage as a whole, now that nothing of it is pending, and how its needs stand.
fn waits_for_all_of(job: &Job, settled: u32) -> Vec<(ShardId, Needs)> {
    let mut waiting = Vec::new();
    for (stage, per_shard) in job.dependents(settled as usize) {
        if !per_shard && !job.stages[stage].is_settled() {
            let all = pending(job, number(stage));
            waiting.extend(all.map(|shard| (shard, needs_of(job, shard))));
        }
    }
    waiting
}

/// Pending shards that need this one alone.
fn of_each_shard(job: &Job, needed: ShardId) -> impl Iterator<Item = ShardId> + '_ {
    job.dependents(needed.stage as usize)
        .filter(|(_, per_shard)| *per_shard)
        .map(move |(stage, _)| ShardId {
            stage: number(stage),
            index: needed.index,
        })
        .filter(|shard| is_pending(job, *shard))
}

/// These pending shards, and those that are skipped with them, directly or not.
fn skipped_with(job: &Job, first: &[ShardId]) -> Vec<ShardId> {
    let mut all = BTreeSet::new();
    let mut next = first.to_vec();
    while let Some(shard) = next.pop() {
        if is_pending(job, shard) && all.insert(shard) {
            next.extend(of_each_shard(job, shard).filter(|s| !runs_after_skip(job, *s)));
        }
    }
    all.into_iter().collect()
}

fn runs_after_skip(job: &Job, shard: ShardId) -> bool {
    job.spec.stages[shard.stage as usize]
        .dispatch
        .run_after_skip
}

/// Pending shards that can't run because of these, directly or not; `inclusive` of these themselves.
fn unreachable(job: &Job, first: &[ShardId], inclusive: bool) -> BTreeSet<ShardId> {
    let mut all = BTreeSet::new();
    let mut missing: BTreeMap<u32, u64> = BTreeMap::new();
    let mut closed: BTreeSet<u32> = BTreeSet::new();
    let mut next: Vec<(ShardId, bool)> = first.iter().map(|shard| (*shard, inclusive)).collect();
    while let Some((shard, is_one)) = next.pop() {
        let missing = missing.entry(shard.stage).or_default();
        if is_one {
            if !is_pending(job, shard) || !all.insert(shard) {
                continue;
            }
            *missing += 1;
        }
        let stage = shard.stage as usize;
        let too_many = job.stages[stage].missing() + *missing > job.may_miss(stage);
        for (dependent, per_shard) in job.dependents(stage) {
            let dependent = number(dependent);
            if per_shard {
                let index = shard.index;
                next.push((
                    ShardId {
                        stage: dependent,
                        index,
                    },
                    true,
                ));
            } else if too_many && closed.insert(dependent) {
                next.extend(pending(job, dependent).map(|shard| (shard, true)));
            }
        }
    }
    all
}

pub(crate) fn pending(job: &Job, stage: u32) -> impl Iterator<Item = ShardId> + '_ {
    let shards = job.stages.get(stage as usize).map(|s| s.shards.as_slice());
    (0..)
        .zip(shards.unwrap_or_default())
        .filter(|(_, shard)| shard.phase == Phase::Pending)
        .map(move |(index, _)| ShardId { stage, index })
}

pub(crate) fn is_pending(job: &Job, shard: ShardId) -> bool {
    job.stages[shard.stage as usize]
        .shards
        .get(shard.index as usize)
        .is_some_and(|s| s.phase == Phase::Pending)
}

pub(crate) fn needs_of(job: &Job, shard: ShardId) -> Needs {
    let mut all = Needs::Met;
    for need in &job.spec.stages[shard.stage as usize].needs {
        let stage = &job.stages[need.stage as usize];
        let one = if need.per_shard {
            let one = ShardId {
                stage: need.stage,
                index: shard.index,
            };
            match stage.shards.get(shard.index as usize).map(|s| s.phase) {
                Some(Phase::Done | Phase::Skipped)
                    if job.was_skipped(one) && !runs_after_skip(job, shard) =>
                {
                    Needs::Skipped
                }
                Some(Phase::Done | Phase::Skipped) => Needs::Met,
                Some(Phase::Pending) => Needs::Pending,
                Some(Phase::Failed | Phase::Cancelled) | None => Needs::Failed,
            }
        } else if stage.missing() > job.may_miss(need.stage as usize)
            || job.too_few_done(need.stage as usize).is_some()
        {
            Needs::Failed
        } else if stage.is_settled() {
            Needs::Met
        } else {
            Needs::Pending
        };
        match one {
            Needs::Met => {}
            Needs::Skipped => all = Needs::Skipped,
            Needs::Pending if all == Needs::Met => all = Needs::Pending,
            Needs::Pending => {}
            Needs::Failed => return Needs::Failed,
        }
    }
    all
}

fn number(stage: usize) -> u32 {
    u32::try_from(stage).unwrap_or(u32::MAX)
}
