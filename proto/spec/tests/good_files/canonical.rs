//! What makes a job, or a stage, the same one.

use crate::{DESIGN, PIPELINE, SMALL, TRAINING, good};
use petctl_spec::{canonical_json, canonical_stage_json, parse};

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
        ("stage.extract.min_done", "99"),
        ("stage.extract.run_after_skip", "true"),
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
        ("stage.sweep.min_done", "2"),
        ("stage.sweep.run_after_skip", "false"),
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
