//! Jobs that a client makes up by itself, past the launcher's checks.

use crate::wire::{allowed, assert_refused, outlives, talk};
use petctl_proto::v1::job_service_client::JobServiceClient;
use petctl_proto::v1::{
    ShardKeys, SubmitHeader, SubmitJobRequest, SubmitJobResponse, submit_job_request,
};
use tonic::Status;
use tonic::transport::Channel;

#[test]
fn submissions_that_contradict_themselves_are_refused() {
    outlives("submissions", |coordinator| {
        let token = coordinator.token();
        let header = |spec_json: &str, fingerprint: usize| {
            submit_job_request::Part::Header(SubmitHeader {
                spec_json: spec_json.to_owned(),
                fingerprint: vec![7; fingerprint],
                rerun_all: false,
                ..SubmitHeader::default()
            })
        };
        let keys = |stage, keys: &[&str]| {
            submit_job_request::Part::Keys(ShardKeys {
                stage,
                keys: keys.iter().map(|key| (*key).to_owned()).collect(),
                ..ShardKeys::default()
            })
        };
        let valid = valid_spec();
        let deep = "[".repeat(1_000_000);
        let other = |from: &str, to: &str| {
            assert!(valid.contains(from), "{from} is not in {valid}");
            valid.replace(from, to)
        };
        let submissions = vec![
            vec![],
            vec![keys(0, &["a"])],
            vec![header("", 32)],
            vec![header("{", 32)],
            vec![header("null", 32)],
            vec![header(&deep, 32)],
            vec![header(&valid, 0)],
            vec![header(&valid, 33)],
            vec![header(&valid, 32), header(&valid, 32)],
            vec![header(&valid, 32), keys(9, &["a"])],
            vec![header(&valid, 32), keys(0, &["../../etc"])],
            vec![header(&valid, 32), keys(0, &["a", "a"])],
            vec![header(&valid, 32), keys(0, &["a\n", ""])],
            vec![header(&other("\"evil\"", "\"../evil\""), 32)],
            vec![header(&other("\"min\":1", "\"min\":0"), 32)],
            vec![header(&other("\"slots\":1", "\"slots\":4000000000"), 32)],
            vec![header(
                &other("\"end\":2", "\"end\":18446744073709551615"),
                32,
            )],
            vec![header(
                &other(
                    "\"needs\":[]",
                    "\"needs\":[{\"stage\":0,\"per_shard\":false}]",
                ),
                32,
            )],
            vec![header(
                &other(
                    "\"needs\":[]",
                    "\"needs\":[{\"stage\":77,\"per_shard\":true}]",
                ),
                32,
            )],
            vec![header(
                &other("\"command\":[\"true\"]", "\"command\":[]"),
                32,
            )],
            vec![header(
                &other("\"output\":\"/nowhere\"", "\"output\":\"relative\""),
                32,
            )],
        ];
        talk(coordinator, async |channel| {
            for parts in submissions {
                let shown = format!("{parts:.300?}");
                let answer = submit(&channel, parts, &token).await;
                assert!(answer.is_err(), "accepted: {shown}");
                assert_refused(answer.map(drop));
            }
        });
        let list = coordinator.ask().petctl("list").run().exits(0);
        assert!(!list.stdout.contains("evil"), "{list}");
    });
}

async fn submit(
    channel: &Channel,
    parts: Vec<submit_job_request::Part>,
    token: &str,
) -> Result<SubmitJobResponse, Status> {
    let parts: Vec<_> = parts
        .into_iter()
        .map(|part| SubmitJobRequest { part: Some(part) })
        .collect();
    let mut jobs = JobServiceClient::new(channel.clone());
    jobs.submit_job(allowed(tokio_stream::iter(parts), token))
        .await
        .map(tonic::Response::into_inner)
}

/// A job file as the launcher sends it.
fn valid_spec() -> String {
    serde_json::json!({
        "name": "evil",
        "folder": "/",
        "workers": { "min": 1, "max": 1, "wanted": 1, "unit": 1, "slots": 1, "gpus": 0 },
        "storage": { "input": null, "output": "/nowhere" },
        "stages": [{
            "name": "work",
            "kind": { "shards": { "range": { "start": 0, "end": 2 } } },
            "needs": [],
            "command": ["true"],
            "env": {},
            "params": {},
            "timeout_ms": 0,
            "grace_ms": 1000,
            "budgets": { "failed": 0, "timed_out": 0, "worker_lost": 1, "infrastructure": 1, "preempted": 1 },
            "backoff_ms": 10,
            "log_bytes": 100_000,
            "cpu_milli": 0,
            "memory_mib": 0,
        }],
    })
    .to_string()
}
