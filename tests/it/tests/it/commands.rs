//! Commands that do what they should not.

use petctl_test_it::{
    Job, Ran, Stage, World, peak_rss_kib, processes_with, verify_commits, verify_outputs,
    wait_until,
};
use serde_json::Value;
use std::fs;
use walkdir::WalkDir;

/// Runs a job of one stage to its end, and answers what its first shard came to.
fn run(world: &World, name: &str, stage: &Stage) -> (Ran, Value) {
    let file = Job::new(name)
        .stage(stage.clone().with("backoff = \"10ms\""))
        .write(world);
    let ran = world.run(&file).run();
    let row = world.ask().shard(name, "0");
    (ran, row)
}

/// A shard that fails: exit code 1, this error, of which the run, the report and `explain` speak; nothing to be seen of
/// its outputs.
#[track_caller]
pub(super) fn fails(world: &World, name: &str, stage: &Stage, code: &str, texts: &[&str]) -> Value {
    let (ran, row) = run(world, name, stage);
    assert_eq!(row["error"]["code"], code, "{row}");
    let message = row["error"]["message"].as_str().unwrap_or_default();
    for text in texts {
        assert!(message.contains(text), "{text:?} is not in {message:?}");
    }
    assert_eq!(row["state"], "failed", "{row}");
    assert!(
        message.lines().count() == 1,
        "one line says it: {message:?}"
    );
    ran.exits(1);
    let explained = world.petctl().args(["explain", name, "0"]).run().exits(0);
    assert!(explained.stdout.contains(message), "{explained}");
    verify_outputs(&world.output(), "work", &[]);
    row
}

/// A shard that is done, with so many files.
#[track_caller]
pub(super) fn succeeds(world: &World, name: &str, stage: &Stage, files: u64) -> Value {
    let (ran, row) = run(world, name, stage);
    ran.exits(0);
    assert_eq!(
        (row["state"].as_str(), row["files"].as_u64()),
        (Some("done"), Some(files)),
        "{row}"
    );
    let keys = Stage::keys(1);
    verify_commits(
        &world.ask().events(name),
        &verify_outputs(&world.output(), "work", &keys),
        &keys,
    );
    row
}

pub(super) fn once(body: &str) -> Stage {
    Stage::script(1, body).with("retries = 0")
}

#[test]
fn a_command_that_is_not_there_is_named_with_where_it_was_looked_for() {
    let world = World::new();
    let stage = Stage::command(&["no-such-program-of-ours"]).with("retries = 0");
    let row = fails(
        &world,
        "missing",
        &stage,
        "COMMAND_NOT_FOUND",
        &["no-such-program-of-ours", "PATH"],
    );
    assert_eq!(row["error"]["exit_code"], 127, "{row}");
    world.finish();
}

#[test]
fn a_command_that_is_not_executable_is_named_with_what_makes_it_so() {
    let world = World::new();
    fs::write(world.job_folder().join("plain.sh"), "#!/bin/sh\n").unwrap();
    let stage = Stage::command(&["./plain.sh"]).with("retries = 0");
    let row = fails(
        &world,
        "plain",
        &stage,
        "COMMAND_NOT_EXECUTABLE",
        &["plain.sh", "chmod +x"],
    );
    assert_eq!(row["error"]["exit_code"], 126, "{row}");
    world.finish();
}

#[test]
fn a_command_that_exits_1_is_tried_again_and_the_other_shards_go_on() {
    let world = World::new();
    let body = "echo \"trouble with $PETCTL_SHARD_KEY\" >&2\n[ \"$PETCTL_SHARD_KEY\" != 0 ]";
    let stage = Stage::script(4, body).with("retries = 1");
    let (ran, row) = run(&world, "one", &stage);
    ran.exits(1)
        .says("exited with 1")
        .says("petctl logs one --failed");
    assert_eq!(
        (row["attempts"].as_u64(), row["failures"]["failed"].as_u64()),
        (Some(2), Some(2)),
        "{row}"
    );
    assert_eq!(row["error"]["exit_code"], 1, "{row}");
    assert!(
        row["error"]["log_tail"]
            .as_str()
            .unwrap()
            .contains("trouble with 0"),
        "{row}"
    );
    verify_outputs(&world.output(), "work", &Stage::keys(4)[1..]);
    world
        .petctl()
        .args(["logs", "one", "--failed"])
        .run()
        .exits(0)
        .says("trouble with 0");
    world.petctl().args(["status", "one"]).run().exits(1);
    world.finish();
}

#[test]
fn a_command_that_is_killed_by_a_signal_is_told_from_one_that_exits() {
    let world = World::new();
    let row = fails(
        &world,
        "segv",
        &once("kill -SEGV $$"),
        "KILLED_BY_SIGNAL",
        &["SIGSEGV (11)"],
    );
    assert_eq!(row["error"]["signal"], 11, "{row}");
    world.finish();
}

#[test]
fn a_gigabyte_of_output_stays_bounded_on_disk_and_in_memory() {
    let world = World::new();
    let body = r#"yes 'a line of a command that prints much more than anybody will read' | head -c 1000000000
echo the last line; touch gates/printed
while [ ! -e gates/all ]; do sleep 0.02; done"#;
    let file = Job::new("gigabyte")
        .stage(once(body).with("log_bytes = \"4MiB\""))
        .write(&world);
    let running = world.run(&file).spawn();
    let ask = world.ask();
    wait_until("a gigabyte printed", || {
        world.job_folder().join("gates/printed").exists()
    });
    let worker = ask.pid_of("gigabyte", "local-1");
    let peak_kib = peak_rss_kib(worker).unwrap();
    assert!(peak_kib < 100 * 1024, "the worker had {peak_kib} KiB");
    world.open_gate("all");
    running.wait().exits(0);
    let logs = WalkDir::new(world.output().join(".petctl/logs"))
        .into_iter()
        .flatten();
    let bytes: u64 = logs
        .filter_map(|entry| entry.metadata().ok().filter(fs::Metadata::is_file))
        .map(|file| file.len())
        .sum();
    assert!(
        bytes > 1024 * 1024 && bytes < 5 * 1024 * 1024,
        "{bytes} bytes of log"
    );
    let shown = world.petctl().args(["logs", "gigabyte"]).run().exits(0);
    assert!(
        shown.stdout.contains("a line of a command") && shown.stdout.contains("the last line"),
        "both ends are kept"
    );
    world.finish();
}

#[test]
fn output_that_is_not_utf_8_is_kept_and_shown() {
    let world = World::new();
    let body = r"printf 'before \377\376\300 after\n'; printf '\303' >&2; [ -e gates/all ]";
    let row = fails(
        &world,
        "bytes",
        &once(body),
        "EXIT_NONZERO",
        &["exited with 1"],
    );
    let tail = row["error"]["log_tail"].as_str().unwrap();
    assert!(tail.contains("before") && tail.contains("after"), "{row}");
    world
        .petctl()
        .args(["logs", "bytes"])
        .run()
        .exits(0)
        .says("after");
    world.open_gate("all");
    world.run("bytes.toml").run().exits(0);
    world.finish();
}

#[test]
fn grandchildren_die_with_their_command_even_in_sessions_of_their_own() {
    let world = World::new();
    let body = r#"sleep 1000 &
setsid sleep 1001 &
setsid sh -c 'sleep 1002 & (setsid sleep 1003 </dev/null >/dev/null 2>&1 &) ; exit 0' &
(trap '' TERM HUP; exec sleep 1004) &
while [ "$(pgrep -c -f 'sleep 100[0-4]')" -lt 5 ]; do sleep 0.02; done
echo done > "$PETCTL_OUTPUT/data.txt""#;
    // Those of its group might still have written: its shard has failed.
    let stage = once(body).with("grace = \"300ms\"");
    fails(
        &world,
        "litter",
        &stage,
        "LEFT_RUNNING",
        &["sleep (process "],
    );
    let left = processes_with("PETCTL_JOB", "litter");
    assert!(left.is_empty(), "{left:?}");
    world.finish();
}

#[test]
fn a_command_that_ignores_sigterm_is_killed_after_its_timeout_and_grace() {
    let world = World::new();
    let body = "trap '' TERM\nsleep 1000 & while true; do wait; sleep 0.05; done";
    let stage = once(body).with("timeout = \"300ms\"\ngrace = \"300ms\"");
    let row = fails(&world, "deaf", &stage, "TIMED_OUT", &["timeout = 300ms"]);
    assert_eq!(
        (
            row["failures"]["timed_out"].as_u64(),
            row["failures"]["failed"].as_u64()
        ),
        (Some(1), Some(0)),
        "{row}"
    );
    assert!(processes_with("PETCTL_JOB", "deaf").is_empty());
    world.finish();
}

#[test]
fn outputs_that_lead_out_of_their_folder_are_not_committed() {
    let cases = [
        (
            "file",
            "ln -s /etc/passwd \"$PETCTL_OUTPUT/link\"",
            "OUTPUT_ESCAPES",
        ),
        (
            "folder",
            "ln -s ../../.. \"$PETCTL_OUTPUT/up\"",
            "OUTPUT_ESCAPES",
        ),
        (
            "result",
            "ln -s /dev/zero \"$PETCTL_OUTPUT/result.json\"",
            "OUTPUT_ESCAPES",
        ),
        ("pipe", "mkfifo \"$PETCTL_OUTPUT/pipe\"", "OUTPUT_ESCAPES"),
        (
            "manifest",
            "echo {} > \"$PETCTL_OUTPUT/manifest.json\"",
            "OUTPUT_RESERVED_NAME",
        ),
    ];
    for (name, body, code) in cases {
        let world = World::new();
        let row = fails(&world, name, &once(body), code, &[]);
        assert_eq!(
            row["failures"]["failed"], 1,
            "it is the command's own fault: {row}"
        );
        world.finish();
    }
}

#[test]
fn a_command_that_puts_a_link_in_the_place_of_its_folder_commits_nothing_of_elsewhere() {
    let world = World::new();
    let elsewhere = world.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("secret"), "not of this shard").unwrap();
    let body = format!(
        "rm -rf \"$PETCTL_OUTPUT\"\nln -s {} \"$PETCTL_OUTPUT\"",
        elsewhere.display()
    );
    let (ran, row) = run(&world, "swapped", &once(&body));
    ran.exits(1);
    assert_eq!(row["state"], "failed", "{row}");
    assert_eq!(
        fs::read_dir(&elsewhere).unwrap().count(),
        1,
        "something was written elsewhere"
    );
    verify_outputs(&world.output(), "work", &[]);
    world.finish();
}

#[test]
fn a_command_that_deletes_its_own_folder_fails_by_its_own_fault_and_does_not_run_for_ever() {
    let world = World::new();
    let body = "echo \"$PETCTL_SHARD_KEY $$ $PETCTL_ATTEMPT\" >> starts\nrm -rf \"$PETCTL_OUTPUT\"";
    let file = Job::new("deleted")
        .stage(once(body).with("backoff = \"10ms\""))
        .write(&world);
    let mut running = world.run(&file).spawn();
    wait_until("the end of the job, or a fifth attempt", || {
        !running.runs() || world.starts().len() >= 5
    });
    assert!(
        world.starts().len() < 5,
        "retries = 0, and it runs again and again"
    );
    running.wait().exits(1);
    verify_outputs(&world.output(), "work", &[]);
    world.finish();
}

#[test]
fn a_command_that_writes_nothing_is_done_with_an_empty_manifest() {
    let world = World::new();
    let row = succeeds(&world, "nothing", &Stage::command(&["true"]), 0);
    assert_eq!(row["verdict"], Value::Null, "{row}");
    world.finish();
}

#[test]
fn a_result_that_can_not_be_read_fails_its_shard_and_says_where_it_is_wrong() {
    let cases = [
        (
            "broken",
            "printf '{\"verdict\": \"pass\",' ",
            "RESULT_NOT_JSON",
            "result.json:1:",
        ),
        (
            "nan",
            "printf '{\"numbers\": {\"ttc\": NaN}}'",
            "RESULT_NOT_JSON",
            "result.json:1:",
        ),
        (
            "infinite",
            "printf '{\"numbers\": {\"ttc\": 1e999}}'",
            "RESULT_",
            "result.json",
        ),
        ("list", "printf '[1, 2]'", "RESULT_INVALID", "result.json"),
        (
            "bytes",
            r"printf '\377\376{}'",
            "RESULT_NOT_JSON",
            "result.json",
        ),
        (
            "huge",
            "head -c 100000000 /dev/zero",
            "RESULT_TOO_LARGE",
            "100000000 bytes",
        ),
    ];
    for (name, printed, code, text) in cases {
        let world = World::new();
        let (ran, row) = run(
            &world,
            name,
            &once(&format!("{printed} > \"$PETCTL_OUTPUT/result.json\"")),
        );
        ran.exits(1);
        assert!(
            row["error"]["code"]
                .as_str()
                .unwrap_or_default()
                .starts_with(code),
            "{name}: {row}"
        );
        assert!(
            row["error"]["message"]
                .as_str()
                .unwrap_or_default()
                .contains(text),
            "{name}: {row}"
        );
        assert_eq!(row["failures"]["failed"], 1, "{name}: {row}");
        verify_outputs(&world.output(), "work", &[]);
        world.finish();
    }
}

#[test]
fn commands_see_neither_the_token_nor_settings_of_petctl() {
    let world = World::new();
    succeeds(
        &world,
        "secrets",
        &once("env > \"$PETCTL_OUTPUT/env\"; ps -eo args > \"$PETCTL_OUTPUT/ps\""),
        2,
    );
    let token = fs::read_to_string(world.state_of("secrets").join("coordinator/token")).unwrap();
    assert!(token.trim().len() >= 16);
    for entry in WalkDir::new(world.path(""))
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_type().is_file())
    {
        let text = fs::read(entry.path()).unwrap_or_default();
        let holds = text
            .windows(token.trim().len())
            .any(|part| part == token.trim().as_bytes());
        assert!(
            !holds || entry.file_name() == "token",
            "the token is in {}",
            entry.path().display()
        );
    }
    let environment = fs::read_to_string(world.output().join("work/0/env")).unwrap();
    assert!(
        !environment.contains("PETCTL_HOME=") && !environment.contains("TOKEN"),
        "{environment}"
    );
    world.finish();
}

#[test]
fn the_command_that_explain_prints_runs_that_shard_again_by_hand() {
    let world = World::new();
    let body = r#"echo "again with $PETCTL_SHARD_KEY and $COLOUR" > "$PETCTL_OUTPUT/by-hand" || exit 9
echo "wrote $PETCTL_OUTPUT/by-hand"
[ -e gates/all ]"#;
    let stage = once(body).with("env = { COLOUR = \"blue green\" }");
    fails(
        &world,
        "explained",
        &stage,
        "EXIT_NONZERO",
        &["exited with 1"],
    );
    let explained = world
        .petctl()
        .args(["explain", "explained", "0", "-o", "json"])
        .run()
        .exits(0);
    let answer: Value = serde_json::from_str(&explained.stdout).unwrap();
    let command = find_text(&answer, "cd ").unwrap_or_else(|| panic!("no command in {answer:#}"));
    world.open_gate("all");
    let ran = std::process::Command::new("sh")
        .args(["-c", &command])
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{command}\n{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let said = String::from_utf8(ran.stdout).unwrap();
    let written = said
        .lines()
        .find_map(|line| line.strip_prefix("wrote "))
        .unwrap();
    assert_eq!(
        fs::read_to_string(written).unwrap(),
        "again with 0 and blue green\n"
    );
    assert!(
        !std::path::Path::new(written).starts_with(world.output()),
        "nothing of the job is touched"
    );
    fs::remove_dir_all(std::path::Path::new(written).parent().unwrap()).unwrap();
    world.finish();
}

/// The first text in a JSON value that starts like that.
fn find_text(value: &Value, start: &str) -> Option<String> {
    match value {
        Value::String(text) => text.starts_with(start).then(|| text.clone()),
        Value::Array(values) => values.iter().find_map(|value| find_text(value, start)),
        Value::Object(fields) => fields.values().find_map(|value| find_text(value, start)),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}
