//! Tests of the bed itself: `cargo test -p petctl-test-kube --test bed`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use petctl_test_kube::{Bed, Namespace, Node, Security};
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_secs(60);

/// Held by a test while it uses the API server; alone by one that takes it away.
static API: RwLock<()> = RwLock::new(());

fn beside_others() -> RwLockReadGuard<'static, ()> {
    API.read().unwrap_or_else(PoisonError::into_inner)
}

fn alone() -> RwLockWriteGuard<'static, ()> {
    API.write().unwrap_or_else(PoisonError::into_inner)
}

/// The node that is switched off and cut; the others are left alone.
fn victim(bed: &'static Bed) -> Node {
    bed.nodes()
        .into_iter()
        .next_back()
        .expect("the bed has nodes")
}

/// A pod that keeps to the restricted rules.
fn pod_spec(image: &str, command: &[&str]) -> Value {
    json!({
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [{
            "name": "main",
            "image": image,
            "command": command,
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        }],
    })
}

fn pod(namespace: &Namespace, name: &str, node: Option<&str>, spec: &Value) {
    let mut spec = spec.clone();
    spec["nodeName"] = node.map_or(Value::Null, Value::from);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec});
    namespace.apply(&pod).expect("the pod is taken");
}

fn until_phase(bed: &Bed, namespace: &Namespace, pod: &str, phase: &str) {
    bed.wait(&format!("{pod} is {phase}"), MINUTE, || {
        let seen = namespace.get("pod", pod)?;
        let phase_seen = seen.pointer("/status/phase")?;
        (phase_seen == phase).then_some(())
    });
}

#[test]
fn three_nodes_are_ready() {
    let (bed, _api) = (Bed::get(), beside_others());
    let names: Vec<&str> = bed.nodes().iter().map(Node::name).collect();
    assert_eq!(names, ["n1", "n2", "n3"]);
    assert!(bed.nodes().iter().take(2).all(Node::is_ready));
    let versions = bed
        .kubectl(&["version", "-o", "json"])
        .expect("kubectl works");
    assert!(
        versions.contains("\"gitVersion\": \"v1.37.2\""),
        "{versions}"
    );
}

#[test]
fn a_pod_runs_and_can_be_looked_into() {
    let (bed, _api) = (Bed::get(), beside_others());
    let namespace = bed.namespace("look");
    let spec = pod_spec(
        "petctl.local/debian:1",
        &["sh", "-c", "echo from the pod; exec sleep 600"],
    );
    pod(&namespace, "one", Some("n1"), &spec);
    until_phase(bed, &namespace, "one", "Running");
    bed.wait("its log", MINUTE, || {
        (namespace.kubectl(&["logs", "one"]).ok()? == "from the pod\n").then_some(())
    });
    let said = namespace.kubectl(&["exec", "one", "--", "sh", "-c", "hostname; id -u; exit 0"]);
    assert_eq!(said.as_deref(), Ok("one\n1000\n"));
    let failed = namespace.kubectl(&["exec", "one", "--", "sh", "-c", "exit 7"]);
    assert!(failed.is_err_and(|said| said.contains("exit code 7")));
}

#[test]
fn pods_reach_the_api_and_each_other_and_what_is_exposed() {
    let (bed, _api) = (Bed::get(), beside_others());
    let namespace = bed.namespace("reach");
    let server = pod_spec(
        "petctl.local/python:1",
        &["python3", "-m", "http.server", "8000", "-d", "/etc/dpkg"],
    );
    pod(&namespace, "server", Some("n1"), &server);
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "server"},
        "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8000}]},
    });
    namespace.apply(&service).expect("the service is taken");
    let service = namespace.get("service", "server").expect("it is there");
    let address = service.pointer("/spec/clusterIP").and_then(Value::as_str);
    let outside = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let exposed = bed.expose(outside.local_addr().expect("it has an address").port());
    let script = format!(
        "import os, socket, ssl, time, urllib.error, urllib.request
account = '/var/run/secrets/kubernetes.io/serviceaccount/'
tls = ssl.create_default_context(cafile=account + 'ca.crt')
api = 'https://' + os.environ['KUBERNETES_SERVICE_HOST'] + '/version'
token = {{'Authorization': 'Bearer ' + open(account + 'token').read()}}
print(urllib.request.urlopen(urllib.request.Request(api, headers=token), context=tls, timeout=10).status)
for _ in range(300):
    try:
        print(urllib.request.urlopen('http://{}/', timeout=1).status)
        break
    except OSError:
        time.sleep(0.1)
host, port = '{exposed}'.split(':')
print(socket.create_connection((host, int(port)), timeout=10).recv(9).decode())",
        address.expect("it has an address")
    );
    let answering = std::thread::spawn(move || {
        for stream in outside.incoming().take(2) {
            let said =
                stream.and_then(|mut stream| std::io::Write::write_all(&mut stream, b"exposed"));
            said.expect("a pod listens");
        }
    });
    // From the same node, and from another.
    for node in ["n1", "n2"] {
        let client = pod_spec("petctl.local/python:1", &["python3", "-c", &script]);
        pod(&namespace, &format!("client-{node}"), Some(node), &client);
    }
    for node in ["n1", "n2"] {
        let name = format!("client-{node}");
        bed.wait(&format!("{name} ends"), MINUTE, || {
            let phase = namespace
                .get("pod", &name)?
                .pointer("/status/phase")?
                .clone();
            ["Succeeded", "Failed"]
                .iter()
                .any(|end| phase == *end)
                .then_some(())
        });
        let said = namespace.kubectl(&["logs", &name]);
        assert_eq!(said.as_deref(), Ok("200\n200\nexposed\n"), "on {node}");
    }
    answering.join().expect("both have asked");
}

#[test]
fn an_elastic_job_grows_and_shrinks() {
    let (bed, _api) = (Bed::get(), beside_others());
    let namespace = bed.namespace("elastic");
    let mut template = pod_spec("petctl.local/debian:1", &["sleep", "600"]);
    let keep_off = json!([{"key": "kubernetes.io/hostname", "operator": "NotIn", "values": [victim(bed).name()]}]);
    template["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        {"nodeSelectorTerms": [{"matchExpressions": keep_off}]}}});
    let job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "job"},
        "spec": {"completionMode": "Indexed", "completions": 2, "parallelism": 2, "template": {"spec": template}},
    });
    namespace.apply(&job).expect("the job is taken");
    for size in [2, 4, 1] {
        let patch = json!({"spec": {"completions": size, "parallelism": size}}).to_string();
        namespace
            .kubectl(&["patch", "job", "job", "--type=merge", "-p", &patch])
            .expect("it may change its size");
        bed.wait(&format!("{size} of the job run"), MINUTE, || {
            let pods = namespace.kubectl(&[
                "get",
                "pods",
                "--field-selector=status.phase=Running",
                "-o",
                "name",
            ]);
            let ready = namespace
                .get("job", "job")?
                .pointer("/status/ready")?
                .clone();
            (pods.ok()?.lines().count() == size && ready == size).then_some(())
        });
    }
}

#[test]
fn a_node_without_power_or_cable_is_lost_and_comes_back() {
    let (bed, _api) = (Bed::get(), beside_others());
    let node = victim(bed);
    let namespace = bed.namespace("power");
    let spec = pod_spec("petctl.local/debian:1", &["sleep", "600"]);
    pod(&namespace, "on-it", Some(node.name()), &spec);
    until_phase(bed, &namespace, "on-it", "Running");
    node.power_off();
    bed.wait("a node without power is not ready", MINUTE, || {
        (!node.is_ready()).then_some(())
    });
    node.power_on();
    bed.wait("it is ready again", MINUTE, || {
        node.is_ready().then_some(())
    });
    // Its pod ended with the power.
    until_phase(bed, &namespace, "on-it", "Failed");
    node.cut();
    bed.wait("a node without a cable is not ready", MINUTE, || {
        (!node.is_ready()).then_some(())
    });
    node.plug();
    bed.wait("it is ready again", MINUTE, || {
        node.is_ready().then_some(())
    });
    pod(&namespace, "after", Some(node.name()), &spec);
    until_phase(bed, &namespace, "after", "Running");
    let said = namespace.kubectl(&["exec", "after", "--", "echo", "reached"]);
    assert_eq!(said.as_deref(), Ok("reached\n"));
}

#[test]
fn namespaces_are_restricted_and_users_may_do_what_their_rules_say() {
    let (bed, _api) = (Bed::get(), beside_others());
    let (restricted, open) = (
        bed.namespace("restricted"),
        bed.namespace_of("open", Security::Privileged),
    );
    let mut spec = pod_spec("petctl.local/debian:1", &["true"]);
    spec["securityContext"] = Value::Null;
    spec["containers"][0]["securityContext"] = json!({"privileged": true});
    let privileged =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec});
    let refused = restricted.apply(&privileged);
    assert!(refused.is_err_and(|said| said.contains("violates PodSecurity")));
    open.apply(&privileged).expect("it is open");
    until_phase(bed, &open, "p", "Succeeded");

    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]);
    let user = bed.user_kubeconfig(open.name(), &rules);
    let user = user.to_str().expect("its path is text");
    let as_user = |words: &[&str]| {
        let config = ["--kubeconfig", user];
        bed.kubectl(&[&config[..], words].concat())
    };
    let listed = as_user(&["get", "pods", "-o", "name"]);
    assert_eq!(listed.as_deref(), Ok("pod/p\n"));
    for words in [
        &["delete", "pod", "p"][..],
        &["get", "pods", "-n", "default"],
        &["get", "nodes"],
    ] {
        assert!(
            as_user(words).is_err_and(|said| said.contains("Forbidden")),
            "{words:?}"
        );
    }
}

#[test]
fn gpus_are_given_to_pods() {
    let (bed, _api) = (Bed::get(), beside_others());
    let namespace = bed.namespace("gpus");
    let nodes = bed.nodes();
    let node = nodes
        .iter()
        .find(|node| node.name() == "n2")
        .expect("there is an n2");
    node.gpus(2);
    let mut spec = pod_spec("petctl.local/debian:1", &["sleep", "600"]);
    spec["containers"][0]["resources"] = json!({"limits": {"nvidia.com/gpu": 2}});
    pod(&namespace, "first", None, &spec);
    until_phase(bed, &namespace, "first", "Running");
    pod(&namespace, "second", None, &spec);
    bed.wait("the scheduler says that GPUs are short", MINUTE, || {
        let second = namespace.get("pod", "second")?;
        let message = second.pointer("/status/conditions/0/message")?.as_str()?;
        message
            .contains("Insufficient nvidia.com/gpu")
            .then_some(())
    });
    drop(namespace);
    node.gpus(0);
}

#[test]
fn the_api_server_can_be_taken_away() {
    let bed = Bed::get();
    let asked = || bed.kubectl(&["get", "nodes", "--request-timeout=2s"]);
    let api = alone();
    assert!(asked().is_ok());
    // kubectl itself tells no version of a list.
    let list = bed.kubectl(&["get", "--raw", "/api/v1/pods"]);
    let list: Value = serde_json::from_str(&list.expect("pods can be listed")).expect("it is JSON");
    let old = list["metadata"]["resourceVersion"]
        .as_str()
        .expect("a list has a version");
    bed.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "later", "namespace": "default"}}))
        .expect("it is taken");
    bed.freeze_api();
    let frozen = asked();
    bed.thaw_api();
    assert!(frozen.is_err(), "a frozen API server answers");
    bed.stop_api();
    let stopped = asked();
    bed.start_api();
    assert!(stopped.is_err_and(|said| said.contains("refused")));
    assert!(asked().is_ok());
    bed.compact();
    let watch = format!("/api/v1/pods?watch=1&timeoutSeconds=1&resourceVersion={old}");
    let watched = bed.kubectl(&["get", "--raw", &watch]);
    let said = watched.unwrap_or_else(|error| error);
    assert!(
        said.contains("too old resource version") || said.contains("410"),
        "{said}"
    );
    drop(api);
}

#[test]
fn an_image_can_be_loaded() {
    let (bed, _api) = (Bed::get(), beside_others());
    // It is there already, and may come again.
    bed.load_image(&bed.image_archive("pause"));
}

#[test]
fn nothing_is_left_of_a_bed() {
    let beside = Bed::get();
    let before = Traces::of_all_but(beside);
    let ended = Bed::start(1).expect("a second bed comes up beside the first");
    let during = Traces::of_all_but(beside);
    assert_ne!(before.groups, during.groups, "a bed has control groups");
    let folder = ended.folder().to_owned();
    ended.end();
    Traces::of_all_but(beside).assert_none_of(&folder, &before);
    let killed = Bed::start(1).expect("a third bed comes up");
    let folder = killed.folder().to_owned();
    let kill = Command::new("kill")
        .args(["-9", &killed.supervisor().to_string()])
        .status();
    assert!(kill.is_ok_and(|status| status.success()));
    killed.end();
    Traces::of_all_but(beside).assert_none_of(&folder, &before);
}

/// What a bed could leave on a machine.
struct Traces {
    networks: BTreeSet<String>,
    mounts: BTreeSet<String>,
    groups: BTreeSet<String>,
    settings: BTreeSet<String>,
    commands: BTreeSet<String>,
}

impl Traces {
    /// Those of this moment, without those of a bed that runs and is used by other tests.
    fn of_all_but(bed: &Bed) -> Self {
        let own = bed.folder().file_name().expect("its folder has a name");
        let own = own.to_str().expect("which is text");
        let not_own = |lines: String| -> BTreeSet<String> {
            let lines = lines.lines().filter(|line| !line.contains(own));
            lines.map(str::to_owned).collect()
        };
        let shell = |script: &str| {
            let output = Command::new("sh").args(["-c", script]).output();
            let output = output.expect("there is a shell");
            not_own(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        Self {
            networks: shell("ip netns list; ip -o link | cut -d: -f2"),
            mounts: not_own(fs::read_to_string("/proc/self/mounts").expect("mounts can be read")),
            groups: shell("find /sys/fs/cgroup -type d -name 'petctl-*'"),
            settings: shell(
                "cd /proc/sys; grep -H . vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops \
                 kernel/keys/root_maxkeys kernel/keys/root_maxbytes net/ipv4/ip_forward net/ipv4/conf/all/route_localnet; \
                 iptables-save | grep -v '^#'",
            ),
            commands: shell(
                "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | tr -d '\\n' | grep -o 'petctl/beds/[0-9a-f]*' | sort -u",
            ),
        }
    }

    fn assert_none_of(&self, folder: &Path, before: &Self) {
        assert!(!folder.exists());
        let left = |now: &BTreeSet<String>, before: &BTreeSet<String>| -> Vec<String> {
            now.difference(before).cloned().collect()
        };
        assert_eq!(left(&self.networks, &before.networks), [""; 0]);
        assert_eq!(left(&self.mounts, &before.mounts), [""; 0]);
        assert_eq!(left(&self.groups, &before.groups), [""; 0]);
        assert_eq!(left(&self.settings, &before.settings), [""; 0]);
        assert_eq!(left(&self.commands, &before.commands), [""; 0]);
    }
}
