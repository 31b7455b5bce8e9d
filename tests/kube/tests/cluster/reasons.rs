//! Why a job waits: what the cluster says of its pods becomes codes and sentences.

use crate::harness::{Installed, Job, Pod, Storage, Until, alone, beside_others, missing};
use serde_json::json;

/// Starts a job of one shard, with these settings of its place; as somebody who may not look at what the place names,
/// which would be refused otherwise.
fn waits(installed: &Installed, name: &str, place: &[&str], workers: &str) {
    let job = Job::gated(installed, name, 1, workers);
    job.open();
    let path = job.path();
    let mut arguments = vec!["run", &path, "-d"];
    for set in place {
        arguments.extend(["--set", *set]);
    }
    installed.as_client(&arguments).exits(0);
}

#[test]
fn each_reason_for_which_pods_wait_has_its_code_and_says_what_is_missing() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "reasons");
    let all: [(&str, &[&str], &str, &str, &[&str]); 8] = [
        (
            "cpu",
            &[
                "place.kube.resources.cpu=5000",
                "place.kube.requests.cpu=5000",
            ],
            "max = 1",
            "POD_UNSCHEDULABLE",
            &["1 of 1 pods wait", "3 of 3 have too little cpu left"],
        ),
        (
            "selector",
            &["place.kube.node_selector.agentpool=nowhere"],
            "max = 1",
            "POD_UNSCHEDULABLE",
            &["3 of 3: didn't match Pod's node affinity/selector"],
        ),
        (
            "gpu",
            &[],
            "max = 1\ngpus = 1",
            "POD_UNSCHEDULABLE",
            &["too little nvidia.com/gpu left"],
        ),
        (
            "image",
            &["place.kube.image=petctl.local/nothing:7"],
            "max = 1",
            "POD_IMAGE",
            &["petctl.local/nothing:7", "pull_policy is Never"],
        ),
        (
            "pull",
            &[
                "place.kube.image=petctl.local/nothing:8",
                "place.kube.pull_policy=IfNotPresent",
            ],
            "max = 1",
            "POD_IMAGE",
            &["petctl.local/nothing:8", "does not reach that registry"],
        ),
        (
            "secret",
            &["place.kube.env_from_secrets=[\"keys\"]"],
            "max = 1",
            "POD_CONFIG",
            &["secret \"keys\" not found"],
        ),
        (
            "claim",
            &["place.kube.volumes=[{ path = \"/var/tmp\", claim = \"nowhere\" }]"],
            "max = 1",
            "POD_VOLUME",
            &["the claim `nowhere`"],
        ),
        (
            "config",
            &["place.kube.volumes=[{ path = \"/var/tmp\", config_map = \"nowhere\" }]"],
            "max = 1",
            "POD_VOLUME",
            &["configmap \"nowhere\" not found"],
        ),
    ];
    for (name, place, workers, _, _) in &all {
        waits(&installed, name, place, workers);
    }
    let mut wrong = Vec::new();
    for (name, _, _, code, words) in &all {
        let message = installed.until_waits(name, code);
        let lost = missing(&message, words);
        if !lost.is_empty() {
            wrong.push(format!("{name}: without {lost:?}: {message}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // People read the same, with what to do.
    let text = installed.ok(&["status", "image"]).stdout;
    assert!(text.contains("petctl.local/nothing:7"), "{text}");
    let explained = installed.json(&["explain", "image"]);
    assert!(
        explained["why"].to_string().contains("POD_IMAGE"),
        "{explained}"
    );
    // What was missing comes, and the job goes on by itself.
    installed
        .namespace
        .kubectl(&[
            "create",
            "secret",
            "generic",
            "keys",
            "--from-literal=KEY=1",
        ])
        .expect("a secret");
    installed.ok(&["status", "secret", "--wait"]);
    installed.all_done_at_once("secret", 1);
}

#[test]
fn a_registry_that_wants_a_login_is_told_from_one_that_is_away() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "denied");
    let node = cluster.bed.nodes()[0].name();
    // A registry on the node itself, which runtimes ask without TLS.
    let script = "import http.server\n\
        class Denied(http.server.BaseHTTPRequestHandler):\n  \
          def do_GET(self):\n    \
            self.send_response(401)\n    \
            self.send_header('WWW-Authenticate', 'Basic realm=\"registry\"')\n    \
            self.end_headers()\n  \
          do_HEAD = do_GET\n\
        http.server.HTTPServer(('127.0.0.1', 5077), Denied).serve_forever()\n";
    let registry = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "registry"},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": node},
            "hostNetwork": true,
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "main",
                "image": "petctl.local/python:1",
                "imagePullPolicy": "Never",
                "command": ["python3", "-c", script],
            }],
        },
    });
    installed.namespace.apply(&registry).expect("a pod");
    installed.wait("the registry answers", || {
        let pod = installed.namespace.get("pod", "registry")?;
        (pod["status"]["phase"] == "Running").then_some(())
    });
    let selector =
        format!("place.kube.node_selector={{ \"kubernetes.io/hostname\" = \"{node}\" }}");
    waits(
        &installed,
        "denied",
        &[
            "place.kube.image=127.0.0.1:5077/team/train:1",
            "place.kube.pull_policy=IfNotPresent",
            &selector,
        ],
        "max = 1",
    );
    let mut said = String::new();
    installed.wait("it is said to want a login", || {
        said = installed.until_waits("denied", "POD_IMAGE");
        said.contains("pull_secrets").then_some(())
    });
    let lost = missing(&said, &["127.0.0.1:5077/team/train:1", "name a Secret"]);
    assert!(lost.is_empty(), "{lost:?}: {said}");
}

#[test]
fn refusals_of_a_quota_and_of_pod_security_name_what_refuses() {
    let cluster = beside_others();
    let installed = Installed::prepared(cluster.bed, "refused", Storage::Claim, "");
    installed.ok(&["setup", "--on", "kube", "--yes"]);
    waits(
        &installed,
        "host",
        &[&format!(
            "place.kube.volumes=[{{ path = \"{0}\", host_path = \"{0}\" }}]",
            installed.data().display()
        )],
        "max = 1",
    );
    let said = installed.until_waits("host", "POD_REFUSED");
    assert!(
        said.contains("pod security") && said.contains("hostPath"),
        "{said}"
    );
    installed.ok(&["cancel", "host"]);

    let quota = json!({
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few"},
        "spec": {"hard": {"pods": "2"}},
    });
    installed.namespace.apply(&quota).expect("a quota");
    installed.wait("the quota counts", || {
        let quota = installed.namespace.get("resourcequota", "few")?;
        (quota["status"]["used"]["pods"] == "1").then_some(())
    });
    let job = Job::gated(&installed, "quota", 2, "min = 1\nmax = 2");
    installed.ok(&["run", &job.path(), "-d"]);
    let said = installed.until_waits("quota", "POD_REFUSED");
    assert!(said.contains("quota") && said.contains("few"), "{said}");
    // One is enough to go on with.
    job.open();
    installed.ok(&["status", "quota", "--wait"]);
    installed.all_done_at_once("quota", 2);
}

#[test]
fn a_pod_that_crashes_before_it_has_joined_is_shown_with_its_last_words() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "crash");
    // The worker can't find a coordinator whose token it does not have.
    waits(
        &installed,
        "crash",
        &[
            "place.kube.env.LD_PRELOAD=/nowhere.so",
            "place.kube.env.LD_LIBRARY_PATH=/petctl/bin",
        ],
        "max = 1",
    );
    // A linker that finds no library only warns; this image has nothing that could run petctl.
    waits(
        &installed,
        "pause",
        &["place.kube.image=petctl.local/pause:1"],
        "max = 1",
    );
    let said = installed.until_waits("pause", "POD_CRASHED");
    let lost = missing(&said, &["no such file or directory", "glibc 2.28"]);
    assert!(lost.is_empty(), "{lost:?}: {said}");
    installed.ok(&["status", "crash", "--wait"]);
}

#[test]
fn a_worker_that_used_too_much_memory_is_lost_for_that_reason() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "oom");
    let job = Job::gated(&installed, "oom", 1, "max = 1").file(
        "work.sh",
        "set -eu\nif [ ! -e @NOTES@/eaten ]; then\n  : > @NOTES@/eaten\n  \
         exec python3 -c 'x = bytearray(400 << 20); print(len(x))'\nfi\necho done > \"$2/out.txt\"\n",
    );
    installed.ok(&["run", &job.path(), "-d", "--set", "stage.work.retries=3"]);
    installed.ok(&["status", "oom", "--wait"]);
    let rows = installed.rows("oom");
    assert_eq!(rows[0]["attempts"], 2, "{rows:?}");
    let events = installed.ok(&["events", "oom"]).stdout;
    let lost = missing(&events, &["memory"]);
    assert!(lost.is_empty(), "{lost:?}: {events}");
}

#[test]
fn a_job_that_gets_no_worker_in_time_is_suspended_and_goes_on_when_that_is_mended() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "gives-up");
    let job = Job::gated(&installed, "waits", 2, "max = 1");
    job.open();
    let ran = installed.as_client(&[
        "run",
        &job.path(),
        "--set",
        "place.kube.start_timeout=5s",
        "--set",
        "place.kube.env_from_secrets=[\"keys\"]",
    ]);
    let ran = ran.exits(75);
    let lost = missing(
        &ran.stderr,
        &[
            "GAVE_UP",
            "secret \"keys\" not found",
            "petctl resume waits",
        ],
    );
    assert!(lost.is_empty(), "{lost:?}: {ran}");
    let status = installed.json(&["status", "waits"]);
    assert_eq!(status["state"], "suspended", "{status}");
    installed.wait("its pods are gone", || {
        installed.pods("waits").is_empty().then_some(())
    });
    installed
        .namespace
        .kubectl(&[
            "create",
            "secret",
            "generic",
            "keys",
            "--from-literal=KEY=1",
        ])
        .expect("a secret");
    installed.ok(&["resume", "waits"]);
    installed.ok(&["status", "waits", "--wait"]);
    installed.all_done_at_once("waits", 2);
    installed.until_no_pods("waits");
}

#[test]
fn workers_with_gpus_go_where_there_are_some_and_the_others_wait_for_one() {
    // What one test puts into a node others would find.
    let cluster = alone();
    let installed = Installed::new(cluster.bed, "gpus");
    let nodes = cluster.bed.nodes();
    let node = nodes[1];
    node.gpus(1);
    let gpus = Until::back(|| node.gpus(0));
    let job = Job::gated(&installed, "gpus", 2, "min = 1\nmax = 2\ngpus = 1");
    installed.ok(&["run", &job.path(), "-d"]);
    job.until_started(1);
    let said = installed.until_waits("gpus", "POD_UNSCHEDULABLE");
    assert!(said.contains("1 of 2 pods wait"), "{said}");
    assert!(said.contains("nvidia.com/gpu"), "{said}");
    let pods = installed.pods("gpus");
    let running: Vec<&str> = pods
        .iter()
        .filter(|pod| pod.runs())
        .map(|pod| pod.node.as_str())
        .collect();
    assert_eq!(running, [node.name()], "{pods:?}");
    job.open();
    installed.ok(&["status", "gpus", "--wait"]);
    installed.all_done_at_once("gpus", 2);
    gpus.now();
}

#[test]
fn a_worker_that_does_not_reach_the_coordinator_is_told_with_the_address_that_it_tries() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "silent");
    // Commands go to the coordinator's pod, workers to its Service, behind which there is nobody now.
    let select = |component: &str| {
        let patch = json!({"spec": {"selector": {"app.kubernetes.io/component": component}}});
        let patch = patch.to_string();
        let arguments = ["patch", "service", "petctl-coordinator", "-p", &patch];
        installed
            .namespace
            .kubectl(&arguments)
            .expect("it is there");
    };
    select("nobody");
    let job = Job::gated(&installed, "silent", 1, "max = 1");
    job.open();
    installed.ok(&["run", &job.path(), "-d"]);
    let said = installed.until_waits("silent", "POD_SILENT");
    let told = [
        "1 of 1 pods wait",
        ":7370",
        "NetworkPolicies",
        "its last line: ",
    ];
    assert_eq!(missing(&said, &told), [""; 0], "{said}");
    let pods = installed.pods("silent");
    select("coordinator");
    installed.ok(&["status", "silent", "--wait"]);
    installed.all_done_at_once("silent", 1);
    let since = installed.pods("silent");
    let same = |pod: &Pod| pods.iter().any(|known| known.uid == pod.uid);
    assert!(
        since.iter().all(same),
        "its worker has waited for the way: {since:?}"
    );
}
