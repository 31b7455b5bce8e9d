//! Good job files, and what they come to.

use petctl_spec::manifest::Wants;
use petctl_spec::{
    Axis, Budgets, DispatchSpec, Grow, JobSpec, Need, PreflightSpec, Processes, RunMode, SecretRef,
    ServeSpec, SetupSpec, ShardSource, StageKind, StorageRoot, TrainSpec, WorkersSpec,
    canonical_json, canonical_stage_json, parse, parse_spec_json, shards,
};
use std::collections::BTreeSet;

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
memory = "1GiB"

[[stage]]
name = "sweep"
kind = "shards"
shards = { matrix = { place = ["b", "a"], date = { dates = ["2024-01-31", "2024-03-31"], step = "1mo" }, seed = { range = [0, 3] }, fast = [true, 1.5, 2] } }
needs = ["extract"]
command = ["python3", "sim.py", "{input_root}", "{param.v0}", "{job}", "{stage}"]
params = { v0 = 30 }
serve = true
start_timeout = "2m"

[[stage]]
name = "report"
kind = "once"
needs = ["sweep"]
command = ["python3", "report.py", "{output_root}"]
run_mode = "local"
gpus = 2
"#;

#[test]
fn a_pipeline_over_blob_storage_is_read() {
    let spec = good(PIPELINE, &[]);
    assert!(
        spec.image
            .as_ref()
            .unwrap()
            .starts_with("registry.example/replay@sha256:01")
    );
    assert_eq!(spec.code, ["*.py", "lib/**"]);
    assert_eq!(
        spec.setup,
        Some(SetupSpec {
            command: vec!["./prepare.sh".into(), "--all".into()],
            timeout_ms: 300_000
        })
    );
    let storage = &spec.storage;
    assert_eq!(storage.input.as_deref(), Some("az://raw/us101"));
    assert_eq!(
        storage.output_root(),
        StorageRoot::read("az://extracted").unwrap()
    );
    assert_eq!((storage.dated, storage.stage_bytes), (true, 2 << 30));
    assert_eq!(storage.mounts["raw"], "/mnt/raw");
    assert!(storage.is_remote());
    let access = &storage.access;
    assert_eq!(access.account.as_deref(), Some("mystorage"));
    assert_eq!(
        access.endpoint.as_deref(),
        Some("http://127.0.0.1:10000/mystorage")
    );
    let token = SecretRef::File("/jobs/us101/secrets/sas".into());
    assert_eq!(
        (&access.sas_token, &access.account_key),
        (&Some(token), &None)
    );
    assert_eq!(
        spec.stages[0].dispatch,
        DispatchSpec {
            run_mode: RunMode::Workers,
            serve: None,
            speculative: true,
            gpu_milli: 500,
            retry_on: vec![1, 75],
            skip_on: vec![77],
            allow_failed_ppm: 20_000,
        }
    );
    let start_timeout_ms = 120_000;
    assert_eq!(
        spec.stages[1].dispatch.serve,
        Some(ServeSpec { start_timeout_ms })
    );
    assert_eq!(spec.stages[2].dispatch.run_mode, RunMode::Local);
    assert_eq!(spec.stages[2].dispatch.gpu_milli, 2_000);
    let address = petctl_spec::manifest::address(&spec.stages[0]);
    assert_eq!(address, Some("/jobs/us101/shards.jsonl"));
    assert_eq!(
        Wants::of(&spec, &spec.stages[0]),
        Wants {
            inputs: true,
            has_input_root: true,
            params: BTreeSet::from(["any".to_owned()])
        }
    );
    let blob = good(
        PIPELINE,
        &[("stage.extract.shards.manifest", "az://raw/a b/s.jsonl")],
    );
    let address = petctl_spec::manifest::address(&blob.stages[0]);
    assert_eq!(address, Some("az://raw/a b/s.jsonl"));
}

#[test]
fn what_shards_may_say_is_at_rest_by_default() {
    let spec = good(
        SMALL,
        &[
            ("stage.a.kind", "shards"),
            ("stage.a.shards.range", "[0, 5]"),
        ],
    );
    assert_eq!(spec.stages[0].dispatch, DispatchSpec::default());
    assert_eq!((spec.image, spec.setup, spec.code.len()), (None, None, 0));
    assert_eq!(spec.storage.stage_bytes, petctl_spec::DEFAULT_STAGE_BYTES);
    assert!(!spec.storage.dated && !spec.storage.is_remote());
    let setup = good(SMALL, &[("setup.command", "[\"./prepare.sh\"]")]).setup;
    assert_eq!(setup.unwrap().timeout_ms, 1_800_000);
    let served = [
        ("stage.a.kind", "shards"),
        ("stage.a.shards.range", "[0, 5]"),
        ("stage.a.serve", "true"),
    ];
    let serve = good(SMALL, &served).stages[0].dispatch.serve;
    assert_eq!(serve.unwrap().start_timeout_ms, 600_000);
}

#[test]
fn a_matrix_has_its_axes_in_the_order_of_the_file() {
    let first = |overrides: &[(&str, &str)]| {
        let spec = good(PIPELINE, overrides);
        let StageKind::Shards(source) = &spec.stages[1].kind else {
            panic!("it has shards")
        };
        assert_eq!(
            shards::stage_count(&spec.stages[1].kind),
            shards::count(source)
        );
        (
            shards::count(source).unwrap(),
            shards::key_at(source, 1).unwrap(),
        )
    };
    let key = "place=b/date=2024-01-31/seed=0/fast=1.5";
    assert_eq!(first(&[]), (2 * 3 * 3 * 3, key.into()));
    // What is set anew stays where it stands.
    let set = ("stage.sweep.shards.matrix.place", "[\"x\"]");
    let key = "place=x/date=2024-01-31/seed=0/fast=1.5";
    assert_eq!(first(&[set]), (27, key.into()));
    let whole = ("stage.sweep.shards.matrix", "{ z = [1], a = [2, 3] }");
    assert_eq!(first(&[whole]), (2, "z=1/a=3".into()));
    let added = ("stage.sweep.shards.matrix.a", "[2, 3]");
    let key = "place=b/date=2024-01-31/seed=0/fast=true/a=3";
    assert_eq!(first(&[added]), (108, key.into()));
}

#[test]
fn needs_between_equal_matrices_and_manifests_are_per_shard() {
    for shards in [
        "{ matrix = { a = [1, 2], b = { range = [0, 3] } } }",
        "{ manifest = \"m.jsonl\" }",
    ] {
        let stage = |name: &str, needs: &str| {
            format!(
                "[[stage]]\nname = \"{name}\"\nkind = \"shards\"\nshards = {shards}\nneeds = {needs}\ncommand = [\"true\"]\n"
            )
        };
        let head = "[job]\nname = \"a\"\n[storage]\noutput = \"out\"\n".to_owned();
        let spec = good(
            &[head, stage("a", "[]"), stage("b", "[\"a\"]")].concat(),
            &[],
        );
        assert!(spec.stages[1].needs[0].per_shard, "{shards}");
    }
}

#[test]
fn how_data_is_reached_and_shards_are_tried_leaves_the_canonical_form_alone() {
    let canonical =
        |overrides: &[(&str, &str)]| canonical_json(&good(PIPELINE, overrides)).unwrap();
    let base = canonical(&[]);
    for same in [
        (
            "job.image",
            "a@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ),
        ("job.code", "[]"),
        ("setup.command", "[\"true\"]"),
        ("storage.stage_bytes", "1GiB"),
        ("storage.mounts", "{}"),
        ("storage.sas_token", "env:SAS"),
        ("storage.dated", "false"),
        ("stage.extract.gpus", "1"),
        ("stage.extract.speculative", "false"),
        ("stage.extract.retry_on", "[2]"),
        ("stage.extract.allow_failed", "0.5"),
        ("stage.sweep.start_timeout", "1m"),
        ("stage.report.run_mode", "workers"),
    ] {
        assert_eq!(canonical(&[same]), base, "{same:?}");
    }
    for other in [
        ("storage.input", "az://raw/other"),
        ("storage.account", "another"),
        (
            "storage.endpoint",
            "https://mystorage.blob.core.windows.net",
        ),
        ("stage.extract.skip_on", "[78]"),
        ("stage.extract.shards.manifest", "other.jsonl"),
        ("stage.sweep.shards.matrix.seed", "[5]"),
    ] {
        assert_ne!(canonical(&[other]), base, "{other:?}");
    }
}

#[test]
fn a_stage_runs_again_for_what_its_command_is_not_for_how_many_shards_there_are() {
    let content = |overrides: &[(&str, &str)], stage| {
        canonical_stage_json(&good(PIPELINE, overrides), stage).unwrap()
    };
    for same in [
        ("stage.sweep.shards.matrix.seed", "{ range = [0, 30] }"),
        ("stage.sweep.timeout", "5m"),
        ("stage.sweep.start_timeout", "9m"),
        ("storage.output", "az://elsewhere/x"),
        ("stage.report.command", "[\"true\"]"),
        ("stage.extract.skip_on", "[78]"),
        ("job.name", "other"),
    ] {
        assert_eq!(content(&[same], 1), content(&[], 1), "{same:?}");
    }
    for other in [
        ("stage.sweep.command", "[\"true\"]"),
        ("stage.sweep.params.v0", "31"),
        ("stage.sweep.env.MODE", "x"),
        ("stage.sweep.needs", "[]"),
        ("stage.sweep.skip_on", "[78]"),
        ("storage.input", "az://raw/other"),
        ("storage.account", "another"),
    ] {
        assert_ne!(content(&[other], 1), content(&[], 1), "{other:?}");
    }
    assert_eq!(canonical_stage_json(&good(SMALL, &[]), 1), None);
}

#[test]
fn a_moved_job_folder_runs_nothing_again() {
    let text = DESIGN.replace("../raw/us101", "drives");
    let content = |folder: &str| {
        let spec = parse(&text, "job.toml", folder, &[]).unwrap();
        canonical_stage_json(&spec, 0)
    };
    assert_eq!(content("/jobs/us101"), content("/builds/7"));
}

#[test]
fn the_job_of_the_design_is_read() {
    let spec = good(DESIGN, &[]);
    assert_eq!(
        (spec.name.as_str(), spec.folder.as_str()),
        ("us101", "/jobs/us101")
    );
    assert_eq!(
        spec.workers,
        WorkersSpec {
            min: 1,
            max: 8,
            wanted: 8,
            unit: 1,
            slots: 1,
            gpus: 1,
            spares: 0,
            settle_timeout_ms: 30_000,
            preflight: None,
        }
    );
    assert_eq!(spec.storage.input.as_deref(), Some("/jobs/raw/us101"));
    assert_eq!(spec.storage.output, "/data/extracted/us101");
    let resim = &spec.stages[0];
    assert_eq!(
        resim.kind,
        StageKind::Shards(ShardSource::Glob("**/*.xml".into()))
    );
    assert_eq!(resim.timeout_ms, 600_000);
    let params = resim
        .params
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>();
    assert_eq!(params, ["fast=true", "n=16", "name=a b", "v0=30.0"]);
    assert_eq!(resim.env["OMP_NUM_THREADS"], "2");
    assert_eq!(
        spec.stages[1].needs,
        [Need {
            stage: 0,
            per_shard: false
        }]
    );
}

#[test]
fn defaults_are_those_of_the_reference() {
    let spec = good(SMALL, &[]);
    assert_eq!(
        spec.workers,
        WorkersSpec {
            min: 1,
            max: 1,
            wanted: 1,
            unit: 1,
            slots: 1,
            gpus: 0,
            spares: 0,
            settle_timeout_ms: 30_000,
            preflight: None,
        }
    );
    assert_eq!(spec.storage.input, None);
    let stage = &spec.stages[0];
    assert_eq!(
        stage.budgets,
        Budgets {
            failed: 3,
            timed_out: 3,
            worker_lost: 5,
            infrastructure: 3,
            preempted: 100
        }
    );
    assert_eq!(
        (stage.timeout_ms, stage.grace_ms, stage.backoff_ms),
        (0, 10_000, 1_000)
    );
    assert_eq!(
        (stage.log_bytes, stage.cpu_milli, stage.memory_mib),
        (16 << 20, 0, 0)
    );
}

#[test]
fn a_training_is_read() {
    let spec = good(TRAINING, &[]);
    let workers = &spec.workers;
    assert_eq!(
        (workers.unit, workers.spares, workers.settle_timeout_ms),
        (2, 1, 10_000)
    );
    assert_eq!(
        workers.preflight,
        Some(PreflightSpec {
            disk_mib: 10_240,
            memory_mib: 1,
            gpus: 1,
            command: vec!["./check.sh".into(), "{x}".into()],
            timeout_ms: 5_000,
        })
    );
    let stage = &spec.stages[0];
    let train = TrainSpec {
        processes: Processes::Number(4),
        max_restarts: 5,
        restart_window_ms: 1_800_000,
        grow: Grow::Now,
        progress_timeout_ms: 600_000,
        keep_checkpoints: 2,
        exclude_after: 0,
        checkpoints: Some("/jobs/us101/ckpt".into()),
    };
    assert_eq!(stage.kind, StageKind::Train(train));
    assert_eq!(
        (stage.deadline_ms, stage.budgets.worker_lost),
        (86_400_000, 9)
    );
}

#[test]
fn a_training_needs_a_command_only() {
    let spec = good(SMALL, &[("stage.a.kind", "train")]);
    let train = TrainSpec {
        processes: Processes::Number(1),
        max_restarts: 3,
        restart_window_ms: 3_600_000,
        grow: Grow::Checkpoint,
        progress_timeout_ms: 0,
        keep_checkpoints: 3,
        exclude_after: 3,
        checkpoints: None,
    };
    assert_eq!(
        train.checkpoint_folder(&spec.storage.output, "a"),
        "/jobs/us101/out/a/checkpoints"
    );
    assert_eq!(spec.stages[0].kind, StageKind::Train(train));
    assert_eq!(spec.stages[0].deadline_ms, 0);
}

#[test]
fn processes_are_a_number_or_a_word() {
    for (given, processes) in [
        ("1024", Processes::Number(1_024)),
        ("cpu", Processes::Cpu),
        ("\"gpu\"", Processes::Gpu),
        ("auto", Processes::Auto),
    ] {
        let spec = good(TRAINING, &[("stage.fit.processes_per_worker", given)]);
        let StageKind::Train(train) = &spec.stages[0].kind else {
            panic!("it trains")
        };
        assert_eq!(train.processes, processes, "{given}");
    }
}

#[test]
fn a_unit_that_fits_is_taken() {
    for (unit, min, max, wanted) in [(4, 1, 7, 4), (4, 4, 4, 4), (3, 1, 8, 5), (1, 1, 1, 1)] {
        let count = |number: i32| number.to_string();
        let given = [
            ("workers.unit", count(unit)),
            ("workers.min", count(min)),
            ("workers.max", count(max)),
            ("workers.wanted", count(wanted)),
        ];
        let given = given.iter().map(|(key, value)| (*key, value.as_str()));
        let spec = good(SMALL, &given.collect::<Vec<_>>());
        assert_eq!(spec.check(), Ok(()), "{unit} in {min} to {max}");
    }
}

#[test]
fn counts_of_workers_follow_one_another() {
    for (given, (min, max, wanted)) in [
        (vec![("workers.max", "4")], (1, 4, 4)),
        (vec![("workers.min", "4")], (4, 4, 4)),
        (vec![("workers.wanted", "4")], (1, 4, 4)),
        (
            vec![
                ("workers.min", "2"),
                ("workers.max", "8"),
                ("workers.wanted", "3"),
            ],
            (2, 8, 3),
        ),
        (
            vec![("workers.min", "2"), ("workers.wanted", "3")],
            (2, 3, 3),
        ),
    ] {
        let workers = good(SMALL, &given).workers;
        assert_eq!(
            (workers.min, workers.max, workers.wanted),
            (min, max, wanted),
            "{given:?}"
        );
    }
}

#[test]
fn overrides_stand_above_the_file() {
    let spec = good(
        DESIGN,
        &[
            ("job.name", "b2"),
            ("workers.max", "2"),
            ("workers.max", "4"),
            ("storage.output", "/tmp/o"),
            ("stage.resim.timeout", "5m"),
            ("stage.resim.params.v0", "25.5"),
            ("stage.resim.params.label", "left lane"),
            ("stage.resim.params.code", "007"),
            ("stage.resim.budgets.worker_lost", "9"),
            ("stage.resim.log_bytes", "64KiB"),
            ("stage.resim.cpus", "1.1"),
            ("stage.resim.memory", "2GiB"),
            ("stage.resim.shards", "{ values = [\"x\", 7] }"),
            ("stage.resim.command", "[\"echo\", \"{key}\"]"),
            ("stage.summary.command", "[\"true\"]"),
            ("stage.summary.env.MODE", "true"),
        ],
    );
    assert_eq!(
        (
            spec.name.as_str(),
            spec.workers.max,
            spec.storage.output.as_str()
        ),
        ("b2", 4, "/tmp/o")
    );
    let resim = &spec.stages[0];
    assert_eq!((resim.timeout_ms, resim.log_bytes), (300_000, 65_536));
    assert_eq!((resim.cpu_milli, resim.memory_mib), (1_100, 2_048));
    assert_eq!(
        resim.kind,
        StageKind::Shards(ShardSource::Values(vec!["x".into(), "7".into()]))
    );
    assert_eq!(
        (resim.params["v0"].as_str(), resim.params["label"].as_str()),
        ("25.5", "left lane")
    );
    assert_eq!(
        (resim.params["code"].as_str(), resim.budgets.worker_lost),
        ("007", 9)
    );
    assert_eq!(
        (resim.command.len(), spec.stages[1].env["MODE"].as_str()),
        (2, "true")
    );
}

#[test]
fn a_name_that_looks_like_a_number_stays_text_in_an_override() {
    let spec = good(
        SMALL,
        &[("storage.output", "2024"), ("storage.input", "2024-01-01")],
    );
    assert_eq!(spec.storage.output, "/jobs/us101/2024");
    assert_eq!(
        spec.storage.input.as_deref(),
        Some("/jobs/us101/2024-01-01")
    );
}

#[test]
fn needs_between_equal_shards_are_per_shard() {
    let stage = |name: &str, range: &str, needs: &str| {
        format!(
            "[[stage]]\nname = \"{name}\"\nkind = \"shards\"\nshards = {{ range = {range} }}\nneeds = {needs}\ncommand = [\"true\", \"{{key}}\"]\n"
        )
    };
    let text = [
        "[job]\nname = \"a\"\n[storage]\noutput = \"out\"\n".to_owned(),
        stage("c", "[0, 5]", "[\"a\", \"b\"]"),
        stage("a", "[0, 5]", "[]"),
        stage("b", "[0, 6]", "[\"a\"]"),
    ];
    let spec = good(&text.concat(), &[]);
    assert_eq!(
        spec.stages[0].needs,
        [
            Need {
                stage: 1,
                per_shard: true
            },
            Need {
                stage: 2,
                per_shard: false
            }
        ]
    );
    assert_eq!(
        spec.stages[2].needs,
        [Need {
            stage: 1,
            per_shard: false
        }]
    );
}

#[test]
fn dates_are_read_with_and_without_quotes() {
    for dates in [
        "[\"2024-01-31\", \"2024-12-31\"]",
        "[2024-01-31, 2024-12-31]",
    ] {
        let shards = format!("{{ dates = {dates}, step = \"1mo\" }}");
        let spec = good(
            SMALL,
            &[("stage.a.kind", "shards"), ("stage.a.shards", &shards)],
        );
        let StageKind::Shards(source) = &spec.stages[0].kind else {
            panic!("it has shards")
        };
        let keys = shards::keys(source).unwrap().take(3).collect::<Vec<_>>();
        assert_eq!(keys, ["2024-01-31", "2024-02-29", "2024-03-31"]);
    }
}

#[test]
fn what_only_says_how_hard_to_try_leaves_the_canonical_form_alone() {
    let canonical = |overrides: &[(&str, &str)]| canonical_json(&good(DESIGN, overrides)).unwrap();
    let base = canonical(&[]);
    for same in [
        ("workers.min", "2"),
        ("workers.max", "3"),
        ("workers.wanted", "3"),
        ("workers.slots", "2"),
        ("stage.resim.timeout", "5m"),
        ("stage.resim.memory", "1GiB"),
        ("stage.summary.retries", "1"),
    ] {
        assert_eq!(canonical(&[same]), base, "{same:?}");
    }
    for other in [
        ("workers.gpus", "0"),
        ("job.name", "x"),
        ("storage.output", "x"),
        ("stage.resim.params.v0", "31"),
        ("stage.summary.command", "[\"true\"]"),
    ] {
        assert_ne!(canonical(&[other]), base, "{other:?}");
    }
}

#[test]
fn what_only_says_how_hard_a_training_tries_leaves_the_canonical_form_alone() {
    let canonical =
        |overrides: &[(&str, &str)]| canonical_json(&good(TRAINING, overrides)).unwrap();
    let base = canonical(&[]);
    for same in [
        ("workers.spares", "0"),
        ("workers.unit", "1"),
        ("workers.settle_timeout", "1s"),
        ("workers.preflight", "{ disk = \"1GiB\" }"),
        ("stage.fit.max_restarts", "1"),
        ("stage.fit.restart_window", "1m"),
        ("stage.fit.grow", "checkpoint"),
        ("stage.fit.progress_timeout", "1m"),
        ("stage.fit.keep_checkpoints", "9"),
        ("stage.fit.exclude_after", "1"),
        ("stage.fit.deadline", "1h"),
    ] {
        assert_eq!(canonical(&[same]), base, "{same:?}");
    }
    for other in [
        ("stage.fit.processes_per_worker", "2"),
        ("stage.fit.checkpoints", "elsewhere"),
        ("stage.fit.command", "[\"true\"]"),
    ] {
        assert_ne!(canonical(&[other]), base, "{other:?}");
    }
}

#[test]
fn a_job_goes_through_json_unchanged() {
    for text in [DESIGN, SMALL, TRAINING, PIPELINE, petctl_spec::EXAMPLE] {
        let spec = good(text, &[]);
        assert_eq!(
            parse_spec_json(&serde_json::to_string(&spec).unwrap()),
            Ok(spec)
        );
    }
}

#[test]
fn a_job_from_the_network_that_breaks_a_rule_is_refused() {
    let broken = |change: &dyn Fn(&mut JobSpec)| {
        let mut spec = good(DESIGN, &[]);
        change(&mut spec);
        spec.check().map_err(|error| error.to_string()).unwrap_err()
    };
    let need = |stage, per_shard| vec![Need { stage, per_shard }];
    let range = |start, end| StageKind::Shards(ShardSource::Range { start, end });
    type Change<'a> = &'a dyn Fn(&mut JobSpec);
    let cases: [(Change<'_>, &str); 18] = [
        (&|spec| spec.name = "../x".into(), "`job.name`: is no name"),
        (
            &|spec| spec.folder = "x".into(),
            "`folder`: is no absolute path",
        ),
        (
            &|spec| spec.storage.output.clear(),
            "`storage.output`: is no absolute path",
        ),
        (
            &|spec| spec.storage.output.push_str("/../.."),
            "`storage.output`: is not resolved: it has `.`, `..` or a `/` too many",
        ),
        (
            &|spec| drop(spec.stages[0].env.insert("PETCTL_TOKEN".into(), "x".into())),
            "`stage.resim.env`: has a name that petctl keeps for itself",
        ),
        (
            &|spec| spec.workers.min = 9,
            "`workers`: breaks 1 <= min <= wanted <= max, or the bound of max",
        ),
        (
            &|spec| spec.workers.slots = 0,
            "`workers.slots`: is out of range",
        ),
        (
            &|spec| spec.stages.clear(),
            "`stage`: has none or too many stages",
        ),
        (
            &|spec| spec.stages[1].name = "resim".into(),
            "`stage.name`: is there twice",
        ),
        (
            &|spec| spec.stages[0].needs = need(0, false),
            "`stage.needs`: goes in a circle",
        ),
        (
            &|spec| spec.stages[0].needs = need(1, false),
            "`stage.needs`: goes in a circle",
        ),
        (
            &|spec| spec.stages[1].needs = need(7, false),
            "`stage.summary.needs`: names a stage that is not there",
        ),
        (
            &|spec| spec.stages[1].needs = need(0, true),
            "`stage.summary.needs`: is per shard between stages with different shards",
        ),
        (
            &|spec| spec.stages[0].command.clear(),
            "`stage.resim.command`: the command is empty",
        ),
        (
            &|spec| spec.stages[0].kind = range(3, 3),
            "`stage.resim.shards`: the stage has no shards",
        ),
        (
            &|spec| spec.stages[0].kind = range(0, u64::MAX),
            "`stage.resim.shards`: 18,446,744,073,709,551,615 shards are more than the 1,000,000 a job may have; split the job",
        ),
        (
            &|spec| {
                spec.stages[0].kind = StageKind::Shards(ShardSource::Values(vec!["../x".into()]))
            },
            "`stage.resim.shards`: shard key `../x`: it has the part `..`, which leads to another folder",
        ),
        (
            &|spec| spec.stages[0].log_bytes = u64::MAX,
            "`stage.resim.log_bytes`: is out of range",
        ),
    ];
    for (change, message) in cases {
        assert_eq!(broken(change), message);
    }
    assert_eq!(parse_spec_json("{").unwrap_err().code(), "INVALID_JOB_SPEC");
}

#[test]
fn a_pipeline_from_the_network_that_breaks_a_rule_is_refused() {
    type Change<'a> = &'a dyn Fn(&mut JobSpec);
    let broken = |change: Change<'_>| {
        let mut spec = good(PIPELINE, &[]);
        change(&mut spec);
        let error = spec.check().map_err(|error| error.to_string()).unwrap_err();
        assert!(!error.contains("geheim"), "{error}");
        error
    };
    let matrix = |axes: &[(&str, ShardSource)]| {
        let axes = axes.iter().map(|(name, source)| Axis {
            name: (*name).to_owned(),
            source: source.clone(),
        });
        StageKind::Shards(ShardSource::Matrix(axes.collect()))
    };
    let range = |end| ShardSource::Range { start: 0, end };
    let cases: [(Change<'_>, &str); 31] = [
        (
            &|spec| spec.image = Some("a:latest".into()),
            "`job.image`: is no image with its digest",
        ),
        (
            &|spec| spec.code = vec!["../x".into()],
            "`job.code`: `../x`: a pattern has no `.` or `..`",
        ),
        (
            &|spec| spec.code = vec![String::new(); 300],
            "`job.code`: has too many patterns",
        ),
        (
            &|spec| spec.setup.as_mut().unwrap().command.clear(),
            "`setup.command`: has no program",
        ),
        (
            &|spec| spec.setup.as_mut().unwrap().timeout_ms = u64::MAX,
            "`setup.timeout`: is too long",
        ),
        (
            &|spec| spec.storage.output = "az://Out".into(),
            "`storage.output`: names the container `Out`, and Azure allows no upper case in it",
        ),
        (
            &|spec| spec.storage.output = "az://out/".into(),
            "`storage.output`: has a `/` too many at its end",
        ),
        (
            &|spec| spec.storage.input = Some("az://out/../x".into()),
            "`storage.input`: has a part `.` or `..`, which means nothing in blob storage",
        ),
        (
            &|spec| spec.storage.stage_bytes = u64::MAX,
            "`storage.stage_bytes`: is out of range",
        ),
        (
            &|spec| drop(spec.storage.mounts.insert("a--b".into(), "/x".into())),
            "`storage.mounts`: has a name that is none",
        ),
        (
            &|spec| drop(spec.storage.mounts.insert("abc".into(), "x".into())),
            "`storage.mounts`: is no absolute path",
        ),
        (
            &|spec| spec.storage.access.account = Some("geheim!".into()),
            "`storage.account`: can't be one",
        ),
        (
            &|spec| spec.storage.access.endpoint = Some("https://a/?sig=geheim".into()),
            "`storage.endpoint`: can't be one",
        ),
        (
            &|spec| spec.storage.access.client_id = Some("geheim".into()),
            "`storage.client_id`: can't be one",
        ),
        (
            &|spec| spec.storage.access.sas_token = Some(SecretRef::Env("sig=geheim".into())),
            "`storage.sas_token`: names no environment variable",
        ),
        (
            &|spec| spec.storage.access.account_key = Some(SecretRef::File("geheim".into())),
            "`storage.account_key`: is no absolute path",
        ),
        (
            &|spec| spec.stages[0].dispatch.gpu_milli = 1_500,
            "`stage.extract.gpus`: is out of range",
        ),
        (
            &|spec| spec.stages[0].dispatch.gpu_milli = 5_000_000,
            "`stage.extract.gpus`: is out of range",
        ),
        (
            &|spec| spec.stages[0].dispatch.retry_on = vec![0],
            "`stage.extract.retry_on`: has a 0, or is no sorted list of exit codes",
        ),
        (
            &|spec| spec.stages[0].dispatch.skip_on = vec![8, 7],
            "`stage.extract.skip_on`: has a 0, or is no sorted list of exit codes",
        ),
        (
            &|spec| spec.stages[0].dispatch.skip_on = vec![75],
            "`stage.extract.skip_on`: has a code of `retry_on`",
        ),
        (
            &|spec| spec.stages[0].dispatch.allow_failed_ppm = 1_000_001,
            "`stage.extract.allow_failed`: is out of range",
        ),
        (
            &|spec| {
                spec.stages[1].dispatch.serve = Some(ServeSpec {
                    start_timeout_ms: 0,
                })
            },
            "`stage.sweep.start_timeout`: is out of range",
        ),
        (
            &|spec| spec.stages[2].dispatch.serve = spec.stages[1].dispatch.serve,
            "`stage.report.serve`: is for shards",
        ),
        (
            &|spec| spec.stages[0].kind = StageKind::Shards(ShardSource::Manifest("x".into())),
            "`stage.extract.shards`: is no absolute path",
        ),
        (
            &|spec| {
                spec.stages[0].kind = StageKind::Shards(ShardSource::Manifest("az://raw".into()))
            },
            "`stage.extract.shards`: is a container, not a file in it",
        ),
        (
            &|spec| spec.stages[1].kind = matrix(&[]),
            "`stage.sweep.shards`: has no axis, or too many",
        ),
        (
            &|spec| spec.stages[1].kind = matrix(&[("a b", range(2))]),
            "`stage.sweep.shards`: has an axis without a name",
        ),
        (
            &|spec| spec.stages[1].kind = matrix(&[("a", range(2)), ("a", range(3))]),
            "`stage.sweep.shards`: has an axis twice",
        ),
        (
            &|spec| spec.stages[1].kind = matrix(&[("a", range(2_000)), ("b", range(2_000))]),
            "`stage.sweep.shards`: 4,000,000 shards are more than the 1,000,000 a job may have; split the job",
        ),
        (
            &|spec| {
                spec.stages[1].kind = matrix(&[("a", ShardSource::Values(vec!["../x".into()]))])
            },
            "`stage.sweep.shards`: shard key `../x`: it has the part `..`, which leads to another folder",
        ),
    ];
    for (change, message) in cases {
        assert_eq!(broken(change), message);
    }
    let mut training = good(TRAINING, &[]);
    training.stages[0].dispatch.speculative = true;
    assert!(training.check().is_err());
}

#[test]
fn a_training_from_the_network_that_breaks_a_rule_is_refused() {
    type Change<'a> = &'a dyn Fn(&mut JobSpec, &mut TrainSpec);
    let broken = |change: Change<'_>| {
        let mut spec = good(TRAINING, &[]);
        let StageKind::Train(mut train) = spec.stages[0].kind.clone() else {
            panic!("it trains")
        };
        change(&mut spec, &mut train);
        spec.stages[0].kind = StageKind::Train(train);
        spec.check().map_err(|error| error.to_string()).unwrap_err()
    };
    let cases: [(Change<'_>, &str); 17] = [
        (
            &|spec, _| spec.workers.unit = 0,
            "`workers.unit`: has no multiple from min to wanted",
        ),
        (
            &|spec, _| spec.workers.unit = 9,
            "`workers.unit`: has no multiple from min to wanted",
        ),
        (
            &|spec, _| spec.workers.spares = 10_001,
            "`workers.spares`: is out of range",
        ),
        (
            &|spec, _| spec.workers.settle_timeout_ms = u64::MAX,
            "`workers.settle_timeout`: is too long",
        ),
        (
            &|spec, _| {
                spec.workers.preflight = Some(PreflightSpec {
                    disk_mib: u64::MAX,
                    ..PreflightSpec::default()
                })
            },
            "`workers.preflight`: is out of range",
        ),
        (
            &|spec, _| {
                spec.workers.preflight = Some(PreflightSpec {
                    command: vec![String::new()],
                    ..PreflightSpec::default()
                })
            },
            "`workers.preflight`: has a command without a program",
        ),
        (
            &|spec, _| {
                spec.workers.preflight = Some(PreflightSpec {
                    command: vec!["\0".into()],
                    ..PreflightSpec::default()
                })
            },
            "`workers.preflight`: holds a NUL character",
        ),
        (
            &|spec, _| spec.stages[0].deadline_ms = u64::MAX,
            "`stage.fit.deadline`: is too long",
        ),
        (
            &|_, train| train.processes = Processes::Number(0),
            "`stage.fit.processes_per_worker`: is out of range",
        ),
        (
            &|_, train| train.processes = Processes::Number(1_025),
            "`stage.fit.processes_per_worker`: is out of range",
        ),
        (
            &|_, train| train.max_restarts = u32::MAX,
            "`stage.fit.max_restarts`: is out of range",
        ),
        (
            &|_, train| train.keep_checkpoints = 0,
            "`stage.fit.keep_checkpoints`: is out of range",
        ),
        (
            &|_, train| train.exclude_after = u32::MAX,
            "`stage.fit.exclude_after`: is out of range",
        ),
        (
            &|_, train| train.restart_window_ms = 0,
            "`stage.fit.restart_window`: is out of range",
        ),
        (
            &|_, train| train.progress_timeout_ms = u64::MAX,
            "`stage.fit.progress_timeout`: is too long",
        ),
        (
            &|_, train| train.checkpoints = Some("ckpt".into()),
            "`stage.fit.checkpoints`: is no absolute path",
        ),
        (
            &|_, train| train.checkpoints = Some("/a/../../etc".into()),
            "`stage.fit.checkpoints`: is not resolved: it has `.`, `..` or a `/` too many",
        ),
    ];
    for (change, message) in cases {
        assert_eq!(broken(change), message);
    }
}

/// A small generator with a seed, so that a failure can be had again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).map_or(0, |number| number % bound.max(1))
    }
}

#[test]
fn no_text_makes_the_parser_panic() {
    let words = [
        "[",
        "]",
        "{",
        "}",
        "=",
        "\"",
        "'",
        "\n",
        ".",
        ",",
        "#",
        "-1",
        "99999999999999999999",
        "nan",
        "\u{0}",
        "é",
        "[[stage]]",
        "{input}",
        "shards",
        "needs",
        "range",
        "2024-01-01",
        "\\u0000",
        "\r\n",
        "true",
        "\"\"\"",
        "0x",
        "values",
        "[5, 5]",
        "matrix",
        "az://raw/x",
        "manifest",
        "env:X",
        "{ a = [1] }",
        "0.5",
    ];
    let mut random = Random(42);
    let (mut good, mut bad) = (0, 0);
    for case in 0..5_000 {
        let base = [DESIGN, SMALL, petctl_spec::EXAMPLE, TRAINING, PIPELINE][case % 5];
        let mut text = base.chars().collect::<Vec<_>>();
        for _ in 0..=random.below(4) {
            let at = random.below(text.len());
            match random.below(3) {
                0 => drop(text.drain(at..(at + random.below(12)).min(text.len()))),
                1 => drop(text.splice(at..at, words[random.below(words.len())].chars())),
                _ => {
                    let from = random.below(text.len());
                    let piece = text[from..(from + random.below(30)).min(text.len())].to_vec();
                    text.splice(at..at, piece);
                }
            }
        }
        let text = text.into_iter().collect::<String>();
        let word = words[random.below(words.len())];
        let overrides = [(
            format!("stage.{}.{word}", ["resim", "a", word][case % 3]),
            word.to_owned(),
        )];
        let overrides = if case % 7 == 0 { &overrides[..] } else { &[] };
        match parse(&text, "job.toml", "/jobs", overrides) {
            Ok(spec) => {
                assert_eq!(
                    spec.check(),
                    Ok(()),
                    "case {case}: what the parser takes, the check takes: {text}"
                );
                good += 1;
            }
            Err(errors) => {
                assert!(
                    !errors.errors().is_empty() && !errors.to_string().is_empty(),
                    "case {case}"
                );
                assert!(
                    !errors.to_string().contains("does not know why"),
                    "case {case}: unexplained: {text}"
                );
                bad += 1;
            }
        }
    }
    assert!(
        good > 100 && bad > 100,
        "{good} good, {bad} bad: the cases are of both kinds"
    );
}

#[test]
fn errors_are_bounded_and_their_rest_is_counted() {
    let text = (0..5_000)
        .map(|n| format!("key{n} = 1\n"))
        .collect::<String>();
    let errors = parse(&text, "job.toml", "/jobs", &[]).unwrap_err();
    // There is no [job], no [storage] and no [[stage]] either.
    assert_eq!((errors.errors().len(), errors.left_out()), (50, 4_953));
    assert!(
        errors
            .to_string()
            .ends_with("4953 more errors are not shown")
    );
}

#[test]
fn a_job_file_has_a_largest_size() {
    let text = "#".repeat(petctl_spec::MAX_JOB_FILE_BYTES + 1);
    let message = parse(&text, "job.toml", "/jobs", &[])
        .unwrap_err()
        .to_string();
    assert!(
        message.starts_with("job.toml: the job file has 16,777,217 bytes"),
        "{message}"
    );
}

#[test]
fn errors_are_data_too() {
    let errors = parse("[job]\nname = 5\n", "job.toml", "/jobs", &[]).unwrap_err();
    let json = serde_json::to_value(&errors).unwrap();
    let error = json["errors"]
        .as_array()
        .unwrap()
        .iter()
        .find(|error| error["key"] == "job.name")
        .unwrap();
    assert_eq!(error["code"], "JOB_FILE_TYPE");
    assert_eq!(
        (
            error["location"]["line"].as_u64(),
            error["location"]["column"].as_u64()
        ),
        (Some(2), Some(8))
    );
    assert_eq!(error["location"]["text"], "name = 5");
    for code in petctl_spec::ErrorCode::ALL {
        assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
    }
}
