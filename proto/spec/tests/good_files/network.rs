//! Jobs that came over the network as JSON.

use crate::{DESIGN, PIPELINE, SMALL, TRAINING, good};
use petctl_spec::{
    Axis, JobSpec, MinDone, Need, PreflightSpec, Processes, SecretRef, ServeSpec, ShardSource,
    StageKind, TrainSpec, parse_spec_json,
};

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
    assert_eq!(
        parse_spec_json("{").unwrap_err().code().as_str(),
        "INVALID_JOB_SPEC"
    );
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
    let cases: [(Change<'_>, &str); 33] = [
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
            &|spec| spec.stages[0].dispatch.min_done = MinDone::Shards(0),
            "`stage.extract.min_done`: is out of range",
        ),
        (
            &|spec| spec.stages[0].dispatch.min_done = MinDone::Ppm(1_000_001),
            "`stage.extract.min_done`: is out of range",
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
