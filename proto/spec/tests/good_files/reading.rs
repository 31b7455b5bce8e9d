//! What good files come to.

use crate::{DESIGN, PIPELINE, SMALL, good};
use petctl_spec::manifest::Wants;
use petctl_spec::{
    Budgets, DispatchSpec, MinDone, Need, RunMode, SecretRef, ServeSpec, SetupSpec, ShardSource,
    StageKind, StorageRoot, WorkersSpec, shards,
};
use std::collections::BTreeSet;

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
            min_done: MinDone::Ppm(995_000),
            run_after_skip: false,
        }
    );
    assert_eq!(spec.stages[1].dispatch.min_done, MinDone::Shards(1));
    assert!(spec.stages[1].dispatch.run_after_skip);
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
