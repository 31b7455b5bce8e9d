//! How long it takes from the loss of a worker to new processes on the others.

use super::form::seconds;
use crate::agents::{self, Agent, Script};
use crate::coordinator::Coordinator;
use crate::figure::Rounds;
use crate::member::Members;
use crate::options::Options;
use crate::table::Row;
use crate::torch::{self, ABSENT, Torch, free_port, wait_until};
use anyhow::{Context, Result, bail};
use std::fs;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
/// torchrun's survivors were seen to take 45 to 85 s, and now and then to hang.
const TORCH_PATIENCE: Duration = Duration::from_secs(150);
const WORKERS: u32 = 4;
const AIM_KILLED_S: f64 = 1.0;
const AIM_CUT_S: f64 = 7.0;

/// kill -9 of one of four, and one that falls silent.
pub(crate) async fn recover(options: &Options) -> Result<Vec<Row>> {
    let mut killed = Vec::new();
    for round in 0..options.quick_or(4, 12) {
        killed.push(kill_one(options, round % WORKERS).await?);
    }
    let mut cut = Vec::new();
    for _ in 0..options.quick_or(1, 5) {
        cut.push(cut_one(options).await?);
    }
    let (killed, cut) = (Rounds::new(killed), Rounds::new(cut));
    let torchrun = match Torch::find() {
        None => ABSENT.to_owned(),
        Some(torch) => torch::said(torchrun(options, &torch)),
    };
    Ok(vec![
        Row {
            what: "kill -9 of one of 4 workers to new processes on the others".to_owned(),
            aim: seconds(AIM_KILLED_S),
            measured: seconds(killed.median()),
            met: Some(killed.median() <= AIM_KILLED_S),
            beside: format!("{torchrun}; {}", killed.spread(seconds)),
        },
        Row {
            what: "a cut cable to the same, heartbeat timeout 5 s".to_owned(),
            aim: seconds(AIM_CUT_S),
            measured: seconds(cut.median()),
            met: Some(cut.median() <= AIM_CUT_S),
            beside: format!(
                "one of 4 says nothing more and keeps its stream; {}",
                cut.spread(seconds)
            ),
        },
    ])
}

async fn kill_one(options: &Options, victim: u32) -> Result<f64> {
    let coordinator = Coordinator::start(options)?;
    let folder = TempDir::with_prefix_in("recover-", &options.folder).context("make a folder")?;
    let script = Script::write(folder.path())?;
    let mut client = coordinator.client().await?;
    client
        .submit(&agents::job(&coordinator, &script, (1, WORKERS), 1))
        .await?;
    let mut workers = Vec::new();
    for index in 0..WORKERS {
        let name = format!("worker-{index}");
        workers.push(Agent::start(options, &coordinator, folder.path(), &name)?);
    }
    let all = usize::try_from(WORKERS)?;
    let first = script.started(0, all, PATIENCE)?;
    let epoch = first.iter().map(|note| note.epoch).max().unwrap_or(0);
    let victim = workers
        .get_mut(usize::try_from(victim)?)
        .context("there are four")?;
    let start = Instant::now();
    victim.kill();
    let second = script.started(epoch, all - 1, PATIENCE)?;
    let took = start.elapsed().as_secs_f64();
    if second.iter().any(|note| note.world_size != WORKERS - 1) {
        bail!("WRONG: not a group of three: {second:?}");
    }
    Ok(took)
}

async fn cut_one(options: &Options) -> Result<f64> {
    let coordinator = Coordinator::start(options)?;
    let folder = TempDir::with_prefix_in("recover-", &options.folder).context("make a folder")?;
    let script = Script::write(folder.path())?;
    let mut client = coordinator.client().await?;
    let spec = agents::job(&coordinator, &script, (1, WORKERS), 1);
    client.submit(&spec).await?;
    let mut workers = Vec::new();
    for index in 1..WORKERS {
        let name = format!("worker-{index}");
        workers.push(Agent::start(options, &coordinator, folder.path(), &name)?);
    }
    let mut silent = Members::start(&coordinator, 1, &spec.name)?;
    let epoch = silent.first_started(PATIENCE).await?.epoch;
    let survivors = workers.len();
    script.started(epoch - 1, survivors, PATIENCE)?;
    let start = Instant::now();
    silent.fall_silent();
    // Its stream has to stay while this is waited for.
    let second = tokio::task::block_in_place(|| script.started(epoch, survivors, PATIENCE))?;
    let took = start.elapsed().as_secs_f64();
    if second.iter().any(|note| note.world_size != WORKERS - 1) {
        bail!("WRONG: not a group of three: {second:?}");
    }
    Ok(took)
}

/// Four agents on this machine, of which the last is killed with its rank, while all add numbers by gloo.
fn torchrun(options: &Options, torch: &Torch) -> Result<f64> {
    let folder = TempDir::with_prefix_in("torch-", &options.folder).context("make a folder")?;
    let script = Torch::collective(folder.path())?;
    let notes = folder.path().join("notes");
    let arguments: Vec<String> = [
        "--nnodes",
        "1:4",
        "--nproc-per-node",
        "1",
        "--max-restarts",
        "3",
        "--rdzv-backend",
        "c10d",
        "--rdzv-id",
        "bench",
        "--rdzv-endpoint",
        &format!("127.0.0.1:{}", free_port()?),
        &script.display().to_string(),
        &notes.display().to_string(),
    ]
    .map(str::to_owned)
    .to_vec();
    let mut agents = Vec::new();
    for _ in 0..WORKERS {
        agents.push(torch.agent(folder.path(), &arguments)?);
    }
    let all = usize::try_from(WORKERS)?;
    let lines = |path: &std::path::Path, world: usize| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let world = world.to_string();
        text.lines()
            .filter(|line| line.split(' ').nth(1) == Some(&world))
            .count()
    };
    let met = folder.path().join("notes.met");
    wait_until(TORCH_PATIENCE, || (lines(&met, all) >= all).then_some(()))
        .context("wait for torchrun's group of 4")?;
    let last = agents.last_mut().context("there are four")?;
    let start = Instant::now();
    last.kill();
    wait_until(TORCH_PATIENCE, || {
        (lines(&notes, all - 1) >= all - 1).then_some(())
    })
    .context("wait for torchrun's group of 3")?;
    Ok(start.elapsed().as_secs_f64())
}
