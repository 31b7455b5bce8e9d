//! What a cluster does to pods on its own account: it holds them back, makes room for others, and throws out.

use crate::harness::{Installed, Job, Until, alone, beside_others, missing};
use serde_json::json;
use std::time::Duration;

/// Node pressure is looked at every 10 s.
const SECONDS: Duration = Duration::from_secs(60);

#[test]
fn a_pod_that_makes_room_for_a_higher_priority_costs_nothing_and_says_so() {
    // A node that is full holds up everybody's pods.
    let cluster = alone();
    let installed = Installed::new(cluster.bed, "preempted");
    let node = cluster.bed.nodes()[0].name();
    let class = format!("{}-high", installed.namespace.name());
    let high = json!({
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": class},
        "value": 1000,
    });
    cluster.bed.apply(&high).expect("a priority class");
    let gone = Until::back(|| {
        let _gone = cluster.bed.kubectl(&["delete", "priorityclass", &class]);
    });
    let selector =
        format!("place.kube.node_selector={{ \"kubernetes.io/hostname\" = \"{node}\" }}");
    let job = Job::gated(&installed, "yields", 1, "max = 1");
    installed.ok(&[
        "run",
        &job.path(),
        "-d",
        "--set",
        "stage.work.retries=0",
        "--set",
        &selector,
        "--set",
        "place.kube.requests.cpu=0.9",
    ]);
    let pod = installed.until_pods("yields", 1).remove(0);
    job.until_started(1);
    let cpus = cluster
        .bed
        .kubectl(&[
            "get",
            "node",
            node,
            "-o",
            "jsonpath={.status.allocatable.cpu}",
        ])
        .expect("it says what it has");
    let cpus: u32 = cpus.trim().parse().expect("whole ones");
    let wins = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "wins"},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": node},
            "priorityClassName": class,
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "main",
                "image": "petctl.local/pause:1",
                "imagePullPolicy": "Never",
                // All but a few hundredths, of which others have some.
                "resources": {"requests": {"cpu": format!("{}m", cpus * 1000 - 500)}},
            }],
        },
    });
    installed.namespace.apply(&wins).expect("a pod");
    installed.wait("the pod with the priority runs", || {
        let pod = installed.namespace.get("pod", "wins")?;
        (pod["status"]["phase"] == "Running").then_some(())
    });
    installed.until_waits("yields", "POD_UNSCHEDULABLE");
    let events = installed.ok(&["events", "yields"]).stdout;
    let told = events
        .lines()
        .any(|line| line.contains(&pod.name) && line.contains("a higher priority"));
    assert!(told, "{events}");
    installed
        .namespace
        .kubectl(&["delete", "pod", "wins"])
        .expect("it can be deleted");
    job.open();
    installed.ok(&["status", "yields", "--wait"]);
    installed.all_done("yields", 1);
    let rows = installed.rows("yields");
    assert_eq!(rows[0]["failures"]["failed"], 0, "{rows:?}");
    gone.now();
}

#[test]
fn a_pod_that_its_node_throws_out_says_what_it_used_too_much_of() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "thrown-out");
    let limits = json!({
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "disk"},
        "spec": {"limits": [{"type": "Container", "default": {"ephemeral-storage": "400Mi"},
            "defaultRequest": {"ephemeral-storage": "1Mi"}}]},
    });
    installed.namespace.apply(&limits).expect("a limit");
    let job = Job::gated(&installed, "disk", 1, "max = 1").file(
        "work.sh",
        "set -eu\nif [ ! -e @NOTES@/full ]; then\n  : > @NOTES@/full\n  \
         dd if=/dev/zero of=/tmp/much bs=1M count=900 2>/dev/null\n  sleep 300\nfi\necho done > \"$2/out.txt\"\n",
    );
    installed.ok(&["run", &job.path(), "-d", "--set", "stage.work.retries=0"]);
    let pod = installed.until_pods("disk", 1).remove(0);
    installed.wait_within("the pod is thrown out, and why is told", SECONDS, || {
        let events = installed.ok(&["events", "disk"]).stdout;
        let mut lines = events.lines().filter(|line| line.contains(&pod.name));
        lines
            .any(|line| line.contains("evicted it") && line.contains("ephemeral"))
            .then_some(())
    });
    installed.ok(&["status", "disk", "--wait"]);
    let rows = installed.rows("disk");
    assert_eq!(rows[0]["attempts"], 2, "{rows:?}");
}

#[test]
fn pods_that_a_queue_of_the_cluster_holds_back_are_said_to_wait_for_it() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "gated");
    let name = installed.namespace.name().to_owned();
    // What a queue's webhook does: pods come with a gate, which it opens when there is quota.
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
            }]},
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "mutations": [{
                "patchType": "ApplyConfiguration",
                "applyConfiguration": {"expression":
                    "Object{spec: Object.spec{schedulingGates: [Object.spec.schedulingGates{name: \"queue.example/admission\"}]}}"},
            }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}},
        },
    });
    cluster.bed.apply(&policy).expect("a policy");
    cluster.bed.apply(&binding).expect("its binding");
    let gone = Until::back(|| {
        for kind in ["mutatingadmissionpolicybinding", "mutatingadmissionpolicy"] {
            let _gone = cluster.bed.kubectl(&["delete", kind, &name]);
        }
    });
    // A policy takes effect some time after it was made.
    installed.wait("pods get the gate", || {
        let probe = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"},
            "spec": {"containers": [{"name": "main", "image": "petctl.local/pause:1"}]},
        });
        let _there = installed.namespace.apply(&probe);
        let pod = installed.namespace.get("pod", "probe")?;
        let gated = pod["spec"]["schedulingGates"].is_array();
        let _gone = installed
            .namespace
            .kubectl(&["delete", "pod", "probe", "--now"]);
        gated.then_some(())
    });
    let job = Job::gated(&installed, "queued", 1, "max = 1");
    job.open();
    installed.ok(&["run", &job.path(), "-d"]);
    let said = installed.until_waits("queued", "POD_GATED");
    let lost = missing(&said, &["queue.example/admission", "1 of 1 pods wait"]);
    assert!(lost.is_empty(), "{lost:?}: {said}");
    let pod = installed.pods("queued").remove(0);
    installed
        .namespace
        .kubectl(&[
            "patch",
            "pod",
            &pod.name,
            "--type=json",
            "-p",
            "[{\"op\": \"remove\", \"path\": \"/spec/schedulingGates\"}]",
        ])
        .expect("the gate opens");
    installed.ok(&["status", "queued", "--wait"]);
    installed.all_done_at_once("queued", 1);
    gone.now();
}

#[test]
fn a_claim_whose_volume_is_elsewhere_or_gone_is_named() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "claims");
    let name = installed.namespace.name().to_owned();
    let nodes = cluster.bed.nodes();
    let volume = |what: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": format!("{name}-{what}")},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": format!("{name}-{what}"),
                "local": {"path": "/var/tmp"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [{
                    "key": "kubernetes.io/hostname", "operator": "In", "values": [nodes[0].name()],
                }]}]}},
            },
        })
    };
    let claim = |what: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": what},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": format!("{name}-{what}"),
                "resources": {"requests": {"storage": "1Gi"}},
            },
        })
    };
    let all = ["elsewhere", "gone"];
    for what in all {
        cluster.bed.apply(&volume(what)).expect("a volume");
        installed.namespace.apply(&claim(what)).expect("a claim");
    }
    let removed = Until::back(|| {
        for what in all {
            let volume = format!("{name}-{what}");
            let _gone = cluster
                .bed
                .kubectl(&["delete", "pv", &volume, "--wait=false"]);
        }
    });
    installed.wait("both are bound", || {
        let bound = |what: &&str| {
            let claim = installed.namespace.get("pvc", what);
            claim.is_some_and(|claim| claim["status"]["phase"] == "Bound")
        };
        all.iter().all(|what| bound(&what)).then_some(())
    });
    // Somebody has removed the volume under the claim.
    let gone = format!("{name}-gone");
    let patch = "{\"metadata\":{\"finalizers\":null}}";
    cluster
        .bed
        .kubectl(&["delete", "pv", &gone, "--wait=false"])
        .expect("it can be deleted");
    cluster
        .bed
        .kubectl(&["patch", "pv", &gone, "--type=merge", "-p", patch])
        .expect("it lets go");
    installed.wait("the claim is lost", || {
        let claim = installed.namespace.get("pvc", "gone")?;
        (claim["status"]["phase"] == "Lost").then_some(())
    });
    let other = format!(
        "place.kube.node_selector={{ \"kubernetes.io/hostname\" = \"{}\" }}",
        nodes[1].name()
    );
    // What the job writes has to be seen, beside what is tried.
    let data = installed.data().display().to_string();
    let volumes = |claim: &str| {
        format!(
            "place.kube.volumes=[{{ path = \"{data}\", host_path = \"{data}\" }}, \
             {{ path = \"/var/tmp/data\", claim = \"{claim}\" }}]"
        )
    };
    let cases = [
        (
            "elsewhere",
            Some(other.as_str()),
            "POD_UNSCHEDULABLE",
            "the volume behind the claim `elsewhere` is at hand elsewhere only",
        ),
        // For those who may not look.
        (
            "gone",
            None,
            "POD_VOLUME",
            "the volume behind the claim `gone` is gone",
        ),
    ];
    for (claim, selector, code, word) in cases {
        let job = Job::gated(&installed, claim, 1, "max = 1");
        let (path, volumes) = (job.path(), volumes(claim));
        let mut arguments = vec!["run", &path, "-d", "--set", &volumes];
        if let Some(selector) = selector {
            arguments.extend(["--set", selector]);
        }
        if claim == "gone" {
            let words = ["the claim gone", "is lost", &gone];
            installed
                .petctl(&arguments)
                .refuses(78, "BAD_VOLUME", &words);
        }
        installed.as_client(&arguments).exits(0);
        let said = installed.until_waits(claim, code);
        assert!(said.contains(word), "{claim}: {said}");
    }
    removed.now();
}

#[test]
fn a_job_in_a_queue_runs_when_it_is_let_in_and_what_it_is_sent_away_from_costs_nothing() {
    let cluster = beside_others();
    let installed = Installed::with(cluster.bed, "queue", "queue = \"team-a\"\n");
    let job = Job::gated(&installed, "queues", 3, "min = 1\nmax = 2");
    let let_in = |runs: bool| {
        let patch = format!("{{\"spec\":{{\"suspend\":{}}}}}", !runs);
        let patched = installed.namespace.kubectl(&[
            "patch",
            "job",
            "petctl-queues",
            "--type=merge",
            "-p",
            &patch,
        ]);
        patched.expect("the queue decides");
    };
    installed.ok(&["run", &job.path(), "-d", "--set", "stage.work.retries=0"]);
    installed.until_pods("queues", 2);
    job.until_started(2);
    let made = installed
        .namespace
        .get("job", "petctl-queues")
        .expect("it is there");
    assert_eq!(
        made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"],
        "team-a"
    );
    // Something more urgent: the queue takes its quota back, and petctl does not fight it.
    let_in(false);
    installed.wait("its pods are gone", || {
        installed.pods("queues").is_empty().then_some(())
    });
    let said = installed.until_waits("queues", "POD_GATED");
    assert!(said.contains("the queue `team-a`"), "{said}");
    let held = installed
        .namespace
        .get("job", "petctl-queues")
        .expect("it is there");
    assert_eq!(held["spec"]["suspend"], true, "{held}");
    let_in(true);
    installed.until_pods("queues", 2);
    job.until_started(4);
    // What a person suspends leaves the queue, and joins it again.
    installed.ok(&["suspend", "queues"]);
    installed.wait("its Job is gone", || {
        let there = installed.namespace.get("job", "petctl-queues");
        there.is_none().then_some(())
    });
    installed.ok(&["resume", "queues"]);
    installed.until_pods("queues", 2);
    job.open();
    installed.ok(&["status", "queues", "--wait"]);
    installed.all_done("queues", 3);
    installed.until_no_pods("queues");
}
