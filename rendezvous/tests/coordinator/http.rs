//! Probes and metrics, asked for as a kubelet, Prometheus and strangers ask.

use crate::support::{Client, FakeWorker, done, hello, job, soon, start, state, stop};
use petctl_proto::v1;
use petctl_rendezvous::metrics::declared::{self, Kind, Metric, Values};
use petctl_rendezvous::metrics::{KeeperNumbers, reference};
use petctl_rendezvous::{Coordinator, Engine, Handle, Options, PlaceKeeper};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a scrape may take to show what has just happened: pages are kept for a second.
const SCRAPES: Duration = Duration::from_secs(10);

fn observed(dir: &Path) -> Options {
    Options {
        http: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        engine: Engine::Memory,
        ..Options::new(dir)
    }
}

async fn start_observed(dir: &Path) -> Handle {
    soon(Coordinator::start(observed(dir))).await.unwrap()
}

async fn connect(handle: &Handle) -> TcpStream {
    let address = handle.http_address().expect("it was asked for");
    soon(TcpStream::connect(address)).await.unwrap()
}

/// What is answered until the connection ends.
async fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    // A connection that is cut off in the middle is one that has ended.
    let _cut = soon(stream.read_to_string(&mut text)).await;
    text
}

async fn ask(handle: &Handle, request: &str) -> String {
    let mut stream = connect(handle).await;
    soon(stream.write_all(request.as_bytes())).await.unwrap();
    rest(stream).await
}

/// The status of an answer and its body.
async fn get(handle: &Handle, path: &str) -> (u16, String) {
    let answer = ask(
        handle,
        &format!("GET {path} HTTP/1.1\r\nHost: petctl\r\n\r\n"),
    )
    .await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    (status.expect("a status"), body.to_owned())
}

/// A page as Prometheus reads it: types by name, and samples.
struct Scraped {
    types: BTreeMap<String, String>,
    helps: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

impl Scraped {
    fn of(page: &str) -> Self {
        let mut scraped = Self {
            types: BTreeMap::new(),
            helps: BTreeMap::new(),
            samples: BTreeMap::new(),
        };
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a type");
                let again = scraped.types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(again, None, "{name} has two types");
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a name and a help");
                scraped.helps.insert(name.to_owned(), help.to_owned());
            } else {
                let (series, value) = line.rsplit_once(' ').expect("a series and a value");
                let value = value.parse().expect("a number");
                let again = scraped.samples.insert(series.to_owned(), value);
                assert_eq!(again, None, "{series} is there twice");
            }
        }
        scraped
    }

    fn value(&self, series: &str) -> f64 {
        let value = self.samples.get(series).copied();
        value.unwrap_or_else(|| panic!("no {series} in {:?}", self.samples.keys()))
    }

    /// Series of a metric, by the value of its label.
    fn labels(&self, metric: &Metric) -> BTreeSet<String> {
        let label = metric.label.expect("it has a label").name;
        let start = format!("{}{{{label}=\"", metric.name);
        let series = self.samples.keys();
        let values = series.filter_map(|series| series.strip_prefix(&start)?.strip_suffix("\"}"));
        values.map(str::to_owned).collect()
    }
}

async fn scrape(handle: &Handle) -> Scraped {
    let (status, page) = get(handle, "/metrics").await;
    assert_eq!(status, 200, "{page}");
    Scraped::of(&page)
}

/// Scrapes until it is as it should be.
async fn scrape_until(handle: &Handle, what: &str, holds: impl Fn(&Scraped) -> bool) -> Scraped {
    let start = Instant::now();
    loop {
        let scraped = scrape(handle).await;
        if holds(&scraped) {
            return scraped;
        }
        let samples = &scraped.samples;
        assert!(start.elapsed() < SCRAPES, "never {what}: {samples:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Nothing that is not declared, nothing declared that is missing.
fn is_as_declared(scraped: &Scraped, with_keeper: bool) {
    let declared = declared::ALL.iter().copied();
    let declared: Vec<&Metric> = declared.filter(|m| with_keeper || !m.of_keeper).collect();
    let kinds = declared.iter().map(|metric| {
        let (name, kind) = (metric.name.to_owned(), metric.kind.as_str().to_owned());
        (name, kind)
    });
    assert_eq!(scraped.types, kinds.collect(), "names and types");
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    for metric in declared {
        let help = scraped.helps.get(metric.name).map(String::as_str);
        assert_eq!(help, Some(metric.help), "the help of {}", metric.name);
        match (metric.kind, metric.label) {
            (Kind::Histogram, _) => {
                let bounds = scraped
                    .samples
                    .keys()
                    .filter(|series| series.starts_with(&format!("{}_bucket{{le=\"", metric.name)));
                let bounds: Vec<String> = bounds.cloned().collect();
                assert!(bounds.len() > 5, "{bounds:?}");
                wanted.extend(bounds);
                wanted.extend(["_sum", "_count"].map(|end| format!("{}{end}", metric.name)));
            }
            (Kind::Gauge | Kind::Counter, None) => {
                wanted.insert(metric.name.to_owned());
            }
            (Kind::Gauge | Kind::Counter, Some(label)) => {
                let values = scraped.labels(metric);
                match label.values {
                    Values::These(known) => {
                        let known = known.iter().map(|value| (*value).to_owned());
                        assert_eq!(values, known.collect(), "{}", metric.name);
                    }
                    Values::Codes => {
                        let is_code = |text: &String| petctl_core::Code::parse(text).is_some();
                        assert!(values.iter().all(is_code), "{values:?}");
                    }
                    Values::Version => assert_eq!(values.len(), 1, "{values:?}"),
                }
                let (name, label) = (metric.name, label.name);
                wanted.extend(values.iter().map(|v| format!("{name}{{{label}=\"{v}\"}}")));
            }
        }
    }
    let there: BTreeSet<String> = scraped.samples.keys().cloned().collect();
    assert_eq!(
        there, wanted,
        "left: what is there, right: what is declared"
    );
}

#[derive(Debug)]
struct Keeps;

#[async_trait::async_trait]
impl PlaceKeeper for Keeps {
    async fn use_place(&self, _: &str, _: &str) -> Result<(), petctl_core::Refusal> {
        Ok(())
    }

    fn namespace_of(&self, _: &str) -> Option<String> {
        None
    }

    async fn trust(&self, _ca: &str) -> Result<(), petctl_core::Refusal> {
        Ok(())
    }

    fn numbers(&self) -> KeeperNumbers {
        KeeperNumbers {
            requests: [("patch", 3)].into(),
            pods_wanted: 2,
            pods: [("running", 1), ("pending", 1)].into(),
        }
    }
}

#[tokio::test]
async fn the_page_is_what_is_declared_with_and_without_a_keeper_of_pods() {
    let dir = TempDir::new().unwrap();
    let handle = start_observed(&dir.path().join("alone")).await;
    is_as_declared(&scrape(&handle).await, false);
    stop(&handle).await;
    let kept = Options {
        keeper: Some(Arc::new(Keeps)),
        ..observed(&dir.path().join("kept"))
    };
    let handle = soon(Coordinator::start(kept)).await.unwrap();
    let scraped = scrape(&handle).await;
    is_as_declared(&scraped, true);
    let is = |series: &str, value: f64| assert_eq!(scraped.value(series), value, "{series}");
    is("petctl_keeper_requests_total{verb=\"patch\"}", 3.0);
    is("petctl_keeper_requests_total{verb=\"get\"}", 0.0);
    is("petctl_keeper_pods_wanted", 2.0);
    is("petctl_keeper_pods{state=\"running\"}", 1.0);
    is("petctl_keeper_pods{state=\"ended\"}", 0.0);
    stop(&handle).await;
}

/// Holds the tables of the document to what is declared, or writes them where `PETCTL_BLESS` is set.
#[test]
fn the_document_is_what_is_declared() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once("<!-- Written by").expect("a mark");
    let (said, rest) = rest.split_once('\n').expect("a line");
    let (_, tail) = rest.split_once("<!-- end -->").expect("an end");
    let declared = format!(
        "{head}<!-- Written by{said}\n\n{}\n<!-- end -->{tail}",
        reference()
    );
    if std::env::var_os("PETCTL_BLESS").is_some() {
        std::fs::write(&path, declared).unwrap();
        return;
    }
    assert!(
        text == declared,
        "docs/metrics.md is not what is declared; write it anew with: PETCTL_BLESS=1 cargo test -p petctl-rendezvous"
    );
    let long = text.lines().find(|line| line.chars().count() > 120);
    assert_eq!(long, None, "a line of more than 120 characters");
}

#[tokio::test]
async fn a_job_and_its_workers_are_counted_from_their_start_to_their_end() {
    let dir = TempDir::new().unwrap();
    let handle = start_observed(dir.path()).await;
    let mut client = Client::of(&handle).await;
    client.submit(job(6, 2)).await.unwrap();
    let waits = scrape_until(&handle, "a job that waits", |page| {
        page.value("petctl_jobs{state=\"waiting\"}") == 1.0
    })
    .await;
    assert_eq!(waits.value("petctl_shards{state=\"ready\"}"), 6.0);
    assert_eq!(waits.value("petctl_workers_wanted"), 2.0);
    assert_eq!(waits.value("petctl_workers{state=\"member\"}"), 0.0);
    let mut worker = FakeWorker::attach(&handle, hello(1, 2)).await;
    let leases = worker.leases().await;
    assert_eq!(leases.len(), 2, "both of its slots are filled");
    let runs = scrape_until(&handle, "a worker at work", |page| {
        page.value("petctl_workers{state=\"member\"}") == 1.0
    })
    .await;
    assert_eq!(runs.value("petctl_jobs{state=\"running\"}"), 1.0);
    assert_eq!(runs.value("petctl_shards{state=\"running\"}"), 2.0);
    assert_eq!(runs.value("petctl_shards{state=\"ready\"}"), 4.0);
    assert_eq!(runs.value("petctl_leases"), 2.0);
    assert_eq!(runs.value("petctl_leases_granted_total"), 2.0);
    assert_eq!(runs.value("petctl_epochs_total"), 1.0);
    worker.commit(&leases).await;
    let worked = worker.work().await;
    let status = client.watch_to_end("us101").await;
    assert_eq!(state(&status), v1::JobState::Succeeded);
    assert_eq!((done(&status), worked.len()), (6, 4));
    let ended = scrape_until(&handle, "an ended job", |page| {
        page.value("petctl_jobs_ended_total{state=\"succeeded\"}") == 1.0
    })
    .await;
    assert_eq!(ended.value("petctl_jobs{state=\"succeeded\"}"), 1.0);
    assert_eq!(ended.value("petctl_jobs{state=\"running\"}"), 0.0);
    assert_eq!(ended.value("petctl_jobs_submitted_total"), 1.0);
    assert_eq!(
        ended.value("petctl_attempts_total{outcome=\"committed\"}"),
        6.0
    );
    assert_eq!(ended.value("petctl_leases_granted_total"), 6.0);
    assert_eq!(ended.value("petctl_leases"), 0.0);
    // Shards of jobs that have ended are nobody's concern any more.
    assert_eq!(ended.value("petctl_shards{state=\"done\"}"), 0.0);
    let commits = ended.value("petctl_log_commit_seconds_count");
    let all = ended.value("petctl_log_commit_seconds_bucket{le=\"+Inf\"}");
    assert!(commits >= 4.0 && all == commits, "{all} of {commits}");
    assert!(ended.value("petctl_log_records_total") >= commits);
    is_as_declared(&ended, false);
    stop(&handle).await;
}

#[tokio::test]
async fn refused_calls_are_counted_by_their_code_whoever_refused() {
    let dir = TempDir::new().unwrap();
    let handle = start_observed(dir.path()).await;
    for _ in 0..3 {
        let mut stranger = Client::with_token(&handle, None).await;
        stranger.status("us101").await.unwrap_err();
    }
    let mut client = Client::of(&handle).await;
    client.status("us101").await.unwrap_err();
    // Ended by the core in the middle of a stream: one of two workers of one name.
    let _first = FakeWorker::attach(&handle, hello(1, 1)).await;
    let mut second = hello(2, 1);
    second.name = "fake-1".to_owned();
    let mut second = FakeWorker::attach(&handle, second).await;
    let refused = second.end().await;
    let code = petctl_proto::Refusal::of(&refused).expect("a code").code;
    let scraped = scrape_until(&handle, "the refused worker", |page| {
        page.labels(&declared::REFUSALS).contains(&code)
    })
    .await;
    let refused = |code: &str| scraped.value(&format!("petctl_refusals_total{{code=\"{code}\"}}"));
    assert_eq!(refused("TOKEN_MISSING"), 3.0);
    assert_eq!(refused("NO_SUCH_JOB"), 1.0);
    assert_eq!(refused(&code), 1.0, "{code}");
    is_as_declared(&scraped, false);
    stop(&handle).await;
}

#[tokio::test]
async fn probes_answer_and_other_requests_are_told_what_there_is() {
    let dir = TempDir::new().unwrap();
    let handle = start_observed(dir.path()).await;
    for path in ["/healthz", "/readyz", "/readyz?verbose=1"] {
        assert_eq!(get(&handle, path).await, (200, "ok\n".to_owned()), "{path}");
    }
    for path in ["/", "/metrics/", "/healthz/../etc/passwd"] {
        let (status, body) = get(&handle, path).await;
        assert_eq!(status, 404, "{path}");
        assert!(body.contains("/healthz, /readyz and /metrics"), "{body}");
    }
    let posted = "POST /metrics HTTP/1.1\r\nHost: petctl\r\nContent-Length: 4\r\n\r\nquit";
    let answer = ask(&handle, posted).await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert!(
        answer.to_lowercase().contains("allow: get, head"),
        "{answer}"
    );
    let head = ask(&handle, "HEAD /metrics HTTP/1.1\r\nHost: petctl\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.ends_with("\r\n\r\n"), "a HEAD has no body: {head}");
    assert!(
        head.contains("text/plain; version=0.0.4; charset=utf-8"),
        "{head}"
    );
    drop(handle.drain("the test ends").await);
    assert_eq!(get(&handle, "/healthz").await.0, 200);
    assert_eq!(
        get(&handle, "/readyz").await,
        (503, "it drains\n".to_owned())
    );
    stop(&handle).await;
}

#[tokio::test]
async fn strangers_hold_nothing_and_a_probe_always_gets_in() {
    let dir = TempDir::new().unwrap();
    let handle = start_observed(dir.path()).await;
    // More than there may be, none of which ends its request.
    let mut strangers = Vec::new();
    for _ in 0..200 {
        let mut stranger = connect(&handle).await;
        soon(stranger.write_all(b"GET /metrics HTTP/1.1\r\nX-A: "))
            .await
            .unwrap();
        strangers.push(stranger);
    }
    assert_eq!(get(&handle, "/healthz").await.0, 200);
    assert_eq!(get(&handle, "/metrics").await.0, 200);
    // The oldest had to go at once; the newest is ended when its request has not come in time.
    let newest = strangers.pop().expect("there are many");
    let oldest = strangers.swap_remove(0);
    assert_eq!(rest(oldest).await, "");
    rest(newest).await;
    // Too much at once is refused, and nothing is kept of it.
    let long = format!(
        "GET /healthz HTTP/1.1\r\nX-A: {}\r\n\r\n",
        "a".repeat(100_000)
    );
    let mut stream = connect(&handle).await;
    // It may be ended before all of it was taken.
    let _cut = soon(stream.write_all(long.as_bytes())).await;
    let answer = rest(stream).await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    let nonsense = ask(&handle, "\x16\x03\x01 nonsense\r\n\r\n").await;
    assert!(!nonsense.starts_with("HTTP/1.1 200"), "{nonsense}");
    assert_eq!(get(&handle, "/healthz").await.0, 200);
    stop(&handle).await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_and_nothing_is_left_behind() {
    let dir = TempDir::new().unwrap();
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = other.local_addr().unwrap();
    let options = Options {
        http: Some(taken),
        ..observed(dir.path())
    };
    let error = soon(Coordinator::start(options)).await.unwrap_err();
    assert_eq!(error.code().as_str(), "PORT_IN_USE");
    let said = error.to_string();
    for words in [taken.to_string().as_str(), "metrics", "--http"] {
        assert!(said.contains(words), "no {words}: {said}");
    }
    // One that fails later gives its port back.
    drop(other);
    let holder = start(dir.path()).await;
    let options = Options {
        http: Some(taken),
        ..observed(dir.path())
    };
    let error = soon(Coordinator::start(options)).await.unwrap_err();
    assert_eq!(error.code().as_str(), "STATE_IN_USE");
    let free = async {
        while TcpListener::bind(taken).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(free).await;
    assert_eq!(holder.http_address(), None, "it is off unless asked for");
    stop(&holder).await;
}

#[tokio::test]
async fn a_coordinator_that_starts_again_knows_how_it_stands() {
    let dir = TempDir::new().unwrap();
    let options = || Options {
        engine: Engine::Redb,
        ..observed(dir.path())
    };
    let handle = soon(Coordinator::start(options())).await.unwrap();
    let mut client = Client::of(&handle).await;
    client.submit(job(6, 2)).await.unwrap();
    stop(&handle).await;
    let handle = soon(Coordinator::start(options())).await.unwrap();
    assert_eq!(get(&handle, "/readyz").await.0, 200);
    let scraped = scrape(&handle).await;
    assert_eq!(scraped.value("petctl_jobs{state=\"waiting\"}"), 1.0);
    assert_eq!(scraped.value("petctl_shards{state=\"ready\"}"), 6.0);
    assert_eq!(scraped.value("petctl_jobs_submitted_total"), 0.0);
    assert_eq!(scraped.value("petctl_starts_total"), 2.0);
    stop(&handle).await;
}
