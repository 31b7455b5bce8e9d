//! TLS, and tokens of workers: who is let in, and what others on the network see.

use super::support::{
    Client, FakeWorker, assert_refused, channel, channel_to, done, header, hello, job, soon, start,
    stop, trust, with_token,
};
use petctl_proto::v1;
use petctl_proto::v1::attach_request::Message as Say;
use petctl_proto::v1::attach_response::Message as Told;
use petctl_proto::v1::place_service_client::PlaceServiceClient;
use petctl_rendezvous::{Coordinator, Handle, Options, TlsOptions, worker_token};
use petctl_text::Secret;
use petctl_tls::{Authority, NotConnected, TlsError, Trust};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Status};

async fn start_with_tls(dir: &Path, life: Duration) -> Handle {
    let mut options = Options::new(dir);
    options.tls = Some(TlsOptions {
        life,
        ..TlsOptions::default()
    });
    soon(Coordinator::start(options)).await.unwrap()
}

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// The calls of a service, as its file has them.
fn calls(service: &str, file: &str) -> Vec<String> {
    let names = file.lines().filter_map(|line| {
        let name = line.trim().strip_prefix("rpc ")?.split('(').next()?;
        Some(format!("/petctl.v1.{service}/{name}"))
    });
    names.collect()
}

/// One call with nothing in it.
async fn call(channel: &Channel, path: &str, token: Option<&str>) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    soon(grpc.ready()).await.unwrap();
    let path = PathAndQuery::try_from(path).unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let request = with_token((), token);
    let answer = soon(grpc.server_streaming(request, path, codec)).await?;
    let mut parts: tonic::Streaming<()> = answer.into_inner();
    soon(parts.message()).await.map(|_part| ())
}

#[tokio::test]
async fn a_workers_token_opens_no_call_of_clients() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start_with_tls(dir.path(), DAY).await;
    let mut client = Client::of(&handle).await;
    client.submit(job(10, 1)).await.unwrap();
    let mut all = calls(
        "JobService",
        include_str!("../../../proto/petctl/v1/job.proto"),
    );
    all.extend(calls(
        "PlaceService",
        include_str!("../../../proto/petctl/v1/place.proto"),
    ));
    assert!(all.len() >= 19, "{all:?}");
    let channel = channel(&handle).await;
    let token = handle.worker_token("us101");
    let older = worker_token(&Secret::new("the-token-before-0123456789"), "us101");
    for path in &all {
        // It has one of its own, and is tried below.
        if !path.ends_with("/FetchCode") {
            let status = call(&channel, path, Some(token.expose()))
                .await
                .expect_err(path);
            assert_refused(&status, Code::PermissionDenied, "TOKEN_OF_WORKER");
            assert!(status.message().contains("us101"), "{status:?}");
        }
        let status = call(&channel, path, Some(older.expose()))
            .await
            .expect_err(path);
        assert_refused(&status, Code::Unauthenticated, "TOKEN_WRONG");
        assert!(status.message().contains("petctl token"), "{status:?}");
        let status = call(&channel, path, None).await.expect_err(path);
        assert_refused(&status, Code::Unauthenticated, "TOKEN_MISSING");
    }
    assert_eq!(done(&client.status("us101").await.unwrap()), 0);
    stop(&handle).await;
}

#[tokio::test]
async fn a_workers_token_serves_its_own_job_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start_with_tls(dir.path(), DAY).await;
    let mut client = Client::of(&handle).await;
    client.submit(job(10, 1)).await.unwrap();
    let mut other = job(10, 1);
    other["name"] = "secret".into();
    other["storage"]["output"] = "/nowhere/petctl-test-others".into();
    client.submit(other).await.unwrap();
    let token = handle.worker_token("us101");
    let serving = |job: &str| v1::Hello {
        job: job.to_owned(),
        ..hello(1, 4)
    };
    let local = v1::Hello {
        local_stages: true,
        ..serving("us101")
    };
    for wrong in [serving("secret"), serving(""), local] {
        let mut worker = FakeWorker::with_token(channel(&handle).await, token.expose()).await;
        worker.say(Say::Hello(wrong)).await;
        assert_refused(
            &worker.end().await,
            Code::PermissionDenied,
            "TOKEN_OF_OTHER_JOB",
        );
    }
    let mut places = PlaceServiceClient::new(channel(&handle).await);
    let digest = "0".repeat(64);
    let request = with_token(v1::FetchCodeRequest { digest }, Some(token.expose()));
    let status = soon(places.fetch_code(request)).await.unwrap_err();
    assert_refused(&status, Code::PermissionDenied, "TOKEN_OF_OTHER_JOB");

    let mut worker = FakeWorker::with_token(channel(&handle).await, token.expose()).await;
    worker.say(Say::Hello(serving("us101"))).await;
    assert!(matches!(worker.hear().await, Ok(Told::Welcome(_))));
    worker.work().await;
    let ended = client.watch_to_end("us101").await;
    assert_eq!(done(&ended), 10);
    assert_eq!(done(&client.status("secret").await.unwrap()), 0);
    stop(&handle).await;
}

#[tokio::test]
async fn a_worker_takes_nothing_over_from_a_worker_of_another_job() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start_with_tls(dir.path(), DAY).await;
    let mut client = Client::of(&handle).await;
    client.submit(job(1, 1)).await.unwrap();
    let serving = |job: &str, number| v1::Hello {
        job: job.to_owned(),
        ..hello(number, 1)
    };
    let mut worker = FakeWorker::attach(&handle, serving("us101", 1)).await;
    let leases = worker.leases().await;
    // The same identity, of another job.
    let token = handle.worker_token("secret");
    let mut thief = FakeWorker::with_token(channel(&handle).await, token.expose()).await;
    let mut claim = serving("secret", 1);
    claim.name = "thief".to_owned();
    thief.say(Say::Hello(claim)).await;
    assert_refused(&thief.end().await, Code::AlreadyExists, "WORKER_NAME_TAKEN");
    worker.commit(&leases).await;
    assert_eq!(done(&client.watch_to_end("us101").await), 1);
    stop(&handle).await;
}

#[tokio::test]
async fn certificates_are_renewed_under_load_and_nobody_notices() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start_with_tls(dir.path(), Duration::from_secs(3)).await;
    let mut client = Client::of(&handle).await;
    client.submit(job(1_000_000, 2)).await.unwrap();
    // Begun with the first certificate, and kept to the end.
    let mut working = Vec::new();
    for number in [1, 2] {
        let worker = FakeWorker::attach(&handle, hello(number, 8)).await;
        working.push(tokio::spawn(worker.work()));
    }
    let trust = trust(&handle).unwrap();
    let (mut seen, mut before) = (BTreeSet::new(), 0);
    while seen.len() < 4 {
        let stream = TcpStream::connect(handle.address()).await.unwrap();
        let stream = soon(trust.secure(stream)).await.unwrap();
        let certificates = stream.get_ref().1.peer_certificates().unwrap();
        if seen.insert(certificates[0].to_vec()) {
            // New connections and old ones both serve on.
            let mut new = Client::of(&handle).await;
            let now = done(&new.status("us101").await.unwrap());
            let reached = client.until("us101", |status| done(status) > now).await;
            assert!(done(&reached) > before);
            before = done(&reached);
        }
    }
    for worker in &working {
        assert!(!worker.is_finished(), "a stream ended");
    }
    stop(&handle).await;
}

#[tokio::test]
async fn nothing_that_is_said_can_be_read_on_the_wire() {
    for tls in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let handle = if tls {
            start_with_tls(dir.path(), DAY).await
        } else {
            start(dir.path()).await
        };
        let wire = Wire::to(handle.address()).await;
        let scheme = if tls { "https" } else { "http" };
        let url = format!("{scheme}://{}", wire.address);
        let trust = trust(&handle);
        let token = handle.token().expose();
        let mut client = Client::over(channel_to(&url, trust.as_ref()).await, Some(token));
        client.submit_parts(vec![header(job(20, 1))]).await.unwrap();
        let channel = channel_to(&url, trust.as_ref()).await;
        let of_worker = handle.worker_token("us101");
        let mut worker = FakeWorker::with_token(channel, of_worker.expose()).await;
        let serving = v1::Hello {
            job: "us101".to_owned(),
            ..hello(1, 4)
        };
        worker.say(Say::Hello(serving)).await;
        worker.work().await;
        assert_eq!(done(&client.watch_to_end("us101").await), 20);
        let heard = wire.heard();
        assert!(heard.len() > 2_000, "{} bytes went by", heard.len());
        let has = |text: &str| {
            heard
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        };
        // What HTTP/2 packs is not seen even in plain text; what it does not pack shows that the wire was listened to.
        for text in [
            "us101",
            "fake-1",
            "PRI * HTTP/2.0",
            "/nowhere/petctl-test-outputs",
        ] {
            assert_eq!(has(text), !tls, "{text:?}, with TLS: {tls}");
        }
        let signature = of_worker.expose().rsplit('.').next().unwrap();
        for secret in [token, of_worker.expose(), signature] {
            assert!(!(tls && has(secret)), "a token went by");
        }
        stop(&handle).await;
    }
}

#[tokio::test]
async fn who_speaks_otherwise_than_the_coordinator_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start_with_tls(dir.path(), DAY).await;
    let plain = format!("http://{}", handle.address());
    let token = handle.token().expose();
    let mut client = Client::over(channel_to(&plain, None).await, Some(token));
    let status = client.status("us101").await.unwrap_err();
    assert_refused(&status, Code::FailedPrecondition, "TLS_REQUIRED");
    // Probes, silence and nonsense hold nothing up.
    for said in [
        &b""[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x00\x05nonsense",
    ] {
        let mut stream = TcpStream::connect(handle.address()).await.unwrap();
        stream.write_all(said).await.unwrap();
    }
    let (other, _) = Authority::make().unwrap();
    let stranger = Trust::pem(other.certificate()).unwrap();
    assert_eq!(refused(&handle.url(), &stranger).await, TlsError::NotItsCa);
    Client::of(&handle).await.status("17").await.unwrap_err();
    stop(&handle).await;

    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path()).await;
    let url = format!("https://{}", handle.address());
    assert_eq!(refused(&url, &stranger).await, TlsError::PlainText);
    stop(&handle).await;
}

#[tokio::test]
async fn a_coordinator_keeps_its_ca_over_restarts_and_makes_a_new_one_where_it_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let first = start_with_tls(dir.path(), DAY).await;
    let ca = first.ca().unwrap().to_owned();
    stop(&first).await;
    let second = start_with_tls(dir.path(), DAY).await;
    assert_eq!(second.ca(), Some(&*ca));
    stop(&second).await;
    std::fs::remove_dir_all(dir.path().join("tls")).unwrap();
    let third = start_with_tls(dir.path(), DAY).await;
    let before = Trust::pem(&ca).unwrap();
    assert_eq!(refused(&third.url(), &before).await, TlsError::NotItsCa);
    stop(&third).await;
}

/// Why who trusts this CA gets no connection.
async fn refused(url: &str, trust: &Trust) -> TlsError {
    let endpoint = Channel::from_shared(url.to_owned()).unwrap();
    match soon(petctl_tls::channel(&endpoint, Some(trust))).await {
        Err(NotConnected::Tls(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// Stands between, and keeps what goes by.
struct Wire {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Wire {
    async fn to(coordinator: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(coordinator).await.unwrap();
                let (near_in, near_out) = near.into_split();
                let (far_in, far_out) = far.into_split();
                tokio::spawn(pass(near_in, far_out, Arc::clone(&kept)));
                tokio::spawn(pass(far_in, near_out, Arc::clone(&kept)));
            }
        });
        Self { address, heard }
    }

    fn heard(&self) -> Vec<u8> {
        self.heard.lock().unwrap().clone()
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    heard: Arc<Mutex<Vec<u8>>>,
) {
    let mut piece = vec![0; 16 * 1024];
    while let Ok(read) = from.read(&mut piece).await {
        heard.lock().unwrap().extend_from_slice(&piece[..read]);
        if read == 0 || to.write_all(&piece[..read]).await.is_err() {
            return;
        }
    }
}
