//! How fast shards are handed out and taken back when they cost nothing.

use super::spawn::{Job, rate_afar};
use crate::coordinator::Coordinator;
use crate::figure::{Rounds, megabytes, per_s, whole};
use crate::fleet::Fleet;
use crate::jobs;
use crate::options::Options;
use crate::process;
use crate::table::Row;
use anyhow::Result;

const SHARDS: u64 = 200_000;
const MILLION: u64 = 1_000_000;

/// What one round came to.
struct Round {
    per_s: f64,
    peak_bytes: f64,
    /// CPU time of the coordinator and of all workers, in microseconds per shard.
    coordinator_us: f64,
    workers_us: f64,
}

/// Many workers with many slots.
pub(crate) async fn dispatch(options: &Options) -> Result<Vec<Row>> {
    flat(options, 8, 256, 100_000.0).await
}

/// One worker with two slots: every shard waits for the one before it, unless leases come in advance.
pub(crate) async fn two_slots(options: &Options) -> Result<Vec<Row>> {
    flat(options, 1, 2, 20_000.0).await
}

async fn flat(options: &Options, workers: u32, slots: u32, aim: f64) -> Result<Vec<Row>> {
    let mut rounds = Vec::new();
    for _ in 0..options.quick_or(1, 5) {
        rounds.push(round(options, &[], workers, slots, SHARDS).await?);
    }
    let rates = Rounds::new(rounds.iter().map(|round| round.per_s).collect());
    let coordinator_us =
        Rounds::new(rounds.iter().map(|round| round.coordinator_us).collect()).median();
    let workers_us = Rounds::new(rounds.iter().map(|round| round.workers_us).collect()).median();
    Ok(vec![Row {
        what: format!(
            "do-nothing shards, {workers} x {slots} slots, {}",
            whole(to_f64(SHARDS))
        ),
        aim: per_s(aim),
        measured: per_s(rates.median()),
        met: Some(rates.median() >= aim),
        beside: format!(
            "{}; CPU per shard: coordinator {coordinator_us:.1} us, workers {workers_us:.1} us",
            rates.spread(whole)
        ),
    }])
}

/// Five times as many, in turn with as many as above.
pub(crate) async fn million(options: &Options) -> Result<Vec<Row>> {
    let (mut few, mut many, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.quick_or(1, 3) {
        few.push(round(options, &[], 8, 256, SHARDS).await?.per_s);
        let round = round(options, &[], 8, 256, MILLION).await?;
        many.push(round.per_s);
        peaks.push(round.peak_bytes);
    }
    let ratio = Rounds::ratios(&many, &few).median();
    let (few, many, peak) = (
        Rounds::new(few),
        Rounds::new(many),
        Rounds::new(peaks).median(),
    );
    let what = "1,000,000 do-nothing shards, 8 x 256 slots";
    Ok(vec![
        Row {
            what: format!("{what}: rate"),
            aim: "within 20 % of 200,000 shards".to_owned(),
            measured: format!("{}, {ratio:.2} of it", per_s(many.median())),
            met: Some(ratio >= 0.8),
            beside: format!(
                "200,000 in the same run: {}; {}",
                per_s(few.median()),
                many.spread(whole)
            ),
        },
        Row {
            what: format!("{what}: coordinator's memory"),
            aim: "400 MB".to_owned(),
            measured: megabytes(peak),
            met: Some(peak <= 400e6),
            beside: "the most it ever held (VmHWM)".to_owned(),
        },
    ])
}

/// With TLS and without, in turn.
pub(crate) async fn tls(options: &Options) -> Result<Vec<Row>> {
    let (mut plain, mut secured) = (Vec::new(), Vec::new());
    for _ in 0..options.quick_or(1, 5) {
        plain.push(round(options, &[], 8, 256, SHARDS).await?.per_s);
        secured.push(round(options, &["--tls"], 8, 256, SHARDS).await?.per_s);
    }
    let nothing = tls_row("do-nothing shards, 8 x 256 slots, with TLS", plain, secured);
    let job = Job {
        shards: options.quick_or(1_000, 4_000),
        workers: 1,
        slots: 2,
    };
    let (mut plain, mut secured) = (Vec::new(), Vec::new());
    for _ in 0..options.quick_or(1, 5) {
        plain.push(rate_afar(options, &[], &job)?);
        secured.push(rate_afar(options, &["--tls"], &job)?);
    }
    let spawned = tls_row(
        "shards that spawn `true`, 2 slots, with TLS",
        plain,
        secured,
    );
    Ok(vec![nothing, spawned])
}

fn tls_row(what: &str, plain: Vec<f64>, secured: Vec<f64>) -> Row {
    let ratio = Rounds::ratios(&secured, &plain).median();
    let (plain, secured) = (Rounds::new(plain), Rounds::new(secured));
    Row {
        what: what.to_owned(),
        aim: "within 10 % of plain text".to_owned(),
        measured: format!("{}, {ratio:.2} of it", per_s(secured.median())),
        met: Some(ratio >= 0.9),
        beside: format!(
            "plain text in the same run: {}; {}",
            per_s(plain.median()),
            secured.spread(whole)
        ),
    }
}

async fn round(
    options: &Options,
    flags: &[&str],
    workers: u32,
    slots: u32,
    shards: u64,
) -> Result<Round> {
    let coordinator = Coordinator::start_with(options, flags)?;
    let mut client = coordinator.client().await?;
    let fleet = Fleet::join(&coordinator, &mut client, workers, slots).await?;
    let before = (
        process::cpu_time(coordinator.pid())?,
        process::cpu_time(fleet.pid())?,
    );
    let took = client
        .run(&jobs::flat(fleet.job("flat", &coordinator), shards), shards)
        .await?;
    let after = (
        process::cpu_time(coordinator.pid())?,
        process::cpu_time(fleet.pid())?,
    );
    let each_us = |spent: std::time::Duration| spent.as_secs_f64() * 1e6 / to_f64(shards);
    Ok(Round {
        per_s: to_f64(shards) / took.as_secs_f64(),
        peak_bytes: process::peak_resident_bytes(coordinator.pid())?,
        coordinator_us: each_us(after.0.saturating_sub(before.0)),
        workers_us: each_us(after.1.saturating_sub(before.1)),
    })
}

/// Exact: no job has 2^53 shards.
pub(crate) fn to_f64(shards: u64) -> f64 {
    shards as f64
}
