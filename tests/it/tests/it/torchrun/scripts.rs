//! What one node does for its scripts: ranks, logs, variables, and their end.

use super::{lines, torchrun};
use petctl_test_it::{World, wait_until};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

#[test]
fn static_nodes_have_the_ranks_that_they_are_given() {
    let world = World::new();
    world.script("rank.sh", "echo \"$NODE $RANK\" >> said");
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let node = |rank: &str| {
        torchrun(&world)
            .args(["--no-python", "--nnodes=3", "--node-rank", rank])
            .args([
                "--master-addr=127.0.0.1",
                "--master-port",
                &port,
                "./rank.sh",
            ])
            .env("NODE", rank)
            .spawn()
    };
    let nodes = ["2", "1", "0"].map(node);
    for node in nodes {
        node.wait().exits(0);
    }
    let mut lines = lines(&world, "said");
    lines.sort();
    assert_eq!(lines, ["0 0", "1 1", "2 2"]);
    world.finish();
}

#[test]
fn a_killed_torchrun_leaves_no_process() {
    let world = World::new();
    world.script(
        "fork.sh",
        "setsid sleep 1000 & echo \"$$\" >> said; sleep 1000",
    );
    let mut run = torchrun(&world)
        .args(["--no-python", "--nproc-per-node=2", "./fork.sh"])
        .spawn();
    wait_until("both ranks", || lines(&world, "said").len() == 2);
    run.kill();
    world.finish();
}

#[test]
fn logs_of_every_attempt_are_kept_where_they_were_asked_for() {
    let world = World::new();
    let body = r#"
echo "out of $LOCAL_RANK"
echo "loss of $LOCAL_RANK" >&2
[ "$TORCHELASTIC_RESTART_COUNT" = 1 ]
"#;
    world.script("talk.sh", body);
    let ran = torchrun(&world)
        .args([
            "--no-python",
            "--nproc-per-node=2",
            "--max-restarts=1",
            "--log-dir=logs",
            "--rdzv-id=mine",
        ])
        .args([
            "-r",
            "1",
            "-t",
            "0:2",
            "--duplicate-stderr-filters=loss",
            "--role=part",
            "./talk.sh",
        ])
        .run()
        .exits(0);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("[part0]:loss of 0\n"), "{ran}");
    assert!(ran.stderr.lines().any(|line| line == "loss of 1"), "{ran}");
    let runs: Vec<_> = fs::read_dir(world.job_folder().join("logs"))
        .unwrap()
        .flatten()
        .collect();
    assert_eq!(runs.len(), 1);
    let root = runs[0].path();
    assert!(
        root.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("mine_")
    );
    let text = |file: &str| fs::read_to_string(root.join(file)).unwrap_or_default();
    for attempt in ["attempt_0", "attempt_1"] {
        for rank in ["0", "1"] {
            let out = text(&format!("{attempt}/{rank}/stdout.log"));
            assert!(
                out.is_empty() && attempt == "attempt_0" || out == format!("out of {rank}\n"),
                "{out}"
            );
        }
    }
    assert_eq!(text("attempt_1/0/stderr.log"), "loss of 0\n");
    assert_eq!(text("attempt_1/filtered_stderr.log"), "[part0]:loss of 0\n");
    world.finish();
}

#[test]
fn a_link_named_torchrun_is_torchrun() {
    let world = World::new();
    let link = world.path("torchrun");
    symlink(petctl_test_it::petctl(), &link).unwrap();
    let said = |link: &Path, word: &str| {
        let mut command = Command::new(link);
        command
            .args(["--no-python", "echo", word])
            .env("TMPDIR", world.path("logs"));
        command.output().unwrap()
    };
    let ran = said(&link, "--nnodes");
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "--nnodes\n");
    assert!(ran.status.success() && ran.stderr.is_empty());
    // Nothing was written, so nothing is left.
    let left: Vec<_> = fs::read_dir(world.path("logs"))
        .unwrap()
        .flatten()
        .collect();
    assert!(left.is_empty(), "{left:?}");
    world.finish();
}

#[test]
fn petctl_keeps_its_own_variables_from_the_scripts() {
    let world = World::new();
    let ran = torchrun(&world)
        .args(["--no-python", "env"])
        .env("PETCTL_TOKEN", "hunter2hunter2hunter2hunter2")
        .env("PET_ROLE", "driver")
        .run()
        .exits(0);
    assert!(!ran.stdout.contains("hunter2"), "{ran}");
    assert!(ran.stdout.contains("\nROLE_NAME=driver\n"), "{ran}");
    world.finish();
}
