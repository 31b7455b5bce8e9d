//! What a job's shards are made of: names that globs read, folders, and what can't be looked at.

use crate::harness::{Harness, assert_seen};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;

fn job(name: &str, source: &str, storage: &str) -> String {
    format!(
        "[job]\nname = {name:?}\n[storage]\ninput = \"in\"\noutput = \"out-{name}\"\n{storage}\n[[stage]]\n\
         name = \"s\"\nkind = \"shards\"\nshards = {source}\ncommand = [\"ls\", \"{{input}}\"]\n"
    )
}

fn keys(harness: &Harness, job: &str) -> Vec<String> {
    let report = harness.run(&format!("report {job} -o json"));
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap().iter();
    rows.map(|row| row["shard"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn what_could_hide_shards_is_refused_all_at_once_and_may_be_allowed() {
    let harness = Harness::new();
    harness
        .write("in/a.xml", "")
        .write("in/sub/b.xml", "")
        .write("elsewhere/c.xml", "");
    symlink("gone", harness.path("in/dead.xml")).unwrap();
    symlink("../elsewhere", harness.path("in/linked")).unwrap();
    symlink("a.xml", harness.path("in/good.xml")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, harness.path("in/pipe.xml"), 0o600.into()).unwrap();
    harness.write("job.toml", &job("hidden", "{ glob = \"**/*.xml\" }", ""));
    assert_seen!(harness.see("validate job.toml"));
    assert_eq!(harness.run("run job.toml").status.code(), Some(65));
    assert!(!harness.path("out-hidden").exists(), "nothing was started");
    // What the pattern does not reach is no matter.
    harness.write("flat.toml", &job("flat", "{ glob = \"sub/*.xml\" }", ""));
    assert!(harness.run("run flat.toml").status.success());
    let allowed = job(
        "allowed",
        "{ glob = \"**/*.xml\" }",
        "incomplete_input = true",
    );
    harness.write("allowed.toml", &allowed);
    let ran = harness.run("run allowed.toml");
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(ran.status.success(), "{said}");
    for name in ["dead.xml", "linked", "pipe.xml"] {
        assert!(said.contains(&format!("{name} is a ")), "{said}");
    }
    assert_eq!(
        keys(&harness, "allowed"),
        ["a.xml", "good.xml", "sub/b.xml"]
    );
}

#[test]
fn all_names_that_are_no_keys_are_listed_at_once() {
    let harness = Harness::new();
    for name in ["in/good", "in/new\nline", "in/back\\slash", "in/.petctl-x"] {
        harness.write(name, "");
    }
    harness.write("job.toml", &job("names", "{ glob = \"*\" }", ""));
    assert_seen!(harness.see("validate job.toml"));
}

#[test]
fn characters_that_globs_read_are_meant_themselves_in_brackets() {
    let harness = Harness::new();
    let names = [
        "a[1].xml", "a1.xml", "b{x}.xml", "c*.xml", "d?.xml", "d1.xml",
    ];
    for name in names {
        harness.write(&format!("in/{name}"), "");
    }
    for (index, (glob, fit)) in [
        ("a[[]1[]].xml", vec!["a[1].xml"]),
        ("a[1].xml", vec!["a1.xml"]),
        ("b[{]x[}].xml", vec!["b{x}.xml"]),
        ("c[*].xml", vec!["c*.xml"]),
        ("d[?].xml", vec!["d?.xml"]),
        ("[!a-c]*.xml", vec!["d1.xml", "d?.xml"]),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("glob-{index}");
        harness.write(
            "job.toml",
            &job(&name, &format!("{{ glob = {glob:?} }}"), ""),
        );
        let ran = harness.run("run job.toml");
        assert!(ran.status.success(), "{glob}: {ran:?}");
        assert_eq!(keys(&harness, &name), fit, "{glob}");
    }
}

#[test]
fn folders_are_inputs_and_what_changes_in_one_runs_its_shard_again() {
    let harness = Harness::new();
    harness
        .write("in/bags/a/metadata.yaml", "1")
        .write("in/bags/a/a_0.db3", "1")
        .write("in/bags/b/metadata.yaml", "1")
        .write("in/bags/notes.txt", "1");
    harness.write("glob.toml", &job("glob", "{ glob = \"bags/*/\" }", ""));
    let lines = "{\"key\": \"x\", \"inputs\": \"bags/a\"}\n{\"key\": \"y\", \"inputs\": [\"bags/b\", \"bags/notes.txt\"]}\n";
    harness.write("shards.jsonl", lines);
    let manifest = job("manifest", "{ manifest = \"shards.jsonl\" }", "");
    harness.write("manifest.toml", &manifest);
    for (name, first) in [("glob", "bags/a"), ("manifest", "x")] {
        let run = || {
            let ran = harness.run(&format!("run {name}.toml"));
            let said = String::from_utf8(ran.stderr).unwrap();
            assert!(ran.status.success(), "{said}");
            said
        };
        run();
        assert_eq!(keys(&harness, name)[0], first);
        assert!(run().contains("nothing to do"), "{name}");
        let logs = harness.run(&format!("logs {name}"));
        let logs = String::from_utf8(logs.stdout).unwrap();
        assert!(logs.contains(&format!("{first}: metadata.yaml")), "{logs}");
        fs::write(harness.path(&format!("in/bags/a/new-{name}")), "2").unwrap();
        assert!(run().contains("1 of 2 shards reused"), "{name}");
    }
}
