//! Training stages and their workers.

use crate::{SMALL, TRAINING, good};
use petctl_spec::{Grow, PreflightSpec, Processes, StageKind, TrainSpec};

#[test]
fn a_training_is_read() {
    let spec = good(TRAINING, &[]);
    let workers = &spec.workers;
    assert_eq!(
        (workers.unit, workers.spares, workers.settle_timeout_ms),
        (2, 1, 10_000)
    );
    assert_eq!(
        workers.preflight,
        Some(PreflightSpec {
            disk_mib: 10_240,
            memory_mib: 1,
            gpus: 1,
            command: vec!["./check.sh".into(), "{x}".into()],
            timeout_ms: 5_000,
        })
    );
    let stage = &spec.stages[0];
    let train = TrainSpec {
        processes: Processes::Number(4),
        max_restarts: 5,
        restart_window_ms: 1_800_000,
        grow: Grow::Now,
        progress_timeout_ms: 600_000,
        keep_checkpoints: 2,
        exclude_after: 0,
        checkpoints: Some("/jobs/us101/ckpt".into()),
    };
    assert_eq!(stage.kind, StageKind::Train(train));
    assert_eq!(
        (stage.deadline_ms, stage.budgets.worker_lost),
        (86_400_000, 9)
    );
}

#[test]
fn a_training_needs_a_command_only() {
    let spec = good(SMALL, &[("stage.a.kind", "train")]);
    let train = TrainSpec {
        processes: Processes::Number(1),
        max_restarts: 3,
        restart_window_ms: 3_600_000,
        grow: Grow::Checkpoint,
        progress_timeout_ms: 0,
        keep_checkpoints: 3,
        exclude_after: 3,
        checkpoints: None,
    };
    assert_eq!(
        train.checkpoint_folder(&spec.storage.output, "a"),
        "/jobs/us101/out/a/checkpoints"
    );
    assert_eq!(spec.stages[0].kind, StageKind::Train(train));
    assert_eq!(spec.stages[0].deadline_ms, 0);
}

#[test]
fn processes_are_a_number_or_a_word() {
    for (given, processes) in [
        ("1024", Processes::Number(1_024)),
        ("cpu", Processes::Cpu),
        ("\"gpu\"", Processes::Gpu),
        ("auto", Processes::Auto),
    ] {
        let spec = good(TRAINING, &[("stage.fit.processes_per_worker", given)]);
        let StageKind::Train(train) = &spec.stages[0].kind else {
            panic!("it trains")
        };
        assert_eq!(train.processes, processes, "{given}");
    }
}

#[test]
fn a_unit_that_fits_is_taken() {
    for (unit, min, max, wanted) in [(4, 1, 7, 4), (4, 4, 4, 4), (3, 1, 8, 5), (1, 1, 1, 1)] {
        let count = |number: i32| number.to_string();
        let given = [
            ("workers.unit", count(unit)),
            ("workers.min", count(min)),
            ("workers.max", count(max)),
            ("workers.wanted", count(wanted)),
        ];
        let given = given.iter().map(|(key, value)| (*key, value.as_str()));
        let spec = good(SMALL, &given.collect::<Vec<_>>());
        assert_eq!(spec.check(), Ok(()), "{unit} in {min} to {max}");
    }
}

#[test]
fn counts_of_workers_follow_one_another() {
    for (given, (min, max, wanted)) in [
        (vec![("workers.max", "4")], (1, 4, 4)),
        (vec![("workers.min", "4")], (4, 4, 4)),
        (vec![("workers.wanted", "4")], (1, 4, 4)),
        (
            vec![
                ("workers.min", "2"),
                ("workers.max", "8"),
                ("workers.wanted", "3"),
            ],
            (2, 8, 3),
        ),
        (
            vec![("workers.min", "2"), ("workers.wanted", "3")],
            (2, 3, 3),
        ),
    ] {
        let workers = good(SMALL, &given).workers;
        assert_eq!(
            (workers.min, workers.max, workers.wanted),
            (min, max, wanted),
            "{given:?}"
        );
    }
}
