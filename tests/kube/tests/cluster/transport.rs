//! What is said between pods and the launcher, and what a worker's pod could do with what it has.

use crate::harness::{Background, Installed, Job, MINUTE, Storage, beside_others};
use base64::Engine as _;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Writes whatever goes over any cable of a network namespace to a file.
const TAP: &str = r#"
import socket, sys
tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
with open(sys.argv[1], "wb", buffering=0) as kept:
    while True:
        kept.write(tap.recv(65535))
"#;

/// The process of the coordinator's pod, as this machine sees it.
fn process_of(pod: &str) -> u32 {
    let group = pod.replace('-', "_");
    let of_pod = |pid: &u32| {
        let read =
            |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let groups = read("cgroup");
        (groups.contains(pod) || groups.contains(&group)) && read("cmdline").contains("rendezvous")
    };
    let all = fs::read_dir("/proc").expect("processes").flatten();
    let mut pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(of_pod).expect("the coordinator is a process")
}

/// Listens in the network of a process, from now on.
fn tap(installed: &Installed, process: u32, kept: &Path) -> Background {
    let mut command = Command::new("nsenter");
    command
        .args(["-t", &process.to_string(), "--net", "python3", "-c", TAP])
        .arg(kept);
    let tap = installed.start_command(&mut command);
    installed.wait("somebody listens", || kept.exists().then_some(()));
    tap
}

/// The text of a key of a Secret.
fn secret(installed: &Installed, name: &str, key: &str) -> String {
    let secret = installed.namespace.get("secret", name);
    let secret = secret.unwrap_or_else(|| panic!("no Secret {name}"));
    let text = secret["data"][key].as_str().unwrap_or_default();
    let bytes = base64::engine::general_purpose::STANDARD.decode(text);
    String::from_utf8(bytes.expect("it is base64")).expect("it is text")
}

/// The Secret of a pod's token.
fn secret_of_pod(installed: &Installed, pod: &str) -> String {
    let pod = installed.namespace.get("pod", pod).expect("it is there");
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let mut tokens = volumes.filter(|volume| volume["name"] == "token");
    let name = tokens.next().expect("it has a token")["secret"]["secretName"].clone();
    name.as_str().expect("a name").to_owned()
}

#[test]
fn what_goes_in_and_out_of_the_coordinators_pod_can_not_be_read() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "wire");
    let coordinator = installed.coordinator().expect("it runs");
    let kept = installed.folder().join("wire");
    let _tap = tap(&installed, process_of(&coordinator.uid), &kept);
    let job = Job::gated(&installed, "unheard", 6, "max = 2");
    let run = installed.start(&["run", &job.path()]);
    let pods = installed.until_pods("unheard", 2);
    job.until_started(2);
    let of_worker = secret_of_pod(&installed, &pods[0].name);
    let of_worker = secret(&installed, &of_worker, "token");
    job.open();
    run.ends_within(MINUTE).exits(0);
    installed.ok(&["report", "unheard"]);
    let heard = fs::read(&kept).expect("it was kept");
    let has = |text: &str| {
        heard
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    assert!(heard.len() > 20_000, "{} bytes went by", heard.len());
    // The pod's own name for its Service is said to the cluster's DNS or API server, never that of a job.
    let token = secret(&installed, "petctl-token", "token");
    for text in ["unheard", "work.sh", "PRI * HTTP/2.0", &*token, &*of_worker] {
        assert!(!has(text), "{text} went by");
    }
}

#[test]
fn a_workers_pod_has_a_token_of_its_job_which_opens_nothing_to_clients() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "token");
    let job = Job::gated(&installed, "own", 4, "max = 1");
    installed.ok(&["run", &job.path(), "-d"]);
    let pods = installed.until_pods("own", 1);
    job.until_started(1);
    let name = secret_of_pod(&installed, &pods[0].name);
    assert!(name.starts_with("petctl-own-"), "{name}");
    let made = installed
        .namespace
        .get("secret", &name)
        .expect("it is there");
    assert_eq!(made["immutable"], true);
    let owner = &made["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["name"]),
        (&Value::from("ConfigMap"), &Value::from("petctl-own"))
    );
    let token = secret(&installed, &name, "token");
    assert!(token.starts_with("petctl-worker.own."), "{token}");
    let keep = |name: &str, text: &str| -> PathBuf {
        let path = installed.folder().join(name);
        fs::write(&path, text).expect("a file of the test");
        path
    };
    let token_file = keep("worker-token", &token);
    let ca_file = keep("ca.pem", &secret(&installed, &name, "ca.pem"));
    let mut forward = cluster.bed.kubectl_command();
    forward.args(["--namespace", installed.namespace.name(), "port-forward"]);
    forward.args(["pod/petctl-coordinator-0", ":7370"]);
    let said = installed.folder().join("forward");
    forward.stdout(fs::File::create(&said).expect("a file of the test"));
    let mut forward = forward.spawn().expect("kubectl is there");
    let port = installed.wait("the coordinator is reached from here", || {
        let text = fs::read_to_string(&said).ok()?;
        let port = text.split("127.0.0.1:").nth(1)?.split(' ').next()?;
        Some(port.to_owned())
    });
    let address = format!("https://127.0.0.1:{port}");
    let (token_file, ca_file) = (
        token_file.display().to_string(),
        ca_file.display().to_string(),
    );
    let connect = [
        "--coordinator",
        &address,
        "--ca-file",
        &ca_file,
        "--token-file",
        &token_file,
    ];
    let path = job.path();
    for command in [
        &["list"][..],
        &["status", "own"],
        &["events", "own"],
        &["report", "own"],
        &["explain", "own"],
        &["scale", "own", "--workers", "2"],
        &["suspend", "own"],
        &["resume", "own"],
        &["cancel", "own"],
        &["delete", "own", "--yes"],
        &["drain", "own", &pods[0].name],
        &["run", &path, "-d"],
    ] {
        let ran = installed.petctl(&[command, &connect].concat());
        ran.refuses(77, "TOKEN_OF_WORKER", &["`own`"]);
    }
    drop(forward.kill());
    drop(forward.wait());
    job.open();
    installed.ok(&["status", "own", "--wait"]);
    installed.all_done_at_once("own", 4);
}

#[test]
fn with_another_token_of_the_coordinator_workers_of_before_go_and_others_come() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "renewed");
    let job = Job::gated(&installed, "renewed", 4, "max = 1");
    installed.ok(&["run", &job.path(), "-d"]);
    let before = installed.until_pods("renewed", 1);
    job.until_started(1);
    let first = secret_of_pod(&installed, &before[0].name);
    let deleted = installed
        .namespace
        .kubectl(&["delete", "secret", "petctl-token"]);
    deleted.expect("it can be deleted");
    // It makes another one, and starts the coordinator anew with it.
    installed.ok(&["setup", "--on", "kube", "--yes"]);
    installed.wait("a pod with another token runs", || {
        let pods = installed.pods("renewed");
        let other = pods
            .iter()
            .find(|pod| pod.uid != before[0].uid && pod.runs())?;
        (secret_of_pod(&installed, &other.name) != first).then_some(())
    });
    job.open();
    installed.ok(&["status", "renewed", "--wait"]);
    installed.all_done("renewed", 4);
}

#[test]
fn a_coordinator_that_lost_its_state_is_known_by_its_new_ca() {
    let cluster = beside_others();
    let installed = Installed::prepared(cluster.bed, "newca", Storage::HostPath, "");
    let ephemeral = installed.place().replace(
        &format!(
            "storage = \"1GiB\", storage_class = \"{}-state\"",
            installed.namespace.name()
        ),
        "ephemeral = true",
    );
    fs::write(installed.folder().join("petctl.toml"), ephemeral).expect("a file of the test");
    installed.ok(&["setup", "--on", "kube", "--yes"]);
    let ca = |installed: &Installed| {
        let config = installed.namespace.get("configmap", "petctl-ca");
        config.expect("it is told")["data"]["ca.pem"].clone()
    };
    let before = ca(&installed);
    let coordinator = installed.coordinator().expect("it runs");
    let deleted = installed
        .namespace
        .kubectl(&["delete", "pod", &coordinator.name]);
    deleted.expect("it can be deleted");
    installed.wait("another coordinator runs", || {
        let now = installed.coordinator()?;
        (now.uid != coordinator.uid && now.runs()).then_some(())
    });
    installed.ok(&["list", "--on", "kube"]);
    assert_ne!(ca(&installed), before);
}
