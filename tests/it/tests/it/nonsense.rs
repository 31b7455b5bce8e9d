//! Clients that talk nonsense: each is refused, and the coordinator and its job go on.

use crate::wire::{allowed, assert_refused, outlives, talk};
use petctl_proto::v1::job_service_client::JobServiceClient;
use petctl_proto::v1::{
    CancelJobRequest, DeleteJobRequest, ExplainJobRequest, GetJobRequest, ListEventsRequest,
    ListShardsRequest, LogChunk, ReadLogRequest, ScaleJobRequest,
};
use petctl_proto::{Refusal, TOKEN_METADATA_KEY};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

#[test]
fn bytes_that_are_no_http_2_do_not_disturb_a_coordinator() {
    outlives("bytes", |coordinator| {
        let mut random = fastrand::Rng::with_seed(7);
        let noise = |random: &mut fastrand::Rng, length: usize| {
            (0..length).map(|_| random.u8(..)).collect::<Vec<u8>>()
        };
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let mut parts: Vec<Vec<u8>> = vec![
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(1 << 20)).into_bytes(),
            // The start of a TLS connection.
            vec![
                0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03,
            ],
            preface.clone(),
            // A frame of 16 MB that is never sent, and a stream of an even number.
            [
                preface.clone(),
                vec![0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01],
            ]
            .concat(),
            [
                preface.clone(),
                vec![0x00, 0x00, 0x01, 0x01, 0x04, 0x00, 0x00, 0x00, 0x02, 0x82],
            ]
            .concat(),
            // A SETTINGS frame on a stream, a WINDOW_UPDATE by nothing.
            [
                preface.clone(),
                vec![0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x01],
            ]
            .concat(),
            [
                preface.clone(),
                vec![
                    0x00, 0x00, 0x04, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0, 0, 0, 0,
                ],
            ]
            .concat(),
        ];
        for length in [1, 100, 100_000] {
            let after_preface = [preface.clone(), noise(&mut random, length)].concat();
            parts.extend([noise(&mut random, length), after_preface]);
        }
        for part in &parts {
            let mut connection = TcpStream::connect(("127.0.0.1", coordinator.port())).unwrap();
            connection
                .set_read_timeout(Some(Duration::from_millis(200)))
                .unwrap();
            connection
                .set_write_timeout(Some(Duration::from_secs(5)))
                .unwrap();
            // It may hang up in the middle, or wait for more.
            let _written = connection.write_all(part);
            let _read = connection.read(&mut [0; 1024]);
        }
        let silent: Vec<_> = (0..200)
            .map(|_| TcpStream::connect(("127.0.0.1", coordinator.port())))
            .collect();
        assert_eq!(
            coordinator.ask().petctl("list").run().exits(0).exit,
            Some(0)
        );
        drop(silent);
    });
}

#[test]
fn calls_that_make_no_sense_are_refused_with_a_code() {
    outlives("calls", |coordinator| {
        let token = coordinator.token();
        talk(coordinator, async |channel| {
            let mut jobs = JobServiceClient::new(channel.clone());
            let nobody = jobs
                .get_job(GetJobRequest {
                    job: "calls".to_owned(),
                })
                .await
                .unwrap_err();
            refused(&nobody, Code::Unauthenticated, "TOKEN_MISSING");
            for bad in ["", "Bearer ", "Bearer nothing", "Basic eDp5", &token] {
                let mut request = Request::new(GetJobRequest {
                    job: "calls".to_owned(),
                });
                request
                    .metadata_mut()
                    .insert(TOKEN_METADATA_KEY, bad.parse().unwrap());
                refused(
                    &jobs.get_job(request).await.unwrap_err(),
                    Code::Unauthenticated,
                    "TOKEN_WRONG",
                );
            }
            let long = "j".repeat(1 << 20);
            for job in ["", "none", "99", "../calls", "\0", long.as_str()] {
                let with = |message| allowed(message, &token);
                let job = || job.to_owned();
                assert_refused(
                    jobs.get_job(allowed(GetJobRequest { job: job() }, &token))
                        .await
                        .map(drop),
                );
                assert_refused(
                    jobs.cancel_job(allowed(
                        CancelJobRequest {
                            job: job(),
                            reason: job(),
                        },
                        &token,
                    ))
                    .await
                    .map(drop),
                );
                assert_refused(
                    jobs.delete_job(allowed(DeleteJobRequest { job: job() }, &token))
                        .await
                        .map(drop),
                );
                let explain = ExplainJobRequest {
                    job: job(),
                    shard: job(),
                    stage: job(),
                };
                assert_refused(jobs.explain_job(allowed(explain, &token)).await.map(drop));
                let scale = ScaleJobRequest {
                    job: job(),
                    min: Some(u32::MAX),
                    max: Some(0),
                    workers: Some(7),
                };
                assert_refused(jobs.scale_job(with(scale)).await.map(drop));
            }
            let bad_sizes = [
                (Some(0), None, None),
                (Some(3), Some(2), None),
                (None, Some(u32::MAX), Some(u32::MAX)),
                (None, None, Some(0)),
            ];
            for (min, max, workers) in bad_sizes {
                let scale = ScaleJobRequest {
                    job: "calls".to_owned(),
                    min,
                    max,
                    workers,
                };
                assert_refused(jobs.scale_job(allowed(scale, &token)).await.map(drop));
            }
            // Odd, and answered in some bounded way.
            let job = || "calls".to_owned();
            let shards = ListShardsRequest {
                job: job(),
                stage: "none".to_owned(),
                failed_only: true,
                shard: "zz".to_owned(),
            };
            drain(jobs.list_shards(allowed(shards, &token)).await).await;
            drain(
                jobs.list_events(allowed(
                    ListEventsRequest {
                        job: job(),
                        from_sequence: u64::MAX,
                        follow: false,
                    },
                    &token,
                ))
                .await,
            )
            .await;
            for (stage, key) in [
                (0, "../../../../etc/passwd"),
                (u32::MAX, "0"),
                (0, "0"),
                (0, "\0"),
            ] {
                let read = ReadLogRequest {
                    job: job(),
                    stage,
                    key: key.to_owned(),
                    lease_id: u64::MAX,
                    follow: false,
                };
                drain(jobs.read_log(allowed(read, &token)).await).await;
            }
        });
    });
}

#[test]
fn messages_of_another_shape_or_size_are_refused() {
    outlives("shapes", |coordinator| {
        let token = coordinator.token();
        talk(coordinator, async |channel| {
            // A LogChunk's first field is a number; a GetJobRequest's is a text.
            let garbage = LogChunk {
                request_id: 12_345,
                data: vec![0xff; 1000],
                next_offset: 9,
                end: true,
            };
            let answer: Result<_, Status> = call(
                &channel,
                "/petctl.v1.JobService/GetJob",
                garbage.clone(),
                &token,
            )
            .await;
            assert_refused(answer);
            assert_refused(
                call(
                    &channel,
                    "/petctl.v1.JobService/NoSuchCall",
                    garbage.clone(),
                    &token,
                )
                .await,
            );
            assert_refused(call(&channel, "/petctl.v2.JobService/GetJob", garbage, &token).await);
            let huge = GetJobRequest {
                job: "x".repeat(40 * 1024 * 1024),
            };
            let mut jobs =
                JobServiceClient::new(channel.clone()).max_encoding_message_size(1 << 30);
            assert_refused(jobs.get_job(allowed(huge, &token)).await.map(drop));
        });
    });
}

#[track_caller]
fn refused(status: &Status, code: Code, says: &str) {
    assert_eq!(status.code(), code, "{status:?}");
    let refusal = Refusal::of(status).map(|refusal| refusal.code);
    assert_eq!(refusal.as_deref(), Some(says), "{status:?}");
}

async fn drain<T>(answer: Result<tonic::Response<tonic::Streaming<T>>, Status>) {
    let Ok(answer) = answer else { return };
    let mut stream = answer.into_inner();
    while let Ok(Some(_)) = stream.message().await {}
}

async fn call(
    channel: &Channel,
    path: &'static str,
    message: LogChunk,
    token: &str,
) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<LogChunk, LogChunk>::default();
    grpc.unary(allowed(message, token), path.parse().unwrap(), codec)
        .await
        .map(drop)
}
