//! What can't work is refused before anything is made, by one message that says what to do.

use crate::harness::{Installed, Job, MINUTE, Ran, Storage, beside_others};
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

/// petctl with another kubeconfig.
fn with_config(installed: &Installed, config: &Path, arguments: &[&str]) -> Ran {
    let mut command = installed.command(arguments);
    command.env("KUBECONFIG", config);
    installed.start_command(&mut command).ends_within(MINUTE)
}

/// The administrator's kubeconfig, changed.
fn config(installed: &Installed, name: &str, change: impl Fn(&mut Value)) -> std::path::PathBuf {
    let text = fs::read_to_string(installed.bed.kubeconfig()).expect("the bed has one");
    let mut config: Value = serde_json::from_str(&text).expect("it is JSON");
    change(&mut config);
    let path = installed.folder().join(name);
    fs::write(&path, config.to_string()).expect("a file of the test");
    path
}

#[test]
fn a_cluster_that_can_not_be_reached_is_told_by_what_is_wrong_with_the_way() {
    let cluster = beside_others();
    let installed = Installed::prepared(cluster.bed, "way", Storage::HostPath, "");
    let job = Job::gated(&installed, "way", 1, "max = 1");
    let path = job.path();
    let commands: [&[&str]; 4] = [
        &["run", &path],
        &["setup", "--on", "kube", "--yes"],
        &["uninstall", "--on", "kube", "--yes"],
        &["status", "way", "--on", "kube"],
    ];
    for arguments in commands {
        with_config(&installed, Path::new("/nowhere/config"), arguments).refuses(
            78,
            "NO_KUBECONFIG",
            &["/nowhere/config", "KUBECONFIG"],
        );
    }
    // A name that is almost right.
    installed
        .petctl(&["run", &path, "--set", "place.kube.context=bad"])
        .refuses(
            78,
            "NO_KUBECONFIG",
            &["no context `bad`", "did you mean `bed`?"],
        );
    let broken = installed.folder().join("broken");
    fs::write(&broken, "{ no yaml").expect("a file of the test");
    with_config(&installed, &broken, &["run", &path]).refuses(78, "NO_KUBECONFIG", &["broken"]);

    // Nobody listens; somebody listens and says nothing.
    let nobody = config(&installed, "nobody", |config| {
        config["clusters"][0]["cluster"]["server"] = json!("https://127.0.0.1:1");
    });
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = silent.local_addr().expect("it has an address");
    let silent_config = config(&installed, "silent", |config| {
        config["clusters"][0]["cluster"]["server"] = json!(format!("https://{address}"));
    });
    for file in [nobody, silent_config] {
        for arguments in [&["run", &path][..], &["setup", "--on", "kube", "--yes"]] {
            let ran = with_config(&installed, &file, arguments).refuses(
                69,
                "CLUSTER_UNREACHABLE",
                &["context bed", "fix:"],
            );
            assert!(ran.took < Duration::from_secs(10), "{ran}");
        }
    }

    // A token that has run out, a plugin that fails, a plugin that is not there.
    let token = config(&installed, "token", |config| {
        config["users"][0]["user"] = json!({"token": "of-yesterday"});
    });
    let plugin = |command: &str| {
        json!({"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": command, "args": ["-c", "echo please log in >&2; exit 1"],
            "interactiveMode": "Never",
        }})
    };
    let fails = config(&installed, "fails", |config| {
        config["users"][0]["user"] = plugin("sh");
    });
    let absent = config(&installed, "absent", |config| {
        config["users"][0]["user"] = plugin("kubelogin-of-nobody");
    });
    with_config(&installed, &token, &["run", &path]).refuses(77, "CLUSTER_DENIED", &["log in"]);
    with_config(&installed, &fails, &["run", &path]).refuses(
        77,
        "CLUSTER_DENIED",
        &["please log in"],
    );
    with_config(&installed, &absent, &["run", &path]).refuses(
        77,
        "CLUSTER_DENIED",
        &["kubelogin-of-nobody"],
    );

    // All is well with the way, and nothing is there.
    for arguments in [
        &["run", &path][..],
        &["status", "way", "--on", "kube"],
        &["delete", "--all", "--on", "kube", "--yes", "--dry-run"],
    ] {
        let ran = installed.petctl(arguments);
        if arguments[0] == "delete" {
            ran.exits(0);
        } else {
            ran.refuses(
                78,
                "NOT_INSTALLED",
                &["petctl setup --on kube", installed.namespace.name()],
            );
        }
    }
    assert!(!job.output().exists(), "a refused run made the output");
    let made = installed.namespace.kubectl(&[
        "get",
        "all,cm,secrets",
        "-l",
        "petctl.io/managed",
        "-o",
        "name",
    ]);
    assert_eq!(made.as_deref(), Ok(""));
}

#[test]
fn a_namespace_that_is_being_deleted_is_waited_for() {
    let cluster = beside_others();
    let installed = Installed::prepared(cluster.bed, "ending", Storage::HostPath, "");
    let held = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "held", "finalizers": ["petctl.io/test"]},
    });
    installed.namespace.apply(&held).expect("it is made");
    let name = installed.namespace.name();
    cluster
        .bed
        .kubectl(&["delete", "namespace", name, "--wait=false"])
        .expect("it can be deleted");
    let ran = installed.petctl(&["setup", "--on", "kube", "--yes"]);
    let released = installed.namespace.kubectl(&[
        "patch",
        "configmap",
        "held",
        "--type=merge",
        "-p",
        "{\"metadata\":{\"finalizers\":null}}",
    ]);
    ran.refuses(75, "NAMESPACE_ENDING", &[name, "wait until it is gone"]);
    released.expect("it can be let go");
}

#[test]
fn a_job_that_can_not_run_on_pods_is_refused_before_anything_is_made() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "unfit");
    let job = Job::gated(&installed, "unfit", 1, "max = 1");
    let path = job.path();
    let elsewhere = installed.folder().join("elsewhere");
    fs::create_dir_all(&elsewhere).expect("a folder of the test");
    let text = elsewhere.display().to_string();
    installed
        .petctl(&["run", &path, "--set", &format!("storage.input={text}")])
        .refuses(
            78,
            "PATH_NOT_SHARED",
            &[&text, "place `kube`", "az://", "volumes"],
        );
    installed
        .petctl(&["run", &path, "--set", &format!("storage.output={text}/out")])
        .refuses(78, "PATH_NOT_SHARED", &["the output", &text]);
    let data = installed.data().display().to_string();
    let read_only = format!(
        "place.kube.volumes=[{{ path = \"{data}\", host_path = \"{data}\", read_only = true }}]"
    );
    installed
        .petctl(&["run", &path, "--set", &read_only])
        .refuses(78, "PATH_NOT_SHARED", &["read only"]);
    let unnamed = installed.petctl(&[
        "run",
        &path,
        "--set",
        "place.kube.image=petctl.local/python",
    ]);
    unnamed.refuses(78, "BAD_PLACE", &["petctl.local/python", "tag"]);
    installed
        .petctl(&[
            "run",
            &path,
            "--set",
            "place.kube.labels={ \"a b\" = \"c\" }",
        ])
        .refuses(78, "BAD_PLACE", &["a b"]);

    let large = fs::File::create(job.folder().join("large.bin")).expect("a file of a job");
    large.set_len(101 << 20).expect("it may be large");
    installed
        .petctl(&["run", &path])
        .refuses(65, "CODE_TOO_LARGE", &["large.bin", "[job] code"]);
    fs::remove_file(job.folder().join("large.bin")).expect("it is there");
    std::os::unix::fs::symlink("/etc/passwd", job.folder().join("link")).expect("a link");
    installed
        .petctl(&["run", &path])
        .refuses(65, "BAD_CODE", &["leads out of its folder", "link"]);
    fs::remove_file(job.folder().join("link")).expect("it is there");

    assert!(!job.output().exists(), "a refused run made the output");
    assert_eq!(installed.objects_of_jobs(), "");
    let list = installed.json(&["list"]);
    assert_eq!(list["jobs"], json!([]), "{list}");
    job.open();
    installed.ok(&["run", &path]);
}

#[test]
fn what_a_place_names_and_is_not_there_or_of_no_use_is_refused_before_the_job_is_submitted() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "named");
    let namespace = installed.namespace.name();
    let job = Job::gated(&installed, "named", 1, "max = 1");
    let secret = [
        "create",
        "secret",
        "generic",
        "keys",
        "--from-literal=KEY=1",
    ];
    installed.namespace.kubectl(&secret).expect("a Secret");
    // The volume of the coordinator's claim.
    let taken = format!("{namespace}-state");
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "waits" },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": taken, "volumeName": taken,
            "resources": { "requests": { "storage": "1Gi" } },
        },
    });
    installed.namespace.apply(&claim).expect("a claim");
    let data = installed.data().display().to_string();
    let mounts = |what: &str| {
        format!(
            "place.kube.volumes=[{{ path = \"{data}\", host_path = \"{data}\" }}, {{ path = \"/mnt/more\", {what} }}]"
        )
    };
    let pulls = "place.kube.pull_policy=IfNotPresent";
    let cases: [(Vec<String>, &str, &[&str]); 7] = [
        (
            vec![mounts("claim = \"nowhere\"")],
            "BAD_VOLUME",
            &["the claim nowhere", "/mnt/more", "is not there"],
        ),
        (
            vec![mounts("claim = \"waits\"")],
            "BAD_VOLUME",
            &["the claim waits", &taken, "is bound to the claim"],
        ),
        (
            vec![mounts("secret = \"nowhere\"")],
            "BAD_VOLUME",
            &["the Secret nowhere", "create secret generic nowhere"],
        ),
        (
            vec![mounts("secret = \"keys\", sub_path = \"TOKEN\"")],
            "BAD_VOLUME",
            &["the Secret keys", "no key `TOKEN`: it has KEY", "sub_path"],
        ),
        (
            vec![mounts("config_map = \"nowhere\"")],
            "BAD_VOLUME",
            &["the ConfigMap nowhere", "create configmap nowhere"],
        ),
        (
            vec!["place.kube.env_from_secrets=[\"keys\", \"nowhere\"]".to_owned()],
            "BAD_PLACE",
            &["the Secret nowhere, which env_from_secrets of place `kube` names,"],
        ),
        (
            vec![
                "place.kube.pull_secrets=[\"keys\"]".to_owned(),
                pulls.to_owned(),
            ],
            "BAD_PLACE",
            &["the Secret keys", "type Opaque", "petctl docker-secret"],
        ),
    ];
    for (sets, code, words) in &cases {
        let path = job.path();
        let mut arguments = vec!["run", &path, "-d"];
        arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
        installed.petctl(&arguments).refuses(78, code, words);
        arguments[2] = "--dry-run";
        installed.petctl(&arguments).refuses(78, code, words);
    }
    assert!(!job.output().exists(), "a refused run made the output");
    assert_eq!(installed.objects_of_jobs(), "");
    let list = installed.json(&["list"]);
    assert_eq!(list["jobs"], json!([]), "{list}");

    // Who may not look goes on, and hears of it from the pods; what is there and of use is no reason to refuse.
    let path = job.path();
    let unseen = ["run", &path, "-d", "--set", &mounts("claim = \"nowhere\"")];
    installed.as_client(&unseen).exits(0);
    let said = installed.until_waits("named", "POD_VOLUME");
    assert!(said.contains("the claim `nowhere`"), "{said}");
    job.open();
    let good = mounts("secret = \"keys\", sub_path = \"KEY\", read_only = true");
    let environment = "place.kube.env_from_secrets=[\"keys\"]";
    installed.ok(&["run", &path, "--set", &good, "--set", environment]);
    installed.all_done("named", 1);
}
