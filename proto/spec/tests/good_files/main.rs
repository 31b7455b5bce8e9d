//! Good job files, and what they come to.

#![cfg(test)]

mod bounds;
mod canonical;
mod network;
mod reading;
mod training;

use petctl_spec::{JobSpec, parse};

fn good(text: &str, overrides: &[(&str, &str)]) -> JobSpec {
    let overrides = overrides
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect::<Vec<_>>();
    match parse(text, "job.toml", "/jobs/us101", &overrides) {
        Ok(spec) => spec,
        Err(errors) => panic!("{errors}"),
    }
}

/// The job of the design, with the parts that are built.
const DESIGN: &str = r#"
[job]
name = "us101"

[workers]
min = 1
max = 8
slots = 1                # shards at a time per worker
gpus = 1                 # per worker; divided among slots or training processes

[storage]
input  = "../raw/us101"
output = "file:///data/extracted/us101"

[[stage]]
name = "resim"
kind = "shards"
shards = { glob = "**/*.xml" }
command = ["python3", "replay.py", "{input}", "{output}", "{{{param.v0}}}"]
timeout = "10m"
retries = 3
deadline = "6h"

[stage.params]
v0 = 30.0
n = 0x10
fast = true
name = "a b"

[stage.env]
OMP_NUM_THREADS = 2

[[stage]]
name = "summary"
kind = "once"
needs = ["resim"]
command = ["python3", "combine.py", "{output_root}"]
"#;

const SMALL: &str = r#"
[job]
name = "a"
[storage]
output = "out"
[[stage]]
name = "a"
kind = "once"
command = ["true"]
"#;

const TRAINING: &str = r#"
[job]
name = "fit"

[workers]
min = 2
max = 8
unit = 2
gpus = 1
spares = 1
settle_timeout = "10s"
preflight = { disk = "10GiB", memory = 1, gpus = 1, command = ["./check.sh", "{x}"], timeout = "5s" }

[storage]
output = "out"

[[stage]]
name = "fit"
kind = "train"
command = ["python3", "train.py", "--to={checkpoints}", "{output_root}", "{job}", "{stage}"]
processes_per_worker = 4
max_restarts = 5
restart_window = "30m"
grow = "now"
progress_timeout = "10m"
checkpoints = "ckpt"
keep_checkpoints = 2
exclude_after = 0
deadline = "1d"
budgets = { worker_lost = 9 }
"#;

/// A pipeline over blob storage, with every key that shards have.
const PIPELINE: &str = r#"
[job]
name = "sweep"
image = "registry.example/replay@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
code = ["*.py", "lib/**"]

[setup]
command = ["./prepare.sh", "--all"]
timeout = "5m"

[workers]
max = 4
gpus = 2

[storage]
input = "az://raw/us101/"
output = "az://extracted"
dated = true
stage_bytes = "2GiB"
mounts = { raw = "/mnt/raw/" }
account = "mystorage"
endpoint = "http://127.0.0.1:10000/mystorage/"
sas_token = "file:secrets/sas"
client_id = "6f1c9d3e-0000-4000-8000-000000000000"

[[stage]]
name = "extract"
kind = "shards"
shards = { manifest = "shards.jsonl" }
command = ["python3", "extract.py", "{inputs}", "{shard}", "{param.any}", "{output}"]
gpus = 0.5
speculative = true
retry_on = [75, 1, 75]
skip_on = [77]
allow_failed = 0.02
min_done = "99.5%"
memory = "1GiB"

[[stage]]
name = "sweep"
kind = "shards"
shards = { matrix = { place = ["b", "a"], date = { dates = ["2024-01-31", "2024-03-31"], step = "1mo" }, seed = { range = [0, 3] }, fast = [true, 1.5, 2] } }
needs = ["extract"]
command = ["python3", "sim.py", "{input_root}", "{param.v0}", "{job}", "{stage}"]
params = { v0 = 30 }
serve = true
run_after_skip = true
min_done = 1
start_timeout = "2m"

[[stage]]
name = "report"
kind = "once"
needs = ["sweep"]
command = ["python3", "report.py", "{output_root}"]
run_mode = "local"
gpus = 2
"#;
