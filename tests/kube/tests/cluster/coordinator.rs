//! The coordinator's pod, and the API server, away for a while.

use crate::harness::{Installed, Job, MINUTE, Pod, Until, alone, beside_others};
use std::time::Duration;

/// The coordinator has seen that its Job is too small. How soon pods follow is a matter of the cluster's own watches.
fn until_resized(installed: &Installed, job: &str, size: u32) {
    installed.wait_within("the Job is resized", Duration::from_secs(20), || {
        let job = installed.namespace.get("job", &format!("petctl-{job}"))?;
        (job["spec"]["parallelism"] == size && job["spec"]["completions"] == size).then_some(())
    });
}

#[test]
fn a_coordinator_that_is_deleted_comes_back_and_nothing_restarts_or_runs_twice() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "coord");
    let job = Job::gated(&installed, "goes-on", 12, "max = 3");
    let run = installed.start(&["run", &job.path()]);
    let pods = installed.until_pods("goes-on", 3);
    job.until_started(3);
    let coordinator = installed.coordinator().expect("it runs");
    // While it is away a shard ends, and the next one can't be given out.
    installed
        .namespace
        .kubectl(&["delete", "pod", &coordinator.name, "--wait=false"])
        .expect("it can be deleted");
    let begun = job.noted("started");
    let key = begun[0].split(' ').next().expect("a key");
    job.open_shard(key);
    installed.wait("another coordinator runs", || {
        let now = installed.coordinator()?;
        (now.uid != coordinator.uid && now.runs()).then_some(())
    });
    installed.until_members("goes-on", 3);
    job.until_started(4);
    assert_eq!(installed.pods("goes-on"), pods, "nothing restarts");
    job.open();
    run.ends_within(MINUTE).exits(0);
    installed.all_done_at_once("goes-on", 12);
    let begun = job.noted("started");
    assert_eq!(begun.len(), 12, "a shard was begun twice: {begun:?}");
    installed.until_no_pods("goes-on");
}

#[test]
fn a_coordinator_that_was_killed_finds_its_jobs_and_its_workers_again() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "killed");
    let job = Job::gated(&installed, "killed", 6, "max = 2");
    installed.ok(&["run", &job.path(), "-d"]);
    let pods = installed.until_pods("killed", 2);
    job.until_started(2);
    let coordinator = installed.coordinator().expect("it runs");
    installed
        .namespace
        .kubectl(&[
            "delete",
            "pod",
            &coordinator.name,
            "--grace-period=0",
            "--force",
        ])
        .expect("it can be deleted");
    installed.wait("another coordinator runs", || {
        let now = installed.coordinator()?;
        (now.uid != coordinator.uid && now.runs()).then_some(())
    });
    // What was forgotten in the meantime is made up for.
    installed.ok(&["scale", "killed", "--workers", "1"]);
    job.open();
    installed.ok(&["status", "killed", "--wait"]);
    installed.all_done_at_once("killed", 6);
    let now = installed.pods("killed");
    let stayed = |pod: &Pod| pods.iter().any(|known| known.uid == pod.uid);
    assert!(
        now.iter().all(stayed),
        "{pods:?}\n{now:?}\n{}\n{}",
        installed.ok(&["events", "killed"]),
        installed.state()
    );
    installed.until_no_pods("killed");
}

#[test]
fn a_job_goes_on_while_the_api_server_is_away_and_run_survives_it() {
    let cluster = alone();
    let installed = Installed::new(cluster.bed, "api");
    let job = Job::gated(&installed, "api", 8, "min = 1\nmax = 3\nwanted = 2");
    let mut run = installed.start(&["run", &job.path()]);
    let pods = installed.until_pods("api", 2);
    job.until_started(2);
    installed.bed.stop_api();
    let api = Until::back(|| cluster.bed.start_api());
    // Workers and their coordinator need no API server: shards end, and others are given out.
    for line in job.noted("started") {
        job.open_shard(line.split(' ').next().expect("a key"));
    }
    job.until_started(4);
    std::thread::sleep(Duration::from_secs(20));
    assert!(run.runs(), "run has given up: {}", run.stderr());
    for line in job.noted("started") {
        job.open_shard(line.split(' ').next().expect("a key"));
    }
    job.until_started(6);
    // A new command says what is wrong, soon and plainly.
    let asked = installed.petctl(&["status", "api", "--on", "kube"]);
    assert!(asked.took < Duration::from_secs(15), "{asked}");
    asked.refuses(69, "CLUSTER_UNREACHABLE", &["context bed"]);
    api.now();
    assert_eq!(installed.pods("api"), pods, "nothing restarts");
    installed.ok(&["scale", "api", "--workers", "3"]);
    until_resized(&installed, "api", 3);
    job.open();
    run.ends_within(MINUTE + MINUTE).exits(0);
    installed.all_done_at_once("api", 8);
    assert_eq!(job.noted("started").len(), 8);
    installed.until_no_pods_after_outage("api");
}

#[test]
fn watches_begin_anew_where_the_cluster_has_forgotten_its_history() {
    let cluster = alone();
    let installed = Installed::new(cluster.bed, "compact");
    let job = Job::gated(&installed, "compact", 8, "min = 1\nmax = 3\nwanted = 1");
    let run = installed.start(&["run", &job.path()]);
    installed.until_pods("compact", 1);
    job.until_started(1);
    installed.bed.compact();
    installed.ok(&["scale", "compact", "--workers", "3"]);
    until_resized(&installed, "compact", 3);
    job.open();
    run.ends_within(MINUTE).exits(0);
    installed.all_done_at_once("compact", 8);
    installed.until_no_pods_after_outage("compact");
}

#[test]
fn an_api_server_that_hangs_is_not_waited_for_for_ever() {
    let cluster = alone();
    let installed = Installed::new(cluster.bed, "hangs");
    let job = Job::gated(&installed, "hangs", 4, "max = 1");
    let run = installed.start(&["run", &job.path()]);
    job.until_started(1);
    installed.bed.freeze_api();
    let api = Until::back(|| cluster.bed.thaw_api());
    let asked = installed.petctl(&["status", "hangs", "--on", "kube"]);
    api.now();
    assert!(asked.took < Duration::from_secs(40), "{asked}");
    asked.refuses(69, "CLUSTER_UNREACHABLE", &[]);
    job.open();
    run.ends_within(MINUTE).exits(0);
    installed.all_done_at_once("hangs", 4);
}
