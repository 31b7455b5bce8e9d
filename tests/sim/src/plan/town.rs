//! What the homes of a town run: one job in a few versions, without trainings.

use super::{Plan, stage, with_contents};
use crate::versions;
use fastrand::Rng;
use petctl_core::{Rerun, Submission};
use petctl_spec::{JobSpec, Need, ShardSource, StageKind, StageSpec, StorageSpec, WorkersSpec};

impl Plan {
    /// Draws the plan of one of several homes that run one job; `job`: what the first of them runs.
    #[must_use]
    pub fn of_a_town(rng: &mut Rng, job: Option<&Submission>) -> Self {
        let workers = rng.u32(1..=3);
        let drawn = Self::draw(rng);
        let mut submission = match job {
            Some(job) if rng.bool() => job.clone(),
            Some(job) => versions::next(job, rng),
            None => town_submission(rng),
        };
        submission.rerun = Rerun::Changed;
        Self {
            submission,
            workers,
            slots: rng.u32(1..=2),
            calm_at_ms: rng.u64(20_000..200_000),
            suspend_permille: 0,
            drain_permille: 0,
            scale_permille: 0,
            power_permille: 0,
            rank_permille: 0,
            hang_permille: 0,
            fail_permille: drawn.fail_permille / 4,
            cancel_at_ms: None,
            versions: 0,
            ..drawn
        }
    }
}

fn town_submission(rng: &mut Rng) -> Submission {
    let keys: Vec<String> = (0..rng.u32(1..6)).map(|n| format!("k{n}")).collect();
    let shards = || StageKind::Shards(ShardSource::Glob("*".to_owned()));
    let need = |per_shard| {
        vec![Need {
            stage: 0,
            per_shard,
        }]
    };
    let mut stages = vec![stage("extract", shards(), Vec::new())];
    match rng.u32(0..3) {
        0 => stages.push(stage("resim", shards(), need(true))),
        1 => stages.push(stage("summary", StageKind::Once, need(false))),
        2.. => {}
    }
    for stage in &mut stages {
        stage.budgets.failed = 20;
        stage.budgets.infrastructure = 1_000;
        stage.dispatch.speculative = rng.bool();
    }
    with_contents(rng, town_spec(stages), keys)
}

fn town_spec(stages: Vec<StageSpec>) -> JobSpec {
    JobSpec {
        name: "sim".to_owned(),
        folder: "/job".to_owned(),
        image: None,
        code: Vec::new(),
        setup: None,
        workers: WorkersSpec {
            min: 1,
            max: 4,
            wanted: 1,
            unit: 1,
            slots: 1,
            gpus: 0,
            spares: 0,
            settle_timeout_ms: 1_000,
            preflight: None,
        },
        storage: StorageSpec {
            input: None,
            output: "/out".to_owned(),
            ..StorageSpec::default()
        },
        stages,
    }
}
