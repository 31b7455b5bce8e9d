//! What a worker does once before it joins a job.

use std::fs;
use std::time::{Duration, Instant};

use petctl_proto::v1::attach_request::Message as Request;
use petctl_proto::v1::attach_response::Message as Response;
use petctl_proto::v1::{Preflight, PreflightReport};
use petctl_spec::{PreflightSpec, SetupSpec};
use petctl_worker::Ended;

use crate::fake::{Bench, until, within};

impl Bench {
    async fn setting_up(script: &str, timeout_ms: u64) -> Self {
        Self::with("true", |spec| {
            spec.setup = Some(SetupSpec {
                command: ["sh", "-c", script].map(str::to_owned).to_vec(),
                timeout_ms,
            });
        })
        .await
    }

    async fn ask_to_join(&self, job_id: u64) {
        let order = Preflight {
            job_id,
            job: "test".to_owned(),
            spec_json: serde_json::to_string(&self.spec).unwrap(),
        };
        self.session.send(Response::Preflight(order)).await;
    }

    async fn joins(&mut self, job_id: u64) -> PreflightReport {
        self.ask_to_join(job_id).await;
        match self.session.next().await {
            Some(Request::PreflightReport(report)) => report,
            other => panic!("no report: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_setup_runs_once_for_each_job_and_not_again_after_a_reconnect() {
    let mut bench = Bench::setting_up("echo x >> ran", 60_000).await;
    for job_id in [7, 7, 8] {
        let report = bench.joins(job_id).await;
        assert_eq!(
            (report.job_id, report.code.as_str()),
            (job_id, ""),
            "{report:?}"
        );
    }
    bench.session.cut();
    bench.session = bench.fake.session().await;
    bench.session.welcome(60_000, &[]).await;
    assert_eq!(bench.joins(7).await.code, "");
    assert_eq!(
        fs::read_to_string(bench.root().join("ran")).unwrap(),
        "x\nx\n"
    );
    bench.end().await;
}

#[tokio::test]
async fn a_setup_that_fails_says_its_last_lines_and_runs_again_when_asked_again() {
    let script =
        "echo x >> ran; for n in 1 2 3 4 5 6 7; do echo line $n; done; echo no network >&2; exit 3";
    let mut bench = Bench::setting_up(script, 60_000).await;
    let report = bench.joins(7).await;
    assert_eq!(report.code, "SETUP_FAILED");
    let message = &report.message;
    assert!(message.contains("exit status: 3"), "{message}");
    assert!(
        message.contains("line 7") && message.contains("no network"),
        "{message}"
    );
    assert!(
        !message.contains("line 2"),
        "only the last lines: {message}"
    );
    let path = message
        .rsplit_once("all of it: ")
        .unwrap()
        .1
        .trim_end_matches(')');
    assert!(fs::read_to_string(path).unwrap().contains("line 2"));
    bench.joins(7).await;
    assert_eq!(
        fs::read_to_string(bench.root().join("ran")).unwrap(),
        "x\nx\n"
    );
    bench.end().await;
}

#[tokio::test]
async fn a_setup_that_takes_too_long_is_killed_and_checks_come_before_it() {
    let mut bench = Bench::setting_up("echo slow; exec sleep 1000", 50).await;
    let report = bench.joins(7).await;
    assert_eq!(report.code, "SETUP_FAILED");
    assert!(
        report.message.contains("longer than 50 ms: slow"),
        "{report:?}"
    );
    bench.spec.workers.preflight = Some(PreflightSpec {
        disk_mib: u64::MAX / 2,
        ..PreflightSpec::default()
    });
    assert_eq!(bench.joins(8).await.code, "PREFLIGHT_FAILED");
    bench.end().await;
}

#[tokio::test]
async fn a_setup_ends_with_its_worker() {
    let mut bench =
        Bench::setting_up("echo $$ > pid.part; mv pid.part pid; exec sleep 1000", 0).await;
    bench.ask_to_join(7).await;
    let pid = bench.root().join("pid");
    until("it runs", || pid.exists()).await;
    let pid = fs::read_to_string(pid).unwrap();
    let started = Instant::now();
    bench.shutdown.now.cancel();
    let ended = within(&mut bench.worker).await.unwrap().unwrap();
    assert_eq!(ended, Ended::Stopped);
    assert!(!fs::exists(format!("/proc/{}", pid.trim())).unwrap());
    assert!(started.elapsed() < Duration::from_secs(5));
}
