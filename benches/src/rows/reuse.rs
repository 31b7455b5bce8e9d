//! Deciding that nothing has changed.

use super::dispatch::to_f64;
use crate::blobs::{Service, timed};
use crate::figure::{Rounds, whole};
use crate::options::Options;
use crate::table::Row;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const AIM_S: f64 = 5.0;
const CONTAINER_AIM_S: f64 = 15.0;

/// Jobs of which everything is done are run again.
pub(crate) fn reuse(options: &Options) -> Result<Vec<Row>> {
    let mut rows = in_folders(options)?;
    rows.push(in_a_container(options)?);
    Ok(rows)
}

/// Outputs in a container, and a home that knows nothing of them: what stands there decides.
fn in_a_container(options: &Options) -> Result<Row> {
    let shards = options.quick_or(10_000_u32, 100_000);
    let service = Service::start_own(options)?;
    let job = format!(
        "[job]\nname = \"reuse\"\n\n[workers]\nslots = 4\n\n[storage]\noutput = \"az://bench/reuse\"\naccount = {:?}\n\
         endpoint = {:?}\n\n[[stage]]\nname = \"all\"\nkind = \"shards\"\nshards = {{ range = [0, {shards}] }}\n\
         command = [\"true\", \"{{key}}\"]\n",
        service.account(),
        service.endpoint()
    );
    fs::write(service.folder().join("job.toml"), job).context("write the job file")?;
    let first = run(options, service.folder(), "home")?;
    let mut unchanged = Vec::new();
    for round in 0..options.quick_or(1, 3) {
        unchanged.push(run(options, service.folder(), &format!("fresh-{round}"))?);
        check(service.folder(), shards, shards)?;
    }
    let unchanged = Rounds::new(unchanged);
    let show = |seconds: f64| format!("{seconds:.2} s");
    Ok(Row {
        what: format!(
            "{} unchanged shards in a container (in memory), `petctl run` from a home that knows nothing of them",
            whole(to_f64(u64::from(shards)))
        ),
        aim: show(CONTAINER_AIM_S),
        measured: show(unchanged.median()),
        met: (!options.quick).then_some(unchanged.median() <= CONTAINER_AIM_S),
        beside: format!("the first run: {}; {}", show(first), unchanged.spread(show)),
    })
}

/// A job with an input file per shard is run again when all is done, and again with one file changed.
fn in_folders(options: &Options) -> Result<Vec<Row>> {
    let shards = options.quick_or(10_000_u32, 100_000);
    let folder = TempDir::with_prefix_in("reuse-", &options.folder).context("make a folder")?;
    let input = folder.path().join("in");
    for number in 0..shards {
        let below = input.join(format!("{:03}", number / 1_000));
        if number % 1_000 == 0 {
            fs::create_dir_all(&below).context("make a folder")?;
        }
        fs::write(below.join(format!("{number:06}")), number.to_string())
            .context("write an input")?;
    }
    let job = "[job]\nname = \"reuse\"\n\n[workers]\nslots = 4\n\n[storage]\ninput = \"in\"\noutput = \"out\"\n\n\
               [[stage]]\nname = \"all\"\nkind = \"shards\"\nshards = { glob = \"**\" }\ncommand = [\"true\", \"{key}\"]\n";
    fs::write(folder.path().join("job.toml"), job).context("write the job file")?;
    let first = run(options, folder.path(), "home")?;
    let mut unchanged = Vec::new();
    for _ in 0..options.quick_or(2, 5) {
        unchanged.push(run(options, folder.path(), "home")?);
    }
    fs::write(input.join("000/000007"), "changed").context("change an input")?;
    let changed = run(options, folder.path(), "home")?;
    check(folder.path(), shards - 1, shards)?;
    let unchanged = Rounds::new(unchanged);
    let show = |seconds: f64| format!("{seconds:.2} s");
    let met = |seconds: f64| (!options.quick).then_some(seconds <= AIM_S);
    let shown = whole(to_f64(u64::from(shards)));
    Ok(vec![
        Row {
            what: format!("`petctl run` of {shown} unchanged shards, a file each"),
            aim: show(AIM_S),
            measured: show(unchanged.median()),
            met: met(unchanged.median()),
            beside: format!("the first run: {}; {}", show(first), unchanged.spread(show)),
        },
        Row {
            what: format!("the same with one of {shown} changed, which runs"),
            aim: show(AIM_S),
            measured: show(changed),
            met: met(changed),
            beside: "1 round".to_owned(),
        },
    ])
}

/// So many of all were reused by the last run.
fn check(folder: &Path, reused: u32, shards: u32) -> Result<()> {
    let said = fs::read_to_string(folder.join("said")).unwrap_or_default();
    let expected = match reused == shards {
        true => format!("all {shards} shards reused"),
        false => format!("{reused} of {shards} shards reused"),
    };
    if !said.replace(',', "").contains(&expected) {
        bail!("WRONG: {expected:?} is not in {said}");
    }
    Ok(())
}

fn run(options: &Options, folder: &Path, home: &str) -> Result<f64> {
    let mut command = Command::new(&options.petctl);
    command
        .args(["run", "job.toml"])
        .env("PETCTL_HOME", folder.join(home))
        .current_dir(folder)
        .stdin(Stdio::null());
    Ok(timed(&mut command, folder)?.as_secs_f64())
}
