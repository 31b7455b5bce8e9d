//! What is wrong is said once: what, where, why, what to do; with the right exit code and nothing lost.

use crate::harness::{Harness, assert_seen};
use std::fs;
use std::os::unix::fs::PermissionsExt;

const JOB: &str = r#"
[job]
name = "small"
[storage]
output = "out"
[[stage]]
name = "s"
kind = "shards"
shards = { range = [0, 2] }
command = ["true"]
"#;

const GLOB: &str = r#"
[job]
name = "globbed"
[storage]
input = "in"
output = "out"
[[stage]]
name = "s"
kind = "shards"
shards = { glob = "*.xml" }
command = ["true"]
"#;

fn harness() -> Harness {
    let harness = Harness::new();
    harness.write("job.toml", JOB);
    harness
}

#[test]
fn no_job_file() {
    assert_seen!(harness().see("run nowhere.toml"));
}

#[test]
fn folder_instead_of_a_job_file() {
    assert_seen!(harness().see("run ."));
}

#[test]
fn job_file_that_is_not_toml() {
    let harness = harness();
    harness.write("bad.toml", "[job\nname = 3");
    assert_seen!(harness.see("run bad.toml"));
}

#[test]
fn job_file_that_is_not_text() {
    let harness = harness();
    fs::write(harness.path("bad.toml"), b"\xff\xfe\x00").unwrap();
    assert_seen!(harness.see("run bad.toml"));
}

#[test]
fn unknown_keys_and_wrong_types_are_all_said() {
    let harness = harness();
    harness.write(
        "bad.toml",
        &JOB.replace("name = \"s\"", "name = \"s\"\nretrys = 3\ntimeout = 5"),
    );
    assert_seen!(harness.see("validate bad.toml"));
}

#[test]
fn min_above_max() {
    assert_seen!(harness().see("run job.toml --set workers.min=5 --set workers.max=2"));
}

#[test]
fn override_without_a_value() {
    assert_seen!(harness().see("run job.toml --set foo"));
}

#[test]
fn no_workers() {
    assert_seen!(harness().see("run job.toml --workers 0"));
}

#[test]
fn two_million_shards() {
    assert_seen!(harness().see("run job.toml --set stage.s.shards.range=[0,2000000]"));
}

#[test]
fn input_that_is_not_there() {
    let harness = harness();
    harness.write("job.toml", GLOB);
    assert_seen!(harness.see("run job.toml"));
}

#[test]
fn input_that_is_a_file() {
    let harness = harness();
    harness.write("job.toml", GLOB).write("in", "");
    assert_seen!(harness.see("run job.toml"));
}

#[test]
fn glob_that_fits_nothing() {
    let harness = harness();
    harness.write("job.toml", GLOB).write("in/a.txt", "");
    assert_seen!(harness.see("run job.toml"));
}

#[test]
fn glob_in_other_letters() {
    let harness = harness();
    harness
        .write("job.toml", GLOB)
        .write("in/A.XML", "")
        .write("in/B.XML", "");
    assert_seen!(harness.see("run job.toml"));
}

#[test]
fn glob_that_looks_in_one_folder_only() {
    let harness = harness();
    harness.write("job.toml", GLOB).write("in/2024/a.xml", "");
    assert_seen!(harness.see("run job.toml"));
}

#[test]
fn file_name_that_is_not_text() {
    use std::os::unix::ffi::OsStrExt;
    let harness = harness();
    harness.write("job.toml", GLOB).write("in/a.xml", "");
    fs::write(
        harness
            .path("in")
            .join(std::ffi::OsStr::from_bytes(b"\xff.xml")),
        "",
    )
    .unwrap();
    assert_seen!(harness.see("run job.toml"));
}

#[test]
fn program_that_is_not_there_is_a_warning() {
    let harness = harness();
    assert_seen!(harness.see(r#"validate job.toml --set stage.s.command=["no-such-program"]"#));
}

#[test]
fn output_of_another_job() {
    let harness = harness();
    assert!(harness.run("run job.toml").status.success());
    assert_seen!(harness.see("run job.toml --set job.name=other"));
}

#[test]
fn output_that_holds_something_else() {
    let harness = harness();
    harness.write("out/s/precious", "");
    assert_seen!(harness.see("run job.toml"));
    assert!(harness.path("out/s/precious").exists());
}

#[test]
fn output_that_is_gone() {
    let harness = harness();
    assert!(harness.run("run job.toml").status.success());
    fs::rename(harness.path("out"), harness.path("elsewhere")).unwrap();
    assert_seen!(harness.see("run job.toml"));
    fs::rename(harness.path("elsewhere"), harness.path("out")).unwrap();
    assert!(harness.run("run job.toml").status.success());
}

#[test]
fn output_that_is_a_file() {
    let harness = harness();
    harness.write("out", "");
    assert_seen!(harness.see("run job.toml"));
}

#[test]
fn job_that_has_changed() {
    let harness = harness();
    assert!(harness.run("run job.toml").status.success());
    assert_seen!(
        harness.see("run job.toml --set stage.s.timeout=\"5m\" --set stage.s.shards.range=[0,3]")
    );
}

#[test]
fn a_rerun_of_all_takes_nothing_away_before_the_new_stands() {
    let harness = harness();
    assert!(harness.run("run job.toml").status.success());
    let failing = "--set stage.s.command=[\"false\"] --set stage.s.retries=0";
    let failed = harness.run(&format!("run job.toml --rerun all {failing}"));
    assert_eq!(failed.status.code(), Some(1));
    assert!(
        harness
            .path("out/.petctl/earlier/s/0/manifest.json")
            .exists()
    );
    assert_seen!(harness.see("run job.toml"));
    assert!(harness.path("out/s/0/manifest.json").exists());
}

#[test]
fn what_is_put_aside_is_pruned_when_asked_for() {
    let harness = harness();
    assert!(harness.run("run job.toml").status.success());
    assert_seen!(harness.see("run job.toml --set stage.s.shards.range=[0,1]"));
    assert_seen!(harness.see("prune small --dry-run"));
    assert_seen!(harness.see("prune small"));
    assert!(
        harness
            .path("out/.petctl/earlier/s/1/manifest.json")
            .exists()
    );
    assert_seen!(harness.see("prune small --yes"));
    assert!(!harness.path("out/.petctl/earlier/s/1").exists());
    assert_seen!(harness.see("prune small"));
}

#[test]
fn no_such_job() {
    let harness = harness();
    assert_seen!(harness.see("status nothing"));
}

#[test]
fn no_job_at_all() {
    assert_seen!(harness().see("status"));
}

#[test]
fn job_name_with_a_typing_error() {
    let harness = harness();
    assert!(harness.run("run job.toml").status.success());
    assert_seen!(harness.see("status smal"));
}

#[test]
fn job_name_with_odd_characters_leads_nowhere() {
    assert_seen!(harness().see("status ../../etc"));
}

#[test]
fn commands_for_a_running_job_on_one_that_has_ended() {
    let harness = harness();
    assert!(harness.run("run job.toml").status.success());
    assert_seen!(harness.see("scale small --workers 3"));
}

#[test]
fn scale_to_nothing() {
    let harness = harness();
    assert!(harness.run("run job.toml").status.success());
    assert_seen!(harness.see("scale small"));
}

#[test]
fn delete_wants_a_yes() {
    let harness = harness();
    assert!(harness.run("run job.toml").status.success());
    assert_seen!(harness.see("delete small"));
    assert!(harness.path("out/s/0/manifest.json").exists());
}

#[test]
fn report_by_a_number_that_is_not_there() {
    let harness = harness();
    assert!(harness.run("run job.toml").status.success());
    assert_seen!(harness.see("report small --sort min_ttc"));
}

#[test]
fn report_of_a_stage_that_is_not_there() {
    let harness = harness();
    assert!(harness.run("run job.toml").status.success());
    assert_seen!(harness.see("report small --stage t"));
}

#[test]
fn shard_that_is_not_there() {
    let harness = harness();
    assert!(harness.run("run job.toml").status.success());
    assert_seen!(harness.see("explain small 7"));
    assert_seen!(harness.see("logs small --shard 7"));
}

#[test]
fn attempt_that_was_not_made() {
    let harness = harness();
    assert!(harness.run("run job.toml").status.success());
    assert_seen!(harness.see("logs small --shard 0 --attempt 3"));
}

#[test]
fn log_of_a_worker_that_is_not_there() {
    let harness = harness();
    assert!(harness.run("run job.toml --workers 1").status.success());
    assert_seen!(harness.see("logs small --worker remote-7"));
}

#[test]
fn home_that_is_a_file() {
    let harness = harness();
    fs::write(harness.home(), "").unwrap();
    assert_seen!(harness.see("run job.toml"));
}

#[test]
fn state_of_a_newer_version() {
    let harness = harness();
    assert!(harness.run("run job.toml").status.success());
    let card = harness.home().join("jobs/small/job.json");
    let text = fs::read_to_string(&card)
        .unwrap()
        .replace("\"version\": 1", "\"version\": 99");
    fs::write(&card, text).unwrap();
    assert_seen!(harness.see("status small"));
    assert_seen!(harness.see("run job.toml"));
}

#[test]
fn state_that_is_damaged() {
    let harness = harness();
    assert!(harness.run("run job.toml").status.success());
    fs::write(
        harness
            .home()
            .join("jobs/small/coordinator/coordinator.redb"),
        "nonsense",
    )
    .unwrap();
    assert_seen!(harness.see("status small"));
    let list = harness.see("list");
    assert!(
        list.contains("STATE_CORRUPT: `petctl status small` says more"),
        "{list}"
    );
}

#[test]
fn token_that_others_can_read() {
    let harness = harness();
    assert!(harness.run("run job.toml").status.success());
    let token = harness.home().join("jobs/small/coordinator/token");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    assert_seen!(harness.see("run job.toml"));
}

#[test]
fn petctls_folder_is_for_its_owner_alone() {
    let harness = harness();
    assert!(harness.run("run job.toml").status.success());
    for path in ["", "jobs", "jobs/small", "jobs/small/workers"] {
        let mode = fs::metadata(harness.home().join(path))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700, "{path}");
    }
}

#[test]
fn what_is_typed_wrong_or_in_the_wrong_order_is_told_with_what_was_meant() {
    let harness = harness();
    assert_seen!(harness.see("rnu job.toml"));
    assert_seen!(harness.see("stop small"));
    assert_seen!(harness.see("run jbo.toml"));
    assert_seen!(harness.see("run job.toml --rerun al"));
    assert_seen!(harness.see("upload az://results/x here"));
    assert_seen!(harness.see("upload az://results/x az://raw/y"));
    assert_seen!(harness.see("download here az://results/x"));
    assert_seen!(harness.see("download az://raw/y az://results/x"));
    assert_seen!(harness.see("download small --zip az://results/x.zip"));
    assert!(!harness.path("az:").exists());
    assert_eq!(harness.run("run job.toml").status.code(), Some(0));
    assert_seen!(harness.see("logs smal"));
    assert_seen!(harness.see("logs small --stage S"));
    assert_seen!(harness.see("explain small --stage x"));
    assert_seen!(harness.see("explain small s/9"));
    assert_seen!(harness.see("status small --failed"));
}

/// Everything below a folder, by its path.
fn below(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut next = vec![folder.to_owned()];
    while let Some(folder) = next.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            found.push(path.display().to_string());
            next.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn a_start_that_is_refused_leaves_no_state_behind() {
    // Its output is another job's, or a file; its inputs are not there; what is asked for makes no sense; the
    // coordinator elsewhere is not there. In the foreground and in the background.
    for (why, output, line) in [
        ("an owner", "taken", "run new.toml"),
        ("a file", "file", "run new.toml"),
        ("no input", "out", "run glob.toml"),
        ("a date", "out", "run new.toml --date 2026-01-31"),
        ("a pattern", "out", "run new.toml --rerun nothing"),
        (
            "nobody there",
            "out",
            "run new.toml --coordinator http://127.0.0.1:1",
        ),
    ] {
        for detach in ["", " -d"] {
            let harness = Harness::new();
            let job = |name: &str, output: &str| {
                JOB.replace("small", name)
                    .replace("\"out\"", &format!("\"{output}\""))
            };
            harness.write("other.toml", &job("other", "taken"));
            assert_eq!(harness.run("run other.toml").status.code(), Some(0));
            harness.write("file", "");
            harness.write("new.toml", &job("new", output));
            harness.write("glob.toml", GLOB);
            let before = below(&harness.home());
            let output = harness.run(&format!("{line}{detach}"));
            assert_ne!(output.status.code(), Some(0), "{why}: {output:?}");
            assert_eq!(below(&harness.home()), before, "{why}{detach}: {output:?}");
        }
    }
}
