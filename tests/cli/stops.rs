//! Stopping, leaving, coming back.

use crate::desk::{Desk, assert_seen, wait_for};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

fn gated() -> Desk {
    let desk = Desk::new();
    desk.write_gated("gated", 4);
    desk
}

fn started(desk: &Desk, count: usize) {
    let is_started = |key: &usize| desk.path(&format!("started-{key}")).exists();
    wait_for("shards to start", || {
        (0..4).filter(is_started).count() >= count
    });
}

fn status(desk: &Desk) -> Value {
    serde_json::from_slice(&desk.run("status gated -o json").stdout).unwrap()
}

#[test]
fn ctrl_c_once_drains_and_the_job_goes_on_later() {
    let desk = gated();
    let running = desk.start("run gated.toml");
    started(&desk, 2);
    running.signal("INT");
    wait_for("the drain", || {
        status(&desk)["waiting"][0]["code"] == "COORDINATOR_DRAINING"
    });
    desk.open_gate();
    let output = running.end();
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("draining: what runs goes on to its end"),
        "{said}"
    );
    assert!(said.contains("To go on: petctl run"), "{said}");
    assert_eq!(status(&desk)["done"], 2);
    let seen = desk.see("status gated");
    assert!(
        seen.contains("gated interrupted: 2 of 4 shards done"),
        "{seen}"
    );
    assert!(!seen.contains("Workers"), "{seen}");
    assert_seen!(desk.see("list"));
    assert_seen!(desk.see("scale gated --workers 3"));
    assert_eq!(desk.run("status gated --wait").status.code(), Some(75));
    let again = desk.run("run gated.toml");
    assert_eq!(again.status.code(), Some(0));
    assert!(
        String::from_utf8(again.stderr)
            .unwrap()
            .contains("goes on; 2 shards done already")
    );
}

#[test]
fn ctrl_c_twice_stops_what_runs() {
    let desk = gated();
    let running = desk.start("run gated.toml");
    started(&desk, 2);
    running.signal("INT");
    wait_for("the drain", || {
        status(&desk)["waiting"][0]["code"] == "COORDINATOR_DRAINING"
    });
    running.signal("INT");
    assert_eq!(running.end().status.code(), Some(130));
    assert_eq!(status(&desk)["done"], 0);
    desk.open_gate();
    assert_eq!(desk.run("run gated.toml").status.code(), Some(0));
}

#[test]
fn sigterm_drains_too() {
    let desk = gated();
    let running = desk.start("run gated.toml");
    started(&desk, 1);
    running.signal("TERM");
    desk.open_gate();
    assert_eq!(running.end().status.code(), Some(143));
}

#[test]
fn a_run_whose_terminal_was_closed_goes_on() {
    let desk = gated();
    let running = desk.start("run gated.toml");
    started(&desk, 1);
    running.signal("HUP");
    assert_eq!(status(&desk)["state"], "running");
    desk.open_gate();
    assert_eq!(running.end().status.code(), Some(0));
}

#[test]
fn a_killed_run_is_found_and_goes_on() {
    let desk = gated();
    let running = desk.start("run gated.toml");
    started(&desk, 2);
    running.signal("KILL");
    running.end();
    let list: Value = serde_json::from_slice(&desk.run("list -o json").stdout).unwrap();
    assert_eq!(list["jobs"][0]["state"], "interrupted");
    assert!(
        list["jobs"][0]["resume"]
            .as_str()
            .unwrap()
            .starts_with("petctl run ")
    );
    // Its workers live, and what they run is not started again.
    fs::remove_file(desk.path("started-0")).unwrap();
    fs::remove_file(desk.path("started-1")).unwrap();
    let again = desk.start("run gated.toml");
    wait_for("the workers to be back", || {
        status(&desk)["workers"]["members"]
            .as_array()
            .is_some_and(|m| m.len() == 2)
    });
    desk.open_gate();
    let output = again.end();
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("goes on with 2 workers that outlived an earlier run"),
        "{said}"
    );
    assert!(!desk.path("started-0").exists() && !desk.path("started-1").exists());
}

#[test]
fn a_killed_worker_is_replaced() {
    let desk = gated();
    let running = desk.start("run gated.toml");
    started(&desk, 2);
    let members = status(&desk)["workers"]["members"].clone();
    let pid = members[0]["pid"].as_u64().unwrap();
    assert!(
        Command::new("kill")
            .args(["-9", &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
    wait_for("another worker", || {
        let members = status(&desk)["workers"]["members"].clone();
        members
            .as_array()
            .is_some_and(|all| all.len() == 2 && all.iter().all(|member| member["pid"] != pid))
    });
    desk.open_gate();
    let output = running.end();
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("ended: signal: 9 (SIGKILL); another one takes its place"),
        "{said}"
    );
    assert_eq!(status(&desk)["stages"][0]["retries"], 1);
}

#[test]
fn workers_that_die_at_once_stop_the_job_and_say_why() {
    let desk = gated();
    let running = desk.start("run gated.toml --workers 1");
    started(&desk, 1);
    let pid = status(&desk)["workers"]["members"][0]["pid"].to_string();
    // Every later worker lacks it.
    let token = desk.home().join("jobs/gated/coordinator/token");
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
    desk.open_gate();
    assert_eq!(desk.run("run gated.toml").status.code(), Some(0));
}

#[test]
fn a_job_in_the_background() {
    let desk = gated();
    assert_seen!(desk.see("run gated.toml -d"));
    started(&desk, 2);
    assert_eq!(
        desk.run("status gated --wait --timeout 100ms")
            .status
            .code(),
        Some(124)
    );
    assert_seen!(desk.see("run gated.toml"));
    assert_seen!(desk.see("delete gated --yes"));
    assert_seen!(desk.see("cancel gated --dry-run"));
    assert_seen!(desk.see("scale gated --workers 3 --dry-run"));
    assert_seen!(desk.see("scale gated --workers 3"));
    started(&desk, 3);
    let follower = desk.start("logs gated -f");
    let events = desk.start("events gated -f");
    desk.open_gate();
    assert_eq!(
        desk.run("status gated --wait --quiet").status.code(),
        Some(0)
    );
    assert_eq!(follower.end().status.code(), Some(0));
    let said = String::from_utf8(events.end().stdout).unwrap();
    assert!(said.trim_end().ends_with("job succeeded"), "{said}");
}

#[test]
fn a_bad_job_in_the_background_is_refused_in_the_foreground() {
    let desk = gated();
    desk.write("out/s/precious", "");
    assert_seen!(desk.see("run gated.toml -d"));
}

#[test]
fn cancel_stops_what_runs() {
    let desk = gated();
    let running = desk.start("run gated.toml");
    started(&desk, 2);
    assert_seen!(desk.see("cancel gated"));
    assert_eq!(running.end().status.code(), Some(3));
    assert_eq!(desk.run("status gated").status.code(), Some(3));
    desk.open_gate();
    assert_eq!(desk.run("run gated.toml").status.code(), Some(0));
}

#[test]
fn an_interrupted_job_can_be_cancelled() {
    let desk = gated();
    let running = desk.start("run gated.toml");
    started(&desk, 2);
    running.signal("KILL");
    running.end();
    assert_seen!(desk.see("cancel gated"));
    assert_eq!(status(&desk)["state"], "cancelled");
}

#[test]
fn logs_are_followed_while_a_shard_prints() {
    let desk = Desk::new();
    desk.write(
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
    let running = desk.start("run talk.toml");
    wait_for("the job", || desk.run("status talk").status.success());
    let mut follower = desk.start("logs talk --shard once -f");
    assert_eq!(follower.read_line(), "first");
    desk.open_gate();
    assert_eq!(follower.read_line(), "second");
    assert_eq!(follower.end().status.code(), Some(0));
    assert_eq!(running.end().status.code(), Some(0));
}
