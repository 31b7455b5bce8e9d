//! Workers that the cluster takes away: they leave in order, it costs no budget, and others take their places.

use crate::harness::{Installed, Job, Pod, beside_others};
use serde_json::{Value, json};
use std::time::Duration;

/// Pods are made, their petctl is copied, their workers join: within this, on a loaded machine.
const SECONDS: Duration = Duration::from_secs(20);

/// A job that has begun a shard on each of two pods.
fn begun<'i>(installed: &'i Installed, name: &str) -> (Job<'i>, Vec<Pod>) {
    let job = Job::gated(installed, name, 6, "max = 2");
    // Nothing is tried again at cost.
    installed.ok(&["run", &job.path(), "-d", "--set", "stage.work.retries=0"]);
    let pods = installed.until_pods(name, 2);
    job.until_started(2);
    (job, pods)
}

/// Another pod with this one's number runs.
pub(crate) fn until_replaced(installed: &Installed, job: &str, gone: &Pod) -> Pod {
    installed.wait_within("another pod has taken its place", SECONDS, || {
        let now = installed.pods(job).into_iter();
        let mut others = now.filter(|pod| pod.index == gone.index && pod.uid != gone.uid);
        others.find(Pod::runs)
    })
}

/// The job ends well; what was taken away from `gone` was run again at no cost, and nothing else twice.
pub(crate) fn ends_at_no_cost(installed: &Installed, job: &Job<'_>, gone: &[&Pod], cause: &str) {
    job.until_started(2 + gone.len());
    job.open();
    let ended = installed.ok(&["status", &job.name, "--wait"]);
    installed.all_done(&job.name, 6);
    let rows = installed.rows(&job.name);
    let preempted: u64 = rows
        .iter()
        .filter_map(|row| row["failures"]["preempted"].as_u64())
        .sum();
    assert_eq!(preempted, gone.len() as u64, "{rows:?}");
    let attempts: u64 = rows.iter().filter_map(|row| row["attempts"].as_u64()).sum();
    assert_eq!(attempts, 6 + gone.len() as u64, "{rows:?}");
    assert_eq!(job.noted("started").len(), 6 + gone.len(), "{ended}");
    // The first cause is kept with the event, where nobody sees the pod any more.
    let events = installed.ok(&["events", &job.name]).stdout;
    for pod in gone {
        let told = events
            .lines()
            .any(|line| line.contains(&pod.name) && line.contains(cause));
        assert!(
            told,
            "no event says of {} that {cause}:\n{events}",
            pod.name
        );
    }
    installed.until_no_pods(&job.name);
}

#[test]
fn a_drained_node_costs_nothing_and_its_pods_go_on_elsewhere() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "drain");
    let (job, pods) = begun(&installed, "drained");
    let node = pods[1].node.clone();
    let gone: Vec<&Pod> = pods.iter().filter(|pod| pod.node == node).collect();
    let drained = cluster.bed.kubectl(&[
        "drain",
        &node,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        "--timeout=30s",
        // Others' tests run there too.
        "--pod-selector=petctl.io/job=drained,petctl.io/managed=true",
    ]);
    let replaced: Vec<Pod> = gone
        .iter()
        .map(|pod| until_replaced(&installed, "drained", pod))
        .collect();
    cluster
        .bed
        .kubectl(&["uncordon", &node])
        .expect("the node is let in again");
    drained.expect("the node can be drained");
    assert!(replaced.iter().all(|pod| pod.node != node), "{replaced:?}");
    ends_at_no_cost(&installed, &job, &gone, "drain");
}

#[test]
fn an_evicted_pod_costs_nothing_and_another_takes_its_place() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "evict");
    let (job, pods) = begun(&installed, "evicted");
    let gone = &pods[0];
    let eviction = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": gone.name, "namespace": installed.namespace.name()},
    });
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}/eviction",
        installed.namespace.name(),
        gone.name
    );
    cluster
        .bed
        .kubectl_reading(
            &["create", "--raw", &path, "-f", "-"],
            &eviction.to_string(),
        )
        .expect("it can be evicted");
    until_replaced(&installed, "evicted", gone);
    ends_at_no_cost(&installed, &job, &[gone], "evicted");
}

#[test]
fn a_deleted_pod_costs_nothing_and_another_takes_its_place() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "delete");
    let (job, pods) = begun(&installed, "deleted");
    let gone = &pods[1];
    installed
        .namespace
        .kubectl(&["delete", "pod", &gone.name, "--wait=false"])
        .expect("it can be deleted");
    until_replaced(&installed, "deleted", gone);
    ends_at_no_cost(&installed, &job, &[gone], "deleted");
}

#[test]
fn a_command_that_saves_on_sigterm_has_its_grace_before_its_pod_goes() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "grace");
    let job = Job::gated(&installed, "grace", 2, "max = 1").file(
        "work.sh",
        "set -eu\necho \"$1\" >> @NOTES@/started\n\
         trap 'echo \"$1 told\" >> @NOTES@/saved; sleep 2; echo \"$1 saved\" >> @NOTES@/saved; exit 1' TERM\n\
         until [ -e @NOTES@/open ]; do sleep 0.05; done\necho done > \"$2/out.txt\"\n",
    );
    installed.ok(&["run", &job.path(), "-d", "--set", "stage.work.grace=6s"]);
    let pods = installed.until_pods("grace", 1);
    job.until_started(1);
    let pod = installed
        .namespace
        .get("pod", &pods[0].name)
        .expect("it runs");
    let grace = pod["spec"]["terminationGracePeriodSeconds"].as_u64();
    assert!(grace.is_some_and(|grace| grace > 6), "{grace:?}");
    installed
        .namespace
        .kubectl(&["delete", "pod", &pods[0].name, "--wait=false"])
        .expect("it can be deleted");
    installed.wait("the command has saved", || {
        (job.noted("saved").len() == 2).then_some(())
    });
    until_replaced(&installed, "grace", &pods[0]);
    job.until_started(2);
    job.open();
    installed.ok(&["status", "grace", "--wait"]);
    installed.all_done("grace", 2);
    let rows = installed.rows("grace");
    assert!(
        rows.iter()
            .all(|row| row["failures"]["failed"] == Value::from(0)),
        "{rows:?}"
    );
    let saved = job.noted("saved");
    assert_eq!(saved.len(), 2, "{saved:?}");
}
