//! Stopping, leaving, coming back.

use crate::harness::{Harness, assert_seen, wait_for};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

fn gated() -> Harness {
    let harness = Harness::new();
    harness.write_gated("gated", 4);
    harness
}

fn started(harness: &Harness, count: usize) {
    let is_started = |key: &usize| harness.path(&format!("started-{key}")).exists();
    wait_for("shards to start", || {
        (0..4).filter(is_started).count() >= count
    });
}

fn status(harness: &Harness) -> Value {
    serde_json::from_slice(&harness.run("status gated -o json").stdout).unwrap()
}

#[test]
fn ctrl_c_once_drains_and_the_job_goes_on_later() {
    let harness = gated();
    let running = harness.start("run gated.toml");
    started(&harness, 2);
    running.signal("INT");
    wait_for("the drain", || {
        status(&harness)["waiting"][0]["code"] == "COORDINATOR_DRAINING"
    });
    harness.open_gate();
    let output = running.end();
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("draining: what runs goes on to its end"),
        "{said}"
    );
    assert!(said.contains("To go on: petctl run"), "{said}");
    assert_eq!(status(&harness)["done"], 2);
    let seen = harness.see("status gated");
    assert!(
        seen.contains("gated interrupted: 2 of 4 shards done"),
        "{seen}"
    );
    assert!(!seen.contains("Workers"), "{seen}");
    assert_seen!(harness.see("list"));
    assert_seen!(harness.see("scale gated --workers 3"));
    assert_eq!(harness.run("status gated --wait").status.code(), Some(75));
    let again = harness.run("run gated.toml");
    assert_eq!(again.status.code(), Some(0));
    assert!(
        String::from_utf8(again.stderr)
            .unwrap()
            .contains("goes on; 2 shards done already")
    );
}

#[test]
fn whoever_stops_a_job_that_ends_meanwhile_hears_how_it_ended() {
    for signal in ["INT", "TERM"] {
        let harness = Harness::new();
        harness.write_gated("gated", 2);
        let running = harness.start("run gated.toml");
        started(&harness, 2);
        running.signal(signal);
        wait_for("the drain", || {
            status(&harness)["waiting"][0]["code"] == "COORDINATOR_DRAINING"
        });
        harness.open_gate();
        let output = running.end();
        assert_eq!(output.status.code(), Some(0), "{signal}: {output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(
            said.contains("gated succeeded: 2 of 2 shards done"),
            "{said}"
        );
        assert_eq!(status(&harness)["state"], "succeeded");
    }
}

#[test]
fn ctrl_c_twice_stops_what_runs() {
    let harness = gated();
    let running = harness.start("run gated.toml");
    started(&harness, 2);
    running.signal("INT");
    wait_for("the drain", || {
        status(&harness)["waiting"][0]["code"] == "COORDINATOR_DRAINING"
    });
    running.signal("INT");
    assert_eq!(running.end().status.code(), Some(130));
    assert_eq!(status(&harness)["done"], 0);
    harness.open_gate();
    assert_eq!(harness.run("run gated.toml").status.code(), Some(0));
}

#[test]
fn sigterm_drains_too() {
    let harness = gated();
    let running = harness.start("run gated.toml");
    started(&harness, 1);
    running.signal("TERM");
    harness.open_gate();
    assert_eq!(running.end().status.code(), Some(143));
}

#[test]
fn a_run_whose_terminal_was_closed_goes_on() {
    let harness = gated();
    let running = harness.start("run gated.toml");
    started(&harness, 1);
    running.signal("HUP");
    assert_eq!(status(&harness)["state"], "running");
    harness.open_gate();
    assert_eq!(running.end().status.code(), Some(0));
}

#[test]
fn a_killed_run_is_found_and_goes_on() {
    let harness = gated();
    let running = harness.start("run gated.toml");
    started(&harness, 2);
    running.signal("KILL");
    running.end();
    let list: Value = serde_json::from_slice(&harness.run("list -o json").stdout).unwrap();
    assert_eq!(list["jobs"][0]["state"], "interrupted");
    assert!(
        list["jobs"][0]["resume"]
            .as_str()
            .unwrap()
            .starts_with("petctl run ")
    );
    // Its workers live, and what they run is not started again.
    fs::remove_file(harness.path("started-0")).unwrap();
    fs::remove_file(harness.path("started-1")).unwrap();
    let again = harness.start("run gated.toml");
    wait_for("the workers to be back", || {
        status(&harness)["workers"]["members"]
            .as_array()
            .is_some_and(|m| m.len() == 2)
    });
    harness.open_gate();
    let output = again.end();
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("goes on with 2 workers that outlived an earlier run"),
        "{said}"
    );
    assert!(!harness.path("started-0").exists() && !harness.path("started-1").exists());
}

#[test]
fn a_killed_worker_is_replaced() {
    let harness = gated();
    let running = harness.start("run gated.toml");
    started(&harness, 2);
    let members = status(&harness)["workers"]["members"].clone();
    let pid = members[0]["pid"].as_u64().unwrap();
    assert!(
        Command::new("kill")
            .args(["-9", &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
    wait_for("another worker", || {
        let members = status(&harness)["workers"]["members"].clone();
        members
            .as_array()
            .is_some_and(|all| all.len() == 2 && all.iter().all(|member| member["pid"] != pid))
    });
    harness.open_gate();
    let output = running.end();
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("ended: signal: 9 (SIGKILL); another one takes its place"),
        "{said}"
    );
    assert_eq!(status(&harness)["stages"][0]["retries"], 1);
}

#[test]
fn workers_that_die_at_once_stop_the_job_and_say_why() {
    let harness = gated();
    let running = harness.start("run gated.toml --workers 1");
    started(&harness, 1);
    let pid = status(&harness)["workers"]["members"][0]["pid"].to_string();
    // Every later worker lacks it.
    let token = harness.home().join("jobs/gated/coordinator/token");
    let kept = fs::read(&token).unwrap();
    fs::remove_file(&token).unwrap();
    assert!(
        Command::new("kill")
            .args(["-9", &pid])
            .status()
            .unwrap()
            .success()
    );
    let output = running.end();
    assert_eq!(output.status.code(), Some(75));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("error[WORKER_CRASHES]: workers die without getting anything done"),
        "{said}"
    );
    assert!(
        said.contains("error[TOKEN_UNREADABLE]: can't read the token file"),
        "{said}"
    );
    fs::write(&token, kept).unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    harness.open_gate();
    assert_eq!(harness.run("run gated.toml").status.code(), Some(0));
}

#[test]
fn a_job_in_the_background() {
    let harness = gated();
    assert_seen!(harness.see("run gated.toml -d"));
    started(&harness, 2);
    assert_eq!(
        harness
            .run("status gated --wait --timeout 100ms")
            .status
            .code(),
        Some(124)
    );
    assert_seen!(harness.see("run gated.toml"));
    assert_seen!(harness.see("delete gated --yes"));
    assert_seen!(harness.see("cancel gated --dry-run"));
    assert_seen!(harness.see("scale gated --workers 3 --dry-run"));
    assert_seen!(harness.see("scale gated --workers 3"));
    started(&harness, 3);
    let follower = harness.start("logs gated -f");
    let events = harness.start("events gated -f");
    harness.open_gate();
    assert_eq!(
        harness.run("status gated --wait --quiet").status.code(),
        Some(0)
    );
    assert_eq!(follower.end().status.code(), Some(0));
    let said = String::from_utf8(events.end().stdout).unwrap();
    assert!(said.trim_end().ends_with("job succeeded"), "{said}");
}

#[test]
fn a_bad_job_in_the_background_is_refused_in_the_foreground() {
    let harness = gated();
    harness.write("out/s/precious", "");
    assert_seen!(harness.see("run gated.toml -d"));
}

#[test]
fn cancel_stops_what_runs() {
    let harness = gated();
    let running = harness.start("run gated.toml");
    started(&harness, 2);
    assert_seen!(harness.see("cancel gated"));
    assert_eq!(running.end().status.code(), Some(3));
    assert_eq!(harness.run("status gated").status.code(), Some(3));
    harness.open_gate();
    assert_eq!(harness.run("run gated.toml").status.code(), Some(0));
}

#[test]
fn an_interrupted_job_can_be_cancelled() {
    let harness = gated();
    let running = harness.start("run gated.toml");
    started(&harness, 2);
    running.signal("KILL");
    running.end();
    assert_seen!(harness.see("cancel gated"));
    assert_eq!(status(&harness)["state"], "cancelled");
}

#[test]
fn logs_are_followed_while_a_shard_prints() {
    let harness = Harness::new();
    harness.write(
        "talk.toml",
        r#"
        [job]
        name = "talk"
        [storage]
        output = "out"
        [[stage]]
        name = "s"
        kind = "once"
        command = ["sh", "-c", "echo first; while [ ! -e gate ]; do sleep 0.02; done; echo second"]
        "#,
    );
    let running = harness.start("run talk.toml");
    wait_for("the job", || harness.run("status talk").status.success());
    let mut follower = harness.start("logs talk --shard once -f");
    assert_eq!(follower.read_line(), "first");
    harness.open_gate();
    assert_eq!(follower.read_line(), "second");
    assert_eq!(follower.end().status.code(), Some(0));
    assert_eq!(running.end().status.code(), Some(0));
}

#[test]
fn a_run_in_the_background_keeps_nothing_of_its_callers_open() {
    let harness = Harness::new();
    harness.write_gated("gated", 1);
    let petctl = harness.command("");
    // A lock and a pipe that the caller holds by descriptors of its own, as CI scripts do.
    let script = format!(
        "exec 9>lock; flock 9; mkfifo pipe
         (cat pipe; touch ended) > /dev/null 2>&1 9>&- &
         exec 8>pipe; {} run gated.toml -d",
        petctl.get_program().display()
    );
    let mut caller = Command::new("bash");
    caller.args(["-c", &script]).current_dir(harness.path(""));
    for (name, value) in petctl.get_envs() {
        match value {
            Some(value) => caller.env(name, value),
            None => caller.env_remove(name),
        };
    }
    let ran = caller.output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    wait_for("the end of the pipe", || harness.path("ended").exists());
    let lock = File::open(harness.path("lock")).unwrap();
    lock.try_lock().unwrap();
    harness.open_gate();
    assert!(harness.run("status gated --wait").status.success());
}
