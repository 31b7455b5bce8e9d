//! Workers with an external command: `petctl torchrun`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use petctl_proto::v1::attach_request::Message as Request;
use petctl_proto::v1::{GroupPhase, GroupStart};
use petctl_worker::{
    Ended, ExternalCommand, ExternalProcess, ExternalStream, News, Options, Shutdown, StopSignal,
    WorkerError, run,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

use crate::fake::{Fake, Session, job, until, within};
use crate::group::{start, train};

struct External {
    folder: tempfile::TempDir,
    session: Session,
    news: UnboundedReceiver<News>,
    shutdown: Shutdown,
    signal: StopSignal,
    worker: JoinHandle<Result<Ended, WorkerError>>,
    _fake: Fake,
}

impl External {
    /// Two processes of that script, stdout and stderr to these.
    async fn start(script: &str, streams: [ExternalStream; 2]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (sender, news) = unbounded_channel();
        let mut environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        environment.push(("PETCTL_TOKEN".into(), "secret".into()));
        let process = ExternalProcess {
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment,
            overrides: vec![("OVERRIDDEN".into(), "1".into())],
            stdout: streams[0],
            stderr: streams[1],
        };
        let signal = StopSignal::default();
        let external = ExternalCommand {
            processes: vec![process; 2],
            folder: folder.path().to_owned(),
            work_folder: folder.path().to_owned(),
            run_id: "run-1".to_owned(),
            role: "trainer".to_owned(),
            grace: Duration::from_secs(60),
            log_folder: Some(folder.path().join("logs")),
            stdout_filters: vec!["loss".to_owned()],
            stderr_filters: Vec::new(),
            prefix: None,
            stop_signal: signal.clone(),
            news: Some(sender),
        };
        let mut fake = Fake::start().await;
        let options = Options {
            external_command: Some(external),
            advertise: Some("node-a".to_owned()),
            node_rank: Some(3),
            ..fake.options()
        };
        let shutdown = Shutdown::default();
        let worker = tokio::spawn(run(options, shutdown.clone()));
        let session = fake.session().await;
        session.welcome(60_000, &[]).await;
        // Its folders are of another machine.
        let mut spec = job(Path::new("/none"), "exit 99");
        train(&mut spec);
        session.assign(&spec).await;
        Self {
            folder,
            session,
            news,
            shutdown,
            signal,
            worker,
            _fake: fake,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    async fn end(self) {
        self.shutdown.now.cancel();
        within(self.worker).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn an_external_command_runs_with_its_environment_and_its_files_are_where_torchruns_are() {
    let script = "echo loss $RANK; echo other; echo oops >&2; env > env-$RANK; [ $PETCTL_EPOCH = 3 ] || exit 0";
    let mut external = External::start(script, [ExternalStream::File, ExternalStream::File]).await;
    let hello = &external.session.hello;
    assert_eq!(
        (hello.processes, hello.node_rank, hello.address.as_str()),
        (2, Some(3), "node-a")
    );
    external.session.start_group(start(3, 2)).await;
    external.session.phase(GroupPhase::Succeeded).await;
    let attempt = "logs/attempt_0";
    assert_eq!(
        external.read(&format!("{attempt}/1/stdout.log")),
        "loss 1\nother\n"
    );
    assert_eq!(external.read(&format!("{attempt}/1/stderr.log")), "oops\n");
    let filtered = external.read(&format!("{attempt}/filtered_stdout.log"));
    let mut lines: Vec<_> = filtered.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["[trainer0]:loss 0", "[trainer1]:loss 1"]);

    let text = external.read("env-1");
    let env: BTreeMap<_, _> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let error_file = external.path(&format!("{attempt}/1/error.json"));
    let expected = [
        ("RANK", "1"),
        ("ROLE_NAME", "trainer"),
        ("TORCHELASTIC_RUN_ID", "run-1"),
        ("TORCHELASTIC_ERROR_FILE", error_file.to_str().unwrap()),
        ("OVERRIDDEN", "1"),
        ("PETCTL_EPOCH", "3"),
    ];
    for (name, value) in expected {
        assert_eq!(env.get(name), Some(&value), "{name}");
    }
    assert_eq!(env.get("PETCTL_TOKEN"), None, "a secret is not handed on");

    // The next epoch cost no restart, and erases nothing.
    external.session.start_group(start(4, 2)).await;
    external.session.phase(GroupPhase::Succeeded).await;
    assert!(
        external
            .path("logs/attempt_0.epoch_4/0/stdout.log")
            .exists()
    );
    assert_eq!(
        external.read(&format!("{attempt}/0/stdout.log")),
        "loss 0\nother\n"
    );
    let heard: Vec<_> = std::iter::from_fn(|| external.news.try_recv().ok())
        .map(|news| match news {
            News::Started { epoch, .. } => format!("started {epoch}"),
            News::Failed { epoch, .. } => format!("failed {epoch}"),
            News::Stopped { epoch } => format!("stopped {epoch}"),
            News::Succeeded { epoch } => format!("succeeded {epoch}"),
        })
        .collect();
    assert_eq!(
        heard,
        ["started 3", "succeeded 3", "started 4", "succeeded 4"]
    );
    external.end().await;
}

#[tokio::test]
async fn a_failure_is_news_with_its_error_file() {
    let script = "[ $RANK = 1 ] && exit 5; sleep 1000";
    let mut external = External::start(
        script,
        [ExternalStream::FileAndConsole, ExternalStream::Discard],
    )
    .await;
    let order = GroupStart {
        restart_count: 2,
        ..start(3, 2)
    };
    external.session.start_group(order).await;
    external.session.phase(GroupPhase::Stopped).await;
    assert!(matches!(
        external.news.recv().await,
        Some(News::Started {
            epoch: 3,
            restart_count: 2
        })
    ));
    let Some(News::Failed {
        failure,
        error_file,
        ..
    }) = external.news.recv().await
    else {
        panic!("no failure");
    };
    assert_eq!((failure.rank, failure.exit_code), (1, Some(5)));
    assert_eq!(
        error_file,
        Some(external.path("logs/attempt_2/1/error.json"))
    );
    external.end().await;
}

#[tokio::test]
async fn processes_are_stopped_with_the_signal_that_the_worker_was_told_to_end_by() {
    // Not SIGINT: whoever runs the tests in the background has it ignored, and then no shell can trap it.
    let script =
        "trap 'touch told-$RANK; exit 0' USR1; touch ready-$RANK; while true; do sleep 0.01; done";
    let mut external =
        External::start(script, [ExternalStream::Inherit, ExternalStream::Inherit]).await;
    external.session.start_group(start(3, 2)).await;
    let ready = [external.path("ready-0"), external.path("ready-1")];
    until("both wait", || ready.iter().all(|path| path.exists())).await;
    external.signal.set(10);
    external.shutdown.drain.cancel();
    loop {
        match external.session.said().await {
            Some(Request::GroupReport(report)) if report.phase() == GroupPhase::Stopped => break,
            Some(_) => {}
            None => panic!("it ended without a report"),
        }
    }
    assert!(external.path("told-0").exists() && external.path("told-1").exists());
    external.session.cut();
    assert_eq!(within(external.worker).await.unwrap().unwrap(), Ended::Left);
}

#[tokio::test]
async fn an_order_for_another_number_of_processes_is_refused_with_the_reason() {
    let mut external =
        External::start("true", [ExternalStream::Discard, ExternalStream::Discard]).await;
    external.session.start_group(start(3, 5)).await;
    let report = external.session.phase(GroupPhase::Stopped).await;
    assert_eq!(report.failures[0].code, "RANK_NOT_STARTED");
    assert!(
        report.failures[0].message.contains("5 processes"),
        "{report:?}"
    );
    external.end().await;
}
