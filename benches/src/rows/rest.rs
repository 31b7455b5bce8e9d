//! What an agent costs while its ranks work.

use crate::agents::{self, Agent, Script};
use crate::coordinator::Coordinator;
use crate::options::Options;
use crate::process;
use crate::table::Row;
use crate::torch::{ABSENT, Torch};
use anyhow::{Context, Result};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const RANKS: u32 = 8;
const PATIENCE: Duration = Duration::from_secs(60);
/// From the start of the ranks until the agent has come to rest.
const SETTLE: Duration = Duration::from_secs(2);
const WATCH: Duration = Duration::from_secs(10);
const AIM_BYTES: f64 = 20e6;
const AIM_CORE: f64 = 0.001;

struct Cost {
    bytes: f64,
    core: f64,
}

/// Memory and CPU of an agent with eight ranks that sleep.
pub(crate) async fn rest(options: &Options) -> Result<Vec<Row>> {
    let own = petctl(options).await?;
    let (bytes, core) = match Torch::find() {
        None => (ABSENT.to_owned(), ABSENT.to_owned()),
        Some(torch) => {
            let cost = torchrun(options, &torch)?;
            (
                format!("torchrun: {}", megabytes(cost.bytes)),
                format!("torchrun: {}", percent(cost.core)),
            )
        }
    };
    let what = format!("an agent at rest, {RANKS} ranks");
    Ok(vec![
        Row {
            what: format!("{what}: memory"),
            aim: "20 MB".to_owned(),
            measured: megabytes(own.bytes),
            met: Some(own.bytes <= AIM_BYTES),
            beside: format!("{bytes}; resident, of the agent's process alone"),
        },
        Row {
            what: format!("{what}: CPU"),
            aim: "0.1 % of a core".to_owned(),
            measured: percent(own.core),
            met: Some(own.core <= AIM_CORE),
            beside: format!(
                "{core}; over {} s, counted in hundredths of a second",
                WATCH.as_secs()
            ),
        },
    ])
}

fn megabytes(bytes: f64) -> String {
    format!("{:.1} MB", bytes / 1e6)
}

fn percent(core: f64) -> String {
    format!("{:.2} %", core * 100.0)
}

async fn petctl(options: &Options) -> Result<Cost> {
    let coordinator = Coordinator::start(options)?;
    let folder = TempDir::with_prefix_in("rest-", &options.folder).context("make a folder")?;
    let script = Script::write(folder.path())?;
    let mut client = coordinator.client().await?;
    client
        .submit(&agents::job(&coordinator, &script, (1, 1), RANKS))
        .await?;
    let worker = Agent::start(options, &coordinator, folder.path(), "worker")?;
    script.started(0, usize::try_from(RANKS)?, PATIENCE)?;
    watch(worker.pid())
}

fn torchrun(options: &Options, torch: &Torch) -> Result<Cost> {
    let folder = TempDir::with_prefix_in("rest-", &options.folder).context("make a folder")?;
    let script = Script::write(folder.path())?;
    let ranks = RANKS.to_string();
    let mut arguments = ["--standalone", "--nproc-per-node", &ranks, "--no-python"]
        .map(str::to_owned)
        .to_vec();
    arguments.extend(script.command(true));
    let agent = torch.agent(folder.path(), &arguments)?;
    crate::torch::wait_until(PATIENCE, || {
        (script.notes().len() == usize::try_from(RANKS).ok()?).then_some(())
    })
    .context("wait for torchrun's ranks")?;
    watch(agent.pid())
}

fn watch(pid: u32) -> Result<Cost> {
    std::thread::sleep(SETTLE);
    let (start, before) = (Instant::now(), process::cpu_time(pid)?);
    std::thread::sleep(WATCH);
    let spent = process::cpu_time(pid)?.saturating_sub(before);
    Ok(Cost {
        bytes: process::resident_bytes(pid)?,
        core: spent.as_secs_f64() / start.elapsed().as_secs_f64(),
    })
}
