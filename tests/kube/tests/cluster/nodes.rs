//! Nodes that are lost: nobody says that their pods have ended.

use crate::harness::{Installed, Job, MINUTE, Pod, Until, alone};
use petctl_test_kube::Node;
use std::time::{Duration, Instant};

/// The node of this name.
fn node(installed: &Installed, name: &str) -> Node {
    let nodes = installed.bed.nodes();
    let found = nodes.iter().find(|node| node.name() == name);
    *found.unwrap_or_else(|| panic!("no node {name}"))
}

/// A job with a pod on each node, whose coordinator is on none of those that may be lost.
fn spread<'i>(installed: &'i Installed, name: &str) -> (Job<'i>, Vec<Pod>, Node) {
    let job = Job::gated(installed, name, 9, "min = 1\nmax = 3");
    installed.ok(&["run", &job.path(), "-d"]);
    let pods = installed.until_pods(name, 3);
    job.until_started(3);
    let coordinator = installed.coordinator().expect("it runs");
    let lost = pods.iter().find(|pod| pod.node != coordinator.node);
    let lost = lost.unwrap_or_else(|| panic!("all on the coordinator's node: {pods:?}"));
    let lost = node(installed, &lost.node);
    (job, pods, lost)
}

#[test]
fn a_killed_node_is_done_without_and_its_return_brings_nothing_twice() {
    let cluster = alone();
    let installed = Installed::new(cluster.bed, "power");
    let (job, pods, lost) = spread(&installed, "power");
    let gone: Vec<&Pod> = pods.iter().filter(|pod| pod.node == lost.name()).collect();
    lost.power_off();
    let power = Until::back(|| lost.power_on());
    let start = Instant::now();
    // Those that are left go on.
    for pod in pods.iter().filter(|pod| pod.node != lost.name()) {
        let begun = job.noted("started");
        let line = begun.iter().find(|line| line.ends_with(&pod.host));
        let key = line.and_then(|line| line.split(' ').next());
        job.open_shard(key.expect("each has begun one"));
    }
    let survivors = pods.len() - gone.len();
    installed.wait_within("those that are left go on", Duration::from_secs(10), || {
        (job.noted("started").len() >= 3 + survivors).then_some(())
    });
    for pod in &gone {
        installed.wait_within(
            "a pod of the lost node is replaced",
            Duration::from_secs(40),
            || {
                let now = installed.pods("power").into_iter();
                let mut others =
                    now.filter(|other| other.index == pod.index && other.uid != pod.uid);
                others.find(|other| other.runs() && other.node != lost.name())
            },
        );
    }
    let replaced = start.elapsed();
    power.now();
    installed.wait("the node is ready again", || lost.is_ready().then_some(()));
    assert!(
        replaced < Duration::from_secs(30),
        "replaced after {replaced:?}"
    );
    job.open();
    installed.ok(&["status", "power", "--wait"]);
    // Each is committed once, whoever else had begun it.
    assert_eq!(installed.events("power", "shard_committed").len(), 9);
    let rows = installed.rows("power");
    assert!(rows.iter().all(|row| row["state"] == "done"), "{rows:?}");
    let lost_attempts: u64 = rows
        .iter()
        .filter_map(|row| row["failures"]["worker_lost"].as_u64())
        .sum();
    assert_eq!(lost_attempts, gone.len() as u64, "{rows:?}");
    let events = installed.ok(&["events", "power"]).stdout;
    for pod in &gone {
        let told = events.lines().any(|line| {
            line.contains(&pod.name)
                && line.contains(&format!("node {} does not answer", lost.name()))
        });
        assert!(told, "no event says why {} was lost:\n{events}", pod.name);
    }
    installed.until_no_pods("power");
}

#[test]
fn what_a_node_without_a_cable_goes_on_with_is_not_committed_twice() {
    let cluster = alone();
    let installed = Installed::new(cluster.bed, "cable");
    let (job, pods, lost) = spread(&installed, "cable");
    let gone: Vec<&Pod> = pods.iter().filter(|pod| pod.node == lost.name()).collect();
    lost.cut();
    let cable = Until::back(|| lost.plug());
    for pod in &gone {
        installed.wait_within(
            "a pod of the lost node is replaced",
            Duration::from_secs(40),
            || {
                let now = installed.pods("cable").into_iter();
                let mut others =
                    now.filter(|other| other.index == pod.index && other.uid != pod.uid);
                others.find(|other| other.runs() && other.node != lost.name())
            },
        );
    }
    // All run to their ends, also those that nobody hears of.
    job.open();
    installed.ok(&["status", "cable", "--wait"]);
    cable.now();
    installed.wait("the node is ready again", || lost.is_ready().then_some(()));
    assert_eq!(installed.events("cable", "shard_committed").len(), 9);
    installed.wait_within("nothing of the job is left, also not there", MINUTE, || {
        installed.pods("cable").is_empty().then_some(())
    });
    let rows = installed.rows("cable");
    assert!(rows.iter().all(|row| row["state"] == "done"), "{rows:?}");
    for key in 0..9 {
        let text = job.text(&format!("work/{key}/out.txt"));
        assert!(text.starts_with(&format!("{key} on ")), "{text}");
    }
}

#[test]
fn a_coordinator_whose_node_was_killed_comes_back_with_it_and_its_workers_have_waited() {
    let cluster = alone();
    let installed = Installed::new(cluster.bed, "back");
    let job = Job::gated(&installed, "back", 6, "min = 1\nmax = 3");
    let run = installed.start(&["run", &job.path()]);
    let pods = installed.until_pods("back", 3);
    job.until_started(3);
    let coordinator = installed.coordinator().expect("it runs");
    let away = node(&installed, &coordinator.node);
    let stay: Vec<&Pod> = pods
        .iter()
        .filter(|pod| pod.node != coordinator.node)
        .collect();
    assert!(!stay.is_empty(), "{pods:?}");
    away.power_off();
    let power = Until::back(|| away.power_on());
    installed.wait("the node is known to be lost", || {
        (!away.is_ready()).then_some(())
    });
    power.now();
    installed.wait("the coordinator runs again", || {
        let now = installed.coordinator()?;
        now.runs().then_some(())
    });
    installed.until_members("back", 3);
    let now = installed.pods("back");
    for pod in stay {
        let same = now.iter().find(|known| known.uid == pod.uid);
        assert!(
            same.is_some_and(|same| same.runs() && same.restarts == 0),
            "{pod:?}: {now:?}"
        );
    }
    job.open();
    run.ends_within(MINUTE * 2).exits(0);
    assert_eq!(installed.events("back", "shard_committed").len(), 6);
    let rows = installed.rows("back");
    assert!(rows.iter().all(|row| row["state"] == "done"), "{rows:?}");
    installed.until_no_pods("back");
}

#[test]
fn a_coordinator_is_moved_from_a_node_that_stays_dead_and_its_workers_go_on() {
    let cluster = alone();
    let installed = Installed::new(cluster.bed, "move");
    let unneeded = installed.ok(&["setup", "--on", "kube", "--move", "--yes"]);
    assert!(
        unneeded.stderr.contains("there is nothing to move"),
        "{unneeded}"
    );
    let job = Job::gated(&installed, "moved", 6, "min = 1\nmax = 3");
    installed.ok(&["run", &job.path(), "-d"]);
    installed.until_pods("moved", 3);
    job.until_started(3);
    let before = installed.coordinator().expect("it runs");
    let away = node(&installed, &before.node);
    away.power_off();
    let power = Until::back(|| away.power_on());
    installed.wait_within("commands say how to go on", Duration::from_secs(40), || {
        let asked = installed.petctl(&["status", "moved"]);
        let told = format!("if node {} does not come back: petctl setup", before.node);
        asked.stderr.contains(&told).then_some(())
    });
    let dry = installed.ok(&["setup", "--on", "kube", "--move", "--dry-run"]);
    assert!(dry.stdout.contains("would take the coordinator"), "{dry}");
    assert_eq!(
        installed.coordinator().map(|pod| pod.uid),
        Some(before.uid.clone()),
        "{dry}"
    );
    let moved = installed.ok(&["setup", "--on", "kube", "--move", "--yes"]);
    let now = installed.coordinator().expect("it runs elsewhere");
    assert!(now.uid != before.uid && now.node != before.node, "{moved}");
    job.open();
    installed.ok(&["status", "moved", "--wait"]);
    assert_eq!(installed.events("moved", "shard_committed").len(), 6);
    power.now();
    installed.wait("the node is ready again", || away.is_ready().then_some(()));
    let rows = installed.rows("moved");
    assert!(rows.iter().all(|row| row["state"] == "done"), "{rows:?}");
    installed.until_no_pods("moved");
}
