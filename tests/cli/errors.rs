//! What is wrong is said once: what, where, why, what to do; with the right exit code and nothing lost.

use crate::desk::{Desk, assert_seen};
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

fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("job.toml", JOB);
    desk
}

#[test]
fn no_job_file() {
    assert_seen!(desk().see("run nowhere.toml"));
}

#[test]
fn folder_instead_of_a_job_file() {
    assert_seen!(desk().see("run ."));
}

#[test]
fn job_file_that_is_not_toml() {
    let desk = desk();
    desk.write("bad.toml", "[job\nname = 3");
    assert_seen!(desk.see("run bad.toml"));
}

#[test]
fn job_file_that_is_not_text() {
    let desk = desk();
    fs::write(desk.path("bad.toml"), b"\xff\xfe\x00").unwrap();
    assert_seen!(desk.see("run bad.toml"));
}

#[test]
fn unknown_keys_and_wrong_types_are_all_said() {
    let desk = desk();
    desk.write(
        "bad.toml",
        &JOB.replace("name = \"s\"", "name = \"s\"\nretrys = 3\ntimeout = 5"),
    );
    assert_seen!(desk.see("validate bad.toml"));
}

#[test]
fn min_above_max() {
    assert_seen!(desk().see("run job.toml --set workers.min=5 --set workers.max=2"));
}

#[test]
fn override_without_a_value() {
    assert_seen!(desk().see("run job.toml --set foo"));
}

#[test]
fn no_workers() {
    assert_seen!(desk().see("run job.toml --workers 0"));
}

#[test]
fn two_million_shards() {
    assert_seen!(desk().see("run job.toml --set stage.s.shards.range=[0,2000000]"));
}

#[test]
fn input_that_is_not_there() {
    let desk = desk();
    desk.write("job.toml", GLOB);
    assert_seen!(desk.see("run job.toml"));
}

#[test]
fn input_that_is_a_file() {
    let desk = desk();
    desk.write("job.toml", GLOB).write("in", "");
    assert_seen!(desk.see("run job.toml"));
}

#[test]
fn glob_that_fits_nothing() {
    let desk = desk();
    desk.write("job.toml", GLOB).write("in/a.txt", "");
    assert_seen!(desk.see("run job.toml"));
}

#[test]
fn glob_in_other_letters() {
    let desk = desk();
    desk.write("job.toml", GLOB)
        .write("in/A.XML", "")
        .write("in/B.XML", "");
    assert_seen!(desk.see("run job.toml"));
}

#[test]
fn glob_that_looks_in_one_folder_only() {
    let desk = desk();
    desk.write("job.toml", GLOB).write("in/2024/a.xml", "");
    assert_seen!(desk.see("run job.toml"));
}

#[test]
fn file_name_that_is_not_text() {
    use std::os::unix::ffi::OsStrExt;
    let desk = desk();
    desk.write("job.toml", GLOB).write("in/a.xml", "");
    fs::write(
        desk.path("in")
            .join(std::ffi::OsStr::from_bytes(b"\xff.xml")),
        "",
    )
    .unwrap();
    assert_seen!(desk.see("run job.toml"));
}

#[test]
fn program_that_is_not_there_is_a_warning() {
    let desk = desk();
    assert_seen!(desk.see(r#"validate job.toml --set stage.s.command=["no-such-program"]"#));
}

#[test]
fn output_of_another_job() {
    let desk = desk();
    assert!(desk.run("run job.toml").status.success());
    assert_seen!(desk.see("run job.toml --set job.name=other"));
}

#[test]
fn output_that_holds_something_else() {
    let desk = desk();
    desk.write("out/s/precious", "");
    assert_seen!(desk.see("run job.toml"));
    assert!(desk.path("out/s/precious").exists());
}

#[test]
fn output_that_is_gone() {
    let desk = desk();
    assert!(desk.run("run job.toml").status.success());
    fs::rename(desk.path("out"), desk.path("elsewhere")).unwrap();
    assert_seen!(desk.see("run job.toml"));
    fs::rename(desk.path("elsewhere"), desk.path("out")).unwrap();
    assert!(desk.run("run job.toml").status.success());
}

#[test]
fn output_that_is_a_file() {
    let desk = desk();
    desk.write("out", "");
    assert_seen!(desk.see("run job.toml"));
}

#[test]
fn job_that_has_changed() {
    let desk = desk();
    assert!(desk.run("run job.toml").status.success());
    assert_seen!(
        desk.see("run job.toml --set stage.s.timeout=\"5m\" --set stage.s.shards.range=[0,3]")
    );
}

#[test]
fn earlier_results_are_not_deleted_without_a_yes() {
    let desk = desk();
    assert!(desk.run("run job.toml").status.success());
    assert_seen!(desk.see("run job.toml --rerun all"));
    assert!(desk.path("out/s/0/manifest.json").exists());
}

#[test]
fn no_such_job() {
    let desk = desk();
    assert_seen!(desk.see("status nothing"));
}

#[test]
fn no_job_at_all() {
    assert_seen!(desk().see("status"));
}

#[test]
fn job_name_with_a_typing_error() {
    let desk = desk();
    assert!(desk.run("run job.toml").status.success());
    assert_seen!(desk.see("status smal"));
}

#[test]
fn job_name_with_odd_characters_leads_nowhere() {
    assert_seen!(desk().see("status ../../etc"));
}

#[test]
fn commands_for_a_running_job_on_one_that_has_ended() {
    let desk = desk();
    assert!(desk.run("run job.toml").status.success());
    assert_seen!(desk.see("scale small --workers 3"));
}

#[test]
fn scale_to_nothing() {
    let desk = desk();
    assert!(desk.run("run job.toml").status.success());
    assert_seen!(desk.see("scale small"));
}

#[test]
fn delete_wants_a_yes() {
    let desk = desk();
    assert!(desk.run("run job.toml").status.success());
    assert_seen!(desk.see("delete small"));
    assert!(desk.path("out/s/0/manifest.json").exists());
}

#[test]
fn report_by_a_number_that_is_not_there() {
    let desk = desk();
    assert!(desk.run("run job.toml").status.success());
    assert_seen!(desk.see("report small --sort min_ttc"));
}

#[test]
fn report_of_a_stage_that_is_not_there() {
    let desk = desk();
    assert!(desk.run("run job.toml").status.success());
    assert_seen!(desk.see("report small --stage t"));
}

#[test]
fn shard_that_is_not_there() {
    let desk = desk();
    assert!(desk.run("run job.toml").status.success());
    assert_seen!(desk.see("explain small 7"));
    assert_seen!(desk.see("logs small --shard 7"));
}

#[test]
fn attempt_that_was_not_made() {
    let desk = desk();
    assert!(desk.run("run job.toml").status.success());
    assert_seen!(desk.see("logs small --shard 0 --attempt 3"));
}

#[test]
fn log_of_a_worker_that_is_not_there() {
    let desk = desk();
    assert!(desk.run("run job.toml --workers 1").status.success());
    assert_seen!(desk.see("logs small --worker remote-7"));
}

#[test]
fn home_that_is_a_file() {
    let desk = desk();
    fs::write(desk.home(), "").unwrap();
    assert_seen!(desk.see("run job.toml"));
}

#[test]
fn state_of_a_newer_version() {
    let desk = desk();
    assert!(desk.run("run job.toml").status.success());
    let card = desk.home().join("jobs/small/job.json");
    let text = fs::read_to_string(&card)
        .unwrap()
        .replace("\"version\": 1", "\"version\": 99");
    fs::write(&card, text).unwrap();
    assert_seen!(desk.see("status small"));
    assert_seen!(desk.see("run job.toml"));
}

#[test]
fn state_that_is_damaged() {
    let desk = desk();
    assert!(desk.run("run job.toml").status.success());
    fs::write(
        desk.home().join("jobs/small/coordinator/coordinator.redb"),
        "nonsense",
    )
    .unwrap();
    assert_seen!(desk.see("status small"));
    let list = desk.see("list");
    assert!(
        list.contains("STATE_CORRUPT: `petctl status small` says more"),
        "{list}"
    );
}

#[test]
fn token_that_others_can_read() {
    let desk = desk();
    assert!(desk.run("run job.toml").status.success());
    let token = desk.home().join("jobs/small/coordinator/token");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    assert_seen!(desk.see("run job.toml"));
}

#[test]
fn petctls_folder_is_for_its_owner_alone() {
    let desk = desk();
    assert!(desk.run("run job.toml").status.success());
    for path in ["", "jobs", "jobs/small", "jobs/small/workers"] {
        let mode = fs::metadata(desk.home().join(path))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700, "{path}");
    }
}
