//! Checkpoints that scripts complete, and preflight checks.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use petctl_proto::v1::attach_request::Message as Request;
use petctl_proto::v1::attach_response::Message as Response;
use petctl_proto::v1::{
    CheckpointAnswer, CheckpointReport, GroupPhase, Preflight, PreflightReport,
};
use petctl_spec::PreflightSpec;
use tokio::task::JoinHandle;

use crate::fake::{Bench, Session, names, until};
use crate::group::start;

const WAITS: &str =
    "trap 'exit 0' TERM; echo $PETCTL_AGENT_SOCKET > socket.part; mv socket.part socket
    while true; do sleep 0.01; done";

impl Session {
    /// The next checkpoint; those of an epoch come before its end is said.
    pub(crate) async fn checkpoint(&mut self) -> CheckpointReport {
        loop {
            match self.said().await {
                Some(Request::CheckpointReport(report)) => return report,
                Some(Request::GroupReport(report)) => {
                    assert_ne!(report.phase(), GroupPhase::Stopped, "{report:?}");
                }
                other => panic!("expected a checkpoint, got {other:?}"),
            }
        }
    }

    async fn answer_checkpoint(&self, report: &CheckpointReport, code: &str, drop: &[&Path]) {
        let ack = CheckpointAnswer {
            request_id: report.request_id,
            code: code.to_owned(),
            message: "as the test says".to_owned(),
            drop: drop
                .iter()
                .map(|path| path.to_str().unwrap().to_owned())
                .collect(),
        };
        self.send(Response::CheckpointAnswer(ack)).await;
    }
}

/// Says one line and reads one, as a script does.
fn say(socket: &str, line: String) -> JoinHandle<String> {
    let socket = socket.trim().to_owned();
    tokio::task::spawn_blocking(move || {
        let mut stream = UnixStream::connect(socket).unwrap();
        writeln!(stream, "{line}").unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        answer
    })
}

fn complete(path: &Path, step: u64) -> String {
    format!(
        "{{\"checkpoint\":{{\"step\":{step},\"path\":\"{}\"}}}}",
        path.display()
    )
}

#[tokio::test]
async fn a_script_hears_when_its_checkpoint_is_durable_or_why_it_is_not() {
    let mut bench = Bench::training(WAITS).await;
    bench.session.start_group(start(3, 1)).await;
    let socket = fs::read_to_string(bench.until_file("socket").await).unwrap();
    let path = bench.root().join("step-7");
    fs::write(&path, "").unwrap();

    let said = say(&socket, complete(&path, 7));
    let report = bench.session.checkpoint().await;
    assert_eq!(
        (report.job_id, report.stage, report.epoch, report.step),
        (7, 0, 3, 7)
    );
    assert_eq!(Path::new(&report.path), path);
    assert!(!said.is_finished(), "not before it is durable");
    bench.session.answer_checkpoint(&report, "", &[]).await;
    assert_eq!(said.await.unwrap(), "{\"ok\":true}\n");

    let said = say(&socket, complete(&path, 8));
    let report = bench.session.checkpoint().await;
    bench
        .session
        .answer_checkpoint(&report, "STALE_EPOCH", &[])
        .await;
    let answer = said.await.unwrap();
    assert!(answer.contains("\"code\":\"STALE_EPOCH\"") && answer.contains("as the test says"));

    let answer = say(&socket, complete(Path::new("/none/such"), 9))
        .await
        .unwrap();
    assert!(answer.contains("CHECKPOINT_MISSING"), "{answer}");

    bench.session.stop_group(3).await;
    bench.session.phase(GroupPhase::Stopped).await;
    let answer = say(&socket, complete(&path, 10)).await.unwrap();
    assert!(answer.contains("STALE_EPOCH"), "no epoch runs: {answer}");
    bench.end().await;
}

#[tokio::test]
async fn a_checkpoint_is_reported_again_until_it_is_acknowledged() {
    let mut bench = Bench::training(WAITS).await;
    bench.session.start_group(start(3, 1)).await;
    let socket = fs::read_to_string(bench.until_file("socket").await).unwrap();
    let path = bench.root().join("step-7");
    fs::write(&path, "").unwrap();
    let said = say(&socket, complete(&path, 7));
    let first = bench.session.checkpoint().await;
    bench.session.cut();
    bench.session = bench.fake.session().await;
    bench.session.welcome(60_000, &[]).await;
    let again = bench.session.checkpoint().await;
    assert_eq!(first, again);
    bench.session.answer_checkpoint(&again, "", &[]).await;
    assert_eq!(said.await.unwrap(), "{\"ok\":true}\n");
    bench.end().await;
}

#[tokio::test]
async fn markers_are_found_and_checkpoints_that_are_not_kept_are_removed() {
    let mut bench = Bench::training(WAITS).await;
    let folder = bench.output().join("work/checkpoints");
    fs::create_dir_all(folder.join("step-1")).unwrap();
    fs::write(folder.join("step-1.complete"), "").unwrap();
    bench.session.start_group(start(3, 1)).await;
    bench.until_file("socket").await;
    fs::create_dir(folder.join("step-2")).unwrap();
    fs::write(folder.join("step-3.complete"), "").unwrap();
    fs::write(folder.join("step-2.complete"), "").unwrap();
    let report = bench.session.checkpoint().await;
    assert_eq!(
        (report.step, Path::new(&report.path)),
        (2, folder.join("step-2").as_path())
    );
    let (dropped, outside) = (folder.join("step-1"), bench.root().join("socket"));
    bench
        .session
        .answer_checkpoint(&report, "", &[&dropped, &outside])
        .await;
    until("it is removed with its marker", || {
        names(&folder) == ["step-2", "step-2.complete", "step-3.complete"]
    })
    .await;
    assert!(
        outside.exists(),
        "only what lies in the checkpoint folder is removed"
    );
    bench.end().await;
}

async fn preflight(change: impl FnOnce(&mut PreflightSpec)) -> PreflightReport {
    let mut bench = Bench::training("true").await;
    let mut checks = PreflightSpec {
        timeout_ms: 60_000,
        ..PreflightSpec::default()
    };
    change(&mut checks);
    bench.spec.workers.preflight = Some(checks);
    let order = Preflight {
        job_id: 7,
        job: "test".to_owned(),
        spec_json: serde_json::to_string(&bench.spec).unwrap(),
    };
    bench.session.send(Response::Preflight(order)).await;
    let Some(Request::PreflightReport(report)) = bench.session.said().await else {
        panic!("no report");
    };
    bench.end().await;
    report
}

#[tokio::test]
async fn a_workers_preflight_passes_or_says_what_is_missing() {
    let passed = preflight(|checks| {
        checks.disk_mib = 1;
        checks.memory_mib = 1;
        checks.command = vec!["true".to_owned()];
    })
    .await;
    assert_eq!((passed.job_id, passed.code.as_str()), (7, ""), "{passed:?}");
    let failed = preflight(|checks| {
        checks.command = ["sh", "-c", "echo the driver is old; exit 1"]
            .map(str::to_owned)
            .to_vec();
    })
    .await;
    assert_eq!(failed.code, "PREFLIGHT_FAILED");
    assert!(failed.message.ends_with("the driver is old"), "{failed:?}");
}

#[tokio::test]
async fn the_python_helper_says_checkpoints_and_steps_in_one_line_each() {
    let script = r#"exec python3 -c '
import os, sys, time, petctl_train
open("step-60", "w").close()
print(petctl_train.resume_from(), petctl_train.resume_step())
petctl_train.progress(59, 0.5)
print(petctl_train.checkpoint(60, "step-60"))
print(petctl_train.checkpoint(61, "none"), flush=True)
open("said", "w").close()
time.sleep(1000)'"#;
    let helper = format!(
        "{}/../examples/train",
        std::env::var("CARGO_MANIFEST_DIR").unwrap()
    );
    let mut bench = Bench::with_timeout(script, 1_000, |spec| {
        crate::group::train(spec);
        spec.stages[0]
            .env
            .insert("PYTHONPATH".to_owned(), helper.to_owned());
        spec.stages[0]
            .env
            .insert("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned());
    })
    .await;
    bench.session.start_group(start(3, 1)).await;
    let report = bench.session.checkpoint().await;
    assert_eq!(
        (report.step, Path::new(&report.path)),
        (60, bench.root().join("step-60").as_path())
    );
    bench.session.answer_checkpoint(&report, "", &[]).await;
    let progress = loop {
        if let Some(Request::GroupProgress(progress)) = bench.session.next().await {
            break progress;
        }
    };
    let rank = progress.ranks[0];
    assert_eq!((rank.rank, rank.step, rank.step_time_ms), (0, 59, 500.0));
    bench.until_file("said").await;
    let log = bench
        .output()
        .join(".petctl/logs/work/epoch-3/rank-0/1-0000000000000000-0000000000000003.log");
    until("all is in the log", || {
        let log = fs::read_to_string(&log).unwrap_or_default();
        let lines = [
            " F None 0\n",
            " F True\n",
            " F False\n",
            "(CHECKPOINT_MISSING)\n",
        ];
        lines.iter().all(|line| log.contains(line))
    })
    .await;
    bench.end().await;
}
