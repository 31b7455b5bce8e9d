//! A training with PyTorch on pods, which grows and shrinks while it runs.

use crate::harness::{Installed, Job, MINUTE, beside_others, checkout};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Trains until it is told to end; rank 0 saves every tenth step.
const SCRIPT: &str = r#"import os, pathlib, signal, sys, time
import torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

notes = pathlib.Path("@NOTES@")
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
folder = pathlib.Path(os.environ["PETCTL_CHECKPOINT_DIR"])
torch.set_num_threads(1)
torch.manual_seed(1)
dist.init_process_group("gloo")
model = torch.nn.Linear(4, 1)
step = 0
if resume := os.environ.get("PETCTL_RESUME_FROM"):
    saved = torch.load(resume, weights_only=True)
    model.load_state_dict(saved["model"])
    step = saved["step"]
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
with open(notes / "started", "a") as file:
    file.write(f"{os.environ['PETCTL_EPOCH']} {rank} {world} {step}\n")
model = DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
while True:
    inputs = torch.full((2, 4), float(rank + 1))
    loss = (model(inputs) - 1).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    step += 1
    end = (notes / "open").exists() if rank == 0 else False
    shared = torch.tensor([float(rank + 1), float(end), float(len(told))])
    dist.all_reduce(shared)
    assert shared[0] == world * (world + 1) / 2, shared
    if rank == 0 and (step % 10 == 0 or shared[1] or shared[2]):
        part = folder / f"step-{step}.part"
        torch.save({"model": model.module.state_dict(), "step": step}, part)
        part.replace(folder / f"step-{step}")
        (folder / f"step-{step}.complete").touch()
        with open(notes / "saved", "a") as file:
            file.write(f"{os.environ['PETCTL_EPOCH']} {step}\n")
    if shared[1]:
        break
    if shared[2]:
        sys.exit(143)
    time.sleep(0.05)
dist.barrier()
dist.destroy_process_group()
"#;

/// Where PyTorch is, made if it is not there.
fn site_packages() -> String {
    let install = checkout().join("tests/torch/install");
    let output = Command::new(&install).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", install.display()));
    assert!(
        output.status.success(),
        "{}: {}",
        install.display(),
        output.status
    );
    let python = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let asked = Command::new(&python)
        .args([
            "-c",
            "import sysconfig; print(sysconfig.get_path('purelib'))",
        ])
        .output();
    let asked = asked.unwrap_or_else(|error| panic!("{python}: {error}"));
    String::from_utf8_lossy(&asked.stdout).trim().to_owned()
}

/// What a rank noted when it started.
#[derive(Clone, Debug)]
struct Start {
    epoch: u64,
    rank: u64,
    world: u64,
    step: u64,
}

fn starts(job: &Job<'_>) -> Vec<Start> {
    let lines = job.noted("started").into_iter();
    lines
        .map(|line| {
            let numbers: Vec<u64> = line
                .split(' ')
                .filter_map(|word| word.parse().ok())
                .collect();
            let [epoch, rank, world, step] = numbers[..] else {
                panic!("{line}");
            };
            Start {
                epoch,
                rank,
                world,
                step,
            }
        })
        .collect()
}

/// Waits until a group of so many has trained and saved.
fn until_trains(installed: &Installed, job: &Job<'_>, world: u64) {
    installed.wait_within(&format!("a group of {world} has saved"), MINUTE * 2, || {
        let starts = starts(job);
        let epochs = starts.iter().filter(|start| start.world == world);
        let epoch = epochs.map(|start| start.epoch).max()?;
        let all = starts.iter().filter(|start| start.epoch == epoch).count() as u64 == world;
        let saved = job
            .noted("saved")
            .iter()
            .any(|line| line.starts_with(&format!("{epoch} ")));
        (all && saved).then_some(())
    });
}

#[test]
fn a_training_with_pytorch_grows_and_shrinks_and_loses_no_step_that_was_saved() {
    let cluster = beside_others();
    let torch = site_packages();
    assert!(Path::new(&torch).join("torch").is_dir(), "{torch}");
    // Of Debian's python and libraries the image has a part, and this machine the same ones.
    let place = format!(
        "volumes = [@DATA@, {{ path = \"/opt/torch\", host_path = \"{torch}\", read_only = true }}, \
         {{ path = \"/opt/lib\", host_path = \"/usr/lib/x86_64-linux-gnu\", read_only = true }}]\n\
         env = {{ PYTHONPATH = \"/opt/torch\", LD_LIBRARY_PATH = \"/opt/lib\" }}\n"
    );
    let installed = Installed::with(cluster.bed, "torch", &place);
    let stage = "[[stage]]\nname = \"fit\"\nkind = \"train\"\ncommand = [\"python3\", \"fit.py\"]\n\
         grace = \"20s\"\nmax_restarts = 0\ngrow = \"checkpoint\"\n";
    let job =
        Job::new(&installed, "fit", "min = 1\nmax = 4\nwanted = 2", stage).file("fit.py", SCRIPT);
    let memory = ["--set", "place.kube.resources.memory=1GiB"];
    let run = installed.start(&[&["run", &job.path()][..], &memory].concat());
    until_trains(&installed, &job, 2);
    installed.ok(&["scale", "fit", "--workers", "4"]);
    until_trains(&installed, &job, 4);
    installed.ok(&["scale", "fit", "--workers", "3"]);
    until_trains(&installed, &job, 3);
    installed.until_pods("fit", 3);
    job.open();
    run.ends_within(MINUTE * 3).exits(0);

    let mut epochs: BTreeMap<u64, Vec<Start>> = BTreeMap::new();
    for start in starts(&job) {
        epochs.entry(start.epoch).or_default().push(start);
    }
    let worlds: Vec<u64> = epochs.values().map(|ranks| ranks[0].world).collect();
    let mut order = worlds.clone();
    order.dedup();
    // A group may form with those that came first.
    let order: Vec<u64> = order
        .iter()
        .copied()
        .skip_while(|world| *world < 2)
        .collect();
    let place = |world: u64| order.iter().position(|known| *known == world);
    assert!(
        place(2) < place(4) && order.last() == Some(&3),
        "{worlds:?}"
    );
    let saved = job.noted("saved");
    for (epoch, ranks) in &epochs {
        let steps: Vec<u64> = ranks.iter().map(|rank| rank.step).collect();
        assert!(steps.iter().all(|step| *step == steps[0]), "{ranks:?}");
        let newest = saved.iter().filter_map(|line| {
            let (of, step) = line.split_once(' ')?;
            let of: u64 = of.parse().ok()?;
            (of < *epoch).then(|| step.parse::<u64>().ok())?
        });
        assert_eq!(
            steps[0],
            newest.max().unwrap_or(0),
            "epoch {epoch} went back: {saved:?}"
        );
        let numbers: std::collections::BTreeSet<u64> = ranks.iter().map(|rank| rank.rank).collect();
        assert_eq!(numbers.len(), ranks.len(), "{ranks:?}");
    }
    let status = installed.json(&["status", "fit"]);
    assert_eq!(status["state"], "succeeded", "{status}");
    assert_eq!(
        status["training"][0]["restarts_used"],
        Value::from(0),
        "{status}"
    );
    installed.until_no_pods("fit");
}
