//! `petctl torchrun`: nodes that find one another, are killed, disagree, come too late, and end.

use petctl_test_it::{Background, Family, Petctl, World, kill, wait_for, wait_until};
use rustix::process::Signal;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// Says who it is, and waits for the gate; SIGTERM is noted.
const WAITS: &str = r#"
trap 'echo "$RANK" >> told; exit 0' TERM
echo "$RANK $WORLD_SIZE $GROUP_RANK $TORCHELASTIC_RESTART_COUNT $$ $MASTER_ADDR:$MASTER_PORT" >> said
while [ ! -e gates/all ]; do sleep 0.02; done
"#;

/// A run of several nodes at one endpoint.
struct Run<'w> {
    world: &'w World,
    port: u16,
    flags: Vec<String>,
}

impl<'w> Run<'w> {
    fn new(world: &'w World, nnodes: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        let endpoint = format!("--rdzv-endpoint=localhost:{port}");
        let flags = [
            "--no-python",
            "--rdzv-backend=c10d",
            "--rdzv-id=run",
            &endpoint,
        ];
        let mut flags: Vec<String> = flags.map(str::to_owned).to_vec();
        flags.push(format!("--nnodes={nnodes}"));
        Self { world, port, flags }
    }

    fn with(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    fn node(&self, more: &[&str]) -> Petctl<'w> {
        torchrun(self.world).args(&self.flags).args(more)
    }

    fn start(&self, script: &str) -> Background {
        self.node(&[script]).spawn()
    }

    /// The process that runs their coordinator; `None`: there is none.
    fn coordinator(&self) -> Option<u32> {
        let listen = format!(":{}", self.port);
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .find(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                line.contains("torchrun-coordinator") && line.trim_end().ends_with(&listen)
            })
    }

    fn finish(&self) {
        wait_until("end of the coordinator", || self.coordinator().is_none());
    }
}

fn torchrun(world: &World) -> Petctl<'_> {
    world.petctl().arg("torchrun").env("OMP_NUM_THREADS", "1")
}

/// Lines that the script has written.
fn lines(world: &World, file: &str) -> Vec<String> {
    let text = fs::read_to_string(world.job_folder().join(file)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Waits for so many lines, and answers the last of them, sorted.
fn said(world: &World, in_all: usize, last: usize) -> Vec<Vec<String>> {
    let all = wait_for("what the scripts say", || {
        let lines = lines(world, "said");
        (lines.len() >= in_all).then_some(lines)
    });
    assert_eq!(all.len(), in_all, "{all:?}");
    let mut said: Vec<Vec<String>> = all[in_all - last..]
        .iter()
        .map(|line| line.split(' ').map(str::to_owned).collect())
        .collect();
    said.sort();
    said
}

fn column(said: &[Vec<String>], at: usize) -> Vec<&str> {
    said.iter().map(|words| words[at].as_str()).collect()
}

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

impl Run<'_> {
    /// A coordinator whose run has not ended stays for a minute.
    fn finish_or_kill(&self) {
        if let Some(pid) = self.coordinator() {
            kill(pid);
        }
        self.finish();
    }
}

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

/// Several machines: the endpoint is the first one's address, and rank 0 is where the others reach it.
fn meet_on_hosts(family: Family, at: impl Fn(&str) -> Vec<String>) {
    let world = World::new();
    world.script("wait.sh", WAITS);
    let Some(network) = world.network(3, family) else {
        return world.finish();
    };
    let address = network.host(0).address;
    let endpoint = network.host(0).bracketed();
    let flags = at(&endpoint);
    let start = |host: u32| {
        torchrun(&world)
            .args([
                "--no-python",
                "--nnodes=3",
                "--node-rank",
                &host.to_string(),
            ])
            .args(&flags)
            .arg("./wait.sh")
            .on(Some(&network.host(host)))
            .spawn()
    };
    let nodes = [start(2), start(1), start(0)];
    let first = said(&world, 3, 3);
    assert_eq!(column(&first, 0), ["0", "1", "2"]);
    let masters: std::collections::BTreeSet<&str> = column(&first, 5).into_iter().collect();
    let hosts: Vec<String> = (0..3).map(|host| network.host(host).address).collect();
    assert_eq!(masters.len(), 1, "{masters:?}");
    let master = masters
        .first()
        .unwrap()
        .rsplit_once(':')
        .unwrap()
        .0
        .to_owned();
    assert!(
        hosts.contains(&master),
        "{master} is none of {hosts:?}; the endpoint is {address}"
    );
    world.open_gate("all");
    for node in nodes {
        node.wait().exits(0);
    }
    world.finish();
}

#[test]
fn nodes_on_machines_of_their_own_meet_at_the_endpoint() {
    meet_on_hosts(Family::V4, |endpoint| {
        let endpoint = format!("--rdzv-endpoint={endpoint}:29400");
        vec![
            "--rdzv-backend=c10d".to_owned(),
            "--rdzv-id=far".to_owned(),
            endpoint,
        ]
    });
}

#[test]
fn machines_with_ipv6_only_meet_too() {
    meet_on_hosts(Family::V6, |endpoint| {
        let endpoint = format!("--rdzv-endpoint={endpoint}");
        vec!["--rdzv-backend=c10d".to_owned(), endpoint]
    });
}

#[test]
fn static_nodes_on_machines_of_their_own_meet_at_the_master() {
    meet_on_hosts(Family::V4, |endpoint| {
        vec![
            format!("--master-addr={endpoint}"),
            "--master-port=29500".to_owned(),
        ]
    });
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
