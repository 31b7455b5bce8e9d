//! What a command is told of its shard, and what its exit code, its memory and its GPUs mean.

use std::collections::BTreeMap;
use std::fs;

use petctl_output::manifest::Manifest;
use petctl_proto::v1::{AttemptResult, GpuShare, Lease, Outcome, Verdict};
use petctl_spec::{Axis, ShardSource, StageKind};

use crate::fake::{Bench, lease, until};

const COPIES: &str =
    "cp $PETCTL_SHARD_FILE $PETCTL_OUTPUT/shard.json; echo \"$1\" > $PETCTL_OUTPUT/argument";

fn with_argument(command: &mut Vec<String>, argument: &str) {
    command.extend(["sh".to_owned(), argument.to_owned()]);
}

#[tokio::test]
async fn a_shard_of_a_manifest_is_told_of_its_parameters_and_inputs() {
    let mut bench = Bench::with(COPIES, |spec| {
        spec.storage.input = Some("/data".to_owned());
        let stage = &mut spec.stages[0];
        stage.params = BTreeMap::from(
            [("a", "1"), ("b", "2")].map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        with_argument(&mut stage.command, "{param.a}-{param.b}-{input}");
    })
    .await;
    let detail = r#"{"inputs": ["x/1.bin", "x/2.bin"], "params": {"b": "own"}, "size": 12}"#;
    let lease = Lease {
        detail_json: detail.to_owned(),
        ..lease(1, 5)
    };
    bench.session.lease([lease]).await;
    let result = bench.session.results(1).await.remove(&1).unwrap();
    assert_eq!(result.outcome(), Outcome::Committed, "{result:?}");
    let read = |name: &str| fs::read_to_string(bench.committed(5).join(name)).unwrap();
    assert_eq!(read("argument"), "1-own-/data/x/1.bin\n");
    let said: serde_json::Value = serde_json::from_str(&read("shard.json")).unwrap();
    let output = said["output"].as_str().unwrap().to_owned();
    assert!(output.contains("/.petctl/attempts/work/k5."), "{output}");
    assert_eq!(
        said,
        serde_json::json!({
            "job": "test", "stage": "work", "key": "k5", "index": 5, "attempt": 1, "size": 12, "output": output,
            "input": "/data/x/1.bin", "inputs": ["/data/x/1.bin", "/data/x/2.bin"],
            "params": {"a": "1", "b": "own"},
        })
    );
    assert_eq!(
        bench.attempt_folders(),
        Vec::<String>::new(),
        "the file is gone"
    );
    bench.end().await;
}

#[tokio::test]
async fn a_shard_of_a_matrix_is_told_where_it_stands() {
    let values = |name: &str, values: [&str; 2]| Axis {
        name: name.to_owned(),
        source: ShardSource::Values(values.map(str::to_owned).to_vec()),
    };
    let mut bench = Bench::with(COPIES, |spec| {
        let stage = &mut spec.stages[0];
        let axes = vec![values("road", ["a", "b"]), values("gap", ["1", "2"])];
        stage.kind = StageKind::Shards(ShardSource::Matrix(axes));
        with_argument(&mut stage.command, "{param.road}{param.gap}");
    })
    .await;
    bench.session.lease([lease(1, 2)]).await;
    let result = bench.session.results(1).await.remove(&1).unwrap();
    assert_eq!(result.outcome(), Outcome::Committed, "{result:?}");
    let argument = fs::read_to_string(bench.committed(2).join("argument")).unwrap();
    assert_eq!(argument, "b1\n");
    bench.end().await;
}

#[tokio::test]
async fn only_a_shard_that_has_or_asks_for_more_than_its_key_has_a_file() {
    let mut bench = Bench::start("echo ${PETCTL_SHARD_FILE-none} > $PETCTL_OUTPUT/file").await;
    bench.run_one().await;
    let said = fs::read_to_string(bench.committed(0).join("file")).unwrap();
    assert_eq!(said, "none\n");
    bench.end().await;

    let mut bench = Bench::with("cp \"$1\" $PETCTL_OUTPUT/shard.json", |spec| {
        with_argument(&mut spec.stages[0].command, "{shard}");
    })
    .await;
    let result = bench.run_one().await;
    assert_eq!(result.outcome(), Outcome::Committed, "{result:?}");
    assert!(bench.committed(0).join("shard.json").exists());
    bench.end().await;
}

#[tokio::test]
async fn an_exit_code_in_skip_on_commits_what_is_there_with_the_verdict_skipped() {
    let script = "echo x > $PETCTL_OUTPUT/seen; exit ${PETCTL_SHARD_KEY#k}";
    let mut bench = Bench::with(script, |spec| spec.stages[0].dispatch.skip_on = vec![77]).await;
    bench.session.lease([lease(1, 77), lease(2, 78)]).await;
    let results = bench.session.results(2).await;
    let skipped = &results[&1];
    assert_eq!(skipped.outcome(), Outcome::Committed, "{skipped:?}");
    assert_eq!(skipped.verdict(), Verdict::Skipped);
    assert_eq!(skipped.reasons, ["exit code 77 (skip_on)"]);
    assert_eq!((skipped.exit_code, skipped.output_files), (Some(77), 2));
    assert_eq!(results[&2].code, "EXIT_NONZERO");
    Manifest::verify(&bench.committed(77)).unwrap();

    // Whoever adopts them knows the verdict too.
    let again = Lease {
        fence: true,
        ..lease(3, 77)
    };
    bench.session.lease([again]).await;
    let adopted = bench.session.results(1).await.remove(&3).unwrap();
    assert_eq!(
        (adopted.committed_lease_id, adopted.verdict()),
        (1, Verdict::Skipped)
    );
    bench.end().await;
}

#[tokio::test]
async fn a_skipped_shard_keeps_its_numbers() {
    let script = "echo '{\"verdict\": \"fail\", \"numbers\": {\"gap\": 1.5}}' > $PETCTL_OUTPUT/result.json; exit 9";
    let mut bench = Bench::with(script, |spec| spec.stages[0].dispatch.skip_on = vec![9]).await;
    let result = bench.run_one().await;
    assert_eq!(result.verdict(), Verdict::Skipped, "{result:?}");
    assert_eq!(result.numbers[0].value, 1.5);
    assert_eq!(result.reasons, ["exit code 9 (skip_on)"]);
    bench.end().await;
}

#[tokio::test]
async fn outputs_of_an_earlier_version_are_not_adopted() {
    let mut bench = Bench::start("echo $PETCTL_LEASE > $PETCTL_OUTPUT/lease").await;
    let again = |lease_id, replaces_below| Lease {
        fence: true,
        replaces_below,
        ..lease(lease_id, 0)
    };
    for (lease, stands) in [(again(1, 0), 1), (again(10, 10), 10), (again(11, 10), 10)] {
        let lease_id = lease.lease_id;
        bench.session.lease([lease]).await;
        let result = bench.session.results(1).await.remove(&lease_id).unwrap();
        assert_eq!(result.outcome(), Outcome::Committed, "{result:?}");
        let said = fs::read_to_string(bench.committed(0).join("lease")).unwrap();
        assert_eq!(said.trim(), stands.to_string(), "lease {lease_id}");
    }
    bench.end().await;
}

#[tokio::test]
async fn the_gpus_of_a_lease_are_those_that_its_command_sees() {
    let mut bench = Bench::with("echo $CUDA_VISIBLE_DEVICES > $PETCTL_OUTPUT/seen", |spec| {
        let stage = &mut spec.stages[0];
        stage.env = BTreeMap::from([("CUDA_VISIBLE_DEVICES".to_owned(), "4,GPU-8f,6".to_owned())]);
    })
    .await;
    let share = |device| GpuShare { device, milli: 500 };
    let with_gpus = Lease {
        gpus: vec![share(1), share(2)],
        ..lease(1, 0)
    };
    bench.session.lease([with_gpus]).await;
    let results = bench.session.results(1).await;
    assert_eq!(results[&1].outcome(), Outcome::Committed);
    let seen = fs::read_to_string(bench.committed(0).join("seen")).unwrap();
    assert_eq!(seen, "GPU-8f,6\n");
    bench.end().await;
}

#[tokio::test]
async fn a_worker_that_comes_back_says_which_gpus_its_leases_have() {
    let mut bench = Bench::start("touch started; while [ ! -e go ]; do sleep 0.01; done").await;
    let gpus = vec![GpuShare {
        device: 3,
        milli: 250,
    }];
    let with_gpus = Lease {
        gpus: gpus.clone(),
        ..lease(1, 0)
    };
    bench.session.lease([with_gpus]).await;
    let started = bench.root().join("started");
    until("it runs", || started.exists()).await;
    bench.session.cut();
    bench.session = bench.fake.session().await;
    assert_eq!(bench.session.hello.held[0].gpus, gpus);
    bench.session.welcome(60_000, &[1]).await;
    fs::write(bench.root().join("go"), "").unwrap();
    bench.session.results(1).await;
    bench.end().await;
}

impl Bench {
    /// Strays are found by the number of their lease, and these take memory: another number in each test.
    async fn run_under(&mut self, lease_id: u64) -> AttemptResult {
        self.session.lease([lease(lease_id, 0)]).await;
        self.session.results(1).await.remove(&lease_id).unwrap()
    }
}

const TAKES_MEMORY: &str = "python3 -c '
import os, subprocess, sys, time
if os.fork() == 0:
    os.setsid()
    taken = bytearray(200_000_000)
    open(\"taken\", \"w\").close()
    time.sleep(1000)
time.sleep(1000)'";

#[tokio::test]
async fn a_shard_over_its_memory_is_killed_with_all_it_started_and_named() {
    let mut bench = Bench::with(TAKES_MEMORY, |spec| spec.stages[0].memory_mib = 128).await;
    let result = bench.run_under(4_711).await;
    assert_eq!(
        (result.outcome(), result.code.as_str()),
        (Outcome::Failed, "MEMORY_EXCEEDED"),
        "{result:?}"
    );
    let message = &result.message;
    assert!(
        message.starts_with("used ")
            && message.ends_with(" of 128 MiB that the stage's `memory` allows"),
        "{message}"
    );
    assert!(!bench.committed(0).exists() && bench.attempt_folders().is_empty());
    bench.end().await;
}

#[tokio::test]
async fn a_shard_within_its_memory_is_left_alone() {
    let script = "python3 -c '
import time
taken = bytearray(20_000_000)
time.sleep(0.8)'";
    let mut bench = Bench::with(script, |spec| spec.stages[0].memory_mib = 128).await;
    let result = bench.run_under(4_712).await;
    assert_eq!(result.outcome(), Outcome::Committed, "{result:?}");
    bench.end().await;
}
