//! Jobs from start to end, and what is shown of them afterwards.

use crate::harness::{Harness, assert_seen};
use serde_json::Value;
use std::fs;

/// One stage with every kind of ending, in a fixed order, and one that needs it.
const MIXED: &str = r#"
[job]
name = "mixed"
[workers]
max = 1
[storage]
output = "out"
[[stage]]
name = "drive"
kind = "shards"
shards = { values = ["good", "weak", "empty", "bad"] }
retries = 1
backoff = "10ms"
command = ["sh", "-c", '''
echo "drives $0"
case $0 in
  good) echo '{{"verdict": "pass", "numbers": {{"min_ttc_s": 2.5, "collided": false}}}}' > $1/result.json;;
  weak) echo '{{"verdict": "fail", "reasons": ["min_ttc_s is 0.4, below 1.0"], "numbers": {{"min_ttc_s": 0.4, "collided": true}}}}' > $1/result.json;;
  empty) echo '{{"verdict": "skipped", "reasons": ["nothing to replay"]}}' > $1/result.json;;
  bad) echo "no such sensor" >&2; exit 3;;
esac
''', "{key}", "{output}"]
[stage.env]
SEED = "4 2"
[[stage]]
name = "summary"
kind = "once"
needs = ["drive"]
command = ["true"]
"#;

const SMALL: &str = r#"
[job]
name = "small"
[workers]
max = 1
[storage]
output = "out"
[[stage]]
name = "s"
kind = "shards"
shards = { range = [0, 3] }
command = ["sh", "-c", "echo shard $0", "{key}"]
"#;

fn harness() -> Harness {
    let harness = Harness::new();
    harness
        .write("mixed.toml", MIXED)
        .write("small.toml", SMALL);
    harness
}

#[test]
fn a_job_that_succeeds() {
    let harness = harness();
    assert_seen!(harness.see("run small.toml"));
    assert_seen!(harness.see("status small"));
    assert_seen!(harness.see("list"));
    assert_seen!(harness.see("explain small"));
    assert_seen!(harness.see("explain small 1"));
    assert_seen!(harness.see("logs small"));
    assert_seen!(harness.see("logs small --shard 1"));
    assert_seen!(harness.see("run small.toml"));
    assert_seen!(harness.see("cancel small"));
    assert_seen!(harness.see("delete small --dry-run"));
    assert_seen!(harness.see("delete small --yes"));
    assert!(!harness.path("out").exists());
    assert!(!harness.home().join("jobs/small").exists());
    assert_seen!(harness.see("list"));
}

#[test]
fn a_job_that_fails() {
    let harness = harness();
    let output = harness.run("run mixed.toml");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    for part in [
        "mixed failed",
        "min_ttc_s is 0.4, below 1.0",
        "nothing to replay",
        "exited with 3",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert_seen!(harness.see("status mixed"));
    assert_seen!(harness.see("report mixed"));
    assert_seen!(harness.see("report mixed --failed"));
    assert_seen!(harness.see("report mixed --stage drive --sort min_ttc_s"));
    assert_seen!(harness.see("explain mixed"));
    assert_seen!(harness.see("explain mixed bad"));
    assert_seen!(harness.see("explain mixed --stage summary"));
    assert_seen!(harness.see("logs mixed --failed"));
    assert_seen!(harness.see("logs mixed --shard bad --attempt 1"));
}

#[test]
fn the_command_that_explain_prints_runs_that_shard() {
    let harness = harness();
    harness.run("run mixed.toml");
    let said = String::from_utf8(harness.run("explain mixed good").stdout).unwrap();
    let lines: Vec<&str> = said.split("to run it again here:\n").collect();
    let script = format!("{}\necho; ls $out", lines[1].trim());
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "drives good\n\nresult.json\n"
    );
}

#[test]
fn json_is_for_programs() {
    let harness = harness();
    harness.run("run mixed.toml");
    let json =
        |words: &str| -> Value { serde_json::from_slice(&harness.run(words).stdout).unwrap() };
    let status = json("status mixed -o json");
    assert_eq!(status["schema_version"], 2);
    assert_eq!(status["state"], "failed");
    assert_eq!(status["stages"][0]["checks_failed"], 1);
    let report = json("report mixed -o json");
    assert_eq!(report["rows"].as_array().unwrap().len(), 5);
    let row = &report["rows"][0];
    assert_eq!(
        (&row["shard"], &row["verdict"]),
        (&"good".into(), &"pass".into())
    );
    assert_eq!(row["numbers"]["min_ttc_s"], 2.5);
    let bad = &report["rows"][3];
    assert_eq!(
        (&bad["state"], &bad["error"]["exit_code"]),
        (&"failed".into(), &3.into())
    );
    assert_eq!(json("list -o json")["jobs"][0]["job"], "mixed");
    let explained = json("explain mixed bad -o json");
    assert!(
        explained["rows"][0]["reproduce"]
            .as_str()
            .unwrap()
            .contains("env 'SEED=4 2'")
    );
    let events = String::from_utf8(harness.run("events mixed -o json").stdout).unwrap();
    let kinds: Vec<Value> = events
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].clone())
        .collect();
    assert_eq!(kinds.first().unwrap(), "job_submitted");
    assert_eq!(kinds.last().unwrap(), "job_ended");
    assert_eq!(json("validate mixed.toml -o json")["valid"], true);
    assert_eq!(
        json("validate nowhere.toml -o json")["errors"][0]["code"],
        "JOB_FILE_UNREADABLE"
    );
}

#[test]
fn csv_has_a_column_for_each_number() {
    let harness = harness();
    harness.run("run mixed.toml");
    let csv = String::from_utf8(harness.run("report mixed --stage drive -o csv").stdout).unwrap();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(
        lines[0],
        "stage,shard,state,verdict,attempts,seconds,worker,code,reasons,collided,min_ttc_s"
    );
    assert!(lines[2].starts_with("drive,weak,done,fail,1,"), "{csv}");
    assert!(
        lines[2].ends_with(",\"min_ttc_s is 0.4, below 1.0\",1,0.4"),
        "{csv}"
    );
}

#[test]
fn a_failed_job_is_tried_again_and_keeps_what_is_done() {
    let harness = harness();
    let script = "echo run >> ran-$0; [ $0 != 1 ] || [ -e fixed ]";
    let job = SMALL
        .replace("echo shard $0", script)
        .replace("command =", "retries = 0\ncommand =");
    harness.write("job.toml", &job);
    assert_eq!(harness.run("run job.toml").status.code(), Some(1));
    harness.write("fixed", "");
    let again = harness.run("run job.toml");
    assert_eq!(again.status.code(), Some(0));
    assert!(
        String::from_utf8(again.stderr)
            .unwrap()
            .contains("2 of 3 shards reused; 1 runs again: 1 failed before")
    );
    let runs = |key: u32| {
        fs::read_to_string(harness.path(&format!("ran-{key}")))
            .unwrap()
            .lines()
            .count()
    };
    assert_eq!([runs(0), runs(1), runs(2)], [1, 2, 1]);
}

#[test]
fn a_job_of_which_nothing_runs_again_is_only_said_to_have_succeeded_if_it_did() {
    let harness = Harness::new();
    let job = r#"
[job]
name = "judged"
[storage]
output = "out"
[[stage]]
name = "s"
kind = "shards"
shards = { values = ["fail", "pass"] }
command = ["sh", "-c", 'echo "{{\"verdict\": \"$1\"}}" > "$PETCTL_OUTPUT/result.json"', "sh", "{key}"]
"#;
    harness.write("bad.toml", job);
    harness.write(
        "good.toml",
        &job.replace("judged", "fine")
            .replace("\"fail\", ", "")
            .replace("\"out\"", "\"out2\""),
    );
    for (file, exit, said) in [
        (
            "bad.toml",
            1,
            "none of its shards runs again unless --rerun asks for it, and it fails",
        ),
        ("good.toml", 0, "has succeeded before; nothing to do"),
    ] {
        let line = format!("run {file}");
        assert_eq!(harness.run(&line).status.code(), Some(exit), "{file}");
        let again = harness.run(&line);
        assert_eq!(again.status.code(), Some(exit), "{file}");
        let stderr = String::from_utf8(again.stderr).unwrap();
        assert!(stderr.contains(said), "{file}: {stderr}");
        assert_eq!(stderr.contains("succeeded"), exit == 0, "{file}: {stderr}");
    }
}

#[test]
fn rerun_all_takes_earlier_results_away() {
    let harness = harness();
    assert!(harness.run("run small.toml").status.success());
    let shorter = "run small.toml --set stage.s.shards.range=[0,2] --rerun all --yes";
    assert!(harness.run(shorter).status.success());
    assert!(harness.path("out/s/0/manifest.json").exists());
    assert!(!harness.path("out/s/2").exists());
}

#[test]
fn dry_run_changes_nothing() {
    let harness = harness();
    assert_seen!(harness.see("run small.toml --dry-run"));
    assert!(!harness.path("out").exists());
    assert!(!harness.home().exists());
}

#[test]
fn validate_shows_the_job() {
    let harness = harness();
    assert_seen!(harness.see("validate mixed.toml"));
    let schema: Value = serde_json::from_slice(&harness.run("validate --schema").stdout).unwrap();
    assert_eq!(schema["title"], "petctl job file");
}

#[test]
fn a_pipe_that_is_closed_ends_quietly() {
    let harness = harness();
    harness.run("run mixed.toml");
    let line = format!(
        "'{}' report mixed -o json | head -c 5",
        env!("CARGO_BIN_EXE_petctl")
    );
    let output = std::process::Command::new("sh")
        .args(["-c", &line])
        .env("PETCTL_HOME", harness.home())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn whatever_a_command_prints_onto_a_full_disk_is_an_error() {
    let harness = harness();
    harness.run("run small.toml");
    let full = |words: &str| {
        let full = fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        harness.command(words).stdout(full).output().unwrap()
    };
    for words in [
        "status small",
        "status small -o json",
        "list",
        "report small -o csv",
        "report small -o json",
        "events small",
        "explain small",
        "logs small --shard 0",
        "validate small.toml -o json",
        "validate --schema",
        "storage ls .",
        "storage cat ./small.toml",
        "completions bash",
        "--help",
        "run --help",
        "--version",
    ] {
        let output = full(words);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(75), "{words}: {said}");
        assert!(said.contains("error[STDOUT_UNWRITABLE]"), "{words}: {said}");
        assert!(said.contains("No space left on device"), "{words}: {said}");
    }
    // The job has run, whoever can read of it.
    let run = full("run mixed.toml --set storage.output=other");
    assert_eq!(run.status.code(), Some(1));
    assert!(
        String::from_utf8(run.stderr)
            .unwrap()
            .contains("STDOUT_UNWRITABLE")
    );
}

#[test]
fn a_shard_is_found_by_each_of_its_names() {
    let harness = Harness::new();
    let job = SMALL.replace("\"small\"", "\"padded\"").replace(
        "{ range = [0, 3] }",
        "{ values = [\"07\", \"70\", \"071\"] }",
    );
    harness.write("padded.toml", &job);
    assert!(harness.run("run padded.toml").status.success());
    for (text, shard) in [
        ("07", "07"),
        ("7", "07"),
        ("s/7", "07"),
        ("s/07", "07"),
        ("s/70", "70"),
        ("71", "071"),
        ("070", "70"),
    ] {
        let explained = harness.run(&format!("explain padded {text} -o json"));
        let explained: Value = serde_json::from_slice(&explained.stdout).unwrap();
        let rows = explained["rows"].as_array().unwrap();
        assert_eq!(
            (rows.len(), &rows[0]["shard"]),
            (1, &shard.into()),
            "{text}"
        );
        let logs = harness.run(&format!("logs padded --shard {text}"));
        let logs = String::from_utf8(logs.stdout).unwrap();
        assert_eq!(logs, format!("shard {shard}\n"), "{text}");
    }
    // What begins so, where nothing is called so.
    let explained = harness.run("explain padded s/0 -o json");
    let explained: Value = serde_json::from_slice(&explained.stdout).unwrap();
    assert_eq!(explained["rows"].as_array().unwrap().len(), 2);
    let missing = harness.run("explain padded t/07");
    assert_eq!(missing.status.code(), Some(66));
}

#[test]
fn quiet_says_results_only() {
    let output = harness().run("run small.toml --quiet");
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .last()
            .unwrap()
            .starts_with("small succeeded")
    );
}
