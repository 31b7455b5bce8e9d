//! What must hold from version to version of a job.

use super::Oracle;
use crate::output::Name;
use petctl_core::{LeaseId, ShardId, StageWork, Verdict};
use petctl_spec::{JobSpec, StageKind};
use std::collections::{BTreeMap, BTreeSet};

impl Oracle {
    /// The job, or a version of it: nothing of the earlier one counts but what is carried over.
    pub(super) fn submitted(
        &mut self,
        spec: &JobSpec,
        work: &[StageWork],
        first_lease: LeaseId,
        replaces: bool,
    ) -> Result<(), String> {
        let keys = |(stage, work): (&petctl_spec::StageSpec, &StageWork)| match stage.kind {
            StageKind::Shards(_) => work.keys.clone(),
            StageKind::Once | StageKind::Train(_) => vec!["once".to_owned()],
        };
        let keys: Vec<Vec<String>> = spec.stages.iter().zip(work).map(keys).collect();
        let mut carried: BTreeMap<ShardId, Name> = BTreeMap::new();
        let (mut skipped, mut skips) = (BTreeSet::new(), BTreeSet::new());
        for (stage, work_now) in (0_u32..).zip(work) {
            for run in &work_now.carried {
                for step in 0..run.count {
                    let (new, old) = (run.first + step, run.of + step);
                    let was = ShardId { stage, index: old };
                    let name = match self.committed.get(&was) {
                        Some(name) => *name,
                        None if self.skipped.contains(&was) => Name::default(),
                        None => return Err(format!("{was:?} is carried over and was not done")),
                    };
                    let at = stage as usize;
                    if keys[at][new as usize] != self.keys[at][old as usize] {
                        return Err(format!("{was:?} is carried over to another key"));
                    }
                    let (now, then) = (&work_now.contents, &self.work[at].contents);
                    let own = |c: &petctl_core::StageContents, i: u32| {
                        c.shards.get(i as usize).copied().unwrap_or_default()
                    };
                    if now.stage != then.stage || own(now, new) != own(then, old) {
                        return Err(format!("{was:?} is carried over and its content changed"));
                    }
                    let index = new;
                    carried.insert(ShardId { stage, index }, name);
                    if self.skipped.contains(&was) {
                        skipped.insert(ShardId { stage, index });
                    }
                    if self.skips.contains(&was) {
                        skips.insert(ShardId { stage, index });
                    }
                    if !self.not_passed.contains(&was) {
                        continue;
                    }
                    self.carried_fails.insert(ShardId { stage, index });
                }
            }
        }
        for shard in carried.keys() {
            for need in &spec.stages[shard.stage as usize].needs {
                let one = ShardId {
                    stage: need.stage,
                    index: shard.index,
                };
                let all = carried.keys().filter(|s| s.stage == need.stage).count();
                let met = if need.per_shard {
                    carried.contains_key(&one)
                } else {
                    let at = need.stage as usize;
                    all == keys[at].len() && all == self.keys[at].len()
                };
                if !met {
                    return Err(format!("{shard:?} is carried over, and not what it needs"));
                }
            }
        }
        if replaces && first_lease < self.first_lease {
            return Err(format!(
                "a version begins with {first_lease} after {}",
                self.first_lease
            ));
        }
        carried.retain(|shard, _| !skipped.contains(shard));
        self.reused += carried.len() as u64;
        for (stage, work) in (0_u32..).zip(work) {
            for taken in &work.taken {
                let shard = ShardId {
                    stage,
                    index: taken.shard,
                };
                let name = Name {
                    lineage: taken.made.lineage.0,
                    lease: taken.made.lease.0,
                };
                if carried.insert(shard, name).is_some() {
                    return Err(format!("{shard:?} is carried over and taken over"));
                }
                match taken.made.verdict {
                    Verdict::Fail => _ = self.carried_fails.insert(shard),
                    Verdict::Skipped => _ = skips.insert(shard),
                    Verdict::None | Verdict::Pass => {}
                }
                self.taken += 1;
            }
        }
        let ended = self.end.is_some();
        self.members.clear();
        self.quarantined.clear();
        self.unreachable.clear();
        let keeps = work.iter().any(|work| work.keeps_group);
        self.training.submitted(spec);
        if replaces {
            self.training.replaced(keeps, ended);
        }
        self.not_passed = std::mem::take(&mut self.carried_fails);
        self.committed = carried;
        self.skipped.clear();
        self.skips = skips;
        self.keys = keys;
        self.work = work.to_vec();
        self.first_lease = first_lease;
        self.sizes = (spec.workers.min, spec.workers.max);
        self.spec = Some(spec.clone());
        // As new ones are: each for a reason that still holds.
        self.skipped(&skipped.into_iter().collect::<Vec<_>>())?;
        self.failed.clear();
        self.latest.clear();
        self.given_up_until = None;
        self.failures.clear();
        self.end = None;
        self.cancelled = false;
        Ok(())
    }

    /// What failed of it runs again.
    pub(super) fn reopened(&mut self) -> Result<(), String> {
        if self.end.take().is_none() {
            return Err("a job that has not ended was reopened".to_owned());
        }
        self.cancelled = false;
        self.failures.clear();
        // What still ran of them may have committed, which counts for nothing.
        let latest = self.quarantined.iter();
        let latest = latest.filter_map(|shard| self.latest.get(shard));
        self.given_up_until = latest.copied().max().max(self.given_up_until);
        self.quarantined.clear();
        self.unreachable.clear();
        self.training.reopened();
        Ok(())
    }
}
