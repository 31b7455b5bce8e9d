//! The stream: attaching, reconnecting, and leases that come and go.

use std::fs;
use std::time::Duration;

use petctl_proto::v1::attach_response::Message as Response;
use petctl_proto::v1::{Fenced, Lease, Outcome, Revocation};
use petctl_text::Secret;
use petctl_worker::{Execution, Options, Shutdown, WorkerError, run};

use crate::fake::{Bench, Fake, lease, names, until, within};

/// Starts, then ends with 0 once the file `go` is there.
pub(crate) const WAITS: &str = "touch started-$PETCTL_LEASE; until [ -e go ]; do sleep 0.01; done";

impl Bench {
    pub(crate) async fn until_started(&self, lease_id: u64) {
        let path = self.root().join(format!("started-{lease_id}"));
        until("the command has started", || path.exists()).await;
    }

    /// Breaks the stream and waits for the next one.
    pub(crate) async fn reconnect(&mut self) {
        self.session.cut();
        self.session = self.fake.session().await;
    }

    pub(crate) fn go(&self) {
        fs::write(self.root().join("go"), "").unwrap();
    }
}

#[tokio::test]
async fn a_worker_says_what_it_is() {
    let mut bench = Bench::start("true").await;
    let hello = bench.session.hello.clone();
    assert_eq!(
        (hello.protocol_version, hello.name.as_str(), hello.slots),
        (petctl_proto::PROTOCOL_VERSION, "local-1", 2)
    );
    assert_eq!(
        hello.oldest_protocol_version,
        petctl_proto::OLDEST_PROTOCOL_VERSION
    );
    assert!(
        hello.worker_id.len() == 32 && hello.pid == std::process::id() && !hello.host.is_empty()
    );
    assert!(hello.cpu_milli >= 1_000 && hello.memory_mib > 0 && hello.held.is_empty());
    assert_eq!(bench.session.epoch_of_hello, 0);
    assert_eq!(bench.run_one().await.outcome(), Outcome::Committed);
    bench.end().await;
}

#[tokio::test]
async fn a_wrong_token_ends_the_worker_and_is_never_shown() {
    let fake = Fake::start().await;
    let options = Options {
        token: Some(Secret::new("wrong-token")),
        ..fake.options()
    };
    assert!(!format!("{options:?}").contains("wrong-token"));
    let error = within(run(options, Shutdown::default())).await.unwrap_err();
    assert_eq!(error.code(), "TOKEN_WRONG");
    assert!(!error.to_string().contains("wrong-token"), "{error}");
}

#[tokio::test]
async fn a_worker_without_a_coordinator_gives_up_after_its_grace() {
    let options = Options {
        coordinator_grace: Duration::from_millis(300),
        ..Options::new("127.0.0.1:1", "w")
    };
    let error = within(run(options, Shutdown::default())).await.unwrap_err();
    assert!(
        matches!(&error, WorkerError::CoordinatorLost { address, .. } if address == "127.0.0.1:1"),
        "{error:?}"
    );
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn bad_options_are_refused_before_anything_starts() {
    let good = || Options::new("127.0.0.1:1", "w");
    let cases = [
        Options { slots: 0, ..good() },
        Options {
            slots: 5_000,
            ..good()
        },
        Options {
            name: String::new(),
            ..good()
        },
        Options {
            address: "nowhere".to_owned(),
            ..good()
        },
        Options {
            worker_id: Some("short".to_owned()),
            ..good()
        },
    ];
    for options in cases {
        assert_eq!(
            run(options, Shutdown::default()).await.unwrap_err().code(),
            "WORKER_BAD_OPTION"
        );
    }
}

#[tokio::test]
async fn an_attempt_outlives_the_stream_and_its_result_is_sent_until_acknowledged() {
    let mut bench = Bench::start(WAITS).await;
    bench.session.lease([lease(1, 0)]).await;
    bench.until_started(1).await;
    bench.reconnect().await;
    let hello = &bench.session.hello;
    assert_eq!(
        hello
            .held
            .iter()
            .map(|held| (held.lease_id, held.shard))
            .collect::<Vec<_>>(),
        [(1, 0)]
    );
    assert_eq!((hello.member_of, bench.session.epoch_of_hello), (7, 1));
    bench.session.welcome(60_000, &[1]).await;
    bench.go();
    assert_eq!(
        bench.session.unacknowledged().await[0].outcome(),
        Outcome::Committed
    );

    bench.reconnect().await;
    assert_eq!(
        bench.session.hello.held.len(),
        1,
        "finished, but not acknowledged"
    );
    bench.session.welcome(60_000, &[1]).await;
    assert_eq!(
        bench.session.results(1).await[&1].outcome(),
        Outcome::Committed
    );

    bench.session.lease([lease(2, 1)]).await;
    bench.session.results(1).await;
    bench.reconnect().await;
    // The acknowledgement of 2 may have been lost with the stream; that of 1 came before it and was not.
    assert!(
        bench
            .session
            .hello
            .held
            .iter()
            .all(|held| held.lease_id == 2)
    );
    bench.session.welcome(60_000, &[]).await;
    bench.end().await;
}

#[tokio::test]
async fn a_lease_that_is_not_kept_is_killed_and_commits_nothing() {
    let mut bench = Bench::start(WAITS).await;
    bench
        .session
        .lease([lease(1, 0), lease(2, 1), lease(3, 2)])
        .await;
    bench.until_started(1).await;
    bench.until_started(2).await;
    bench.reconnect().await;
    assert_eq!(bench.session.hello.held.len(), 3);
    bench.session.welcome(60_000, &[2]).await;
    until("the lost attempt's folder is gone", || {
        bench.attempt_folders() == ["k1.1-0000000000000007-0000000000000002"]
    })
    .await;
    bench.go();
    let results = bench.session.results(1).await;
    assert_eq!(results[&2].outcome(), Outcome::Committed);
    assert_eq!(names(&bench.output().join("work")), ["k1"]);
    assert!(
        !bench.root().join("started-3").exists(),
        "nor is one started that waited"
    );
    bench.end().await;
}

#[tokio::test]
async fn a_worker_that_heard_nothing_for_too_long_commits_only_what_is_confirmed() {
    for confirmed in [true, false] {
        let mut bench = Bench::with_timeout(WAITS, 500, |_| {}).await;
        bench.session.lease([lease(1, 0)]).await;
        bench.until_started(1).await;
        // The coordinator falls silent; the worker leaves it after the timeout and finds it deaf still.
        bench.session.answers_heartbeats = false;
        assert_eq!(bench.session.next().await, None);
        let mut next = bench.fake.session().await;
        bench.go();
        let attempt = bench
            .output()
            .join(".petctl/attempts/work/k0.1-0000000000000007-0000000000000001");
        let exited = bench.root().join("started-1");
        until("the command has ended", || {
            exited.exists() && no_process_runs(&bench)
        })
        .await;
        assert!(
            attempt.exists() && !bench.committed(0).exists(),
            "it waits uncommitted"
        );
        next.welcome(60_000, if confirmed { &[1] } else { &[] })
            .await;
        if confirmed {
            assert_eq!(next.results(1).await[&1].outcome(), Outcome::Committed);
            assert!(bench.committed(0).exists());
        } else {
            until("the attempt is discarded", || !attempt.exists()).await;
            assert!(!bench.committed(0).exists());
        }
        bench.end().await;
    }
}

/// Whether no command of this job runs, by its working folder.
pub(crate) fn no_process_runs(bench: &Bench) -> bool {
    let root = bench.root().canonicalize().unwrap();
    let works_there = |entry: fs::DirEntry| {
        fs::read_link(entry.path().join("cwd")).is_ok_and(|folder| folder == root)
    };
    !fs::read_dir("/proc").unwrap().flatten().any(works_there)
}

#[tokio::test]
async fn a_fenced_attempt_of_another_worker_finds_its_folder_gone() {
    let mut slow = Bench::start(WAITS).await;
    slow.session.lease([lease(1, 0)]).await;
    slow.until_started(1).await;
    let spec = slow.spec.clone();
    let mut fast = Bench::with("", |other| {
        *other = spec;
        other.stages[0].command = vec!["true".to_owned()];
    })
    .await;
    fast.session
        .lease([Lease {
            fence: true,
            attempt: 2,
            ..lease(2, 0)
        }])
        .await;
    assert_eq!(
        fast.session.results(1).await[&2].outcome(),
        Outcome::Committed
    );
    slow.go();
    let lost = slow.session.results(1).await.remove(&1).unwrap();
    assert_eq!(
        (lost.outcome(), lost.code.as_str()),
        (Outcome::Failed, "OUTPUT_GONE"),
        "{lost:?}"
    );

    slow.session
        .lease([Lease {
            fence: true,
            attempt: 3,
            ..lease(3, 0)
        }])
        .await;
    let adopted = slow.session.results(1).await.remove(&3).unwrap();
    assert_eq!(
        (adopted.outcome(), adopted.committed_lease_id),
        (Outcome::Committed, 2)
    );
    assert!(
        !slow.root().join("started-3").exists(),
        "adopted without running"
    );
    slow.end().await;
    fast.end().await;
}

#[tokio::test]
async fn revoked_leases_stop_where_they_are() {
    let mut bench = Bench::start(WAITS).await;
    let revoke = |ids: &[u64], only_if_queued| {
        let (code, message) = ("CANCELLED".to_owned(), "the job was cancelled".to_owned());
        Response::Revocation(Revocation {
            lease_ids: ids.to_vec(),
            code,
            message,
            only_if_queued,
        })
    };
    bench
        .session
        .lease((1..=5).map(|id| lease(id, u32::try_from(id).unwrap())))
        .await;
    bench.until_started(1).await;
    bench.until_started(2).await;
    bench.session.send(revoke(&[1, 3], true)).await;
    let returned = bench.session.results(1).await;
    assert_eq!(
        returned[&3].outcome(),
        Outcome::Returned,
        "1 runs and goes on"
    );
    bench.session.send(revoke(&[1, 4], false)).await;
    let results = bench.session.results(2).await;
    for lease in [1, 4] {
        let result = &results[&lease];
        assert_eq!(
            (result.outcome(), result.code.as_str()),
            (Outcome::Revoked, "CANCELLED"),
            "{result:?}"
        );
        assert_eq!(result.stage, 0);
        assert_eq!(u64::from(result.shard), lease);
    }
    bench.go();
    assert_eq!(
        bench
            .session
            .results(2)
            .await
            .into_keys()
            .collect::<Vec<_>>(),
        [2, 5]
    );
    bench.end().await;
}

#[tokio::test]
async fn a_fenced_worker_kills_everything_and_comes_back_as_another() {
    let mut bench = Bench::start(WAITS).await;
    bench
        .session
        .lease([lease(1, 0), lease(2, 1), lease(3, 2)])
        .await;
    bench.until_started(1).await;
    let fenced = Fenced {
        code: "SILENT".to_owned(),
        message: "it was silent for 5 s".to_owned(),
    };
    bench.session.send(Response::Fenced(fenced)).await;
    let first = bench.session.hello.worker_id.clone();
    let mut again = bench.fake.session().await;
    assert_ne!(again.hello.worker_id, first);
    assert_eq!(
        (
            again.hello.held.len(),
            again.hello.member_of,
            again.epoch_of_hello
        ),
        (0, 0, 0)
    );
    until("all attempts are gone", || {
        bench.attempt_folders().is_empty() && no_process_runs(&bench)
    })
    .await;
    bench.go();
    again.welcome(60_000, &[]).await;
    again.assign(&bench.spec).await;
    again.lease([lease(4, 0)]).await;
    assert_eq!(again.results(1).await.into_keys().collect::<Vec<_>>(), [4]);
    bench.end().await;
}

#[tokio::test]
async fn a_job_that_can_not_be_prepared_fails_each_lease_with_the_reason() {
    let mut bench = Bench::start("true").await;
    fs::write(bench.root().join("file"), "").unwrap();
    bench.spec.storage.output = bench.root().join("file/out").to_str().unwrap().to_owned();
    bench.session.assign(&bench.spec).await;
    let result = bench.run_one().await;
    assert_eq!(
        (result.outcome(), result.code.as_str()),
        (Outcome::Infrastructure, "OUTPUT_FOLDER"),
        "{result:?}"
    );
    assert!(result.message.contains("file/out"), "{}", result.message);
    bench.end().await;
}

#[tokio::test]
async fn doing_nothing_answers_at_once_and_touches_no_disk() {
    let folder = tempfile::tempdir().unwrap();
    let spec = crate::fake::job(folder.path(), "true");
    let mut fake = Fake::start().await;
    let shutdown = Shutdown::default();
    let options = Options {
        execution: Execution::Nothing,
        slots: 256,
        ..fake.options()
    };
    let worker = tokio::spawn(run(options, shutdown.clone()));
    let mut session = fake.session().await;
    session.welcome(60_000, &[]).await;
    session.assign(&spec).await;
    session
        .lease((0..20_000).map(|shard| lease(u64::from(shard) + 1, shard)))
        .await;
    let results = session.results(20_000).await;
    assert!(
        results
            .values()
            .all(|result| result.outcome() == Outcome::Committed)
    );
    assert_eq!(names(folder.path()), Vec::<String>::new());
    shutdown.now.cancel();
    within(worker).await.unwrap().unwrap();
}
