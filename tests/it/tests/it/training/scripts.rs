//! Scripts that do not behave.

use super::{Crew, gone};
use petctl_test_it::{Training, World, is_alive, peak_rss_kib, wait_until};
use std::fs;
use std::time::{Duration, Instant};

/// One worker with two ranks that run this after they have noted their starts.
fn ranks_that(name: &str, body: &str, more: &str) -> Training {
    Training::new(name, 1, 1)
        .with(&format!("processes_per_worker = 2\n{more}"))
        .script(body)
}

#[test]
fn a_rank_that_ends_well_before_the_others_is_waited_with() {
    let world = World::new();
    let training = Training::new("early", 2, 2);
    let crew = Crew::start(&world, &training, &["one", "two"]);
    let group = world.group_after(0, 2);
    world.order_once(group.epoch, 1, "exit 0");
    wait_until("end of rank 1", || !group.ranks[1].is_alive());
    // The other one is not hurried.
    crew.save(&group, 1);
    assert!(group.ranks[0].is_alive());
    crew.end();
    assert_eq!(world.ranks().len(), 2);
    world.finish();
}

#[test]
fn a_script_that_exits_at_once_uses_its_restarts_up_and_the_exit_code_is_named() {
    let world = World::new();
    world.expect_warning("a rank failed");
    let training = ranks_that(
        "at-once",
        "[ $RANK != 1 ] || { echo no data here >&2; exit 3; }; while :; do sleep 0.05; done",
        "max_restarts = 2",
    );
    let crew = Crew::start(&world, &training, &["one"]);
    crew.ends_with(1)
        .says("rank 1")
        .says("exited with 3")
        .says("no data here");
    let restarts: Vec<u64> = world
        .ranks()
        .iter()
        .filter(|rank| rank.rank == 1)
        .map(|rank| rank.number("restarts"))
        .collect();
    assert_eq!(restarts, [0, 1, 2]);
    world.finish();
}

#[test]
fn a_script_that_is_not_there_is_named_and_nothing_hangs() {
    let world = World::new();
    world.expect_warning("a rank failed");
    world.expect_warning("RANK_NOT_STARTED");
    let training = Training::new("absent", 1, 1)
        .command(&["./no-such-script.sh"])
        .with("max_restarts = 0");
    let crew = Crew::start(&world, &training, &["one"]);
    crew.ends_with(1).says("no-such-script.sh");
    world.finish();
}

#[test]
fn what_a_script_forks_and_forgets_is_gone_when_the_training_has_ended() {
    let world = World::new();
    let body = "sleep 1000 & setsid sleep 1000 & (setsid setsid sleep 1000 &) ; sleep 0.2; exit 0";
    let crew = Crew::start(&world, &ranks_that("forgets", body, ""), &["one"]);
    crew.ends_with(0);
    // Of six `sleep`s none is left.
    world.finish();
}

#[test]
fn a_rank_that_ignores_sigterm_is_killed_when_its_grace_is_over() {
    let world = World::new();
    world.expect_warning("a rank failed");
    let body = "trap '' TERM\n(trap '' TERM; exec sleep 1000) &\n\
        while [ ! -e orders/end ]; do [ ! -e \"orders/fail.$PETCTL_EPOCH.$RANK\" ] || exit 1; sleep 0.05; done; kill -9 $!";
    let training = ranks_that("stubborn", body, "").grace("500ms");
    let crew = Crew::start(&world, &training, &["one"]);
    let first = world.group_after(0, 2);
    world.order(&format!("fail.{}.0", first.epoch), "");
    let second = world.group_after(first.epoch, 2);
    gone(&first);
    assert_eq!(second.ranks[1].number("restarts"), 1);
    crew.end();
    world.finish();
}

#[test]
fn a_script_that_closes_its_output_trains_on() {
    let world = World::new();
    let body = "exec > /dev/null 2>&1 >&- 2>&- < /dev/null\nsleep 0.5\nsave 3\nsleep 0.2";
    let training = Training::new("mute", 1, 1).script(body);
    let crew = Crew::start(&world, &training, &["one"]);
    crew.committed(3);
    crew.ends_with(0);
    world.finish();
}

#[test]
fn a_million_lines_are_bounded_and_do_no_harm() {
    let world = World::new();
    let body = "yes 'step 1234 loss 0.1234567 and some more words of a talkative script' | head -n 1000000";
    let training = ranks_that("talks", body, "log_bytes = \"1MiB\"");
    let mut crew = Crew::start(&world, &training, &["one"]);
    wait_until("ranks that talk", || world.ranks().len() == 2);
    let pid = crew.worker("one").pid();
    let mut peak_kib = 0;
    wait_until("the end of the talking", || {
        peak_kib = peak_rss_kib(pid).unwrap_or(peak_kib).max(peak_kib);
        !crew.run.runs()
    });
    assert!(peak_kib < 200_000, "{peak_kib} KiB");
    crew.ends_with(0);
    let logs = walkdir::WalkDir::new(world.path(".")).into_iter().flatten();
    let largest = logs
        .filter_map(|entry| entry.metadata().ok())
        .filter(|metadata| metadata.is_file())
        .map(|metadata| metadata.len())
        .max();
    assert!(largest < Some(32 << 20), "a file of {largest:?} bytes");
    world.finish();
}

/// One rank that fails after it has written its error file so.
fn error_file(name: &str, write: &str) -> petctl_test_it::Ran {
    let world = World::new();
    world.expect_warning("a rank failed");
    let body = format!("{write}\necho last words; exit 1");
    let training = Training::new(name, 1, 1)
        .script(&body)
        .with("max_restarts = 0");
    let start = Instant::now();
    let mut crew = Crew::start(&world, &training, &["one"]);
    let pid = crew.worker("one").pid();
    let mut peak_kib = 0;
    wait_until("the end of the job", || {
        peak_kib = peak_rss_kib(pid).unwrap_or(peak_kib).max(peak_kib);
        !crew.run.runs()
    });
    assert!(peak_kib < 200_000, "{peak_kib} KiB for an error file");
    assert!(start.elapsed() < Duration::from_secs(20));
    let ran = crew.ends_with(1).says("last words");
    world.finish();
    ran
}

#[test]
fn the_exception_of_an_error_file_is_the_first_cause() {
    let json = r#"cat > "$TORCHELASTIC_ERROR_FILE" << 'END'
{"message": {"message": "ValueError: the loss is not a number", "extraInfo": {"py_callstack": "Traceback (most recent call last):\n  File \"train.py\", line 7, in step\n", "timestamp": "1790000000"}}}
END"#;
    error_file("excepts", json).says("ValueError: the loss is not a number");
}

#[test]
fn an_error_file_whose_message_is_a_text_is_the_first_cause() {
    let json = r#"echo '{"message": "the disk is gone"}' > "$TORCHELASTIC_ERROR_FILE""#;
    error_file("plain", json).says("the disk is gone");
}

#[test]
fn a_broken_error_file_harms_nothing() {
    let broken = r#"printf '{"message": {"message": "\377\000half' > "$TORCHELASTIC_ERROR_FILE""#;
    error_file("broken", broken).says("exited with 1");
}

#[test]
fn an_error_file_of_a_gigabyte_harms_nothing() {
    error_file("huge", r#"truncate -s 1G "$TORCHELASTIC_ERROR_FILE""#).says("exited with 1");
}

#[test]
fn an_error_file_that_is_a_folder_or_a_pipe_harms_nothing() {
    error_file("folder", r#"mkdir "$TORCHELASTIC_ERROR_FILE""#).says("exited with 1");
    error_file("pipe", r#"mkfifo "$TORCHELASTIC_ERROR_FILE""#).says("exited with 1");
}

#[test]
fn grandchildren_of_a_killed_agent_die_with_it() {
    let world = World::new();
    world.expect_warning("a worker is lost");
    let body = "sleep 1000 & echo $! >> children\nsetsid sleep 1000 & echo $! >> children\n\
        while [ ! -e orders/end ]; do sleep 0.05; done; kill -9 $(jobs -p) 2> /dev/null; exit 0";
    let training = Training::new("orphans", 1, 1)
        .script(body)
        .with("processes_per_worker = 2");
    let mut crew = Crew::start(&world, &training, &["one"]);
    let group = world.group_after(0, 2);
    let children = || {
        let text = fs::read_to_string(world.job_folder().join("children")).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.parse::<u32>().ok())
            .collect::<Vec<_>>()
    };
    wait_until("grandchildren", || children().len() == 4);
    let before = children();
    crew.kill("one");
    gone(&group);
    wait_until("end of the grandchildren", || {
        before.iter().all(|pid| !is_alive(*pid))
    });
    crew.hire("two");
    world.group_after(group.epoch, 2);
    crew.end();
    world.finish();
}
