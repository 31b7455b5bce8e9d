//! What a scrape of a large coordinator takes, and what it costs the core.

use crate::client::{Bearer, connect};
use crate::coordinator::Coordinator;
use crate::crowd;
use crate::figure::{Rounds, whole};
use crate::jobs;
use crate::options::Options;
use crate::process;
use crate::table::Row;
use crate::torch::free_port;
use anyhow::{Context, Result, bail};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const JOBS: u32 = 1_000;
const WORKERS_EACH: u32 = 10;
const SHARDS_EACH: u64 = 1_000;
/// Streams on one connection: connections are not what is measured.
const ON_ONE: u32 = 200;
const PATIENCE: Duration = Duration::from_secs(300);
/// A page is shown again for this long.
const FRESH: Duration = Duration::from_millis(1_100);
const AIM_MS: f64 = 50.0;

/// Simulated workers that hold leases of jobs, and say no more than that they are there.
pub(crate) async fn metrics(options: &Options) -> Result<Vec<Row>> {
    let workers = JOBS * WORKERS_EACH;
    process::raise_file_limit(4_096)?;
    let port = free_port()?;
    let http = format!("127.0.0.1:{port}");
    let coordinator = Coordinator::start_with(options, &["--http", &http])?;
    let mut client = coordinator.client().await?;
    for index in 0..JOBS {
        let name = format!("job-{index}");
        let job = jobs::job(&name, WORKERS_EACH, 1, &coordinator.output(&name));
        client.submit(&jobs::flat(job, SHARDS_EACH)).await?;
    }
    let _crowd = join(&coordinator, workers).await?;
    let joined = async {
        loop {
            let (_, page) = scrape(port).await?;
            let members = value(&page, "petctl_workers{state=\"member\"}")?;
            if members >= f64::from(workers) {
                return anyhow::Ok(());
            }
            tokio::time::sleep(FRESH).await;
        }
    };
    let joined = tokio::time::timeout(PATIENCE, joined);
    joined.await.context("wait until all are members")??;
    let mut took_ms = Vec::new();
    let mut lines = 0;
    for _ in 0..options.quick_or(5, 20) {
        tokio::time::sleep(FRESH).await;
        let (took, page) = scrape(port).await?;
        let running = value(&page, "petctl_jobs{state=\"running\"}")?;
        let working = value(&page, "petctl_shards{state=\"running\"}")?;
        if running < f64::from(JOBS) || working < f64::from(workers) {
            bail!("WRONG: {running} jobs and {working} shards run");
        }
        took_ms.push(took.as_secs_f64() * 1e3);
        lines = page.lines().filter(|line| !line.starts_with('#')).count();
    }
    let took = Rounds::new(took_ms);
    let milliseconds = |ms: f64| format!("{ms:.1} ms");
    Ok(vec![Row {
        what: format!(
            "/metrics with {} jobs, {} workers",
            whole(f64::from(JOBS)),
            whole(f64::from(workers))
        ),
        aim: milliseconds(AIM_MS),
        measured: milliseconds(took.median()),
        met: Some(took.median() <= AIM_MS),
        beside: format!(
            "{lines} series; all workers at work, with their heartbeats; {}",
            took.spread(milliseconds)
        ),
    }])
}

/// How long a scrape takes, and its page.
async fn scrape(port: u16) -> Result<(Duration, String)> {
    let start = Instant::now();
    let mut stream = TcpStream::connect(("127.0.0.1", port))
        .await
        .context("connect to scrape")?;
    let request = b"GET /metrics HTTP/1.1\r\nHost: petctl\r\n\r\n";
    stream.write_all(request).await.context("scrape")?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await.context("scrape")?;
    let took = start.elapsed();
    if !page.starts_with("HTTP/1.1 200 ") {
        bail!("the scrape was answered {page:?}");
    }
    let (_, page) = page.split_once("\r\n\r\n").context("an answer")?;
    Ok((took, page.to_owned()))
}

fn value(page: &str, series: &str) -> Result<f64> {
    let mut lines = page.lines();
    let found = lines.find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
    found.with_context(|| format!("there is no {series}"))
}

/// All workers; they end with this value.
async fn join(coordinator: &Coordinator, count: u32) -> Result<JoinSet<Result<()>>> {
    let bearer = Bearer::new(&coordinator.token()?)?;
    let gate = crowd::gate();
    let mut workers = JoinSet::new();
    for first in (0..count).step_by(usize::try_from(ON_ONE)?) {
        let channel = connect(coordinator.address(), None).await?;
        for index in first..count.min(first + ON_ONE) {
            let channel = std::future::ready(Ok(channel.clone()));
            let job = format!("job-{}", index / WORKERS_EACH);
            let hello = crowd::hello(format!("worker-{index}"), u128::from(index) + 1, job);
            workers.spawn(crowd::work(
                hello,
                channel,
                bearer.clone(),
                Arc::clone(&gate),
                || {},
            ));
        }
    }
    Ok(workers)
}
