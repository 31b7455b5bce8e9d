//! A job that is run again after something changed: what is reused, what runs again, and why.

use crate::harness::{Harness, assert_seen};
use std::fs;

/// Shards of files, with a script of the job's own, and one stage that sums up.
const COUNTED: &str = r#"
[job]
name = "counted"
[workers]
max = 1
[storage]
input = "in"
output = "out"
[[stage]]
name = "count"
kind = "shards"
shards = { glob = "*.txt" }
command = ["sh", "count.sh", "{input}", "{output}"]
[[stage]]
name = "sum"
kind = "once"
needs = ["count"]
command = ["sh", "-c", "cat $0/count/*/lines > $1/all", "{output_root}", "{output}"]
"#;

const LISTED: &str = r#"
[job]
name = "listed"
[workers]
max = 1
[storage]
input = "in"
output = "out"
[[stage]]
name = "s"
kind = "shards"
shards = { manifest = "shards.jsonl" }
command = ["sh", "-c", 'cat "$0" > $2/out; echo $1 >> $2/out', "{input}", "{param.seed}", "{output}"]
"#;

fn counted() -> Harness {
    let harness = Harness::new();
    harness
        .write("counted.toml", COUNTED)
        .write("count.sh", "wc -l < $1 > $2/lines\n")
        .write("in/a.txt", "1\n")
        .write("in/b.txt", "1\n2\n")
        .write("in/c.txt", "1\n2\n3\n");
    harness
}

fn listed() -> Harness {
    let harness = Harness::new();
    harness
        .write("listed.toml", LISTED)
        .write("in/a.txt", "a\n")
        .write("in/b.txt", "b\n")
        .write(
            "shards.jsonl",
            "{\"key\": \"x\", \"inputs\": [\"a.txt\"], \"params\": {\"seed\": \"1\"}}\n\
             {\"key\": \"y\", \"inputs\": [\"b.txt\"], \"params\": {\"seed\": \"2\"}}\n",
        );
    harness
}

#[test]
fn only_what_changed_runs_again() {
    let harness = counted();
    assert!(harness.run("run counted.toml").status.success());
    harness
        .write("in/b.txt", "1\n2\n3\n4\n")
        .write("in/d.txt", "");
    fs::remove_file(harness.path("in/c.txt")).unwrap();
    assert_seen!(harness.see("run counted.toml --dry-run --why-rerun"));
    assert!(
        harness.path("out/count/c.txt").exists(),
        "a plan changes nothing"
    );
    assert_seen!(harness.see("run counted.toml --why-rerun"));
    assert!(!harness.path("out/count/c.txt").exists());
    let all = fs::read_to_string(harness.path("out/sum/once/all")).unwrap();
    assert_eq!(all.split_whitespace().collect::<Vec<_>>(), ["1", "4", "0"]);
    assert_seen!(harness.see("status counted"));
    assert_seen!(harness.see("run counted.toml"));
}

#[test]
fn a_file_that_was_only_touched_is_reused() {
    let harness = counted();
    assert!(harness.run("run counted.toml").status.success());
    let text = fs::read(harness.path("in/a.txt")).unwrap();
    fs::write(harness.path("in/a.txt"), text).unwrap();
    assert_seen!(harness.see("run counted.toml"));
}

#[test]
fn code_that_changed_runs_its_stage_again() {
    let harness = counted();
    assert!(harness.run("run counted.toml").status.success());
    harness.write("count.sh", "wc -c < $1 > $2/lines\n");
    assert_seen!(harness.see("run counted.toml --why-rerun"));
    let lines = fs::read_to_string(harness.path("out/count/a.txt/lines")).unwrap();
    assert_eq!(lines.trim(), "2");
}

#[test]
fn shards_run_again_when_they_are_asked_for() {
    let harness = counted();
    assert!(harness.run("run counted.toml").status.success());
    assert_seen!(harness.see("run counted.toml --rerun b*"));
    assert_seen!(harness.see("run counted.toml --rerun ../b"));
}

#[test]
fn a_manifest_gives_each_shard_its_inputs_and_parameters() {
    let harness = listed();
    assert_seen!(harness.see("run listed.toml"));
    let out = |key: &str| fs::read_to_string(harness.path(&format!("out/s/{key}/out"))).unwrap();
    assert_eq!(
        (out("x"), out("y")),
        ("a\n1\n".to_owned(), "b\n2\n".to_owned())
    );
    assert_seen!(harness.see("explain listed y"));
    let manifest = fs::read_to_string(harness.path("shards.jsonl")).unwrap();
    harness.write("shards.jsonl", &manifest.replace("\"2\"", "\"3\""));
    assert_seen!(harness.see("run listed.toml --why-rerun"));
    assert_eq!(out("y"), "b\n3\n");
}

#[test]
fn a_broken_manifest_is_refused_with_its_lines() {
    let harness = listed();
    harness.write(
        "shards.jsonl",
        "{\"key\": \"x\", \"inputs\": [\"a.txt\"], \"params\": {\"seed\": 1}}\n\
         {\"key\": \"y\"\n\
         {\"key\": \"x\", \"inputs\": [\"b.txt\"], \"size\": -1}\n",
    );
    assert_seen!(harness.see("validate listed.toml"));
    harness.write(
        "shards.jsonl",
        "{\"key\": \"x\", \"inputs\": [\"c.txt\"], \"params\": {\"seed\": 1}}\n",
    );
    assert_seen!(harness.see("validate listed.toml"));
    fs::remove_file(harness.path("shards.jsonl")).unwrap();
    assert_seen!(harness.see("validate listed.toml"));
}

#[test]
fn code_that_names_no_file() {
    let harness = counted();
    assert_seen!(harness.see("run counted.toml --set job.code=[\"src/*.py\"]"));
}

#[test]
fn a_dated_job_keeps_its_date_until_it_has_succeeded() {
    let harness = counted();
    let dated = "--set storage.dated=true";
    assert_seen!(harness.see(&format!("run counted.toml {dated} --date 2026-02-29")));
    assert_seen!(harness.see("run counted.toml --date 2026-02-28"));
    let broken = "--set stage.sum.command=[\"false\"] --set stage.sum.retries=0";
    let first = format!("run counted.toml {dated} {broken} --date 2026-02-28");
    assert_eq!(harness.run(&first).status.code(), Some(1));
    let ended = harness.run(&format!("run counted.toml {dated}"));
    assert!(ended.status.success(), "{ended:?}");
    assert!(harness.path("out_2026-02-28/sum/once/all").exists());
    // It has succeeded: another start has a date of its own.
    assert!(
        harness
            .run(&format!("run counted.toml {dated}"))
            .status
            .success()
    );
    let outputs = fs::read_dir(harness.path("")).unwrap().flatten();
    let outputs = outputs.filter(|entry| entry.file_name().to_string_lossy().starts_with("out_"));
    assert_eq!(outputs.count(), 2);
}

#[test]
fn a_stage_may_run_beside_the_launcher() {
    let harness = counted();
    assert_seen!(harness.see("run counted.toml --set stage.sum.run_mode=\"local\""));
    assert_seen!(harness.see("logs counted --worker nobody"));
}
