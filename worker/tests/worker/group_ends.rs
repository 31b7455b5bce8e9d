//! Training groups whose worker leaves, is given up, is cut off or is killed.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use petctl_process::strays::{Ticks, WORKER_VARIABLE, sweep_older};
use petctl_proto::v1::attach_request::Message as Request;
use petctl_proto::v1::attach_response::Message as Response;
use petctl_proto::v1::{CheckpointAnswer, Drain, Fenced, GroupPhase, Release};
use petctl_text::Secret;
use petctl_worker::{Ended, Options, Shutdown, WorkerError, run};

use crate::fake::{Bench, Fake, TOKEN, job, until, within};
use crate::group::{start, train};
use crate::leftovers::{alive, marked};

const WAITS: &str = "trap 'exit 0' TERM; touch started; while true; do sleep 0.01; done";
const SAVES: &str = r#"trap 'touch $PETCTL_CHECKPOINT_DIR/step-12 $PETCTL_CHECKPOINT_DIR/step-12.complete; exit 0' TERM
    touch started; while true; do sleep 0.01; done"#;

#[tokio::test]
async fn a_worker_that_leaves_says_so_lets_the_script_save_and_ends_when_all_is_heard() {
    let mut bench = Bench::training(SAVES).await;
    bench.session.start_group(start(3, 1)).await;
    bench.until_file("started").await;
    bench.session.phase(GroupPhase::Running).await;
    bench.shutdown.drain.cancel();
    assert!(matches!(
        bench.session.said().await,
        Some(Request::Leaving(_))
    ));
    let checkpoint = bench.session.checkpoint().await;
    assert_eq!((checkpoint.step, checkpoint.epoch), (12, 3));
    bench.session.phase(GroupPhase::Stopped).await;
    let ack = CheckpointAnswer {
        request_id: checkpoint.request_id,
        ..CheckpointAnswer::default()
    };
    bench.session.send(Response::CheckpointAnswer(ack)).await;
    assert_eq!(bench.session.said().await, None);
    bench.session.cut();
    assert_eq!(within(bench.worker).await.unwrap().unwrap(), Ended::Left);
}

#[tokio::test]
async fn a_drained_worker_stops_its_processes_and_goes() {
    let mut bench = Bench::training(WAITS).await;
    bench.session.start_group(start(3, 1)).await;
    bench.until_file("started").await;
    let drain = Drain {
        reason: "smaller".to_owned(),
    };
    bench.session.send(Response::Drain(drain)).await;
    bench.session.phase(GroupPhase::Stopped).await;
    assert!(matches!(
        bench.session.said().await,
        Some(Request::Leaving(_))
    ));
    assert_eq!(bench.session.said().await, None);
    bench.session.cut();
    let ended = within(bench.worker).await.unwrap().unwrap();
    assert!(matches!(ended, Ended::Drained { reason } if reason == "smaller"));
}

#[tokio::test]
async fn a_fenced_workers_processes_are_killed_and_it_comes_back_without_them() {
    let mut mark = String::new();
    let script = "trap '' TERM; touch started; while true; do sleep 0.01; done";
    let mut bench = Bench::with(script, |spec| {
        train(spec);
        mark = marked(spec);
    })
    .await;
    bench.session.start_group(start(3, 1)).await;
    bench.until_file("started").await;
    let fenced = Fenced {
        code: "WORKER_SILENT".to_owned(),
        message: "silent for 5 s".to_owned(),
    };
    bench.session.send(Response::Fenced(fenced)).await;
    bench.session = bench.fake.session().await;
    bench.session.welcome(60_000, &[]).await;
    let group = bench.session.hello.group.clone().unwrap();
    assert_eq!(group.epoch, 3);
    if group.phase() != GroupPhase::Stopped {
        bench.session.phase(GroupPhase::Stopped).await;
    }
    assert_eq!(alive(&mark), Vec::<u32>::new());
    bench.end().await;
}

#[tokio::test]
async fn a_released_worker_waits_for_the_next_job() {
    let mut bench = Bench::training("true").await;
    bench.session.start_group(start(3, 1)).await;
    bench.session.phase(GroupPhase::Succeeded).await;
    let release = Release {
        code: "JOB_ENDED".to_owned(),
        message: "the job succeeded".to_owned(),
    };
    bench.session.send(Response::Release(release)).await;
    let spec = bench.spec.clone();
    bench.session.assign(&spec).await;
    bench.session.start_group(start(1, 1)).await;
    bench.session.phase(GroupPhase::Succeeded).await;
    bench.end().await;
}

#[tokio::test]
async fn without_a_coordinator_a_group_stops_when_the_workers_patience_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = job(folder.path(), WAITS);
    train(&mut spec);
    let mark = marked(&mut spec);
    let mut fake = Fake::start().await;
    let options = Options {
        coordinator_grace: Duration::from_millis(500),
        ..fake.options()
    };
    let worker = tokio::spawn(run(options, Shutdown::default()));
    let mut session = fake.session().await;
    session.welcome(60_000, &[]).await;
    session.assign(&spec).await;
    session.start_group(start(3, 1)).await;
    until("it has started", || folder.path().join("started").exists()).await;
    session.cut();
    drop(fake);
    let error = within(worker).await.unwrap().unwrap_err();
    assert!(
        matches!(error, WorkerError::CoordinatorLost { .. }),
        "{error}"
    );
    assert_eq!(alive(&mark), Vec::<u32>::new());
}

/// Played by this program's own binary, started again by a test.
const ROLE: &str = "TEST_ROLE_ADDRESS";

#[tokio::test]
async fn role_of_a_worker() {
    let Ok(address) = std::env::var(ROLE) else {
        return;
    };
    let exe = std::env::current_exe().unwrap();
    let guard = [
        exe.into_os_string(),
        "group_ends::role_of_a_guard".into(),
        "--exact".into(),
        "--skip".into(),
    ];
    let options = Options {
        token: Some(Secret::new(TOKEN)),
        guard: Some(guard.into()),
        ..Options::new(address, "killed")
    };
    let _ended = run(options, Shutdown::default()).await;
}

#[test]
fn role_of_a_guard() {
    // What follows `--skip` names no test; it is the worker's id.
    if let Some(worker_id) = std::env::args().next_back().filter(|id| id.len() == 32) {
        petctl_worker::guard(&worker_id).unwrap();
    }
}

#[tokio::test]
async fn what_was_being_started_when_the_worker_was_killed_is_found_once_it_shows_whose_it_is() {
    let id = format!("{:032x}", fastrand::u128(1..));
    let mark = format!("{WORKER_VARIABLE}={id}");
    let mut late = Command::new("sh")
        .args(["-c", "sleep 0.2; exec env \"$0\" sleep 1000", &mark])
        .spawn()
        .unwrap();
    let mut guard = Command::new(std::env::current_exe().unwrap())
        .args(["group_ends::role_of_a_guard", "--exact", "--skip", &id])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    drop(guard.stdin.take());
    let ended = tokio::task::spawn_blocking(move || late.wait().unwrap().signal());
    assert_eq!(within(ended).await.unwrap(), Some(9));
    guard.wait().unwrap();
}

#[test]
fn what_a_later_worker_of_the_same_id_has_started_is_spared() {
    let id = format!("{:032x}", fastrand::u128(1..));
    let start = || {
        Command::new("sleep")
            .arg("1000")
            .env(WORKER_VARIABLE, &id)
            .spawn()
            .unwrap()
    };
    let mut child = start();
    let before = Ticks::now();
    while Ticks::now() == before {
        std::thread::yield_now();
    }
    let mut later = start();
    assert_eq!(sweep_older(&id, before), 1);
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert_eq!(later.try_wait().unwrap(), None);
    assert_eq!(sweep_older(&id, Ticks::now()), 1);
    later.wait().unwrap();
}

#[tokio::test]
async fn a_worker_that_is_killed_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = job(
        folder.path(),
        "setsid sleep 1000 & trap '' TERM; touch started-$RANK; while true; do sleep 0.01; done",
    );
    train(&mut spec);
    let mark = marked(&mut spec);
    let mut fake = Fake::start().await;
    let mut worker = Command::new(std::env::current_exe().unwrap())
        .args(["group_ends::role_of_a_worker", "--exact"])
        .env(ROLE, &fake.address)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let session = fake.session().await;
    session.welcome(60_000, &[]).await;
    session.assign(&spec).await;
    session.start_group(start(3, 2)).await;
    for rank in 0..2 {
        let path = folder.path().join(format!("started-{rank}"));
        until("the ranks have started", || path.exists()).await;
    }
    assert!(alive(&mark).len() >= 4);
    worker.kill().unwrap();
    worker.wait().unwrap();
    until("nothing is left", || alive(&mark).is_empty()).await;
    let _ = fs::remove_dir_all(folder.path());
}
