//! A new job is made of its submission, and of what an earlier version of it has done.

use crate::state::apply::{clamp, note_failure};
use crate::state::job::{Detail, Job, Shard, Stage};
use crate::{
    Epoch, Group, JobId, LeaseId, Lineage, Millis, Phase, StageWork, State, Taken, Verdict,
};
use petctl_spec::JobSpec;
use petctl_spec::shards::stage_count;
use std::collections::BTreeMap;

/// What a submission's event says.
pub(crate) struct NewJob<'a> {
    pub(crate) id: JobId,
    pub(crate) spec: &'a JobSpec,
    pub(crate) fingerprint: &'a [u8; 32],
    pub(crate) work: &'a [StageWork],
    pub(crate) first_lease: LeaseId,
    pub(crate) follows: bool,
}

impl State {
    pub(crate) fn submitted(&mut self, at: Millis, new: NewJob<'_>, replaces: Option<JobId>) {
        let NewJob {
            id,
            spec,
            fingerprint,
            work,
            first_lease,
            follows,
        } = new;
        self.last_job = self.last_job.max(id);
        let mut job = Job {
            id,
            spec: spec.clone(),
            fingerprint: *fingerprint,
            submitted_at: at,
            incarnation: self.incarnation,
            cancelled: None,
            end: None,
            epoch: Epoch(0),
            members: Vec::new(),
            formed: false,
            worker_names: Vec::new(),
            stages: stages_of(spec, work),
            suspended: None,
            groups: BTreeMap::new(),
            first_lease,
            follows,
        };
        if let Some(old) = replaces.and_then(|old| self.jobs.remove(&old)) {
            carry_over(old, &mut job, work);
        }
        take_over(&mut job, work, self.lineage);
        self.jobs.insert(id, job);
    }
}

fn stages_of(spec: &JobSpec, work: &[StageWork]) -> Vec<Stage> {
    let none = StageWork::default();
    let stages = spec.stages.iter().enumerate().map(|(index, stage)| {
        let work = work.get(index).unwrap_or(&none);
        let count = stage_count(&stage.kind).and_then(|count| usize::try_from(count).ok());
        Stage::new(count.unwrap_or(work.keys.len()), work)
    });
    stages.collect()
}

/// Moves over what stays. Epochs go on from where they were: what was said in an earlier one stays older, and so do
/// checkpoints.
fn carry_over(mut old: Job, new: &mut Job, work: &[StageWork]) {
    new.epoch = old.epoch;
    new.worker_names = std::mem::take(&mut old.worker_names);
    for (index, work) in work.iter().enumerate() {
        let Some(name) = new.spec.stages.get(index).map(|s| s.name.as_str()) else {
            continue;
        };
        let Some(was) = old.spec.stages.iter().position(|s| s.name == name) else {
            continue;
        };
        for run in &work.carried {
            for step in 0..run.count {
                let from = old.stages[was].shards.get_mut((run.of + step) as usize);
                if let Some(shard) =
                    from.filter(|s| matches!(s.phase, Phase::Done | Phase::Skipped))
                {
                    keep(
                        std::mem::take(shard),
                        &mut new.stages[index],
                        run.first + step,
                    );
                }
            }
        }
        let was = u32::try_from(was).unwrap_or(u32::MAX);
        if let Some(group) = old.groups.remove(&was).filter(|_| work.keeps_group) {
            let failed = old.end.is_some();
            new.groups.insert(
                u32::try_from(index).unwrap_or(u32::MAX),
                kept(group, failed),
            );
        }
    }
}

/// Takes over what somebody else has done, and notes what was asked for.
fn take_over(job: &mut Job, work: &[StageWork], own: Lineage) {
    for (index, work) in work.iter().enumerate() {
        for taken in &work.taken {
            let worker = job.worker_index_or_new(&taken.made.worker);
            if let Some(stage) = job.stages.get_mut(index) {
                keep(taken.shard(worker, own), stage, taken.shard);
            }
        }
        let Some(stage) = job.stages.get_mut(index) else {
            continue;
        };
        for run in &work.asked {
            let asked = stage.shards.iter_mut().skip(run.first as usize);
            asked
                .take(run.count as usize)
                .for_each(|shard| shard.asked = true);
        }
    }
}

impl Taken {
    fn shard(&self, worker: u32, own: Lineage) -> Shard {
        let made = &self.made;
        let detail = Detail {
            reasons: made.reasons.clone(),
            numbers: made.numbers.clone(),
            ..Detail::default()
        };
        let is_told = !detail.reasons.is_empty() || !detail.numbers.is_empty();
        Shard {
            phase: Phase::Done,
            verdict: made.verdict,
            worker,
            duration_ms: clamp(made.duration_ms),
            files: self.files,
            lease: made.lease,
            foreign: if made.lineage == own {
                Lineage(0)
            } else {
                made.lineage
            },
            bytes: self.bytes,
            detail: is_told.then(|| Box::new(detail)),
            ..Shard::default()
        }
    }
}

fn keep(mut shard: Shard, stage: &mut Stage, index: u32) {
    let Some(place) = stage.shards.get_mut(index as usize) else {
        return;
    };
    let counts = &mut stage.counts;
    if shard.phase == Phase::Skipped {
        counts.skipped += 1;
        *place = shard;
        return;
    }
    shard.reused = true;
    counts.done += 1;
    counts.reused += 1;
    counts.duration_ms = counts
        .duration_ms
        .saturating_add(u64::from(shard.duration_ms));
    counts.verdict_skipped += u64::from(shard.verdict == Verdict::Skipped);
    if shard.verdict == Verdict::Fail {
        counts.verdict_fail += 1;
        note_failure(&mut stage.first_failures, index);
    }
    *place = shard;
}

fn kept(mut group: Group, ended: bool) -> Group {
    if ended {
        group.forgive();
    }
    group
}
