use super::support::{
    Client, FakeWorker, assert_refused, committed, header, hello, job, job_of, keys, soon, start,
    stop,
};
use petctl_proto::v1::attach_request::Message as Say;
use petctl_proto::v1::attach_response::Message as Told;
use petctl_proto::{OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION, Refusal, v1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

#[tokio::test]
async fn a_call_without_the_right_token_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path()).await;
    let mut client = Client::with_token(&handle, None).await;
    assert_refused(
        &client.status("us101").await.unwrap_err(),
        Code::Unauthenticated,
        "TOKEN_MISSING",
    );
    for wrong in ["", "guess", &"0".repeat(64)] {
        let mut client = Client::with_token(&handle, Some(wrong)).await;
        let status = client.status("us101").await.unwrap_err();
        assert_refused(&status, Code::Unauthenticated, "TOKEN_WRONG");
        assert!(!status.message().contains(handle.token().expose()));
    }
    stop(&handle).await;
}

#[tokio::test]
async fn an_unknown_job_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path()).await;
    let mut client = Client::of(&handle).await;
    for name in ["us101", "", "17", "18446744073709551616", "🚗"] {
        assert_refused(
            &client.status(name).await.unwrap_err(),
            Code::NotFound,
            "NO_SUCH_JOB",
        );
    }
    let long = "x".repeat(1_000_000);
    assert_refused(
        &client.status(&long).await.unwrap_err(),
        Code::InvalidArgument,
        "BAD_MESSAGE",
    );
    stop(&handle).await;
}

#[tokio::test]
async fn a_submission_that_makes_no_sense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path()).await;
    let mut client = Client::of(&handle).await;
    let glob = || job_of(serde_json::json!({ "glob": "*" }), 1, "/out");
    let with = |path: &str, value: serde_json::Value| {
        let mut spec = job(10, 1);
        *spec.pointer_mut(path).unwrap() = value;
        vec![header(spec)]
    };
    let many: Vec<String> = (0..1_000).map(|key| format!("{key}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut short_fingerprint = header(job(10, 1));
    if let Some(v1::submit_job_request::Part::Header(header)) = &mut short_fingerprint.part {
        header.fingerprint.pop();
    }
    let cases = [
        ("nothing", vec![]),
        ("keys first", vec![keys(0, &["a"])]),
        ("two headers", vec![header(job(10, 1)), header(job(10, 1))]),
        (
            "an empty part",
            vec![header(job(10, 1)), v1::SubmitJobRequest { part: None }],
        ),
        ("not a job", vec![header(serde_json::json!([1, 2, 3]))]),
        ("a bad name", with("/name", "../up".into())),
        ("min over max", with("/workers/min", 9.into())),
        ("a number that is none", with("/workers/max", (-1).into())),
        (
            "too many shards",
            with("/stages/0/kind/shards/range/end", u64::MAX.into()),
        ),
        (
            "no command",
            with("/stages/0/command", serde_json::json!([])),
        ),
        (
            "a need of nothing",
            with(
                "/stages/0/needs",
                serde_json::json!([{ "stage": 7, "per_shard": false }]),
            ),
        ),
        ("a short fingerprint", vec![short_fingerprint]),
        (
            "a key that leads up",
            vec![header(glob()), keys(0, &["a/../../b"])],
        ),
        (
            "the same key twice",
            vec![header(glob()), keys(0, &["a", "b", "a"])],
        ),
        ("keys of no stage", vec![header(glob()), keys(1, &["a"])]),
        (
            "keys of a stage that computes its own",
            vec![header(job(10, 1)), keys(0, &many)],
        ),
        ("no keys", vec![header(glob())]),
    ];
    for (what, parts) in cases {
        let status = client.submit_parts(parts).await.expect_err(what);
        assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status:?}");
        let refusal = Refusal::of(&status).and_then(|refusal| refusal.known());
        assert!(refusal.is_some(), "{what}: {status:?}");
    }
    assert_eq!(
        client.events("", false).await.len(),
        1,
        "nothing of it was recorded"
    );
    stop(&handle).await;
}

#[tokio::test]
async fn a_worker_that_makes_no_sense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path()).await;
    let nonsense = [
        Say::Heartbeat(v1::Heartbeat::default()),
        Say::Hello(v1::Hello {
            worker_id: "x".repeat(32),
            ..hello(1, 1)
        }),
        Say::Hello(v1::Hello {
            worker_id: "0".repeat(32),
            ..hello(1, 1)
        }),
        Say::Hello(v1::Hello {
            worker_id: String::new(),
            ..hello(1, 1)
        }),
        Say::Hello(v1::Hello {
            name: "two\nlines".to_owned(),
            ..hello(1, 1)
        }),
        Say::Hello(v1::Hello {
            name: "n".repeat(1_000),
            ..hello(1, 1)
        }),
        Say::Hello(v1::Hello {
            host: String::new(),
            ..hello(1, 1)
        }),
        Say::Hello(hello(1, 0)),
        Say::Hello(hello(1, u32::MAX)),
    ];
    for message in nonsense {
        let mut worker = FakeWorker::silent(&handle).await;
        worker.say(message.clone()).await;
        let status = worker.end().await;
        assert_eq!(
            status.code(),
            Code::InvalidArgument,
            "{message:?}: {status:?}"
        );
    }
    stop(&handle).await;
}

#[tokio::test]
async fn neighbouring_releases_speak_the_version_that_both_know_and_others_are_told_who_is_older() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path()).await;
    let speaks = |number: u32, oldest: u32, newest: u32| v1::Hello {
        protocol_version: newest,
        oldest_protocol_version: oldest,
        ..hello(number, 1)
    };
    let (oldest, own) = (OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION);
    // One of before the range was said, one of this release, one of the next.
    for (number, hello) in [
        speaks(1, 0, oldest),
        speaks(2, oldest, own),
        speaks(3, own, own + 1),
    ]
    .into_iter()
    .enumerate()
    {
        let mut worker = FakeWorker::attach(&handle, hello).await;
        let Told::Welcome(welcome) = worker.hear().await.unwrap() else {
            panic!("worker {number} is not welcome");
        };
        let spoken = if number == 0 { oldest } else { own };
        assert_eq!(welcome.protocol_version, spoken);
    }
    for (hello, who) in [
        (speaks(4, 0, oldest - 1), "the worker is older"),
        (speaks(5, own + 1, own + 2), "the coordinator is older"),
        (speaks(6, 0, 99), "the coordinator is older"),
    ] {
        let mut worker = FakeWorker::attach(&handle, hello).await;
        let status = worker.end().await;
        assert_refused(&status, Code::FailedPrecondition, "PROTOCOL_MISMATCH");
        assert!(status.message().contains(who), "{status:?}");
    }
    stop(&handle).await;
}

#[tokio::test]
async fn results_that_make_no_sense_end_the_stream_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path()).await;
    let mut client = Client::of(&handle).await;
    client.submit(job(10, 1)).await.unwrap();
    let lease = v1::Lease::default();
    let nan = vec![v1::Number {
        name: "nan".to_owned(),
        value: f64::NAN,
    }];
    let nonsense = [
        v1::AttemptResult {
            outcome: 0,
            ..committed(&lease)
        },
        v1::AttemptResult {
            outcome: 99,
            ..committed(&lease)
        },
        v1::AttemptResult {
            verdict: -1,
            ..committed(&lease)
        },
        v1::AttemptResult {
            numbers: nan,
            ..committed(&lease)
        },
        v1::AttemptResult {
            manifest_sha256: vec![1; 31],
            ..committed(&lease)
        },
        v1::AttemptResult {
            log_tail: "x".repeat(1 << 20),
            ..committed(&lease)
        },
        v1::AttemptResult {
            reasons: vec![String::new(); 10_000],
            ..committed(&lease)
        },
    ];
    for (number, result) in (1..).zip(nonsense) {
        let mut worker = FakeWorker::attach(&handle, hello(number, 1)).await;
        worker
            .say(Say::Results(v1::ResultBatch {
                results: vec![result],
            }))
            .await;
        assert_refused(&worker.end().await, Code::InvalidArgument, "BAD_MESSAGE");
    }
    // What makes sense but is nobody's is refused by the core.
    let mut worker = FakeWorker::attach(&handle, hello(100, 1)).await;
    let stranger = v1::Lease {
        lease_id: 77,
        stage: 9,
        shard: 9,
        ..v1::Lease::default()
    };
    worker.commit(&[stranger]).await;
    worker.say(Say::Hello(hello(100, 1))).await;
    assert_refused(&worker.end().await, Code::InvalidArgument, "BAD_MESSAGE");
    assert_eq!(
        client.status("us101").await.unwrap().summary.unwrap().done,
        0
    );
    stop(&handle).await;
}

#[tokio::test]
async fn whatever_else_comes_to_the_port_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path()).await;
    let http1 = b"GET / HTTP/1.1\r\nHost: petctl\r\n\r\n".to_vec();
    let tls = [&[0x16, 3, 1, 2, 0, 1][..], &[7; 600]].concat();
    let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0xff; 4_096]].concat();
    for bytes in [http1, tls, preface, vec![0; 100_000]] {
        let mut stream = soon(TcpStream::connect(handle.address())).await.unwrap();
        // It may be closed before all of it is written.
        let _closed = stream.write_all(&bytes).await;
        let mut answer = Vec::new();
        let _reset = soon(stream.read_to_end(&mut answer)).await;
    }
    Client::of(&handle).await.submit(job(1, 1)).await.unwrap();
    stop(&handle).await;
}
