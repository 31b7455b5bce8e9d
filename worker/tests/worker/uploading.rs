//! Outputs are sent to blob storage, and stand there once and whole, or not at all.

use std::fs;
use std::time::Duration;

use petctl_proto::v1::attach_response::Message as Response;
use petctl_proto::v1::{Fenced, Lease, Outcome};
use petctl_spec::{SecretRef, ShardSource, StageKind};

use crate::cloud::{Cloud, azurite, entries, log_name, read, told};
use crate::fake::{Bench, lease, until, within};

const WRITES: &str = "echo out > $PETCTL_OUTPUT/x; mkdir $PETCTL_OUTPUT/sub; echo deep > $PETCTL_OUTPUT/sub/y; echo said";

fn without_inputs(spec: &mut petctl_spec::JobSpec) {
    spec.storage.input = None;
    spec.stages[0].kind = StageKind::Shards(ShardSource::Range {
        start: 0,
        end: 1_000,
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_are_committed_once_with_their_log_and_leave_nothing_here() {
    let cloud = Cloud::new().await;
    let mut bench = cloud.bench_with(WRITES, without_inputs).await;
    let result = bench.run_one().await;
    assert_eq!(result.outcome(), Outcome::Committed, "{result:?}");
    assert_eq!((result.output_files, result.output_bytes), (2, 9));
    assert_eq!(
        (result.manifest_sha256.len(), result.exit_code),
        (32, Some(0))
    );
    let commit = cloud.commit("work", "k0").await.unwrap();
    let manifest = &commit.manifest;
    assert_eq!(
        (manifest.lease_id, manifest.worker.as_str()),
        (1, "local-1")
    );
    let files: Vec<_> = manifest
        .files
        .iter()
        .map(|file| file.name.as_str())
        .collect();
    assert_eq!(files, ["sub/y", "x"]);
    assert_eq!(cloud.output("work", "k0", "sub/y").await, "deep\n");
    let log = read(&cloud.outputs, &log_name("k0", 1)).await;
    assert!(log.ends_with("stdout F said\n"), "{log}");
    let attempts = cloud.local("test-7/.petctl/attempts/work");
    assert!(entries(&attempts).is_empty());
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_slot_works_off_more_attempts_than_may_wait_to_be_sent() {
    let cloud = Cloud::new().await;
    let mut bench = cloud.worker(1, 60_000, WRITES, without_inputs).await;
    bench
        .session
        .lease((0..20).map(|shard| lease(u64::from(shard) + 1, shard)))
        .await;
    let results = bench.session.results(20).await;
    assert!(
        results
            .values()
            .all(|result| result.outcome() == Outcome::Committed)
    );
    assert_eq!(
        cloud
            .committer()
            .list_committed("work")
            .await
            .unwrap()
            .len(),
        20
    );
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_workers_that_race_at_one_shard_one_commits() {
    let cloud = Cloud::new().await;
    let script = "touch $PETCTL_LEASE; echo $PETCTL_LEASE > $PETCTL_OUTPUT/x; until [ -e go ]; do sleep 0.01; done";
    let mut first = cloud.bench_with(script, without_inputs).await;
    let mut second = cloud.bench_with(script, without_inputs).await;
    let race = |lease_id| Lease {
        speculative: true,
        ..lease(lease_id, 0)
    };
    first.session.lease([race(1)]).await;
    second.session.lease([race(2)]).await;
    for (bench, name) in [(&first, "1"), (&second, "2")] {
        until("it runs", || bench.root().join(name).exists()).await;
    }
    for bench in [&first, &second] {
        fs::write(bench.root().join("go"), "").unwrap();
    }
    let a = first.session.results(1).await.remove(&1).unwrap();
    let b = second.session.results(1).await.remove(&2).unwrap();
    assert_eq!(
        (a.outcome(), b.outcome()),
        (Outcome::Committed, Outcome::Committed)
    );
    let stands = cloud.commit("work", "k0").await.unwrap().manifest.lease_id;
    let (winner, loser) = if stands == 1 { (a, b) } else { (b, a) };
    assert_eq!(
        (winner.committed_lease_id, loser.committed_lease_id),
        (0, stands)
    );
    assert_eq!(winner.manifest_sha256, loser.manifest_sha256);
    assert_eq!(cloud.output("work", "k0", "x").await, format!("{stands}\n"));
    // What the other sent is cleared up.
    cloud.until_names("work/", 2).await;
    first.end().await;
    second.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_attempt_adopts_what_was_committed_and_replaces_what_is_older_than_its_job() {
    let cloud = Cloud::new().await;
    let script = "echo $PETCTL_LEASE > $PETCTL_OUTPUT/x";
    let mut bench = cloud.bench_with(script, without_inputs).await;
    bench.run_one().await;
    let again = Lease {
        attempt: 2,
        fence: true,
        ..lease(2, 0)
    };
    bench.session.lease([again.clone()]).await;
    let adopted = bench.session.results(1).await.remove(&2).unwrap();
    assert_eq!(
        (adopted.outcome(), adopted.committed_lease_id),
        (Outcome::Committed, 1)
    );
    let newer = Lease {
        lease_id: 5,
        replaces_below: 3,
        ..again
    };
    bench.session.lease([newer]).await;
    let result = bench.session.results(1).await.remove(&5).unwrap();
    assert_eq!(
        (result.outcome(), result.committed_lease_id),
        (Outcome::Committed, 0),
        "{result:?}"
    );
    assert_eq!(cloud.output("work", "k0", "x").await, "5\n");
    bench.end().await;
}

/// A worker that has sent all files of shard 0, and does not know whether its lease still stands.
async fn sent_and_cut_off(cloud: &Cloud) -> Bench {
    let script = "touch started; until [ -e go ]; do sleep 0.01; done; echo out > $PETCTL_OUTPUT/x";
    let mut bench = cloud.worker(1, 1_000, script, without_inputs).await;
    bench.session.lease([lease(1, 0)]).await;
    let started = bench.root().join("started");
    until("it runs", || started.exists()).await;
    bench.session.answers_heartbeats = false;
    // Reads heartbeats, so that the stream does not break, until the last answer is too old.
    let _ = tokio::time::timeout(Duration::from_millis(1_500), bench.session.next()).await;
    fs::write(bench.root().join("go"), "").unwrap();
    cloud.until_names("work/k0/1-", 1).await;
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_lost_its_lease_while_it_was_sent_commits_nothing() {
    let cloud = Cloud::new().await;
    let mut bench = sent_and_cut_off(&cloud).await;
    // It has lost its coordinator meanwhile, and comes back.
    bench.session.cut();
    bench.session = bench.fake.session().await;
    assert_eq!(bench.session.hello.held.len(), 1);
    assert!(cloud.commit("work", "k0").await.is_none());
    let fenced = Fenced {
        code: "SILENT".to_owned(),
        message: "it was silent".to_owned(),
    };
    bench.session.send(Response::Fenced(fenced)).await;
    let session = bench.fake.session().await;
    assert!(session.hello.held.is_empty());
    // What was sent is cleared up, and nothing else comes.
    cloud.until_names("work/", 0).await;
    bench.session = session;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_while_it_sends_leaves_nothing_visible() {
    let cloud = Cloud::new().await;
    let bench = sent_and_cut_off(&cloud).await;
    bench.shutdown.now.cancel();
    within(bench.worker).await.unwrap().unwrap();
    assert!(cloud.commit("work", "k0").await.is_none());
    assert!(
        cloud
            .committer()
            .list_committed("work")
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_stands_again_commits_what_was_sent_before() {
    let cloud = Cloud::new().await;
    let mut bench = sent_and_cut_off(&cloud).await;
    bench.session.cut();
    bench.session = bench.fake.session().await;
    bench.session.welcome(60_000, &[1]).await;
    let result = bench.session.results(1).await.remove(&1).unwrap();
    assert_eq!(result.outcome(), Outcome::Committed, "{result:?}");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_failed_attempt_is_sent_after_its_result() {
    let cloud = Cloud::new().await;
    let script = "echo oops >&2; echo x > $PETCTL_OUTPUT/x; exit 3";
    let mut bench = cloud.bench_with(script, without_inputs).await;
    let result = bench.run_one().await;
    assert_eq!(told(&result), ("Failed".to_owned(), "EXIT_NONZERO"));
    cloud.until_names(&log_name("k0", 1), 1).await;
    assert_eq!(cloud.names().await.len(), 1, "nothing else was sent");
    bench.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_file_counts_for_whoever_adopts_it() {
    let cloud = Cloud::new().await;
    let script = r#"echo '{"verdict":"fail","reasons":["late"],"numbers":{"n":2}}' > $PETCTL_OUTPUT/result.json"#;
    let mut bench = cloud.bench_with(script, without_inputs).await;
    let own = bench.run_one().await;
    let again = Lease {
        attempt: 2,
        fence: true,
        ..lease(2, 0)
    };
    bench.session.lease([again]).await;
    let adopted = bench.session.results(1).await.remove(&2).unwrap();
    for result in [own, adopted] {
        assert_eq!(result.reasons, ["late"], "{result:?}");
        assert_eq!(result.numbers.len(), 1);
    }
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sas_that_is_over_or_may_not_write_is_told_and_a_new_one_is_taken_up() {
    let cloud = Cloud::new().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sas");
    let reads = azurite().sas("rl", Duration::from_secs(3_600));
    fs::write(&file, &reads).unwrap();
    let path = file.to_str().unwrap().to_owned();
    let mut bench = cloud
        .bench_with(WRITES, |spec| {
            without_inputs(spec);
            spec.storage.access.sas_token = Some(SecretRef::File(path));
        })
        .await;
    let denied = bench.run_one().await;
    assert_eq!(
        told(&denied),
        ("Infrastructure".to_owned(), "STORAGE_DENIED"),
        "{denied:?}"
    );
    assert!(!denied.message.contains("sig="), "{}", denied.message);
    bench.end().await;

    fs::write(&file, azurite().sas("rwdlac", Duration::ZERO)).unwrap();
    let path = file.to_str().unwrap().to_owned();
    let mut bench = cloud
        .bench_with(WRITES, |spec| {
            without_inputs(spec);
            spec.storage.access.sas_token = Some(SecretRef::File(path));
        })
        .await;
    let expired = bench.run_one().await;
    assert_eq!(
        told(&expired),
        ("Infrastructure".to_owned(), "STORAGE_EXPIRED"),
        "{expired:?}"
    );
    fs::write(&file, azurite().sas("rwdlac", Duration::from_secs(3_600))).unwrap();
    bench.session.lease([lease(2, 1)]).await;
    let result = bench.session.results(1).await.remove(&2).unwrap();
    assert_eq!(result.outcome(), Outcome::Committed, "{result:?}");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scratch_folder_that_can_not_be_fails_each_lease_with_the_reason() {
    let cloud = Cloud::new().await;
    let mut bench = cloud
        .worker_in("/proc/nothing".into(), 1, 60_000, WRITES, without_inputs)
        .await;
    let result = bench.run_one().await;
    assert_eq!(
        told(&result),
        ("Infrastructure".to_owned(), "SCRATCH_FOLDER"),
        "{result:?}"
    );
    bench.end().await;
}

#[tokio::test]
async fn children_see_no_secret_of_the_storage() {
    // A variable that every test process has plays the secret.
    let script = "[ -z \"$CARGO_MANIFEST_DIR\" ] && [ -n \"$PATH\" ]";
    let mut bench = Bench::with(script, |spec| {
        spec.storage.access.sas_token = Some(SecretRef::Env("CARGO_MANIFEST_DIR".to_owned()));
    })
    .await;
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    assert_eq!(bench.run_one().await.outcome(), Outcome::Committed);
    bench.end().await;
}
