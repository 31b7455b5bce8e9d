//! Secrets and blob containers of a place: made, changed, refused, taken away, and read by a job.

use crate::harness::{Installed, MINUTE, Ran, Storage, Until, beside_others, checkout, missing};
use petctl_test_blobd::{ACCOUNT, Blobd};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;

const KEY: &str = "c2VjcmV0LWtleS1vZi10aGUtdGVzdHM=";
const OTHER_KEY: &str = "YW5vdGhlci1rZXktb2YtdGhlLXRlc3Rz";

/// petctl with a variable of the environment.
#[track_caller]
fn with_key(installed: &Installed, key: &str, arguments: &[&str]) -> Ran {
    let mut command = installed.command(arguments);
    command.env("KEY", key);
    let ran = installed.start_command(&mut command).ends_within(MINUTE);
    for secret in [KEY, OTHER_KEY] {
        let shown = ran.stdout.contains(secret) || ran.stderr.contains(secret);
        assert!(!shown, "it shows a secret: {ran}");
    }
    ran
}

fn marks(ran: &Ran) -> Vec<&str> {
    let lines = ran.stdout.lines();
    lines
        .filter(|line| matches!(line.get(..2), Some("+ " | "~ " | "= " | "- ")))
        .collect()
}

/// The value of a key of a Secret, in base64.
fn value(installed: &Installed, secret: &str, key: &str) -> Value {
    let secret = installed.namespace.get("secret", secret);
    secret.map_or(Value::Null, |secret| secret["data"][key].clone())
}

#[test]
fn secrets_are_made_changed_and_removed_and_never_shown() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "secrets");
    let arguments = [
        "storage-secret",
        "--on",
        "kube",
        "--account-name",
        "myaccount",
        "--account-key",
        "env:KEY",
    ];
    let printed = with_key(&installed, KEY, &[&arguments[..], &["--print"]].concat()).exits(0);
    let wanted = ["kind: Secret", "<azurestorageaccountkey>"];
    assert!(missing(&printed.stdout, &wanted).is_empty(), "{printed}");
    let dry = with_key(&installed, KEY, &[&arguments[..], &["--dry-run"]].concat()).exits(0);
    assert_eq!(marks(&dry), ["+ Secret petctl-storage"], "{dry}");
    assert_eq!(
        value(&installed, "petctl-storage", "AZURE_STORAGE_KEY"),
        Value::Null
    );

    let made = with_key(&installed, KEY, &arguments).exits(0);
    assert_eq!(marks(&made), ["+ Secret petctl-storage"], "{made}");
    assert!(made.stderr.contains("env_from_secrets"), "{made}");
    let first = value(&installed, "petctl-storage", "azurestorageaccountkey");
    assert_eq!(
        first,
        value(&installed, "petctl-storage", "AZURE_STORAGE_KEY")
    );
    let again = with_key(&installed, KEY, &arguments).exits(0);
    assert_eq!(marks(&again), ["= Secret petctl-storage"], "{again}");

    // As it was called once; a key that is changed for a SAS leaves nothing of the key behind.
    let sas = [
        "storage_secret",
        "--on",
        "kube",
        "--account_name",
        "myaccount",
        "--sas_token",
        "env:KEY",
    ];
    let sas = with_key(&installed, "?sv=2024&sp=r&sig=c2lnbmF0dXJl", &sas).exits(0);
    assert_eq!(marks(&sas), ["~ Secret petctl-storage"], "{sas}");
    let said = ["start later", "`l`", "[redacted]"];
    let all = format!("{}{}", sas.stdout, sas.stderr);
    assert!(
        all.contains(said[0]) && all.contains(said[2]) && !all.contains("c2lnbmF0dXJl"),
        "{sas}"
    );
    assert!(
        sas.stderr.contains("a volume can't be mounted by it"),
        "{sas}"
    );
    assert_eq!(
        value(&installed, "petctl-storage", "azurestorageaccountkey"),
        Value::Null
    );

    let login = [
        "docker_secret",
        "--on",
        "kube",
        "--server",
        "registry.example",
        "--username",
        "ci",
        "--password",
    ];
    // The old spelling takes what is typed, and says what is wrong with that; today's refuses it.
    let typed = [&["docker-secret"], &login[1..], &["hunter2"]].concat();
    with_key(&installed, KEY, &typed).refuses(2, "SECRET_ON_COMMAND_LINE", &["env:NAME"]);
    let typed = [&login[..], &["hunter2", "--dry-run"]].concat();
    let dry = with_key(&installed, KEY, &typed).exits(0);
    assert!(
        dry.stderr
            .contains("--password: every user of this machine can read it there")
            && !dry.stderr.contains("hunter2"),
        "{dry}"
    );
    let made = with_key(&installed, KEY, &[&login[..], &["env:KEY"]].concat()).exits(0);
    assert!(
        made.stderr.contains("pull_secrets = [\"petctl-registry\"]"),
        "{made}"
    );
    let secret = installed
        .namespace
        .get("secret", "petctl-registry")
        .expect("it was made");
    assert_eq!(secret["type"], "kubernetes.io/dockerconfigjson");
    let gone = installed.ok(&["uninstall", "--on", "kube", "--yes"]);
    let wanted = ["Secret petctl-storage", "Secret petctl-registry"];
    assert!(missing(&gone.stderr, &wanted).is_empty(), "{gone}");
}

#[test]
fn a_container_becomes_a_volume_and_a_claim_that_go_with_petctl() {
    let cluster = beside_others();
    let place = "volumes = [@DATA@, { path = \"/mnt/raw\", blob = { account = \"myaccount\", container = \"raw\", \
                 secret = \"petctl-storage\" } }]\n";
    let installed = Installed::prepared(cluster.bed, "blob", Storage::HostPath, place);
    let namespace = installed.namespace.name().to_owned();
    let volume = format!("petctl-{namespace}.myaccount.raw");
    let get = |kind: &str, name: &str| -> Option<Value> {
        let text = installed
            .bed
            .kubectl(&["get", kind, name, "-o", "json"])
            .ok()?;
        serde_json::from_str(&text).ok()
    };
    let setup = ["setup", "--on", "kube", "--yes"];
    installed.petctl(&setup).refuses(
        78,
        "BAD_VOLUME",
        &["petctl-storage", "petctl storage-secret"],
    );
    let wrong = [
        "create",
        "secret",
        "generic",
        "petctl-storage",
        "--from-literal=key=x",
    ];
    installed.namespace.kubectl(&wrong).expect("a Secret");
    installed
        .petctl(&setup)
        .refuses(78, "BAD_VOLUME", &["azurestorageaccountkey"]);
    let delete = ["delete", "secret", "petctl-storage"];
    installed
        .namespace
        .kubectl(&delete)
        .expect("it can be deleted");
    let secret = |account: &str| {
        let arguments = [
            "storage-secret",
            "--on",
            "kube",
            "--account-name",
            account,
            "--account-key",
            "env:KEY",
        ];
        with_key(&installed, KEY, &arguments).exits(0);
    };
    secret("another");
    installed
        .petctl(&setup)
        .refuses(78, "BAD_VOLUME", &["another", "myaccount"]);
    secret("myaccount");

    // Somebody else's volume is not taken.
    let elsewhere = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": volume },
        "spec": {
            "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteMany"], "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Retain", "hostPath": { "path": "/var/tmp" },
            "claimRef": { "namespace": "elsewhere", "name": "theirs" },
        },
    });
    installed.bed.apply(&elsewhere).expect("a volume");
    installed.petctl(&setup).refuses(
        78,
        "BAD_VOLUME",
        &["elsewhere/theirs", "kubectl delete persistentvolume"],
    );
    installed
        .bed
        .kubectl(&["delete", "persistentvolume", &volume])
        .expect("it can be deleted");

    let made = installed.ok(&setup);
    let own = [
        format!("+ PersistentVolume {volume}"),
        "+ PersistentVolumeClaim petctl-myaccount-raw".to_owned(),
    ];
    for own in &own {
        assert!(marks(&made).contains(&own.as_str()), "{own}: {made}");
    }
    assert!(
        made.stderr
            .contains("blob.csi.azure.com) is not in this cluster"),
        "{made}"
    );
    let there = get("persistentvolume", &volume).expect("it was made");
    assert_eq!(
        there["spec"]["csi"]["nodeStageSecretRef"]["namespace"],
        namespace.as_str()
    );
    installed.wait("the claim is bound to its volume", || {
        let claim = installed
            .namespace
            .get("persistentvolumeclaim", "petctl-myaccount-raw")?;
        (claim["status"]["phase"] == "Bound" && claim["spec"]["volumeName"] == volume.as_str())
            .then_some(())
    });
    let again = installed.ok(&setup);
    assert!(
        marks(&again).iter().all(|mark| mark.starts_with("= ")),
        "{again}"
    );
    let text = fs::read_to_string(installed.folder().join("petctl.toml")).expect("it is there");
    let changed = text.replace("secret = \"petctl-storage\"", "protocol = \"nfs\"");
    fs::write(installed.folder().join("petctl.toml"), changed).expect("a file of the test");
    installed.petctl(&setup).refuses(
        78,
        "BAD_VOLUME",
        &["can't be changed", "petctl-myaccount-raw"],
    );
    fs::write(installed.folder().join("petctl.toml"), text).expect("a file of the test");

    // Whoever may not make volumes uses those that are there, and is told what is missing where none are.
    let rules = json!([
        { "apiGroups": ["", "apps", "batch", "rbac.authorization.k8s.io"], "resources": ["*"], "verbs": ["*"] },
    ]);
    let user = installed.bed.user_kubeconfig(&namespace, &rules);
    let as_user = || {
        let mut command = installed.command(&setup);
        command.env("KUBECONFIG", &user);
        installed.start_command(&mut command).ends_within(MINUTE)
    };
    let ran = as_user().exits(0);
    assert!(
        ran.stderr
            .contains(&format!("PersistentVolume {volume} stays as it is")),
        "{ran}"
    );
    let gone = installed.ok(&["uninstall", "--on", "kube", "--yes"]);
    assert!(
        gone.stderr
            .contains(&format!("removed PersistentVolume {volume}")),
        "{gone}"
    );
    assert_eq!(get("persistentvolume", &volume), None);
    secret("myaccount");
    as_user().refuses(77, "CLUSTER_DENIED", &["persistentvolumes", "--print"]);
}

#[test]
fn the_resim_example_reads_a_container_where_the_place_mounts_it() {
    let cluster = beside_others();
    // A folder of the nodes in the place of the driver's mount; the blob service is out of the pods' reach.
    let place = format!(
        "volumes = [@DATA@, {{ path = \"/mnt/raw\", blob = {{ account = \"{ACCOUNT}\", container = \"raw\", \
         claim = \"raw\" }}, read_only = true }}]\n"
    );
    let installed = Installed::prepared(cluster.bed, "mounted", Storage::HostPath, &place);
    let setup = ["setup", "--on", "kube", "--yes"];
    installed
        .petctl(&setup)
        .refuses(78, "BAD_VOLUME", &["the claim raw"]);
    let container = installed.folder().join("container");
    let folder = installed.data().join("resim");
    let examples = checkout().join("examples/resim");
    for (from, to) in [
        (&examples, &folder),
        (&examples.join("drives"), &container.join("drives")),
    ] {
        fs::create_dir_all(to.parent().expect("it lies in one")).expect("a folder of the test");
        let copied = Command::new("cp").arg("-r").arg(from).arg(to).status();
        assert!(copied.is_ok_and(|status| status.success()));
    }
    let name = format!("{}-raw", installed.namespace.name());
    let common = json!({ "storageClassName": "", "accessModes": ["ReadWriteMany"] });
    let mut volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": name }, "spec": common,
    });
    volume["spec"]["capacity"] = json!({ "storage": "1Gi" });
    volume["spec"]["hostPath"] = json!({ "path": container });
    volume["spec"]["persistentVolumeReclaimPolicy"] = json!("Retain");
    installed.bed.apply(&volume).expect("a volume");
    let _volume = Until::back(|| {
        let delete = ["delete", "persistentvolume", &name, "--wait=false"];
        installed.bed.kubectl(&delete).expect("it can be deleted");
    });
    let mut claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "raw" }, "spec": common,
    });
    claim["spec"]["volumeName"] = json!(name);
    claim["spec"]["resources"] = json!({ "requests": { "storage": "1Gi" } });
    installed.namespace.apply(&claim).expect("a claim");
    installed.ok(&setup);

    let blobs = Blobd::start().expect("a blob service");
    let drives = examples.join("drives").display().to_string();
    installed.ok(&[
        "upload",
        &drives,
        "az://raw/drives",
        "--create",
        "--endpoint",
        blobs.endpoint(),
    ]);
    let job = folder.join("job.toml").display().to_string();
    let endpoint = format!("storage.endpoint={}", blobs.endpoint());
    let from_container = ["--set", "storage.input=az://raw/drives", "--set", &endpoint];
    let refused = ["run", &job, "--set", "storage.output=/mnt/raw/out"];
    installed
        .petctl(&[&refused[..], &from_container].concat())
        .refuses(78, "BAD_VOLUME", &["az://raw/out"]);
    let run = installed.start(&[&["run", &job][..], &from_container].concat());
    let near = [
        "--on",
        "local",
        "--set",
        "job.name=near",
        "--set",
        "storage.output=near",
    ];
    installed.ok(&[&["run", &job][..], &near].concat());
    let ran = run.ends_within(MINUTE * 2).exits(0);
    assert!(
        ran.stderr.contains("where it is mounted, at /mnt/raw"),
        "{ran}"
    );
    let states = |job: &str| -> Vec<Value> {
        let rows = installed.rows(job);
        let of = |row: &Value| json!([row["stage"], row["key"], row["state"], row["result"]]);
        rows.iter().map(of).collect()
    };
    let (far, near) = (states("resim"), states("near"));
    assert!(far.len() > 5, "{far:?}");
    assert_eq!(far, near);
    installed.until_no_pods("resim");
}
