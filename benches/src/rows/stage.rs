//! Shards whose inputs come from a container and whose outputs go there, against the same program on local files.

use super::dispatch::to_f64;
use super::spawn::over_list;
use crate::blobs::{Service, timed, write_noise};
use crate::figure::{Rounds, whole};
use crate::options::Options;
use crate::table::Row;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const SLOTS: u32 = 2;
/// Of `petctl-bench-shard`.
const COMPUTE_S: f64 = 0.05;

/// 50 ms of each shard, 1 MiB in and out.
pub(crate) fn stage(options: &Options) -> Result<Vec<Row>> {
    let shards = options.quick_or(200_u64, 2_000);
    let (mut own, mut local) = (Vec::new(), Vec::new());
    for _ in 0..options.quick_or(1, 3) {
        // One each, and gone after it: what it was given stays in memory.
        let service = Service::start_own(options)?;
        prepare(options, &service, shards)?;
        own.push(petctl_run(options, &service, shards)?);
        local.push(on_local_files(&service, shards)?);
    }
    let service = Service::start(options)?;
    prepare(options, &service, shards)?;
    let azurite = vec![petctl_run(options, &service, shards)?];
    let floor = to_f64(shards) * COMPUTE_S / f64::from(SLOTS);
    let show = |seconds: f64| format!("{seconds:.1} s");
    let local = Rounds::new(local).median();
    let row = |whose: &str, took: Vec<f64>, has_aim: bool| {
        let took = Rounds::new(took);
        let of_floor = took.median() / floor;
        Row {
            what: format!(
                "{} shards of 50 ms, 1 MiB in and out of a container, {SLOTS} slots, {whose}",
                whole(to_f64(shards))
            ),
            aim: if has_aim {
                "10 % above the compute floor".to_owned()
            } else {
                "-".to_owned()
            },
            measured: format!("{}, {of_floor:.2} of the floor", show(took.median())),
            met: has_aim.then_some(of_floor <= 1.1),
            beside: format!(
                "floor {}; xargs -P2 with the same program on local files, nothing staged: {}, {:.2} of the floor; {}",
                show(floor),
                show(local),
                local / floor,
                took.spread(show)
            ),
        }
    };
    Ok(vec![
        row("a blob service in memory", own, true),
        row("Azurite, which takes a core for itself", azurite, false),
    ])
}

/// The inputs, here and in the container.
fn prepare(options: &Options, service: &Service, shards: u64) -> Result<()> {
    let input = service.folder().join("in");
    fs::create_dir_all(&input).context("make a folder")?;
    for number in 0..shards {
        write_noise(&input.join(format!("{number:04}")), 1024 * 1024, number)?;
    }
    service.petctl(options, &["upload", "in", "az://bench/in"])?;
    Ok(())
}

fn petctl_run(options: &Options, service: &Service, shards: u64) -> Result<f64> {
    let name = "stage";
    let file = service.folder().join(format!("{name}.toml"));
    let text = format!(
        "[job]\nname = {name:?}\n\n[workers]\nslots = {SLOTS}\n\n[storage]\ninput = \"az://bench/in\"\n\
         output = \"az://bench/{name}\"\naccount = {:?}\nendpoint = {:?}\n\n[[stage]]\nname = \"work\"\n\
         kind = \"shards\"\nshards = {{ glob = \"*\" }}\ncommand = [{:?}, \"{{input}}\", \"{{output}}\"]\n",
        service.account(),
        service.endpoint(),
        program()?
    );
    fs::write(&file, text).context("write the job file")?;
    let mut command = Command::new(&options.petctl);
    command
        .arg("run")
        .arg(&file)
        // What an earlier round has staged would help.
        .env("PETCTL_HOME", service.folder().join("home-of-job"))
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

fn on_local_files(service: &Service, shards: u64) -> Result<f64> {
    let inputs = (0..shards).map(|number| format!("in/{number:04}"));
    let program = program()?;
    let arguments = ["-P2", "-n1", &program];
    Ok(over_list(service.folder(), inputs, "xargs", &arguments)?.as_secs_f64())
}

/// What computes and copies: it lies beside this program.
fn program() -> Result<String> {
    let own = std::env::current_exe().context("find this program")?;
    let program: PathBuf = own.with_file_name("petctl-bench-shard");
    if !program.exists() {
        bail!("{} is not there; benches/run builds it", program.display());
    }
    Ok(program.display().to_string())
}
