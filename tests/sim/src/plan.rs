//! What one run does: drawn from the seed before it starts.

mod town;

use crate::trainer::Habits;
use crate::versions::is_listed;
use fastrand::Rng;
use petctl_core::{StageContents, Submission};
use petctl_spec::{
    Budgets, Grow, JobSpec, MinDone, Need, PreflightSpec, Processes, RunMode, ShardContent,
    ShardDetail, ShardSource, StageKind, StageSpec, StorageSpec, TrainSpec, WorkersSpec,
};
use std::collections::BTreeMap;

/// What to run, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Print every step to standard error.
    pub trace: bool,
    /// Several homes with one output, each with its launcher.
    pub town: bool,
    /// Break something on purpose, to see it found.
    pub broken: Option<Broken>,
}

/// Protections that can be taken away on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A new attempt leaves the folders of older ones alone, and publishing replaces what is there.
    Fence,
    /// Attempts of two logs may have one name.
    Lineage,
    /// Outputs of other logs are adopted, whatever they are made of.
    Content,
    /// A run works on an output that another one has.
    RunRecord,
    /// A fence takes the folders of later attempts, too.
    FenceOrder,
    /// A job is submitted without a look at its output.
    Look,
    /// All results are cleared before anything that would replace them is accepted.
    ClearFirst,
    /// A result is told before its outputs are durable.
    SyncFirst,
    /// What stands is adopted without a look at its files.
    DamageCheck,
    /// Registers are written without a condition.
    ETag,
    /// The coordinator sends before it persists.
    PersistFirst,
    /// Workers forget results that were never acknowledged.
    Resend,
    /// Workers say that training processes are gone before they are.
    Stops,
    /// Scripts say that a checkpoint is complete before it is.
    Checkpoints,
}

impl Broken {
    /// All, with what they are called on the command line.
    pub const ALL: [(&str, Self); 14] = [
        ("fence", Self::Fence),
        ("lineage", Self::Lineage),
        ("content", Self::Content),
        ("run-record", Self::RunRecord),
        ("fence-order", Self::FenceOrder),
        ("look", Self::Look),
        ("clear-first", Self::ClearFirst),
        ("sync-first", Self::SyncFirst),
        ("damage-check", Self::DamageCheck),
        ("etag", Self::ETag),
        ("persist", Self::PersistFirst),
        ("resend", Self::Resend),
        ("stops", Self::Stops),
        ("checkpoints", Self::Checkpoints),
    ];
}

/// One run's parameters.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The job.
    pub submission: Submission,
    /// Workers at the start.
    pub workers: u32,
    /// Slots of each.
    pub slots: u32,
    /// Faults stop at this time, in ms; from then on the job must come to its end.
    pub calm_at_ms: u64,
    /// Chance of each fault per worker and second, in thousandths.
    pub kill_permille: u32,
    /// See `kill_permille`.
    pub stop_permille: u32,
    /// See `kill_permille`.
    pub break_permille: u32,
    /// See `kill_permille`.
    pub leave_permille: u32,
    /// Chance of a coordinator crash per second, in thousandths.
    pub crash_permille: u32,
    /// Chance of a scaling per second, in thousandths.
    pub scale_permille: u32,
    /// Chance that a message comes twice, in thousandths.
    pub twice_permille: u32,
    /// Chance that the command of an attempt fails, in thousandths.
    pub fail_permille: u32,
    /// Chance that a step at the output hangs, in thousandths.
    pub storage_permille: u32,
    /// Chance of a power cut per second, in thousandths.
    pub power_permille: u32,
    /// Longest delay of a message, in ms.
    pub delay_ms: u64,
    /// Longest run of an attempt, in ms.
    pub work_ms: u64,
    /// Chance that a training process fails, per worker and second, in thousandths.
    pub rank_permille: u32,
    /// Chance that a training hangs, per worker and second, in thousandths.
    pub hang_permille: u32,
    /// Chance that the job is suspended or resumed, per second, in thousandths.
    pub suspend_permille: u32,
    /// Chance that a worker is drained, per second, in thousandths.
    pub drain_permille: u32,
    /// Steps of a training.
    pub steps: u64,
    /// Time of a step, in ms.
    pub step_ms: u64,
    /// What a training does.
    pub habits: Habits,
    /// When a client cancels the job, in ms.
    pub cancel_at_ms: Option<u64>,
    /// Later versions of the job.
    pub versions: u32,
}

impl Plan {
    /// Draws a plan.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> Self {
        let workers = rng.u32(1..=6);
        // A third of the runs is quiet in one respect or another, so that rare faults meet undisturbed states too.
        let storm = if rng.u32(0..4) == 0 { 3 } else { 1 };
        let mut chance = |most: u32| {
            let most = most * storm;
            if rng.u32(0..3) == 0 {
                0
            } else {
                rng.u32(0..=most)
            }
        };
        let (kill, stop, cut, leave) = (chance(120), chance(80), chance(250), chance(60));
        let (crash, scale, twice, fail) = (chance(200), chance(150), chance(100), chance(250));
        let (rank, suspend, drain) = (chance(150), chance(100), chance(80));
        let (storage, power) = (chance(30), chance(40));
        let submission = submission(rng, workers);
        let hangs = submission.spec.stages.iter().any(|s| match &s.kind {
            StageKind::Train(train) => train.progress_timeout_ms > 0,
            StageKind::Shards(_) | StageKind::Once => false,
        });
        Self {
            submission,
            rank_permille: rank,
            hang_permille: if hangs { rng.u32(0..60) } else { 0 },
            suspend_permille: suspend,
            drain_permille: drain,
            steps: rng.u64(1..300),
            step_ms: rng.u64(20..400),
            habits: Habits {
                checkpoint_every: rng.u64(0..10),
                write_ms: rng.u64(0..1_500),
                stop_ms: rng.u64(0..3_000),
                lies_about_stops: false,
                lies_about_checkpoints: false,
            },
            workers,
            slots: rng.u32(1..=4),
            calm_at_ms: rng.u64(2_000..40_000),
            kill_permille: kill,
            stop_permille: stop,
            break_permille: cut,
            leave_permille: leave,
            crash_permille: crash,
            scale_permille: scale,
            twice_permille: twice,
            fail_permille: fail,
            storage_permille: storage,
            power_permille: power,
            delay_ms: rng.u64(1..200),
            work_ms: rng.u64(1..4_000),
            cancel_at_ms: (rng.u32(0..10) == 0).then(|| rng.u64(100..30_000)),
            versions: if rng.bool() { rng.u32(1..=3) } else { 0 },
        }
    }
}

fn submission(rng: &mut Rng, workers: u32) -> Submission {
    let min = rng.u32(1..=workers.min(2));
    let max = workers + rng.u32(0..3);
    let keys: Vec<String> = (0..rng.u32(1..40)).map(|n| format!("k{n}")).collect();
    let range = || StageKind::Shards(ShardSource::Glob("*".to_owned()));
    let mut stages = vec![stage("extract", range(), Vec::new())];
    if rng.bool() {
        stages.push(stage(
            "resim",
            range(),
            vec![Need {
                stage: 0,
                per_shard: true,
            }],
        ));
    }
    if stages.len() == 2 && rng.bool() {
        let of = |stage| Need {
            stage,
            per_shard: true,
        };
        stages.push(stage("grade", range(), vec![of(1), of(0)]));
    }
    if rng.bool() {
        let last = u32::try_from(stages.len() - 1).unwrap_or(0);
        stages.push(stage(
            "summary",
            StageKind::Once,
            vec![Need {
                stage: last,
                per_shard: false,
            }],
        ));
    }
    if rng.bool() {
        train(rng, &mut stages);
    }
    let trains = stages.iter().any(|s| matches!(s.kind, StageKind::Train(_)));
    let unit = if trains && workers >= 3 && rng.u32(0..3) == 0 {
        2
    } else {
        1
    };
    for stage in &mut stages {
        if rng.u32(0..40) == 0 {
            stage.deadline_ms = rng.u64(1_000..60_000);
        }
        stage.budgets.failed = rng.u32(0..5);
        stage.memory_mib = if rng.u32(0..4) == 0 {
            rng.u64(1..60)
        } else {
            0
        };
        dispatch(rng, stage);
    }
    let (min, max) = (min, max.max(unit).max(min));
    let wanted = rng.u32(min.max(unit)..=max.max(unit));
    let min = min.min(wanted / unit * unit).max(1);
    let spec = JobSpec {
        name: "sim".to_owned(),
        folder: "/job".to_owned(),
        image: None,
        code: Vec::new(),
        setup: None,
        workers: WorkersSpec {
            min,
            max,
            wanted,
            unit,
            slots: 1,
            gpus: 0,
            spares: 0,
            settle_timeout_ms: rng.u64(0..20_000),
            preflight: (rng.u32(0..4) == 0).then(PreflightSpec::default),
        },
        storage: StorageSpec {
            input: None,
            output: if rng.u32(0..3) == 0 {
                "az://out/sim".to_owned()
            } else {
                "/out".to_owned()
            },
            ..StorageSpec::default()
        },
        stages,
    };
    with_contents(rng, spec, keys)
}

/// Details and contents of all shards, as a launcher sends them.
fn with_contents(rng: &mut Rng, spec: JobSpec, keys: Vec<String>) -> Submission {
    let listed = |stage: &StageSpec| is_listed(&stage.kind);
    let mut contents = Vec::new();
    let mut details = Vec::new();
    for stage in &spec.stages {
        let mut content = StageContents::default();
        content.stage.command = [1; 16];
        if listed(stage) {
            content.shards = vec![ShardContent::default(); keys.len()];
        }
        contents.push(content);
        let told = listed(stage) && rng.bool();
        let detail = |_| ShardDetail {
            expected_ms: Some(rng.u64(0..1_000)),
            ..ShardDetail::default()
        };
        details.push(if told {
            keys.iter().map(detail).collect()
        } else {
            Vec::new()
        });
    }
    let keys = spec.stages.iter().map(|stage| {
        if listed(stage) {
            keys.clone()
        } else {
            Vec::new()
        }
    });
    Submission {
        keys: keys.collect(),
        spec,
        fingerprint: [7; 32],
        details,
        contents,
        outputs: Vec::new(),
        seen: petctl_core::Seen::default(),
        new_output: true,
        rerun: petctl_core::Rerun::Changed,
        plan_only: false,
    }
}

/// How a stage is handed out and judged.
fn dispatch(rng: &mut Rng, stage: &mut StageSpec) {
    if matches!(stage.kind, StageKind::Train(_)) {
        return;
    }
    let dispatch = &mut stage.dispatch;
    dispatch.speculative = rng.u32(0..2) == 0;
    if rng.u32(0..4) == 0 {
        dispatch.retry_on = vec![1];
    }
    if rng.u32(0..3) == 0 {
        dispatch.allow_failed_ppm = rng.u32(0..500_000);
    }
    dispatch.run_after_skip = rng.u32(0..4) == 0;
    if rng.u32(0..4) == 0 {
        // With a skip in 16, all of these are met now and then, and missed now and then.
        dispatch.min_done = [
            MinDone::Ppm(rng.u32(800_000..=1_000_000)),
            MinDone::Shards(rng.u64(1..40)),
        ][rng.usize(0..2)];
    }
    if rng.u32(0..4) == 0 {
        dispatch.gpu_milli = [300, 500, 1_000, 2_000][rng.usize(0..4)];
    }
    if rng.u32(0..6) == 0 {
        dispatch.run_mode = RunMode::Local;
        dispatch.gpu_milli = 0;
        stage.memory_mib = 0;
    }
}

/// Puts a training stage somewhere, alone or among the others.
fn train(rng: &mut Rng, stages: &mut Vec<StageSpec>) {
    let kind = StageKind::Train(TrainSpec {
        processes: Processes::Number(2),
        max_restarts: rng.u32(0..8),
        restart_window_ms: rng.u64(1_000..60_000),
        grow: if rng.bool() {
            Grow::Now
        } else {
            Grow::Checkpoint
        },
        progress_timeout_ms: if rng.bool() {
            rng.u64(4_000..20_000)
        } else {
            0
        },
        keep_checkpoints: rng.u32(1..4),
        exclude_after: rng.u32(0..3),
        checkpoints: None,
    });
    let needs = match rng.u32(0..3) {
        0 => {
            stages.clear();
            Vec::new()
        }
        1 => Vec::new(),
        _ => vec![Need {
            stage: 0,
            per_shard: false,
        }],
    };
    let mut train = stage("fit", kind, needs);
    if rng.u32(0..3) == 0 {
        train.budgets.worker_lost = rng.u32(0..6);
    }
    stages.push(train);
    if rng.u32(0..3) == 0 {
        let fit = u32::try_from(stages.len() - 1).unwrap_or(0);
        let needs = vec![Need {
            stage: fit,
            per_shard: false,
        }];
        stages.push(stage("after", StageKind::Once, needs));
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
        grace_ms: 10_000,
        budgets: Budgets {
            failed: 3,
            timed_out: 3,
            worker_lost: 1_000,
            infrastructure: 3,
            preempted: 1_000,
        },
        backoff_ms: 200,
        log_bytes: 1 << 20,
        cpu_milli: 0,
        memory_mib: 0,
        deadline_ms: 0,
        dispatch: petctl_spec::DispatchSpec::default(),
    }
}
