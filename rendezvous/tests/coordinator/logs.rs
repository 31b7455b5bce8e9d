use super::support::{Client, FakeWorker, assert_refused, hello, job, job_of, soon, start, stop};
use petctl_output::layout::{AttemptName, Layout};
use petctl_proto::v1;
use petctl_proto::v1::attach_request::Message as Say;
use petctl_proto::v1::attach_response::Message as Told;
use tonic::{Code, Status};

async fn read(client: &mut Client, lease: &v1::Lease, follow: bool) -> Result<Vec<u8>, Status> {
    let request = v1::ReadLogRequest {
        job: "us101".to_owned(),
        stage: lease.stage,
        key: lease.key.clone(),
        lease_id: lease.lease_id,
        follow,
    };
    let mut parts = soon(client.jobs.read_log(client.request(request)))
        .await?
        .into_inner();
    let mut log = Vec::new();
    while let Some(part) = soon(parts.message()).await? {
        log.extend(part.data);
    }
    Ok(log)
}

#[tokio::test]
async fn a_log_on_another_machine_is_read_through_its_worker() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path()).await;
    let mut client = Client::of(&handle).await;
    client.submit(job(1, 1)).await.unwrap();
    let mut worker = FakeWorker::attach(&handle, hello(1, 1)).await;
    let lease = worker.leases().await.remove(0);
    let text = b"2026-11-21T07:00:00.000000000Z stdout F hello\n";
    let answering = async {
        loop {
            let Told::LogRequest(request) = worker.hear().await.unwrap() else {
                continue;
            };
            assert_eq!(
                (request.key.as_str(), request.lease_id),
                (lease.key.as_str(), lease.lease_id)
            );
            let start = usize::try_from(request.offset).unwrap();
            let data = text[start..text.len().min(start + 20)].to_vec();
            let end = data.is_empty();
            let next_offset = request.offset + data.len() as u64;
            // An answer to nobody's question is dropped.
            let stray = v1::LogChunk {
                request_id: 1 << 40,
                data: b"stray".to_vec(),
                next_offset: 5,
                end: true,
            };
            worker.say(Say::LogChunk(stray)).await;
            let chunk = v1::LogChunk {
                request_id: request.request_id,
                data,
                next_offset,
                end,
            };
            worker.say(Say::LogChunk(chunk)).await;
            if end {
                return worker;
            }
        }
    };
    let (log, worker) = tokio::join!(read(&mut client, &lease, false), answering);
    assert_eq!(log.unwrap(), text);

    // The same worker goes away with the question.
    let leaving = async move {
        let mut worker = worker;
        while !matches!(worker.hear().await.unwrap(), Told::LogRequest(_)) {}
        drop(worker);
    };
    let (log, ()) = tokio::join!(read(&mut client, &lease, true), leaving);
    assert_refused(&log.unwrap_err(), Code::Unavailable, "LOG_UNAVAILABLE");
    stop(&handle).await;
}

#[tokio::test]
async fn a_log_in_the_output_folder_needs_no_worker() {
    let (dir, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let handle = start(dir.path()).await;
    let mut client = Client::of(&handle).await;
    let shards = serde_json::json!({ "range": { "start": 0, "end": 2 } });
    client
        .submit(job_of(shards, 1, output.path().to_str().unwrap()))
        .await
        .unwrap();
    let mut worker = FakeWorker::attach(&handle, hello(1, 1)).await;
    let lease = worker.leases().await.remove(0);
    let name = AttemptName {
        stage: "resim",
        key: &lease.key,
        attempt: lease.attempt,
        lineage: 0,
        lease_id: lease.lease_id,
    };
    let path = Layout::new(output.path()).log(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "2026-11-21T07:00:00.000000000Z stdout F hello\n").unwrap();
    worker.commit(std::slice::from_ref(&lease)).await;
    client
        .until("us101", |status| super::support::done(status) == 1)
        .await;
    let log = read(&mut client, &lease, true).await.unwrap();
    assert!(log.ends_with(b"hello\n"));
    let last = v1::Lease {
        lease_id: 0,
        ..lease.clone()
    };
    assert_eq!(
        read(&mut client, &last, false).await.unwrap(),
        log,
        "without a lease it is the last attempt's"
    );

    let nobody = v1::Lease {
        lease_id: 0,
        key: "no-such-key".to_owned(),
        ..lease.clone()
    };
    assert_refused(
        &read(&mut client, &nobody, false).await.unwrap_err(),
        Code::NotFound,
        "NO_SUCH_SHARD",
    );
    let up = v1::Lease {
        key: "../../etc/passwd".to_owned(),
        ..lease
    };
    assert_eq!(
        read(&mut client, &up, false).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    stop(&handle).await;
}
