//! Workers that lie.

use crate::wire::{allowed, outlives, talk};
use petctl_proto::PROTOCOL_VERSION;
use petctl_proto::v1::worker_service_client::WorkerServiceClient;
use petctl_proto::v1::{
    AttachRequest, AttemptResult, Heartbeat, HeldLease, Hello, Number, ResultBatch, attach_request,
};
use tokio_stream::StreamExt;
use tonic::Status;
use tonic::transport::Channel;

#[test]
fn workers_that_lie_are_refused_and_harm_no_shard() {
    outlives("liars", |coordinator| {
        let token = coordinator.token();
        let running = coordinator.ask().shard("liars", "0");
        assert_eq!(running["state"], "running", "{running}");
        talk(coordinator, async |channel| {
            let good = hello("liar", "0123456789abcdef0123456789abcdef");
            let bad_hellos = vec![
                Hello {
                    protocol_version: 99,
                    ..good.clone()
                },
                Hello {
                    worker_id: "xyz".to_owned(),
                    ..good.clone()
                },
                Hello {
                    worker_id: String::new(),
                    ..good.clone()
                },
                Hello {
                    name: String::new(),
                    ..good.clone()
                },
                Hello {
                    name: "n".repeat(100_000),
                    ..good.clone()
                },
                Hello {
                    name: "bad\nname".to_owned(),
                    ..good.clone()
                },
                Hello {
                    slots: 0,
                    ..good.clone()
                },
                Hello {
                    slots: u32::MAX,
                    ..good.clone()
                },
                Hello {
                    name: "honest".to_owned(),
                    ..good.clone()
                },
            ];
            for hello in bad_hellos {
                let shown = format!("{hello:.200?}");
                let answer = attach_and_stay(
                    &channel,
                    vec![message(0, attach_request::Message::Hello(hello))],
                    &token,
                )
                .await;
                assert!(answer.is_err(), "welcome: {shown}");
            }
            // No Hello at all, two of them, and something else first.
            let beat = message(
                0,
                attach_request::Message::Heartbeat(Heartbeat {
                    sequence: u64::MAX,
                    running: 9,
                    queued: 9,
                }),
            );
            let said = message(0, attach_request::Message::Hello(good.clone()));
            for wrong in [
                vec![beat],
                vec![AttachRequest::default()],
                vec![said.clone(), said.clone()],
            ] {
                let shown = format!("{wrong:?}");
                assert!(
                    attach_and_stay(&channel, wrong, &token).await.is_err(),
                    "not refused: {shown}"
                );
            }
            // One that claims what it never had, and reports what it never ran: commits of the honest worker's lease too.
            let held = (0..1000)
                .map(|lease_id| HeldLease {
                    lease_id,
                    stage: 0,
                    shard: 0,
                    attempt: 1,
                    ..HeldLease::default()
                })
                .collect();
            let claims = message(
                0,
                attach_request::Message::Hello(Hello {
                    held,
                    member_of: 1,
                    ..good.clone()
                }),
            );
            let lease = |incarnation: u64, counter: u64| (incarnation << 32) | counter;
            let mut results: Vec<AttemptResult> = (0..8)
                .flat_map(|n| [result(lease(1, n), 1), result(lease(0, n), 1)])
                .collect();
            results.extend([
                result(u64::MAX, 99),
                result(0, -1),
                AttemptResult {
                    stage: u32::MAX,
                    ..result(lease(1, 1), 1)
                },
            ]);
            for epoch in [0, 1, u64::MAX] {
                let batch = message(
                    epoch,
                    attach_request::Message::Results(ResultBatch {
                        results: results.clone(),
                    }),
                );
                let _refused_or_not_recorded =
                    attach(&channel, vec![claims.clone(), batch], &token).await;
            }
            let poison = AttemptResult {
                numbers: vec![
                    Number {
                        name: "n".repeat(10_000),
                        value: f64::NAN
                    };
                    2_000
                ],
                reasons: vec!["r".repeat(100_000); 100],
                verdict: 77,
                manifest_sha256: vec![1; 7],
                ..result(lease(1, 1), 1)
            };
            let batch = message(
                1,
                attach_request::Message::Results(ResultBatch {
                    results: vec![poison],
                }),
            );
            let _refused = attach(&channel, vec![said, batch], &token).await;
        });
        let running = coordinator.ask().shard("liars", "0");
        assert_eq!(running["state"], "running", "a lie was believed: {running}");
    });
}

/// Says all that, then hangs up, and reads what is answered until the coordinator hangs up too.
async fn attach(
    channel: &Channel,
    messages: Vec<AttachRequest>,
    token: &str,
) -> Result<(), Status> {
    listen(channel, tokio_stream::iter(messages), token).await
}

/// Says all that and stays: only a refusal ends the stream.
async fn attach_and_stay(
    channel: &Channel,
    messages: Vec<AttachRequest>,
    token: &str,
) -> Result<(), Status> {
    listen(
        channel,
        tokio_stream::iter(messages).chain(tokio_stream::pending()),
        token,
    )
    .await
}

async fn listen(
    channel: &Channel,
    messages: impl tokio_stream::Stream<Item = AttachRequest> + Send + 'static,
    token: &str,
) -> Result<(), Status> {
    let mut workers = WorkerServiceClient::new(channel.clone());
    let mut stream = workers.attach(allowed(messages, token)).await?.into_inner();
    while stream.message().await?.is_some() {}
    Ok(())
}

fn message(epoch: u64, message: attach_request::Message) -> AttachRequest {
    AttachRequest {
        epoch,
        message: Some(message),
    }
}

fn hello(name: &str, worker_id: &str) -> Hello {
    Hello {
        protocol_version: PROTOCOL_VERSION,
        program_version: "0".to_owned(),
        worker_id: worker_id.to_owned(),
        name: name.to_owned(),
        host: "elsewhere".to_owned(),
        pid: 1,
        // Not the job that runs: a liar must not become its member.
        job: "no-such-job".to_owned(),
        slots: 1,
        ..Hello::default()
    }
}

fn result(lease_id: u64, outcome: i32) -> AttemptResult {
    AttemptResult {
        lease_id,
        outcome,
        manifest_sha256: vec![0; 32],
        ..AttemptResult::default()
    }
}
