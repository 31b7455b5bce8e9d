//! How long it takes from a command line to running scripts.

use super::form::seconds;
use crate::agents::Script;
use crate::figure::Rounds;
use crate::options::Options;
use crate::table::Row;
use crate::torch::{self, ABSENT, Torch, free_port, wait_until};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
const AGENTS: usize = 4;
const AIM_S: f64 = 0.3;

/// Four agents that find one another, and `petctl run` with four workers; the script notes its start and ends.
pub(crate) fn launch(options: &Options) -> Result<Vec<Row>> {
    let (mut agents, mut runs) = (Vec::new(), Vec::new());
    for _ in 0..options.quick_or(5, 15) {
        agents.push(petctl_torchrun(options)?);
        runs.push(petctl_run(options)?);
    }
    let (agents, runs) = (Rounds::new(agents), Rounds::new(runs));
    let torchrun = match Torch::find() {
        None => ABSENT.to_owned(),
        Some(torch) => torch::said(torchrun(options, &torch)),
    };
    Ok(vec![
        Row {
            what: "launch of 4 agents (`petctl torchrun`) to all scripts started".to_owned(),
            aim: seconds(AIM_S),
            measured: seconds(agents.median()),
            met: Some(agents.median() <= AIM_S),
            beside: format!("{torchrun}; {}", agents.spread(seconds)),
        },
        Row {
            what: "launch of `petctl run`, 4 workers, to all scripts started".to_owned(),
            aim: seconds(AIM_S),
            measured: seconds(runs.median()),
            met: Some(runs.median() <= AIM_S),
            beside: format!("from a home that was not there; {}", runs.spread(seconds)),
        },
    ])
}

/// torchrun's arguments for one agent of four.
fn arguments(script: &Script) -> Result<Vec<String>> {
    let mut arguments = [
        "--nnodes",
        "4",
        "--nproc-per-node",
        "1",
        "--rdzv-backend",
        "c10d",
        "--rdzv-id",
        "bench",
        "--rdzv-endpoint",
        &format!("127.0.0.1:{}", free_port()?),
        "--no-python",
    ]
    .map(str::to_owned)
    .to_vec();
    arguments.extend(script.command(false));
    Ok(arguments)
}

fn petctl_torchrun(options: &Options) -> Result<f64> {
    let folder = TempDir::with_prefix_in("launch-", &options.folder).context("make a folder")?;
    let script = Script::write(folder.path())?;
    let arguments = arguments(&script)?;
    let start = Instant::now();
    let mut agents = Vec::new();
    for _ in 0..AGENTS {
        let mut command = Command::new(&options.petctl);
        command.arg("torchrun").args(&arguments);
        agents.push(spawn(command, folder.path())?);
    }
    noted(&script, folder.path())?;
    let took = start.elapsed().as_secs_f64();
    for mut agent in agents {
        ended_well(&mut agent, folder.path())?;
    }
    Ok(took)
}

fn petctl_run(options: &Options) -> Result<f64> {
    let folder = TempDir::with_prefix_in("launch-", &options.folder).context("make a folder")?;
    let script = Script::write(folder.path())?;
    let file = folder.path().join("job.toml");
    let text = format!(
        "[job]\nname = \"launch\"\n\n[workers]\nmin = {AGENTS}\nmax = {AGENTS}\n\n[storage]\noutput = {:?}\n\n\
         [[stage]]\nname = \"fit\"\nkind = \"train\"\ncommand = {:?}\n",
        folder.path().join("output").display().to_string(),
        script.command(false)
    );
    fs::write(&file, text).context("write the job file")?;
    let start = Instant::now();
    let mut command = Command::new(&options.petctl);
    command.arg("run").arg(&file);
    let mut run = spawn(command, folder.path())?;
    noted(&script, folder.path())?;
    let took = start.elapsed().as_secs_f64();
    ended_well(&mut run, folder.path())?;
    Ok(took)
}

fn spawn(mut command: Command, folder: &Path) -> Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("stderr"))
        .context("make a log file")?;
    command
        .current_dir(folder)
        .env("PETCTL_HOME", folder.join("home"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .context("start petctl")
}

fn noted(script: &Script, folder: &Path) -> Result<()> {
    wait_until(PATIENCE, || (script.notes().len() == AGENTS).then_some(())).with_context(|| {
        let said = fs::read_to_string(folder.join("stderr")).unwrap_or_default();
        format!("wait for {AGENTS} scripts; {said}")
    })
}

fn ended_well(child: &mut Child, folder: &Path) -> Result<()> {
    let status = child.wait().context("wait for petctl")?;
    if !status.success() {
        bail!(
            "WRONG: petctl ended with {status}: {}",
            fs::read_to_string(folder.join("stderr")).unwrap_or_default()
        );
    }
    Ok(())
}

fn torchrun(options: &Options, torch: &Torch) -> Result<f64> {
    let folder = TempDir::with_prefix_in("launch-", &options.folder).context("make a folder")?;
    let script = Script::write(folder.path())?;
    let arguments = arguments(&script)?;
    let start = Instant::now();
    let mut agents = Vec::new();
    for _ in 0..AGENTS {
        agents.push(torch.agent(folder.path(), &arguments)?);
    }
    noted(&script, folder.path())?;
    let took = start.elapsed().as_secs_f64();
    for agent in &mut agents {
        agent.wait()?;
    }
    Ok(took)
}
