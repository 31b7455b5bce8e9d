//! Commands that do what commands do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use petctl_output::manifest::Manifest;
use petctl_proto::v1::{AttemptResult, Outcome, Verdict};

use crate::fake::{Bench, lease, names};

async fn result_of(script: &str) -> AttemptResult {
    let mut bench = Bench::start(script).await;
    let result = bench.run_one().await;
    if result.outcome() != Outcome::Committed {
        assert!(
            !bench.committed(0).exists(),
            "nothing may be visible of a failed attempt"
        );
        assert_eq!(bench.attempt_folders(), Vec::<String>::new());
    }
    bench.end().await;
    result
}

#[track_caller]
fn expect(result: &AttemptResult, outcome: Outcome, code: &str) {
    assert_eq!(
        (result.outcome(), result.code.as_str()),
        (outcome, code),
        "{result:?}"
    );
    assert!(!result.message.is_empty());
}

#[tokio::test]
async fn outputs_are_committed_with_a_manifest_of_every_file() {
    let script = "mkdir $PETCTL_OUTPUT/sub; printf abc > $PETCTL_OUTPUT/sub/a.txt; ln -s sub/a.txt $PETCTL_OUTPUT/link;
        echo '{\"verdict\": \"fail\", \"reasons\": [\"too close\"], \"numbers\": {\"gap\": 1.5}}' > $PETCTL_OUTPUT/result.json";
    let mut bench = Bench::start(script).await;
    let result = bench.run_one().await;

    assert_eq!(
        (result.outcome(), result.verdict()),
        (Outcome::Committed, Verdict::Fail),
        "{result:?}"
    );
    assert_eq!(
        (
            result.output_files,
            result.committed_lease_id,
            result.exit_code
        ),
        (2, 0, Some(0))
    );
    assert_eq!(result.reasons, ["too close"]);
    assert_eq!(
        (result.numbers[0].name.as_str(), result.numbers[0].value),
        ("gap", 1.5)
    );
    let read = Manifest::verify(&bench.committed(0)).unwrap();
    assert_eq!(read.sha256.as_slice(), result.manifest_sha256);
    let manifest = read.manifest;
    let files: Vec<_> = manifest
        .files
        .iter()
        .map(|file| file.name.as_str())
        .collect();
    assert_eq!(files, ["result.json", "sub/a.txt"]);
    assert_eq!(
        manifest.files[1].sha256,
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!(manifest.total_bytes(), result.output_bytes);
    let maker = (
        manifest.job.as_str(),
        manifest.stage.as_str(),
        manifest.key.as_str(),
        manifest.worker.as_str(),
    );
    assert_eq!(maker, ("test", "work", "k0", "local-1"));
    assert_eq!((manifest.attempt, manifest.lease_id), (1, 1));
    bench.end().await;
}

#[tokio::test]
async fn a_command_that_writes_and_prints_nothing_is_committed_and_has_no_log() {
    let mut bench = Bench::start("true").await;
    let result = bench.run_one().await;
    assert_eq!(
        (result.outcome(), result.output_files, result.verdict()),
        (Outcome::Committed, 0, Verdict::Unspecified)
    );
    assert_eq!(
        Manifest::verify(&bench.committed(0))
            .unwrap()
            .manifest
            .files,
        []
    );
    assert_eq!(
        names(&bench.output().join(".petctl")),
        ["attempts", "trash"]
    );
    bench.end().await;
}

#[tokio::test]
async fn the_command_gets_its_environment_and_placeholders() {
    let script = "env | grep ^PETCTL_ | sort > $PETCTL_OUTPUT/env; echo \"$1 $2\" > $PETCTL_OUTPUT/args; pwd > $PETCTL_OUTPUT/pwd";
    let mut bench = Bench::with(script, |spec| {
        spec.stages[0].command.extend(
            [
                "sh",
                "{key}-{index}-{attempt}-{job}-{stage}-{param.x}",
                "{output}",
            ]
            .map(Into::into),
        );
        spec.stages[0].params.insert("x".into(), "y".into());
        spec.workers.gpus = 2;
    })
    .await;
    let result = bench.run_one().await;
    assert_eq!(result.outcome(), Outcome::Committed, "{result:?}");
    let read = |name: &str| fs::read_to_string(bench.committed(0).join(name)).unwrap();
    let attempt = bench
        .output()
        .join(".petctl/attempts/work/k0.1-0000000000000007-0000000000000001");
    let worker = &bench.session.hello.worker_id;
    let expected = format!(
        "PETCTL_ATTEMPT=1\nPETCTL_JOB=test\nPETCTL_LEASE=1\nPETCTL_OUTPUT={}\nPETCTL_SHARD_INDEX=0\n\
         PETCTL_SHARD_KEY=k0\nPETCTL_STAGE=work\nPETCTL_WORKER_ID={worker}\n",
        attempt.display()
    );
    assert_eq!(read("env"), expected);
    assert_eq!(
        read("args"),
        format!("k0-0-1-test-work-y {}\n", attempt.display())
    );
    assert_eq!(
        read("pwd").trim(),
        bench.root().canonicalize().unwrap().to_str().unwrap()
    );
    bench.end().await;
}

#[tokio::test]
async fn a_command_that_exits_1_failed_with_its_last_lines() {
    let result = result_of("echo one; echo two >&2; exit 1").await;
    expect(&result, Outcome::Failed, "EXIT_NONZERO");
    assert_eq!(result.exit_code, Some(1));
    assert!(
        result.message.starts_with("exited with 1 after "),
        "{}",
        result.message
    );
    assert!(
        result.log_tail.contains("one\n") && result.log_tail.contains("two\n"),
        "{}",
        result.log_tail
    );
}

#[tokio::test]
async fn a_command_killed_by_a_signal_names_it() {
    let result = result_of("kill -SEGV $$").await;
    expect(&result, Outcome::Failed, "KILLED_BY_SIGNAL");
    assert_eq!((result.exit_code, result.signal), (None, 11));
    assert!(
        result.message.starts_with("killed by SIGSEGV (11)"),
        "{}",
        result.message
    );
    let result = result_of("kill -KILL $$").await;
    assert!(result.message.contains("memory"), "{}", result.message);
}

#[tokio::test]
async fn a_command_that_can_not_be_run_says_what_to_do() {
    type Case<'a> = (&'a str, Option<(&'a str, u32)>, &'a str, i32, &'a str);
    let cases: [Case<'_>; 5] = [
        ("no-such-program", None, "COMMAND_NOT_FOUND", 127, "PATH"),
        ("./missing", None, "COMMAND_NOT_FOUND", 127, "folder"),
        (
            "./tool",
            Some(("#!/bin/sh\n", 0o644)),
            "COMMAND_NOT_EXECUTABLE",
            126,
            "chmod +x",
        ),
        (
            "./tool",
            Some(("#!/no/interpreter\n", 0o755)),
            "COMMAND_NOT_EXECUTABLE",
            126,
            "interpreter",
        ),
        (
            "./tool",
            Some(("\u{1}\u{2}", 0o755)),
            "COMMAND_NOT_EXECUTABLE",
            126,
            "#!/bin/sh",
        ),
    ];
    for (program, file, code, exit_code, hint) in cases {
        let mut bench =
            Bench::with("", |spec| spec.stages[0].command = vec![program.to_owned()]).await;
        if let Some((text, mode)) = file {
            let path = bench.root().join(program);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let result = bench.run_one().await;
        expect(&result, Outcome::Failed, code);
        assert_eq!(result.exit_code, Some(exit_code));
        assert!(
            result.message.contains(hint)
                && result.message.contains(program.trim_start_matches("./")),
            "{result:?}"
        );
        bench.end().await;
    }
}

#[tokio::test]
async fn a_program_is_found_again_once_it_is_installed() {
    let mut bench = Bench::with("", |spec| {
        spec.stages[0].command = vec!["./tool".to_owned()]
    })
    .await;
    expect(&bench.run_one().await, Outcome::Failed, "COMMAND_NOT_FOUND");
    let path = bench.root().join("tool");
    fs::write(&path, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    bench.session.lease([lease(2, 0)]).await;
    assert_eq!(
        bench.session.results(1).await[&2].outcome(),
        Outcome::Committed
    );
    bench.end().await;
}

#[tokio::test]
async fn a_missing_job_folder_is_not_the_shards_fault() {
    let mut bench = Bench::with("true", |spec| spec.folder.push_str("/gone")).await;
    expect(
        &bench.run_one().await,
        Outcome::Infrastructure,
        "JOB_FOLDER_MISSING",
    );
    bench.end().await;
}

#[tokio::test]
async fn a_command_that_ignores_sigterm_is_killed_after_its_grace() {
    let started = Instant::now();
    let mut bench = Bench::with("trap '' TERM; while :; do sleep 0.01; done", |spec| {
        spec.stages[0].timeout_ms = 200;
        spec.stages[0].grace_ms = 300;
    })
    .await;
    let result = bench.run_one().await;
    expect(&result, Outcome::TimedOut, "TIMED_OUT");
    assert_eq!((result.exit_code, result.signal), (None, 9));
    assert_eq!(result.message, "ran longer than timeout = 200ms");
    assert!(
        started.elapsed() >= Duration::from_millis(500) && result.duration_ms >= 500,
        "{result:?}"
    );
    bench.end().await;
}

#[tokio::test]
async fn a_command_that_heeds_sigterm_has_its_grace_to_end() {
    let script = "trap 'echo saving; exit 0' TERM; echo ready; while :; do sleep 0.01; done";
    let mut bench = Bench::with(script, |spec| spec.stages[0].timeout_ms = 2_000).await;
    let result = bench.run_one().await;
    expect(&result, Outcome::TimedOut, "TIMED_OUT");
    // The shell may say of its own child that it was terminated.
    assert!(result.log_tail.contains("saving\n"), "{result:?}");
    assert_eq!(result.exit_code, Some(0));
    bench.end().await;
}

#[tokio::test]
async fn outputs_that_lead_elsewhere_are_refused() {
    let scripts = [
        "ln -s /etc/passwd $PETCTL_OUTPUT/x",
        "ln -s ../../../../x $PETCTL_OUTPUT/x",
        "mkdir $PETCTL_OUTPUT/sub; ln -s ../.. $PETCTL_OUTPUT/sub/x",
        "ln -s ../$(basename $PETCTL_OUTPUT)/y $PETCTL_OUTPUT/x; touch $PETCTL_OUTPUT/y",
        "ln -s nowhere $PETCTL_OUTPUT/x",
        "mkfifo $PETCTL_OUTPUT/x",
        "echo '{}' > $PETCTL_OUTPUT/r; ln -s r $PETCTL_OUTPUT/result.json",
    ];
    for script in scripts {
        expect(&result_of(script).await, Outcome::Failed, "OUTPUT_ESCAPES");
    }
    // Replacing the folder by a link to another one does not commit that other one.
    let result = result_of(
        "rmdir $PETCTL_OUTPUT; mkdir other; touch other/x; ln -s $PWD/other $PETCTL_OUTPUT",
    )
    .await;
    expect(&result, Outcome::Failed, "OUTPUT_ESCAPES");
}

#[tokio::test]
async fn a_result_json_that_is_not_one_fails_the_shard() {
    let cases = [
        (
            "echo '{\"verdict\": ' > $PETCTL_OUTPUT/result.json",
            "RESULT_NOT_JSON",
        ),
        (
            "echo '{\"numbers\": {\"x\": NaN}}' > $PETCTL_OUTPUT/result.json",
            "RESULT_NOT_JSON",
        ),
        (
            "echo '{\"verdict\": \"perhaps\"}' > $PETCTL_OUTPUT/result.json",
            "RESULT_INVALID",
        ),
        (
            "truncate -s 100M $PETCTL_OUTPUT/result.json",
            "RESULT_TOO_LARGE",
        ),
        (
            "echo '{}' > $PETCTL_OUTPUT/manifest.json",
            "OUTPUT_RESERVED_NAME",
        ),
        (
            "touch $PETCTL_OUTPUT/$(printf 'a\\377b')",
            "OUTPUT_NAME_NOT_UTF8",
        ),
    ];
    for (script, code) in cases {
        expect(&result_of(script).await, Outcome::Failed, code);
    }
}

#[tokio::test]
async fn names_of_petctl_further_down_belong_to_the_command() {
    let result = result_of("mkdir $PETCTL_OUTPUT/a; echo x > $PETCTL_OUTPUT/a/manifest.json; echo x > $PETCTL_OUTPUT/a/result.json").await;
    assert_eq!(
        (result.outcome(), result.output_files),
        (Outcome::Committed, 2),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_command_that_removes_its_folder_commits_nothing() {
    let result = result_of("rmdir $PETCTL_OUTPUT").await;
    expect(&result, Outcome::Failed, "OUTPUT_GONE");
}

#[tokio::test]
async fn a_key_from_the_network_does_not_lead_out_of_the_output_folder() {
    let mut bench = Bench::start("true").await;
    for (id, key) in [(1, "../../evil"), (2, "/etc/evil"), (3, "")] {
        let mut evil = lease(id, 0);
        evil.key = key.to_owned();
        bench.session.lease([evil]).await;
        expect(
            &bench.session.results(1).await[&id],
            Outcome::Failed,
            "INVALID_SHARD_KEY",
        );
    }
    let mut unknown = lease(4, 0);
    unknown.stage = 9;
    bench.session.lease([unknown]).await;
    expect(
        &bench.session.results(1).await[&4],
        Outcome::Infrastructure,
        "UNKNOWN_STAGE",
    );
    bench.end().await;
}

#[tokio::test]
async fn nested_keys_commit_into_nested_folders() {
    let mut bench = Bench::start("echo $PETCTL_SHARD_KEY > $PETCTL_OUTPUT/key; echo printed").await;
    let nested = |id, key: &str| petctl_proto::v1::Lease {
        key: key.to_owned(),
        ..lease(id, 0)
    };
    bench
        .session
        .lease([nested(1, "a/b/one.xml"), nested(2, "a/two.xml")])
        .await;
    for result in bench.session.results(2).await.values() {
        assert_eq!(result.outcome(), Outcome::Committed, "{result:?}");
    }
    for key in ["a/b/one.xml", "a/two.xml"] {
        let folder = bench.output().join("work").join(key);
        assert_eq!(Manifest::verify(&folder).unwrap().manifest.key, key);
        assert_eq!(
            names(&bench.output().join(".petctl/logs/work").join(key)).len(),
            1
        );
    }
    bench.end().await;
}
