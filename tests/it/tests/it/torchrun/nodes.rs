//! Nodes that find one another, are killed, disagree, come too late, and end.

use super::{Run, WAITS, column, lines, said};
use petctl_test_it::{World, wait_until};
use rustix::process::Signal;
use std::fs;

#[test]
fn nodes_of_one_endpoint_form_one_group_and_end_together() {
    let world = World::new();
    world.script("wait.sh", WAITS);
    let run = Run::new(&world, "2").with("--nproc-per-node=2");
    let nodes = [run.start("./wait.sh"), run.start("./wait.sh")];
    let first = said(&world, 4, 4);
    assert_eq!(column(&first, 0), ["0", "1", "2", "3"]);
    assert_eq!(column(&first, 1), ["4"; 4]);
    assert_eq!(column(&first, 2), ["0", "0", "1", "1"]);
    let master: std::collections::BTreeSet<&str> = column(&first, 5).into_iter().collect();
    assert_eq!(master.len(), 1);
    assert!(!master.contains(format!("127.0.0.1:{}", run.port).as_str()));
    world.open_gate("all");
    for node in nodes {
        node.wait().exits(0);
    }
    run.finish();
    world.finish();
}

#[test]
fn a_group_with_its_minimum_waits_no_longer_than_its_last_call_and_grows_when_others_come() {
    let world = World::new();
    world.script("wait.sh", WAITS);
    let run = Run::new(&world, "1:2").with("--rdzv-conf=last_call_timeout=1");
    let first = run.start("./wait.sh");
    assert_eq!(column(&said(&world, 1, 1), 1), ["1"]);
    let second = run.start("./wait.sh");
    let grown = said(&world, 3, 2);
    assert_eq!(column(&grown, 1), ["2", "2"]);
    assert_eq!(column(&grown, 3), ["0", "0"]);
    world.open_gate("all");
    first.wait().exits(0);
    second.wait().exits(0);
    run.finish();
    world.finish();
}

#[test]
fn killing_the_node_that_started_the_coordinator_takes_nothing_else_away() {
    let world = World::new();
    world.script("wait.sh", WAITS);
    let run = Run::new(&world, "1:3");
    let mut host = run.start("./wait.sh");
    wait_until("a coordinator", || run.coordinator().is_some());
    let others = [run.start("./wait.sh"), run.start("./wait.sh")];
    let first = said(&world, 3, 3);
    let coordinator = run.coordinator();
    host.kill();
    let second = said(&world, 5, 2);
    assert_eq!(column(&second, 0), ["0", "1"]);
    assert_eq!(
        column(&second, 3),
        ["0", "0"],
        "a lost node costs no restart"
    );
    assert_eq!(run.coordinator(), coordinator);
    for words in &first {
        let pid = words[4].parse().unwrap();
        wait_until("end of the first epoch's processes", || {
            !petctl_test_it::is_alive(pid)
        });
    }
    world.open_gate("all");
    for node in others {
        node.wait().exits(0);
    }
    run.finish();
    world.finish();
}

#[test]
fn a_node_that_is_told_to_leave_lets_its_script_save_and_the_others_go_on() {
    let world = World::new();
    world.script("wait.sh", WAITS);
    let run = Run::new(&world, "1:2");
    let stays = run.start("./wait.sh");
    wait_until("a coordinator", || run.coordinator().is_some());
    let mut leaves = run.start("./wait.sh");
    said(&world, 2, 2);
    leaves.signal(Signal::TERM);
    let ran = leaves.wait();
    assert_eq!(ran.exit, Some(143), "{ran}");
    let alone = said(&world, 3, 1);
    assert_eq!((alone[0][0].as_str(), alone[0][1].as_str()), ("0", "1"));
    assert_eq!(lines(&world, "told").len(), 2);
    world.open_gate("all");
    stays.wait().exits(0);
    run.finish();
    world.finish();
}

#[test]
fn every_node_names_the_process_that_failed_first() {
    let world = World::new();
    let fails = r#"
if [ "$RANK" = 1 ]; then
    printf '%s\n' '{"message":{"message":"ValueError: no such road","extraInfo":{"py_callstack":"Traceback\nValueError: no such road","timestamp":"1"}}}' > "$TORCHELASTIC_ERROR_FILE"
    exit 7
fi
sleep 1000
"#;
    world.script("fail.sh", fails);
    let run = Run::new(&world, "2");
    let own = world.path("error.json");
    let nodes = [(); 2].map(|()| {
        run.node(&["./fail.sh"])
            .env("TORCHELASTIC_ERROR_FILE", &own)
            .spawn()
    });
    for node in nodes {
        let ran = node
            .wait()
            .exits(1)
            .says("./fail.sh FAILED")
            .says("ValueError: no such road");
        assert!(
            ran.stderr.contains("rank      : 1 (local_rank: 0)"),
            "{ran}"
        );
        assert!(ran.stderr.contains("exitcode  : 7"), "{ran}");
    }
    let handed_on = fs::read_to_string(own).unwrap();
    assert!(handed_on.contains("\"errorCode\":7"), "{handed_on}");
    run.finish();
    world.finish();
}

#[test]
fn a_node_that_disagrees_is_refused_and_the_run_goes_on() {
    let world = World::new();
    world.script("wait.sh", WAITS);
    let run = Run::new(&world, "1:2");
    let first = run.start("./wait.sh");
    wait_until("a coordinator", || run.coordinator().is_some());
    said(&world, 1, 1);
    run.node(&["--max-restarts=3", "./wait.sh"])
        .run()
        .exits(2)
        .says("TORCHRUN_DISAGREE")
        .says("--nnodes 1:2 --max-restarts 3");
    run.node(&["--nnodes=1:3", "./wait.sh"])
        .run()
        .exits(2)
        .says("TORCHRUN_DISAGREE");
    world.open_gate("all");
    first.wait().exits(0);
    run.finish();
    world.finish();
}

#[test]
fn an_id_can_be_used_again_at_once() {
    let world = World::new();
    world.script("once.sh", "echo \"$RANK\" >> said");
    let run = Run::new(&world, "2");
    for round in 1..=3 {
        let nodes = [run.start("./once.sh"), run.start("./once.sh")];
        for node in nodes {
            node.wait().exits(0);
        }
        assert_eq!(lines(&world, "said").len(), 2 * round);
    }
    run.finish();
    world.finish();
}

#[test]
fn a_run_of_another_id_waits_until_the_endpoint_is_free() {
    let world = World::new();
    world.script("wait.sh", WAITS);
    let run = Run::new(&world, "1:2");
    let first = run.start("./wait.sh");
    said(&world, 1, 1);
    let second = run.node(&["--rdzv-id=other", "./wait.sh"]).spawn();
    wait_until("its word that it waits", || {
        second.stderr().contains("in use by another run")
    });
    assert_eq!(lines(&world, "said").len(), 1);
    world.open_gate("all");
    first.wait().exits(0);
    second.wait().exits(0);
    assert_eq!(lines(&world, "said").len(), 2);
    run.finish();
    world.finish();
}

#[test]
fn too_few_nodes_end_with_a_word_on_it() {
    let world = World::new();
    let run = Run::new(&world, "2").with("--rdzv-conf=join_timeout=1");
    run.node(&["true"])
        .run()
        .exits(75)
        .says("TORCHRUN_TIMEOUT")
        .says("1 node was there");
    let elsewhere = ["--rdzv-conf=join_timeout=1,is_host=0", "true"];
    run.finish_or_kill();
    run.node(&elsewhere)
        .run()
        .exits(75)
        .says("no run was found");
    world.finish();
}

#[test]
fn a_token_keeps_others_out() {
    let world = World::new();
    world.script("wait.sh", WAITS);
    let run = Run::new(&world, "1:2");
    fs::write(world.path("token"), "a token that nobody else has").unwrap();
    let token = format!("token_file={}", world.path("token").display());
    let refused = run.node(&["--rdzv-conf", &token, "./wait.sh"]).run();
    refused.exits(77).says("TOKEN_UNREADABLE");
    fs::write(world.path("token"), "a-token-that-nobody-else-has\n").unwrap();
    let own = run.node(&["--rdzv-conf", &token, "./wait.sh"]).spawn();
    said(&world, 1, 1);
    let other = run.node(&["--rdzv-conf=join_timeout=1", "./wait.sh"]).run();
    other.exits(75).says("in use by another run");
    world.open_gate("all");
    own.wait().exits(0);
    assert_eq!(lines(&world, "said").len(), 1);
    run.finish();
    world.finish();
}
