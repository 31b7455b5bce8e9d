//! How a worker ends.

use std::time::{Duration, Instant};

use petctl_proto::v1::attach_request::Message as Request;
use petctl_proto::v1::attach_response::Message as Response;
use petctl_proto::v1::{Drain, Outcome, Release};
use petctl_worker::{Ended, Options, Shutdown, run};

use crate::agent::{WAITS, no_process_runs};
use crate::fake::{Bench, Fake, lease, within};

#[tokio::test]
async fn a_drained_worker_finishes_what_runs_and_leaves() {
    let mut bench = Bench::start(WAITS).await;
    bench
        .session
        .lease((1..=4).map(|id| lease(id, u32::try_from(id).unwrap())))
        .await;
    bench.until_started(1).await;
    bench.until_started(2).await;
    bench
        .session
        .send(Response::Drain(Drain {
            reason: "scaled down".to_owned(),
        }))
        .await;
    let returned = bench.session.results(2).await;
    assert!(
        returned
            .values()
            .all(|result| result.outcome() == Outcome::Returned),
        "{returned:?}"
    );
    bench.go();
    let finished = bench.session.results(2).await;
    assert!(
        finished
            .values()
            .all(|result| result.outcome() == Outcome::Committed),
        "{finished:?}"
    );
    assert!(
        matches!(bench.session.next().await, Some(Request::Leaving(leaving)) if leaving.reason == "scaled down")
    );
    assert_eq!(bench.session.next().await, None);
    bench.session.cut();
    let ended = within(bench.worker).await.unwrap().unwrap();
    assert_eq!(
        ended,
        Ended::Drained {
            reason: "scaled down".to_owned()
        }
    );
}

#[tokio::test]
async fn a_worker_that_is_told_to_leave_hands_everything_back() {
    let script = "trap 'exit 0' TERM; touch started-$PETCTL_LEASE; while :; do sleep 0.01; done";
    let mut bench = Bench::start(script).await;
    bench
        .session
        .lease((1..=3).map(|id| lease(id, u32::try_from(id).unwrap())))
        .await;
    bench.until_started(1).await;
    bench.until_started(2).await;
    bench.shutdown.drain.cancel();
    assert!(matches!(
        bench.session.next().await,
        Some(Request::Leaving(_))
    ));
    let results = bench.session.results(3).await;
    let outcomes: Vec<_> = results.values().map(|result| result.outcome()).collect();
    assert_eq!(
        outcomes,
        [Outcome::Preempted, Outcome::Preempted, Outcome::Returned]
    );
    assert_eq!(bench.session.next().await, None);
    bench.session.cut();
    assert_eq!(within(bench.worker).await.unwrap().unwrap(), Ended::Left);
}

#[tokio::test]
async fn shutting_down_now_kills_everything_at_once() {
    let started = Instant::now();
    let mut bench =
        Bench::start("trap '' TERM; touch started-$PETCTL_LEASE; while :; do sleep 0.01; done")
            .await;
    bench.session.lease([lease(1, 0)]).await;
    bench.until_started(1).await;
    bench.shutdown.now.cancel();
    assert_eq!(
        within(&mut bench.worker).await.unwrap().unwrap(),
        Ended::Stopped
    );
    assert!(no_process_runs(&bench) && bench.attempt_folders().is_empty());
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_worker_of_one_job_ends_with_it() {
    let mut fake = Fake::start().await;
    let options = Options {
        job: "test".to_owned(),
        ..fake.options()
    };
    let worker = tokio::spawn(run(options, Shutdown::default()));
    let mut session = fake.session().await;
    assert_eq!(session.hello.job, "test");
    session.welcome(60_000, &[]).await;
    let release = Release {
        code: "JOB_SUCCEEDED".to_owned(),
        message: "the job has succeeded".to_owned(),
    };
    session.send(Response::Release(release)).await;
    assert_eq!(session.next().await, None);
    session.cut();
    assert!(
        matches!(within(worker).await.unwrap(), Ok(Ended::Released { code, .. }) if code == "JOB_SUCCEEDED")
    );
}
