//! Commands that end before what they have started.

use crate::commands::{fails, once, succeeds};
use petctl_test_it::{Stage, World, processes_with};
use std::fs;

#[test]
fn what_a_command_left_running_in_its_group_or_writing_fails_its_shard_by_name() {
    let scripts = [
        ("left-group", "sleep 1000 &", "sleep"),
        ("left-quiet", "sleep 1000 >/dev/null 2>&1 &", "sleep"),
        (
            "left-deaf",
            "(trap '' TERM HUP; sleep 1000) & sleep 0.05",
            "sleep",
        ),
        (
            "left-session",
            "setsid tail -f /dev/null > \"$PETCTL_OUTPUT/f\" 2>&1 & sleep 0.2",
            "tail",
        ),
    ];
    for (name, body, program) in scripts {
        let world = World::new();
        let stage = once(body).with("grace = \"300ms\"");
        let named = format!("{program} (process ");
        let texts = [
            "exited with 0, and ",
            &named,
            "still ran after grace = 300ms",
        ];
        let row = fails(&world, name, &stage, "LEFT_RUNNING", &texts);
        assert_eq!(row["error"]["exit_code"], 0, "{row}");
        assert!(processes_with("PETCTL_JOB", name).is_empty());
        world.finish();
    }
}

#[test]
fn what_still_writes_when_the_command_ends_is_waited_for_and_committed_whole() {
    let scripts = [
        (
            "late-group",
            "(sleep 0.5; echo late > \"$PETCTL_OUTPUT/f\") &",
        ),
        (
            "late-session",
            "setsid sh -c 'exec 3> \"$PETCTL_OUTPUT/f\"; sleep 0.5; echo late >&3' >/dev/null 2>&1 & sleep 0.2",
        ),
        (
            "late-substitution",
            "exec bash -c 'echo late > >(sleep 0.5; cat > \"$PETCTL_OUTPUT/f\")'",
        ),
    ];
    for (name, body) in scripts {
        let world = World::new();
        succeeds(&world, name, &once(body), 1);
        let shard = world.output().join("work").join(&Stage::keys(1)[0]);
        let text = fs::read_to_string(shard.join("f")).unwrap();
        assert_eq!(text, "late\n", "{name}");
        world.finish();
    }
}
