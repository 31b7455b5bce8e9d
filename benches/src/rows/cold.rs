//! What the smallest job costs from nothing.

use super::spawn::{self, Job};
use crate::figure::Rounds;
use crate::options::Options;
use crate::table::Row;
use anyhow::{Context, Result};
use std::process::{Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;

const AIM_MS: f64 = 150.0;

/// `petctl run` of one shard, each time with a home and an output folder that were not there.
pub(crate) fn cold(options: &Options) -> Result<Vec<Row>> {
    let (mut rounds, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..options.quick_or(10, 20) {
        let folder = TempDir::with_prefix_in("cold-", &options.folder).context("make a folder")?;
        let job = Job {
            shards: 1,
            workers: 1,
            slots: 1,
        };
        rounds.push(spawn::petctl_run(options, folder.path(), &job)?.as_secs_f64() * 1e3);
        floor.push(version_ms(options)?);
    }
    let (rounds, floor) = (Rounds::new(rounds), Rounds::new(floor));
    Ok(vec![Row {
        what: "`petctl run` of one shard `true`, cold, to exit".to_owned(),
        aim: "150 ms".to_owned(),
        measured: format!("{:.0} ms", rounds.median()),
        met: Some(rounds.median() <= AIM_MS),
        beside: format!(
            "`petctl --version` {:.1} ms; {}",
            floor.median(),
            rounds.spread(|ms| format!("{ms:.0}"))
        ),
    }])
}

/// What starting the program costs.
fn version_ms(options: &Options) -> Result<f64> {
    let start = Instant::now();
    let status = Command::new(&options.petctl)
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    status.context("run petctl --version")?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}
