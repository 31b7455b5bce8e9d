use super::support::{
    Client, FakeWorker, assert_refused, done, hello, job, soon, start, state, stop,
};
use petctl_core::WorkerId;
use petctl_proto::v1;
use petctl_proto::v1::attach_request::Message as Say;
use petctl_proto::v1::attach_response::Message as Told;
use std::collections::BTreeSet;
use std::time::Duration;
use tonic::Code;

#[tokio::test]
async fn what_a_cut_worker_had_is_handed_out_again() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path()).await;
    let mut client = Client::of(&handle).await;
    client.submit(job(20, 1)).await.unwrap();
    let mut lost = FakeWorker::attach(&handle, hello(1, 4)).await;
    let had = lost.leases().await;
    drop(lost);
    let again = FakeWorker::attach(&handle, hello(2, 4)).await;
    let working = tokio::spawn(again.work());
    let status = client.watch_to_end("us101").await;
    assert_eq!(
        (state(&status), done(&status)),
        (v1::JobState::Succeeded, 20)
    );
    let got = soon(working).await.unwrap();
    let shards: BTreeSet<_> = got.iter().map(|lease| lease.shard).collect();
    assert!(had.iter().all(|lease| shards.contains(&lease.shard)));
    let later = |lease: &v1::Lease| {
        got.iter()
            .any(|l| l.shard == lease.shard && l.lease_id > lease.lease_id)
    };
    assert!(had.iter().all(later), "a later lease has the larger id");
    stop(&handle).await;
}

#[tokio::test]
async fn a_worker_known_to_be_dead_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path()).await;
    let mut client = Client::of(&handle).await;
    client.submit(job(4, 1)).await.unwrap();
    let mut dead = FakeWorker::attach(&handle, hello(1, 4)).await;
    dead.leases().await;
    handle.worker_gone(WorkerId(2)).await;
    let working = tokio::spawn(FakeWorker::attach(&handle, hello(2, 4)).await.work());
    assert_eq!(
        state(&client.watch_to_end("us101").await),
        v1::JobState::Succeeded
    );
    soon(working).await.unwrap();
    stop(&handle).await;
}

#[tokio::test]
async fn a_worker_that_does_not_read_is_given_up_and_nobody_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path()).await;
    let mut worker = FakeWorker::attach(&handle, hello(1, 1)).await;
    // Until the coordinator has had enough; how much fits into the buffers on the way is nobody's promise.
    let said = async {
        for sequence in 0.. {
            let message = Some(Say::Heartbeat(v1::Heartbeat {
                sequence,
                running: 0,
                queued: 0,
            }));
            let sent = worker.say.send(v1::AttachRequest { epoch: 0, message });
            if sent.await.is_err() {
                return;
            }
        }
    };
    soon(said).await;
    Client::of(&handle).await.submit(job(1, 1)).await.unwrap();
    let ended = worker.end().await;
    // The reason takes the way of what was not read, and arrives where that has room for it.
    if ended.code() == Code::ResourceExhausted {
        assert_refused(&ended, Code::ResourceExhausted, "STREAM_STALLED");
    }
    stop(&handle).await;
}

#[tokio::test]
async fn a_stream_ends_though_not_even_its_end_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path()).await;
    // The smallest window that HTTP/2 knows is soon full of answers, and what comes after waits behind them.
    let mut worker = FakeWorker::within(&handle, 65_535).await;
    worker.say(Say::Hello(hello(1, 1))).await;
    let said = async {
        for sequence in 0.. {
            let message = Some(Say::Heartbeat(v1::Heartbeat {
                sequence,
                running: 0,
                queued: 0,
            }));
            let sent = worker.say.send(v1::AttachRequest { epoch: 0, message });
            if sent.await.is_err() {
                return;
            }
            // Slowly enough for every answer to be on its way before the next.
            if sequence % 64 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    };
    soon(said).await;
    worker.end().await;
    let working = tokio::spawn(FakeWorker::attach(&handle, hello(2, 1)).await.work());
    let mut client = Client::of(&handle).await;
    client.submit(job(1, 1)).await.unwrap();
    assert_eq!(
        state(&client.watch_to_end("us101").await),
        v1::JobState::Succeeded
    );
    soon(working).await.unwrap();
    stop(&handle).await;
}

#[tokio::test]
async fn a_restarted_coordinator_goes_on_and_lets_workers_keep_what_they_run() {
    let dir = tempfile::tempdir().unwrap();
    let first = start(dir.path()).await;
    let mut client = Client::of(&first).await;
    client.submit(job(10, 1)).await.unwrap();
    let mut worker = FakeWorker::attach(&first, hello(1, 2)).await;
    let mut held = worker.leases().await;
    while held.len() < 2 {
        held.extend(worker.leases().await);
    }
    let finished = held.remove(0);
    worker.commit(std::slice::from_ref(&finished)).await;
    loop {
        match worker.hear().await.unwrap() {
            Told::ResultAck(ack) => {
                assert_eq!(ack.lease_ids, [finished.lease_id]);
                break;
            }
            Told::Leases(batch) => held.extend(batch.leases),
            _ => {}
        }
    }
    let incarnation = client.status("us101").await.unwrap().incarnation;
    let (address, token) = (first.address(), first.token().expose().to_owned());
    stop(&first).await;
    worker.end().await;

    let second = start(dir.path()).await;
    assert_eq!(second.address(), address, "workers find it where it was");
    assert_eq!(second.token().expose(), token);
    let mut client = Client::of(&second).await;
    assert_eq!(done(&client.status("us101").await.unwrap()), 1);
    let claims: Vec<_> = held
        .iter()
        .map(|l| v1::HeldLease {
            lineage: l.lineage,
            lease_id: l.lease_id,
            stage: l.stage,
            shard: l.shard,
            attempt: l.attempt,
            ..v1::HeldLease::default()
        })
        .collect();
    let greeting = v1::Hello {
        member_of: 1,
        held: claims,
        ..hello(1, 2)
    };
    let mut back = FakeWorker::silent(&second).await;
    back.epoch = worker.epoch;
    back.say(Say::Hello(greeting)).await;
    let Told::Welcome(welcome) = back.hear().await.unwrap() else {
        panic!("first comes a Welcome")
    };
    assert!(welcome.incarnation > incarnation);
    let kept: BTreeSet<_> = welcome.kept.into_iter().collect();
    assert_eq!(
        kept,
        held.iter().map(|lease| lease.lease_id).collect(),
        "what it runs stays its own"
    );
    back.commit(&held).await;
    let working = tokio::spawn(back.work());
    let status = client.watch_to_end("us101").await;
    assert_eq!(
        (state(&status), done(&status)),
        (v1::JobState::Succeeded, 10)
    );
    let got = soon(working).await.unwrap();
    assert_eq!(
        got.len(),
        10 - 1 - held.len(),
        "nothing that was done or held is handed out again"
    );
    stop(&second).await;
}

#[tokio::test]
async fn a_stop_ends_streams_and_watches() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path()).await;
    let mut client = Client::of(&handle).await;
    client.submit(job(10, 1)).await.unwrap();
    let mut worker = FakeWorker::attach(&handle, hello(1, 2)).await;
    worker.leases().await;
    let mut watched = client.watch("us101").await;
    soon(watched.message()).await.unwrap().unwrap();
    stop(&handle).await;
    assert_refused(
        &worker.end().await,
        Code::Unavailable,
        "COORDINATOR_STOPPED",
    );
    let status = loop {
        if let Err(status) = soon(watched.message()).await {
            break status;
        }
    };
    assert_refused(&status, Code::Unavailable, "COORDINATOR_STOPPED");
}
