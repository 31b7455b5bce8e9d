//! The command line.

use crate::crowd::Named;
use crate::fleet::FleetOptions;
use crate::rows;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;

/// What this process is for.
pub(crate) enum Command {
    /// Measures, and prints the table.
    Measure(Options),
    /// Is the do-nothing workers of a measurement.
    AnswerNothing(FleetOptions),
    /// Is simulated workers of a row of `benches/run kube`.
    JoinNamed(Named),
}

/// Settings of a measurement.
pub(crate) struct Options {
    /// The program to measure.
    pub(crate) petctl: PathBuf,
    /// Folder for state and outputs; on a real disk.
    pub(crate) folder: PathBuf,
    /// The commit that is measured, for the table.
    pub(crate) commit: String,
    /// Fewer rounds and shorter ones.
    pub(crate) quick: bool,
    /// Rows to measure; empty: all.
    pub(crate) names: Vec<String>,
}

impl Command {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut arguments = arguments.peekable();
        if arguments.next_if_eq(FleetOptions::FLAG).is_some() {
            return Ok(Self::AnswerNothing(FleetOptions::parse(arguments)?));
        }
        if arguments.next_if_eq(Named::FLAG).is_some() {
            return Ok(Self::JoinNamed(Named::parse(arguments)?));
        }
        let (mut petctl, mut folder, mut commit) = (None, None, None);
        let (mut quick, mut names) = (false, Vec::new());
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .with_context(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                "--petctl" => petctl = Some(PathBuf::from(value()?)),
                "--folder" => folder = Some(PathBuf::from(value()?)),
                "--commit" => commit = Some(value()?),
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
            folder: folder.context("--folder DIR is missing; benches/run passes it")?,
            commit: commit.unwrap_or_else(|| "unknown".to_owned()),
            quick,
            names,
        }))
    }
}

impl Options {
    /// The first where `--quick` was given.
    pub(crate) fn quick_or<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }
}
