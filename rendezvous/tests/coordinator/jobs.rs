use super::support::{
    Client, FakeWorker, done, header, hello, job, job_of, keys, soon, start, state, stop,
};
use petctl_proto::v1;
use std::collections::BTreeSet;

#[tokio::test]
async fn a_job_of_100_shards_is_done_and_everybody_sees_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path()).await;
    let mut client = Client::of(&handle).await;
    let submitted = client.submit(job(100, 2)).await.unwrap();
    assert_eq!(submitted.submission(), v1::Submission::New);
    let workers = [hello(1, 4), hello(2, 4)];
    let mut working = Vec::new();
    for hello in workers {
        working.push(tokio::spawn(
            FakeWorker::attach(&handle, hello).await.work(),
        ));
    }
    let status = client.watch_to_end("us101").await;
    assert_eq!(state(&status), v1::JobState::Succeeded);
    assert_eq!(done(&status), 100);
    assert!(status.at_ms > 0);
    assert_eq!(status.last_events.last().unwrap().kind, "job_ended");

    let rows = client.shards("us101").await;
    assert_eq!(rows.len(), 100);
    assert!(
        rows.iter()
            .all(|row| row.state() == v1::ShardState::Done && row.verdict() == v1::Verdict::Pass)
    );

    let events = client.events("us101", true).await;
    let committed = events
        .iter()
        .filter(|event| event.kind == "shard_committed")
        .count();
    assert_eq!(committed, 100);
    for event in &events {
        let fields: serde_json::Value = serde_json::from_str(&event.fields_json).unwrap();
        assert_eq!(fields["job"], "us101", "{event:?}");
        assert_eq!(fields["job_id"], submitted.job_id, "{event:?}");
        assert!(!event.text.is_empty());
    }
    assert!(events.is_sorted_by(|one, two| one.sequence < two.sequence));

    let mut leased = Vec::new();
    for worker in working {
        leased.extend(
            soon(worker)
                .await
                .unwrap()
                .into_iter()
                .map(|lease| lease.shard),
        );
    }
    assert_eq!(leased.len(), 100, "no shard was handed out twice");
    assert_eq!(leased.into_iter().collect::<BTreeSet<_>>().len(), 100);

    let again = client.submit(job(100, 2)).await.unwrap();
    assert_eq!(
        (again.submission(), again.reused),
        (v1::Submission::Finished, 100)
    );
    stop(&handle).await;
}

#[tokio::test]
async fn listed_keys_arrive_in_parts_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path()).await;
    let mut client = Client::of(&handle).await;
    let spec = job_of(
        serde_json::json!({ "glob": "*.xml" }),
        1,
        "/nowhere/petctl-test-outputs",
    );
    client
        .submit_parts(vec![
            header(spec),
            keys(0, &["b.xml", "a.xml"]),
            keys(0, &["c.xml"]),
        ])
        .await
        .unwrap();
    let rows = client.shards("us101").await;
    let keys: Vec<_> = rows.iter().map(|row| row.key.as_str()).collect();
    assert_eq!(keys, ["b.xml", "a.xml", "c.xml"]);
    stop(&handle).await;
}

#[tokio::test]
async fn more_shards_than_one_page_are_listed_once_each() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path()).await;
    let mut client = Client::of(&handle).await;
    client.submit(job(3_001, 1)).await.unwrap();
    let rows = client.shards("us101").await;
    assert!(rows.iter().map(|row| row.shard).eq(0..3_001));
    stop(&handle).await;
}

#[tokio::test]
async fn a_job_is_scaled_explained_cancelled_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path()).await;
    let mut client = Client::of(&handle).await;
    client.submit(job(10, 1)).await.unwrap();
    let scale = v1::ScaleJobRequest {
        job: "us101".to_owned(),
        workers: Some(3),
        ..Default::default()
    };
    let scaled = soon(client.jobs.scale_job(client.request(scale)))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((scaled.min, scaled.max, scaled.workers), (1, 8, 3));
    let explain = v1::ExplainJobRequest {
        job: "us101".to_owned(),
        ..Default::default()
    };
    let explained = soon(client.jobs.explain_job(client.request(explain)))
        .await
        .unwrap()
        .into_inner();
    assert!(!explained.reasons.is_empty());
    let cancel = v1::CancelJobRequest {
        job: "us101".to_owned(),
        reason: "enough".to_owned(),
    };
    let cancelled = soon(client.jobs.cancel_job(client.request(cancel)))
        .await
        .unwrap()
        .into_inner();
    assert!(!cancelled.already_ended);
    assert_eq!(
        state(&client.watch_to_end("us101").await),
        v1::JobState::Cancelled
    );
    let list = soon(
        client
            .jobs
            .list_jobs(client.request(v1::ListJobsRequest {})),
    )
    .await
    .unwrap()
    .into_inner();
    assert_eq!(list.jobs.len(), 1);
    let delete = v1::DeleteJobRequest {
        job: "us101".to_owned(),
    };
    soon(client.jobs.delete_job(client.request(delete)))
        .await
        .unwrap();
    assert_eq!(
        client.status("us101").await.unwrap_err().code(),
        tonic::Code::NotFound
    );
    stop(&handle).await;
}

#[tokio::test]
async fn a_drain_ends_when_nothing_runs_and_hands_out_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path()).await;
    let mut client = Client::of(&handle).await;
    client.submit(job(50, 1)).await.unwrap();
    let mut worker = FakeWorker::attach(&handle, hello(1, 2)).await;
    let leases = worker.leases().await;
    let draining = tokio::spawn({
        let handle = handle.clone();
        async move { handle.drain("test").await }
    });
    client
        .until("us101", |status| state(status) == v1::JobState::Interrupted)
        .await;
    assert!(!draining.is_finished());
    worker.commit(&leases).await;
    let working = tokio::spawn(worker.work());
    soon(draining).await.unwrap().unwrap();
    let status = client.status("us101").await.unwrap();
    assert!(done(&status) < 50, "nothing more was handed out");
    stop(&handle).await;
    soon(working).await.unwrap();
}
