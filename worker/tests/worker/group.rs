//! Training groups: what their processes are given, how they end, and what is said of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use petctl_proto::v1::attach_request::Message as Request;
use petctl_proto::v1::attach_response::Message as Response;
use petctl_proto::v1::{Checkpoint, GroupPhase, GroupPrepare, GroupReport, GroupStart, GroupStop};
use petctl_spec::{Grow, JobSpec, Processes, StageKind, TrainSpec};

use crate::fake::{Bench, Session, until};
use crate::leftovers::{alive, marked};

/// Turns the stage into a training one.
pub(crate) fn train(spec: &mut JobSpec) {
    spec.stages[0].kind = StageKind::Train(TrainSpec {
        processes: Processes::Number(1),
        max_restarts: 3,
        restart_window_ms: 3_600_000,
        grow: Grow::Checkpoint,
        progress_timeout_ms: 0,
        keep_checkpoints: 3,
        exclude_after: 3,
        checkpoints: None,
    });
    spec.stages[0].grace_ms = 60_000;
}

/// An order to start that many processes, all of the group.
pub(crate) fn start(epoch: u64, processes: u32) -> GroupStart {
    GroupStart {
        job_id: 7,
        stage: 0,
        epoch,
        group_rank: 0,
        group_world_size: 1,
        first_rank: 0,
        processes,
        world_size: processes,
        master_addr: "127.0.0.1".to_owned(),
        master_port: 29_999,
        restart_count: 0,
        max_restarts: 3,
        resume: None,
    }
}

pub(crate) fn stop(epoch: u64) -> GroupStop {
    GroupStop {
        job_id: 7,
        stage: 0,
        epoch,
        code: "GROWTH".to_owned(),
        message: "the group grows".to_owned(),
        dump_stacks: false,
    }
}

impl Session {
    pub(crate) async fn start_group(&self, start: GroupStart) {
        self.send(Response::GroupStart(start)).await;
    }

    pub(crate) async fn stop_group(&self, epoch: u64) {
        self.send(Response::GroupStop(stop(epoch))).await;
    }

    /// The next message about anything but progress.
    pub(crate) async fn said(&mut self) -> Option<Request> {
        loop {
            match self.next().await {
                Some(Request::GroupProgress(_)) => {}
                other => return other,
            }
        }
    }

    pub(crate) async fn report(&mut self) -> GroupReport {
        match self.said().await {
            Some(Request::GroupReport(report)) => report,
            other => panic!("expected a report, got {other:?}"),
        }
    }

    /// The first report of that phase.
    pub(crate) async fn phase(&mut self, phase: GroupPhase) -> GroupReport {
        loop {
            let report = self.report().await;
            if report.phase() == phase {
                return report;
            }
        }
    }
}

impl Bench {
    pub(crate) async fn training(script: &str) -> Self {
        Self::with(script, train).await
    }

    /// Starts epoch 3 with that many processes, and waits for the end of it.
    pub(crate) async fn run_group(&mut self, processes: u32) -> GroupReport {
        self.session.start_group(start(3, processes)).await;
        loop {
            let report = self.session.report().await;
            match report.phase() {
                GroupPhase::Stopped | GroupPhase::Succeeded => return report,
                GroupPhase::Running | GroupPhase::Failing | GroupPhase::Unspecified => {}
            }
        }
    }

    pub(crate) async fn until_file(&self, name: &str) -> PathBuf {
        let path = self.root().join(name);
        until(&format!("{name} is there"), || path.exists()).await;
        path
    }

    pub(crate) fn log_of(&self, epoch: u64, rank: u32) -> String {
        let folder = self
            .output()
            .join(format!(".petctl/logs/work/epoch-{epoch}/rank-{rank}"));
        fs::read_to_string(folder.join(format!("1-0000000000000000-{epoch:016x}.log")))
            .unwrap_or_default()
    }
}

#[tokio::test]
async fn every_rank_gets_torchruns_environment_and_a_place_to_go_on_from() {
    let mut bench = Bench::training("env > env-$RANK.part; mv env-$RANK.part env-$RANK").await;
    let order = GroupStart {
        group_rank: 1,
        group_world_size: 2,
        first_rank: 2,
        world_size: 4,
        restart_count: 1,
        resume: Some(Checkpoint {
            step: 500,
            path: "/x/step-500".to_owned(),
        }),
        ..start(3, 2)
    };
    bench.session.start_group(order).await;
    bench.session.phase(GroupPhase::Succeeded).await;
    let read = |rank: u32| -> BTreeMap<String, String> {
        let text = fs::read_to_string(bench.root().join(format!("env-{rank}"))).unwrap();
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    let (first, second) = (read(2), read(3));
    let checkpoints = bench.output().join("work/checkpoints");
    let expected = [
        ("RANK", "3"),
        ("LOCAL_RANK", "1"),
        ("GROUP_RANK", "1"),
        ("WORLD_SIZE", "4"),
        ("MASTER_ADDR", "127.0.0.1"),
        ("MASTER_PORT", "29999"),
        ("TORCHELASTIC_RESTART_COUNT", "1"),
        ("TORCHELASTIC_RUN_ID", "test"),
        ("TORCHELASTIC_USE_AGENT_STORE", "False"),
        ("OMP_NUM_THREADS", "1"),
        ("PETCTL_EPOCH", "3"),
        ("PETCTL_JOB", "test"),
        ("PETCTL_STAGE", "work"),
        ("PETCTL_RESUME_FROM", "/x/step-500"),
        ("PETCTL_RESUME_STEP", "500"),
        ("PETCTL_CHECKPOINT_DIR", checkpoints.to_str().unwrap()),
    ];
    for (name, value) in expected {
        assert_eq!(second.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(first["LOCAL_RANK"], "0");
    assert_ne!(
        first["PETCTL_HEARTBEAT_FILE"],
        second["PETCTL_HEARTBEAT_FILE"]
    );
    assert_ne!(
        first["TORCHELASTIC_ERROR_FILE"],
        second["TORCHELASTIC_ERROR_FILE"]
    );
    assert!(checkpoints.is_dir() && first.contains_key("PETCTL_AGENT_SOCKET"));
    bench.end().await;
}

#[tokio::test]
async fn an_empty_master_address_stands_for_the_coordinators() {
    let mut bench = Bench::training("echo $MASTER_ADDR").await;
    assert_eq!(bench.session.hello.address, "127.0.0.1");
    let order = GroupStart {
        master_addr: String::new(),
        ..start(3, 1)
    };
    bench.session.start_group(order).await;
    bench.session.phase(GroupPhase::Succeeded).await;
    assert!(bench.log_of(3, 0).ends_with(" stdout F 127.0.0.1\n"));
    bench.end().await;
}

#[tokio::test]
async fn rank_0s_worker_offers_a_port_and_the_newest_checkpoint_that_is_there() {
    let mut bench = Bench::training("true").await;
    fs::write(bench.root().join("step-10"), "").unwrap();
    let mut ports = Vec::new();
    for epoch in 3..6 {
        let checkpoint = |step: u64| Checkpoint {
            step,
            path: bench
                .root()
                .join(format!("step-{step}"))
                .to_str()
                .unwrap()
                .to_owned(),
        };
        let prepare = GroupPrepare {
            job_id: 7,
            stage: 0,
            epoch,
            checkpoints: vec![checkpoint(20), checkpoint(10), checkpoint(5)],
        };
        bench.session.send(Response::GroupPrepare(prepare)).await;
        let Some(Request::MasterOffer(offer)) = bench.session.said().await else {
            panic!("no offer");
        };
        assert_eq!((offer.epoch, offer.resume_step), (epoch, Some(10)));
        ports.push(offer.port);
    }
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 3, "a fresh one for every epoch");
    bench.end().await;
}

#[tokio::test]
async fn the_first_failure_is_said_at_once_and_the_others_are_stopped() {
    let script = r#"trap 'touch told; exit 0' TERM
        if [ $RANK = 1 ]; then
            until [ -e waiting ]; do sleep 0.01; done
            printf '{"message": {"message": "ValueError: no data", "extraInfo": {}}}' > $TORCHELASTIC_ERROR_FILE
            echo it broke >&2; exit 9
        fi
        touch waiting; while true; do sleep 0.01; done"#;
    let mut bench = Bench::training(script).await;
    bench.session.start_group(start(3, 2)).await;
    assert_eq!(bench.session.report().await.phase(), GroupPhase::Running);
    let failing = bench.session.phase(GroupPhase::Failing).await;
    let failure = &failing.failures[0];
    assert_eq!(
        (failing.failures.len(), failure.rank, failure.exit_code),
        (1, 1, Some(9))
    );
    assert_eq!(
        (failure.code.as_str(), failure.message.as_str()),
        ("RANK_FAILED", "ValueError: no data (exited with 9)")
    );
    assert_eq!(failure.log_tail, "it broke\n");
    assert!(failure.age_ms < 60_000);
    let stopped = bench.session.phase(GroupPhase::Stopped).await;
    assert_eq!(stopped.failures.len(), 1, "rank 0 was stopped: {stopped:?}");
    assert!(bench.root().join("told").exists());
    bench.end().await;
}

#[tokio::test]
async fn ends_of_all_kinds_are_named() {
    let cases = [
        ("kill -SEGV $$", "RANK_SIGNALLED", "killed by SIGSEGV (11)"),
        (
            "echo 'KeyError: x'; exit 2",
            "RANK_FAILED",
            "exited with 2: KeyError: x",
        ),
        ("exit 1", "RANK_FAILED", "exited with 1"),
        (
            "echo '{\"message\"' > $TORCHELASTIC_ERROR_FILE; exit 1",
            "RANK_FAILED",
            "its error file is not JSON (exited with 1)",
        ),
        (
            "truncate -s 1G $TORCHELASTIC_ERROR_FILE; exit 1",
            "RANK_FAILED",
            "its error file has 1073741824 bytes, more than the 64 KiB that are read (exited with 1)",
        ),
        (
            "echo '{\"message\": \"plain\"}' > $TORCHELASTIC_ERROR_FILE; exit 1",
            "RANK_FAILED",
            "plain (exited with 1)",
        ),
    ];
    for (script, code, message) in cases {
        let mut bench = Bench::training(script).await;
        let report = bench.run_group(1).await;
        assert_eq!(report.phase(), GroupPhase::Stopped, "{script}");
        let failure = &report.failures[0];
        assert_eq!(
            (failure.code.as_str(), failure.message.as_str()),
            (code, message)
        );
        bench.end().await;
    }
}

#[tokio::test]
async fn the_earliest_exception_is_the_first_cause_however_long_its_process_takes_to_end() {
    let script = r#"if [ $RANK = 1 ]; then
            printf '{"message": {"message": "CauseError", "extraInfo": {"timestamp": "%s"}}}' $(date +%s.%N) > $TORCHELASTIC_ERROR_FILE
            trap '' TERM; touch raised; sleep 0.3; exit 1
        fi
        until [ -e raised ]; do sleep 0.01; done
        sleep 0.05; exit 1"#;
    let mut bench = Bench::training(script).await;
    let report = bench.run_group(2).await;
    let ranks: Vec<_> = report.failures.iter().map(|failure| failure.rank).collect();
    assert_eq!(ranks, [1, 0], "{report:?}");
    assert!(report.failures[0].age_ms >= report.failures[1].age_ms);
    bench.end().await;
}

#[tokio::test]
async fn what_can_not_be_started_is_said() {
    let mut bench = Bench::with("true", |spec| {
        train(spec);
        spec.stages[0].command = vec!["no-such-program".to_owned()];
    })
    .await;
    let report = bench.run_group(2).await;
    let failure = &report.failures[0];
    assert_eq!(
        (report.phase(), failure.code.as_str()),
        (GroupPhase::Stopped, "RANK_NOT_STARTED")
    );
    assert!(failure.message.contains("no-such-program"), "{failure:?}");
    bench.end().await;
}

#[tokio::test]
async fn one_rank_that_exits_0_does_not_end_the_group() {
    let mut bench =
        Bench::training("[ $RANK = 0 ] && exit 0; until [ -e go ]; do sleep 0.01; done").await;
    bench.session.start_group(start(3, 2)).await;
    let mut report = bench.session.report().await;
    while report.exited == 0 {
        report = bench.session.report().await;
    }
    assert_eq!(
        (report.phase(), report.exited, report.processes),
        (GroupPhase::Running, 1, 2)
    );
    fs::write(bench.root().join("go"), "").unwrap();
    let done = bench.session.phase(GroupPhase::Succeeded).await;
    assert_eq!((done.exited, done.failures.len()), (2, 0));
    bench.end().await;
}

#[tokio::test]
async fn nothing_is_left_of_a_group_whatever_it_started() {
    let scripts = [
        "sleep 1000 & exit 0",
        "setsid sleep 1000 >/dev/null 2>&1 & exit 0",
        "setsid sh -c 'sleep 1000 & sleep 1000 & wait' & exit 1",
        "(trap '' TERM HUP; setsid setsid sleep 1000 & sleep 1000) & sleep 0.05; exit 0",
    ];
    for script in scripts {
        let mut mark = String::new();
        let mut bench = Bench::with(script, |spec| {
            train(spec);
            mark = marked(spec);
        })
        .await;
        bench.run_group(2).await;
        assert_eq!(alive(&mark), Vec::<u32>::new(), "{script}");
        bench.end().await;
    }
}

#[tokio::test]
async fn stopped_is_said_only_when_all_are_gone_even_those_that_ignore_sigterm() {
    let mut mark = String::new();
    let script = "trap '' TERM; touch ready-$RANK; while true; do sleep 0.01; done";
    let mut bench = Bench::with(script, |spec| {
        train(spec);
        spec.stages[0].grace_ms = 300;
        mark = marked(spec);
    })
    .await;
    bench.session.start_group(start(3, 2)).await;
    bench.until_file("ready-0").await;
    bench.until_file("ready-1").await;
    let asked = Instant::now();
    bench.session.stop_group(3).await;
    let report = bench.session.phase(GroupPhase::Stopped).await;
    assert!(
        asked.elapsed() >= Duration::from_millis(300),
        "there is grace"
    );
    assert_eq!(alive(&mark), Vec::<u32>::new());
    assert_eq!(report.failures.len(), 0, "{report:?}");
    bench.session.stop_group(3).await;
    assert_eq!(
        bench.session.report().await.phase(),
        GroupPhase::Stopped,
        "said again"
    );
    bench.end().await;
}

#[tokio::test]
async fn a_stop_of_an_epoch_that_never_started_is_answered() {
    let mut bench = Bench::training("true").await;
    bench.session.stop_group(9).await;
    let report = bench.session.report().await;
    assert_eq!((report.epoch, report.phase()), (9, GroupPhase::Stopped));
    bench.session.start_group(start(9, 1)).await;
    assert_eq!(
        bench.session.report().await.phase(),
        GroupPhase::Stopped,
        "it is over"
    );
    bench.end().await;
}

#[tokio::test]
async fn a_process_that_closes_its_outputs_is_watched_all_the_same() {
    let mut bench = Bench::training("exec >&- 2>&-; sleep 0.1; exit 4").await;
    let report = bench.run_group(2).await;
    assert_eq!(report.failures[0].exit_code, Some(4));
    bench.end().await;
}

pub(crate) const WAITS: &str =
    "trap 'exit 0' TERM; echo x >> started-$PETCTL_EPOCH; while true; do sleep 0.01; done";

#[tokio::test]
async fn an_order_that_comes_twice_starts_once_and_an_older_one_nothing() {
    let mut bench = Bench::training(WAITS).await;
    for epoch in [3, 3, 2] {
        bench.session.start_group(start(epoch, 1)).await;
    }
    bench.until_file("started-3").await;
    bench.session.stop_group(3).await;
    bench.session.phase(GroupPhase::Stopped).await;
    assert_eq!(
        fs::read_to_string(bench.root().join("started-3")).unwrap(),
        "x\n"
    );
    assert!(!bench.root().join("started-2").exists());
    bench.end().await;
}

#[tokio::test]
async fn a_newer_epoch_starts_when_the_older_one_is_gone() {
    let script = "trap 'sleep 0.2; touch gone; exit 0' TERM
        [ $PETCTL_EPOCH = 4 ] && { [ -e gone ] && touch after || touch beside; }
        touch started-$PETCTL_EPOCH; while true; do sleep 0.01; done";
    let bench = Bench::training(script).await;
    bench.session.start_group(start(3, 1)).await;
    bench.until_file("started-3").await;
    bench.session.start_group(start(4, 1)).await;
    bench.until_file("started-4").await;
    assert!(bench.root().join("after").exists() && !bench.root().join("beside").exists());
    bench.end().await;
}

#[tokio::test]
async fn a_group_goes_on_while_there_is_no_coordinator_and_the_next_one_hears_how_it_is() {
    let mut bench = Bench::training(WAITS).await;
    bench.session.start_group(start(3, 1)).await;
    bench.until_file("started-3").await;
    bench.session.cut();
    bench.session = bench.fake.session().await;
    let group = bench.session.hello.group.clone().unwrap();
    assert_eq!(
        (group.job_id, group.epoch, group.phase()),
        (7, 3, GroupPhase::Running)
    );
    bench.session.welcome(60_000, &[]).await;
    bench.session.start_group(start(3, 1)).await;
    assert_eq!(bench.session.report().await.phase(), GroupPhase::Running);
    bench.session.stop_group(3).await;
    bench.session.phase(GroupPhase::Stopped).await;
    assert_eq!(
        fs::read_to_string(bench.root().join("started-3")).unwrap(),
        "x\n"
    );
    bench.session.cut();
    bench.session = bench.fake.session().await;
    let group = bench.session.hello.group.clone().unwrap();
    assert_eq!((group.epoch, group.phase()), (3, GroupPhase::Stopped));
    bench.session.welcome(60_000, &[]).await;
    bench.end().await;
}
