//! Job files of the tests: stages of shards and of training, and what tests change in them.

use petctl_spec::{
    Budgets, Grow, JobSpec, Need, Processes, ShardSource, StageKind, StageSpec, StorageSpec,
    TrainSpec, WorkersSpec,
};
use std::collections::BTreeMap;

/// A job of one stage of so many shards.
pub(crate) fn sharded(min: u32, max: u32, shards: u64) -> JobSpec {
    job(min, max, max, retried_stage("a", shards, Vec::new()))
}

/// Two stages, shard by shard.
pub(crate) fn chain(shards: u64) -> JobSpec {
    let mut job = sharded(1, 1, shards);
    let need = Need {
        stage: 0,
        per_shard: true,
    };
    job.stages.push(retried_stage("b", shards, vec![need]));
    job
}

/// A job of one training stage.
pub(crate) fn training(min: u32, max: u32, wanted: u32) -> JobSpec {
    job(min, max, wanted, train_stage("fit", Vec::new()))
}

fn job(min: u32, max: u32, wanted: u32, stage: StageSpec) -> JobSpec {
    JobSpec {
        name: "job".to_owned(),
        folder: "/".to_owned(),
        image: None,
        code: Vec::new(),
        setup: None,
        workers: WorkersSpec {
            min,
            max,
            wanted,
            unit: 1,
            slots: 1,
            gpus: 0,
            spares: 0,
            settle_timeout_ms: 30_000,
            preflight: None,
        },
        storage: StorageSpec {
            input: None,
            output: "/out".to_owned(),
            ..StorageSpec::default()
        },
        stages: vec![stage],
    }
}

pub(crate) fn train_stage(name: &str, needs: Vec<Need>) -> StageSpec {
    let kind = StageKind::Train(TrainSpec {
        processes: Processes::Number(2),
        max_restarts: 2,
        restart_window_ms: 3_600_000,
        grow: Grow::Checkpoint,
        progress_timeout_ms: 0,
        keep_checkpoints: 2,
        exclude_after: 0,
        checkpoints: None,
    });
    stage(name, kind, needs)
}

pub(crate) fn shard_stage(name: &str, shards: u64, needs: Vec<Need>) -> StageSpec {
    let source = ShardSource::Range {
        start: 0,
        end: shards,
    };
    stage(name, StageKind::Shards(source), needs)
}

/// As [`shard_stage`], each shard with three attempts of every kind.
pub(crate) fn retried_stage(name: &str, shards: u64, needs: Vec<Need>) -> StageSpec {
    StageSpec {
        budgets: Budgets {
            failed: 3,
            timed_out: 3,
            worker_lost: 3,
            infrastructure: 3,
            preempted: 3,
        },
        ..shard_stage(name, shards, needs)
    }
}

fn stage(name: &str, kind: StageKind, needs: Vec<Need>) -> StageSpec {
    StageSpec {
        name: name.to_owned(),
        kind,
        needs,
        command: vec!["true".to_owned()],
        env: BTreeMap::new(),
        params: BTreeMap::new(),
        timeout_ms: 0,
        grace_ms: 1_000,
        budgets: Budgets {
            failed: 0,
            timed_out: 0,
            worker_lost: 2,
            infrastructure: 0,
            preempted: 0,
        },
        backoff_ms: 1_000,
        log_bytes: 1 << 20,
        cpu_milli: 0,
        memory_mib: 0,
        deadline_ms: 0,
        dispatch: petctl_spec::DispatchSpec::default(),
    }
}

pub(crate) fn need(stage: u32) -> Need {
    Need {
        stage,
        per_shard: false,
    }
}

/// What the job file says of the first stage's training.
pub(crate) fn rules(job: &mut JobSpec) -> &mut TrainSpec {
    match &mut job.stages[0].kind {
        StageKind::Train(train) => train,
        StageKind::Shards(_) | StageKind::Once => panic!("no training"),
    }
}
