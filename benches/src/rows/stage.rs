//! Shards whose inputs come from a container and whose outputs go there, against the same script on local files.

use super::dispatch::to_f64;
use super::spawn::is_gnu_parallel;
use crate::blobs::{Service, timed, write_noise};
use crate::figure::{Rounds, whole};
use crate::options::Options;
use crate::table::Row;
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const SLOTS: u32 = 2;
const COMPUTE_S: f64 = 0.05;
/// Sleeps as long as it would compute, so that both sides have the cores for moving data.
const SCRIPT: &str = "#!/bin/sh\nsleep 0.05\nmkdir -p \"$2\"\ncp \"$1\" \"$2/out\"\n";

/// 50 ms of each shard, 1 MiB in and out.
pub(crate) fn stage(options: &Options) -> Result<Vec<Row>> {
    let shards = options.quick_or(200_u64, 2_000);
    let service = Service::start(options)?;
    let folder = service.folder().to_owned();
    let (script, input) = (folder.join("work.sh"), folder.join("in"));
    fs::create_dir_all(&input).context("make a folder")?;
    fs::write(&script, SCRIPT).context("write the script")?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))
        .context("make it executable")?;
    for number in 0..shards {
        write_noise(&input.join(format!("{number:04}")), 1024 * 1024, number)?;
    }
    service.petctl(options, &["upload", "in", "az://bench/in"])?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..options.quick_or(1, 3) {
        ours.push(petctl_run(options, &service, round, shards)?);
        if is_gnu_parallel() {
            theirs.push(parallel(&folder, round)?);
        }
    }
    let floor = to_f64(shards) * COMPUTE_S / f64::from(SLOTS);
    let ours = Rounds::new(ours);
    let show = |seconds: f64| format!("{seconds:.1} s");
    let beside = if theirs.is_empty() {
        "GNU parallel: not installed".to_owned()
    } else {
        format!(
            "GNU parallel, no staging: {}",
            show(Rounds::new(theirs).median())
        )
    };
    Ok(vec![Row {
        what: format!(
            "{} shards of 50 ms, 1 MiB in and out of a container, {SLOTS} slots",
            whole(to_f64(shards))
        ),
        aim: "10 % above the compute floor".to_owned(),
        measured: format!(
            "{}, {:.2} of the floor",
            show(ours.median()),
            ours.median() / floor
        ),
        met: Some(ours.median() <= 1.1 * floor),
        beside: format!("floor {}; {beside}; {}", show(floor), ours.spread(show)),
    }])
}

fn petctl_run(options: &Options, service: &Service, round: u32, shards: u64) -> Result<f64> {
    let name = format!("stage-{round}");
    let file = service.folder().join(format!("{name}.toml"));
    let text = format!(
        "[job]\nname = {name:?}\n\n[workers]\nslots = {SLOTS}\n\n[storage]\ninput = \"az://bench/in\"\n\
         output = \"az://bench/{name}\"\naccount = {:?}\nendpoint = {:?}\n\n[[stage]]\nname = \"work\"\n\
         kind = \"shards\"\nshards = {{ glob = \"*\" }}\ncommand = [\"./work.sh\", \"{{input}}\", \"{{output}}\"]\n",
        service.account(),
        service.endpoint()
    );
    fs::write(&file, text).context("write the job file")?;
    let mut command = Command::new(&options.petctl);
    command
        .arg("run")
        .arg(&file)
        // What an earlier round has staged would help.
        .env(
            "PETCTL_HOME",
            service.folder().join(format!("home-{round}")),
        )
        .env("TMPDIR", service.folder())
        .current_dir(service.folder())
        .stdin(Stdio::null());
    let took = timed(&mut command, service.folder())?.as_secs_f64();
    let list = Command::new(&options.petctl)
        .args(["storage", "ls", &format!("az://bench/{name}/work/")])
        .args([
            "--account",
            service.account(),
            "--endpoint",
            service.endpoint(),
        ])
        .env("PETCTL_HOME", service.folder().join("home"))
        .output()
        .context("list the outputs")?;
    let listed = String::from_utf8_lossy(&list.stdout);
    let commits = listed.matches("/manifest.json").count();
    if commits as u64 != shards {
        bail!("WRONG: {commits} shards committed, {shards} expected");
    }
    Ok(took)
}

fn parallel(folder: &Path, round: u32) -> Result<f64> {
    let output = format!("local-{round}/{{/}}");
    let mut command = Command::new("parallel");
    command
        .args(["--will-cite", "-j2", "./work.sh", "{}", &output])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let start = Instant::now();
    let mut child = command.spawn().context("start GNU parallel")?;
    let mut list = String::new();
    for entry in fs::read_dir(folder.join("in"))
        .context("list inputs")?
        .flatten()
    {
        list.push_str(&format!("{}\n", entry.path().display()));
    }
    if let Some(mut stdin) = child.stdin.take() {
        use std::io::Write as _;
        stdin
            .write_all(list.as_bytes())
            .context("tell GNU parallel")?;
    }
    let status = child.wait().context("wait for GNU parallel")?;
    if !status.success() {
        bail!("WRONG: parallel ended with {status}");
    }
    Ok(start.elapsed().as_secs_f64())
}
