//! The jobs that are run.

use petctl_spec::{
    Budgets, Grow, JobSpec, Need, Processes, ShardSource, StageKind, StageSpec, StorageSpec,
    TrainSpec, WorkersSpec,
};
use std::collections::BTreeMap;
use std::path::Path;

/// A job without stages, for so many workers: all of them, or it waits.
pub(crate) fn job(name: &str, workers: u32, slots: u32, output: &Path) -> JobSpec {
    JobSpec {
        name: name.to_owned(),
        folder: "/".to_owned(),
        image: None,
        code: Vec::new(),
        setup: None,
        workers: WorkersSpec {
            min: workers,
            max: workers,
            wanted: workers,
            unit: 1,
            slots,
            gpus: 0,
            spares: 0,
            settle_timeout_ms: 30_000,
            preflight: None,
        },
        storage: StorageSpec {
            input: None,
            output: output.display().to_string(),
            ..StorageSpec::default()
        },
        stages: Vec::new(),
    }
}

/// A stage of numbered shards.
pub(crate) fn stage(name: &str, shards: u64) -> StageSpec {
    StageSpec {
        name: name.to_owned(),
        kind: StageKind::Shards(ShardSource::Range {
            start: 0,
            end: shards,
        }),
        needs: Vec::new(),
        command: vec!["true".to_owned()],
        env: BTreeMap::new(),
        params: BTreeMap::new(),
        timeout_ms: 0,
        grace_ms: 1_000,
        budgets: Budgets {
            failed: 0,
            timed_out: 0,
            worker_lost: 3,
            infrastructure: 3,
            preempted: 3,
        },
        backoff_ms: 1_000,
        log_bytes: 1 << 20,
        cpu_milli: 0,
        memory_mib: 0,
        deadline_ms: 0,
        dispatch: petctl_spec::DispatchSpec::default(),
    }
}

/// One training stage over all workers, each of which starts so many processes of this command.
pub(crate) fn train(mut job: JobSpec, processes: u32, command: &[&str]) -> JobSpec {
    let train = TrainSpec {
        processes: Processes::Number(processes),
        max_restarts: 100,
        restart_window_ms: 3_600_000,
        grow: Grow::Now,
        progress_timeout_ms: 0,
        keep_checkpoints: 2,
        exclude_after: 0,
        checkpoints: None,
    };
    job.stages = vec![StageSpec {
        kind: StageKind::Train(train),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        ..stage("fit", 1)
    }];
    job
}

/// One stage of so many shards.
pub(crate) fn flat(mut job: JobSpec, shards: u64) -> JobSpec {
    job.stages = vec![stage("all", shards)];
    job
}

/// Stages that ask for memory: each for another amount, or all for the same.
pub(crate) fn asking(mut job: JobSpec, stages: u64, shards_each: u64, distinct: bool) -> JobSpec {
    let asking = |index: u64| {
        let memory_mib = if distinct { 1 + index } else { 1 };
        StageSpec {
            memory_mib,
            ..stage(&format!("s{index}"), shards_each)
        }
    };
    job.stages = (0..stages).map(asking).collect();
    job
}

/// Stages of one shard, each of which needs the shard before it.
pub(crate) fn chain(mut job: JobSpec, stages: u32) -> JobSpec {
    let link = |index: u32| {
        let before = index.checked_sub(1).map(|stage| Need {
            stage,
            per_shard: true,
        });
        StageSpec {
            needs: before.into_iter().collect(),
            ..stage(&format!("s{index}"), 1)
        }
    };
    job.stages = (0..stages).map(link).collect();
    job
}
