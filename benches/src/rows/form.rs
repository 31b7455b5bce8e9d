//! How long it takes until all workers of a training group are told to start.

use crate::coordinator::Coordinator;
use crate::figure::{Rounds, whole};
use crate::jobs;
use crate::member::Members;
use crate::options::Options;
use crate::process;
use crate::table::Row;
use crate::torch::{self, ABSENT, Torch};
use anyhow::{Context, Result};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(150);

/// The size of a group, and of the pool that it forms in.
struct Shape {
    agents: u32,
    min: u32,
    max: u32,
    aim_s: f64,
    rounds: u32,
}

/// From the first agent's first connection to the last one's order to start.
pub(crate) async fn form(options: &Options) -> Result<Vec<Row>> {
    let shape = |agents: u32, aim_s: f64, rounds: u32| Shape {
        agents,
        min: agents,
        max: agents,
        aim_s,
        rounds,
    };
    let mut rows = Vec::new();
    for shape in [
        shape(64, 0.05, options.quick_or(5, 15)),
        shape(1_000, 0.5, options.quick_or(1, 5)),
        shape(10_000, 5.0, options.quick_or(1, 3)),
        Shape {
            min: 2,
            max: 8,
            ..shape(4, 0.3, options.quick_or(5, 15))
        },
    ] {
        rows.push(row(options, &shape).await?);
    }
    Ok(rows)
}

async fn row(options: &Options, shape: &Shape) -> Result<Row> {
    let Shape {
        agents,
        min,
        max,
        aim_s,
        rounds,
    } = *shape;
    process::raise_file_limit(u64::from(agents) + 1_000)?;
    let mut found = Vec::new();
    for _ in 0..rounds {
        found.push(round(options, shape).await?);
    }
    let median =
        |of: fn(&Round) -> f64| Rounds::new(found.iter().map(of).collect::<Vec<_>>()).median();
    let totals = Rounds::new(found.iter().map(|round| round.total_s).collect());
    let what = if max > agents {
        format!("a group of {agents} of {min}..{max}: all started to all assigned")
    } else {
        format!(
            "a group of {}: all started to all assigned",
            whole(f64::from(agents))
        )
    };
    Ok(Row {
        what,
        aim: seconds(aim_s),
        measured: seconds(totals.median()),
        met: Some(totals.median() <= aim_s),
        beside: format!(
            "{}; all welcomed after {}, from the epoch's record on {}; CPU: coordinator {}, all agents {}; {}",
            torchrun(options, shape)?,
            seconds(median(|round| round.joined_s)),
            seconds(median(|round| round.after_epoch_s)),
            seconds(median(|round| round.coordinator_cpu_s)),
            seconds(median(|round| round.agents_cpu_s)),
            totals.spread(seconds)
        ),
    })
}

/// What one round came to.
struct Round {
    /// To the last order to start.
    total_s: f64,
    /// To the last welcome.
    joined_s: f64,
    /// Of them, after the epoch was decided.
    after_epoch_s: f64,
    coordinator_cpu_s: f64,
    agents_cpu_s: f64,
}

async fn round(options: &Options, shape: &Shape) -> Result<Round> {
    let coordinator = Coordinator::start(options)?;
    let mut client = coordinator.client().await?;
    let mut job = jobs::job("form", shape.agents, 1, &coordinator.output("form"));
    job.workers.min = shape.min;
    job.workers.max = shape.max;
    client.submit(&jobs::train(job, 1, &["true"])).await?;
    let spent = || -> Result<(f64, f64)> {
        let coordinator = process::cpu_time(coordinator.pid())?;
        let own = process::cpu_time(std::process::id())?;
        Ok((coordinator.as_secs_f64(), own.as_secs_f64()))
    };
    let before = spent()?;
    let start = Instant::now();
    let mut members = Members::start(&coordinator, shape.agents, "form")?;
    let (end, _) = members
        .all_started(shape.agents, PATIENCE)
        .await
        .with_context(|| coordinator.diagnostics())?;
    let after = spent()?;
    let total_s = end.duration_since(start).as_secs_f64();
    let joined_s = members.welcomed().duration_since(start).as_secs_f64();
    let formed = client.times_ms("form", "epoch_formed").await?;
    let after_epoch_s = formed
        .last()
        .map_or(f64::NAN, |at_ms| now_ms() - whole_ms(*at_ms))
        / 1e3
        - end.elapsed().as_secs_f64();
    Ok(Round {
        total_s,
        joined_s,
        after_epoch_s: after_epoch_s.max(0.0),
        coordinator_cpu_s: after.0 - before.0,
        agents_cpu_s: after.1 - before.1,
    })
}

fn now_ms() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64() * 1e3
}

/// Exact: the year 287,000 is far.
fn whole_ms(at_ms: u64) -> f64 {
    at_ms as f64
}

fn torchrun(options: &Options, shape: &Shape) -> Result<String> {
    // It was seen not to form one of 128 within 150 s.
    if shape.agents > 100 {
        return Ok("torchrun: 128 not within 150 s (measured before)".to_owned());
    }
    let Some(torch) = Torch::find() else {
        return Ok(ABSENT.to_owned());
    };
    let folder = TempDir::with_prefix_in("torch-", &options.folder).context("make a folder")?;
    Ok(torch::said(torch.form(
        folder.path(),
        shape.agents,
        (shape.min, shape.max),
        PATIENCE,
    )))
}

/// `0.042 s`, `3.1 s`
pub(crate) fn seconds(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{seconds:.3} s")
    } else {
        format!("{seconds:.1} s")
    }
}
