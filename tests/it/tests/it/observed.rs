//! A coordinator's probes and metrics, as an operator has them.

use petctl_test_it::{Coordinator, Job, Stage, World, wait_for, wait_until};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

/// What is answered at a path: the status and the body. None where nobody listens.
fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let patience = Some(Duration::from_secs(30));
    stream.set_read_timeout(patience).expect("it is a socket");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: petctl\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// Samples by series.
fn samples(page: &str) -> BTreeMap<&str, f64> {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.filter_map(|line| line.rsplit_once(' '));
    samples
        .map(|(series, value)| (series, value.parse().expect("a number")))
        .collect()
}

/// Scrapes until it is as it should be, and the page then.
fn scrape_until(port: u16, what: &str, holds: impl Fn(&BTreeMap<&str, f64>) -> bool) -> String {
    wait_for(what, || {
        let (_, page) = get(port, "/metrics").filter(|(status, _)| *status == 200)?;
        holds(&samples(&page)).then_some(page)
    })
}

/// Names and types of the tables of docs/metrics.md, without those that only a keeper of pods has.
fn documented() -> BTreeSet<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let text = std::fs::read_to_string(path).expect("it is documented");
    let (own, _) = text
        .split_once("Only where it keeps the pods")
        .expect("the keeper has a table of its own");
    let rows = own.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `petctl_")?.split('|');
        let name = format!("petctl_{}", cells.next()?.trim().trim_end_matches('`'));
        Some((name, cells.next()?.trim().to_owned()))
    });
    rows.collect()
}

#[test]
fn a_coordinator_answers_probes_and_its_metrics_are_the_documented_ones_and_tell_no_secret() {
    let world = World::new();
    let mut coordinator = Coordinator::start_observed(&world);
    let port = coordinator.http_port().expect("it was asked for");
    assert_eq!(get(port, "/healthz"), Some((200, "ok\n".to_owned())));
    wait_until("a coordinator that is ready", || {
        get(port, "/readyz") == Some((200, "ok\n".to_owned()))
    });
    let file = Job::new("nobody-must-know")
        .workers(1, 2, 1)
        .stage(Stage::gated(4))
        .write(&world);
    let worker = coordinator.worker("hidden-name", 1);
    let run = coordinator.run(&file).spawn();
    wait_until("a shard that runs", || world.starts().len() == 1);
    let page = scrape_until(port, "a worker at work", |samples| {
        samples["petctl_workers{state=\"member\"}"] == 1.0
            && samples["petctl_shards{state=\"running\"}"] == 1.0
    });
    let types: BTreeSet<(String, String)> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect();
    assert_eq!(types, documented(), "left: scraped; right: docs/metrics.md");
    let folder = world.path("").display().to_string();
    let secrets = [
        "nobody-must-know",
        "hidden-name",
        &coordinator.token(),
        folder.trim_end_matches('/'),
    ];
    for secret in secrets {
        assert!(!page.contains(secret), "{secret} is told:\n{page}");
    }
    assert!(page.lines().count() < 200, "{} lines", page.lines().count());

    // What happened to it is known to the next one; the port is its own again.
    coordinator.kill();
    assert_eq!(get(port, "/healthz"), None);
    coordinator.start_again();
    wait_until("a coordinator that is ready again", || {
        get(port, "/readyz") == Some((200, "ok\n".to_owned()))
    });
    scrape_until(port, "the worker again", |samples| {
        samples["petctl_workers{state=\"member\"}"] == 1.0
            && samples["petctl_jobs{state=\"running\"}"] == 1.0
            && samples["petctl_starts_total"] == 2.0
    });
    world.open_gate("all");
    run.wait().exits(0);
    scrape_until(port, "the job's end", |samples| {
        samples["petctl_jobs{state=\"succeeded\"}"] == 1.0
            && samples["petctl_attempts_total{outcome=\"committed\"}"] == 4.0
            && samples["petctl_jobs_ended_total{state=\"succeeded\"}"] == 1.0
    });
    worker.terminate();
    coordinator.terminate();
    world.finish();
}

#[test]
fn a_port_for_probes_that_is_taken_or_that_of_the_calls_is_refused_by_name() {
    let world = World::new();
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = other.local_addr().expect("it has a number").to_string();
    let refused = world
        .petctl()
        .args(["rendezvous", "--listen", "127.0.0.1:0", "--http", &taken])
        .run();
    refused
        .fails_with(78, "PORT_IN_USE")
        .says(&taken)
        .says("another port with --http");
    let refused = world
        .petctl()
        .args(["rendezvous", "--listen", &taken, "--http", &taken])
        .run();
    refused.fails_with(2, "USAGE").says("a port of its own");
    world.finish();
}
