//! The command line.

use crate::rows;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;

/// What this process is for.
pub(crate) enum Command {
    /// Says what the rows mean.
    Help,
    /// Measures, and prints the table.
    Measure(Options),
}

/// Settings of a measurement.
pub(crate) struct Options {
    /// The program to measure.
    pub(crate) petctl: PathBuf,
    /// The release before it.
    pub(crate) before: Option<PathBuf>,
    /// Folder for what is measured of this machine; on a real disk.
    pub(crate) folder: PathBuf,
    /// The commit that is measured, for the table.
    pub(crate) commit: String,
    /// Of each row.
    pub(crate) rounds: usize,
    /// What is scaled to.
    pub(crate) workers: usize,
    /// Of the job that idles.
    pub(crate) idle: usize,
    /// The program with simulated workers.
    pub(crate) crowd: Option<PathBuf>,
    /// Simulated nodes, pods on them, and jobs that idle.
    pub(crate) nodes: usize,
    pub(crate) pods: usize,
    pub(crate) jobs: usize,
    /// Rows to measure; empty: all but those that are to be named.
    pub(crate) names: Vec<String>,
}

impl Command {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let (mut petctl, mut before, mut folder, mut commit) = (None, None, None, None);
        let (mut quick, mut rounds, mut names) = (false, None, Vec::new());
        let (mut workers, mut idle) = (64, 20);
        let (mut crowd, mut nodes, mut pods, mut jobs) = (None, 500, 2_000, 100);
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let value = arguments.next();
                value.with_context(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                "-h" | "--help" => return Ok(Self::Help),
                "--petctl" => petctl = Some(PathBuf::from(value()?)),
                "--before" => before = Some(PathBuf::from(value()?)),
                "--folder" => folder = Some(PathBuf::from(value()?)),
                "--commit" => commit = Some(value()?),
                "--rounds" => rounds = Some(number(&argument, &value()?, 1)?),
                "--workers" => workers = number(&argument, &value()?, 5)?,
                "--idle-workers" => idle = number(&argument, &value()?, 1)?,
                "--crowd" => crowd = Some(PathBuf::from(value()?)),
                "--nodes" => nodes = number(&argument, &value()?, 1)?,
                "--pods" => pods = number(&argument, &value()?, 1)?,
                "--jobs" => jobs = number(&argument, &value()?, 1)?,
                "--quick" => quick = true,
                name if rows::is_name(name) => names.push(name.to_owned()),
                other => bail!(
                    "there is no row or option {other:?}; rows are {}",
                    rows::names().join(", ")
                ),
            }
        }
        Ok(Self::Measure(Options {
            petctl: petctl.context("--petctl PROGRAM is missing; benches/run passes it")?,
            before,
            folder: folder.context("--folder DIR is missing; benches/run passes it")?,
            commit: commit.unwrap_or_else(|| "unknown".to_owned()),
            rounds: rounds.unwrap_or(if quick { 1 } else { 3 }),
            workers,
            idle,
            crowd,
            nodes,
            pods,
            jobs,
            names,
        }))
    }
}

fn number(option: &str, value: &str, least: usize) -> Result<usize> {
    let number = value.parse().ok().filter(|number| *number >= least);
    number.with_context(|| format!("{option} wants a number of at least {least}, not {value:?}"))
}
