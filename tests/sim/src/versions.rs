//! A job and its later versions: keys come and go, inputs and commands change.

use crate::plan::Plan;
use fastrand::Rng;
use petctl_core::{Rerun, Submission};
use petctl_spec::{ShardContent, ShardSource, StageKind};

/// The next version of a submission.
#[must_use]
pub fn next(last: &Submission, rng: &mut Rng) -> Submission {
    let mut next = last.clone();
    if rng.u32(0..6) > 0 {
        next.fingerprint[0] = next.fingerprint[0].wrapping_add(1);
        change(&mut next, rng);
    }
    next.rerun = match rng.u32(0..8) {
        0 => Rerun::All,
        1 => Rerun::Failed,
        2 => Rerun::Keys("*[13579]".to_owned()),
        3.. => Rerun::Changed,
    };
    next
}

fn change(next: &mut Submission, rng: &mut Rng) {
    // Per-shard needs want the same keys in both stages, so all stages get the same.
    let mut keys = next.keys[0].clone();
    if rng.bool() && keys.len() > 1 {
        keys.remove(rng.usize(0..keys.len()));
    }
    if rng.bool() {
        let key = format!("new{}", rng.u32(0..1_000));
        if !keys.contains(&key) {
            keys.insert(rng.usize(0..=keys.len()), key);
        }
    }
    let changed = rng.usize(0..=keys.len() / 2);
    for stage in 0..next.spec.stages.len() {
        if !is_listed(&next.spec.stages[stage].kind) {
            continue;
        }
        let old = (
            next.keys[stage].clone(),
            next.contents[stage].shards.clone(),
        );
        let content = |key: &String| {
            let place = old.0.iter().position(|k| k == key);
            place.map_or_else(ShardContent::default, |at| old.1[at])
        };
        next.contents[stage].shards = keys.iter().map(content).collect();
        next.details[stage].truncate(0);
        next.keys[stage].clone_from(&keys);
    }
    for _ in 0..changed {
        let shard = rng.usize(0..keys.len());
        next.contents[0].shards[shard].input[0] = rng.u8(..);
    }
    if rng.u32(0..4) == 0 {
        let stage = rng.usize(0..next.contents.len());
        next.contents[stage].stage.command[1] = rng.u8(..);
    }
    if rng.u32(0..4) == 0 {
        let stage = rng.usize(0..next.spec.stages.len());
        if is_listed(&next.spec.stages[stage].kind) {
            next.spec.stages[stage].dispatch.run_after_skip ^= true;
        }
    }
}

/// Whether a stage's keys are listed.
#[must_use]
pub fn is_listed(kind: &StageKind) -> bool {
    matches!(kind, StageKind::Shards(ShardSource::Glob(_)))
}

impl Plan {
    /// Whether a stage runs beside the launcher.
    #[must_use]
    pub fn is_local(&self, stage: u32) -> bool {
        let spec = self.submission.spec.stages.get(stage as usize);
        spec.is_some_and(|s| s.dispatch.run_mode == petctl_spec::RunMode::Local)
    }

    /// Whether the job has a stage for a local-stage worker.
    #[must_use]
    pub fn has_local_stages(&self) -> bool {
        let stages = u32::try_from(self.submission.spec.stages.len()).unwrap_or(0);
        (0..stages).any(|stage| self.is_local(stage))
    }
}
