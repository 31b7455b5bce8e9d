//! `petctl setup`: what it makes, what it says, what it may do, and what it refuses.

use crate::harness::{Installed, Job, MINUTE, Ran, Storage, beside_others, missing};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What setup makes, and what could be made by it; pods change by themselves.
const ALL: &str = "statefulsets,services,serviceaccounts,roles,rolebindings,secrets,configmaps,persistentvolumeclaims,jobs";

/// What is there of petctl: kind, name and version.
fn versions(installed: &Installed) -> BTreeMap<String, String> {
    let path = "jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.resourceVersion}{\"\\n\"}{end}";
    let listed =
        installed
            .namespace
            .kubectl(&["get", ALL, "-l", "petctl.io/managed=true", "-o", path]);
    let listed = listed.expect("they can be listed");
    let lines = listed.lines().filter_map(|line| line.split_once(' '));
    lines
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .collect()
}

/// The lines that say what becomes of an object, without its fields.
fn marks(stdout: &str) -> Vec<&str> {
    let is_mark = |line: &&str| matches!(line.get(..2), Some("+ " | "~ " | "= "));
    stdout.lines().filter(is_mark).collect()
}

#[test]
fn setup_says_first_what_it_makes_and_given_again_changes_nothing() {
    let cluster = beside_others();
    let installed = Installed::prepared(cluster.bed, "setup", Storage::HostPath, "");
    let dry = installed.ok(&["setup", "--on", "kube", "--dry-run"]);
    let expected = [
        "+ ServiceAccount petctl-coordinator",
        "+ ServiceAccount petctl-worker",
        "+ Role petctl-coordinator",
        "+ RoleBinding petctl-coordinator",
        "+ Secret petctl-token",
        "+ Service petctl-coordinator",
        "+ StatefulSet petctl-coordinator",
    ];
    assert_eq!(marks(&dry.stdout), expected, "{dry}");
    assert_eq!(versions(&installed), BTreeMap::new(), "a dry run made them");

    // Nobody is asked where nobody could answer.
    let unasked = installed.petctl(&["setup", "--on", "kube"]);
    assert_ne!(unasked.code, Some(0), "{unasked}");
    assert_eq!(versions(&installed), BTreeMap::new(), "{unasked}");

    let made = installed.ok(&["setup", "--on", "kube", "--yes"]);
    assert_eq!(marks(&made.stdout), expected, "{made}");
    assert!(made.stdout.contains("the coordinator answers"), "{made}");
    installed.wait("the StatefulSet has said that its pod is there", || {
        let set = installed
            .namespace
            .get("statefulset", "petctl-coordinator")?;
        (set["status"]["availableReplicas"] == 1).then_some(())
    });

    let before = versions(&installed);
    // With the claim, and the CA that the coordinator has told.
    assert_eq!(before.len(), 9, "{before:?}");
    let pod = installed.coordinator().expect("it runs");
    for arguments in [&["--dry-run"][..], &["--yes"], &["--yes", "--force"]] {
        let again = installed.ok(&[&["setup", "--on", "kube"], arguments].concat());
        let marks = marks(&again.stdout);
        // The token is made once, and then nobody's to look at.
        assert_eq!(marks.len(), expected.len() - 1, "{again}");
        assert!(marks.iter().all(|mark| mark.starts_with("= ")), "{again}");
    }
    assert_eq!(
        versions(&installed),
        before,
        "setup, given again, changed something"
    );

    // Another setting is told by its field, tried, and then made so; jobs go on.
    let set = ["--set", "place.kube.coordinator.resources.memory=300MiB"];
    let dry = installed.ok(&[&["setup", "--on", "kube", "--dry-run"][..], &set].concat());
    let changed = |text: &str| {
        let lines = text.lines().map(str::trim);
        let mut after = lines.skip_while(|line| *line != "~ StatefulSet petctl-coordinator");
        after.nth(1).unwrap_or_default().to_owned()
    };
    assert!(
        changed(&dry.stdout).starts_with("spec.template.spec.containers[0].resources"),
        "{dry}"
    );
    assert!(dry.stdout.contains("314572800"), "{dry}");
    assert_eq!(versions(&installed), before, "a dry run changed something");
    assert_eq!(installed.coordinator().expect("it runs").uid, pod.uid);
    let done = installed.ok(&[&["setup", "--on", "kube", "--yes"][..], &set].concat());
    assert!(changed(&done.stdout).contains("resources"), "{done}");
    let after = installed.coordinator().expect("setup waits for it");
    assert_ne!(pod.uid, after.uid, "setup has not waited for the new pod");
    assert!(after.runs(), "{after:?}");
    let again = installed.ok(&[&["setup", "--on", "kube", "--dry-run"][..], &set].concat());
    assert!(again.stdout.contains("nothing would change"), "{again}");
}

#[test]
fn what_setup_prints_gives_the_same_installation_when_others_apply_it() {
    let cluster = beside_others();
    let installed = Installed::prepared(cluster.bed, "print", Storage::HostPath, "");
    // Who only prints needs no cluster.
    let mut command = installed.command(&["setup", "--on", "kube", "--print"]);
    command.env("KUBECONFIG", "/nowhere");
    let printed = installed
        .start_command(&mut command)
        .ends_within(MINUTE)
        .exits(0);
    assert!(printed.stderr.contains("petctl-token"), "{printed}");
    let lost = missing(
        &printed.stdout,
        &["kind: Namespace", "kind: StatefulSet", "kind: Role"],
    );
    assert!(lost.is_empty(), "{lost:?}: {printed}");
    assert!(!printed.stdout.contains("kind: Secret"), "{printed}");
    let applied = cluster.bed.kubectl_reading(
        &[
            "apply",
            "--server-side",
            "--field-manager=gitops",
            "--force-conflicts",
            "-f",
            "-",
        ],
        &printed.stdout,
    );
    applied.unwrap_or_else(|error| panic!("{error}: {printed}"));
    let token = [
        "create",
        "secret",
        "generic",
        "petctl-token",
        "--from-literal=token=0123456789abcdef0123456789abcdef",
    ];
    installed.namespace.kubectl(&token).expect("a token");
    let generation = || {
        let set = installed.namespace.get("statefulset", "petctl-coordinator");
        set.expect("it was applied")["metadata"]["generation"].clone()
    };
    let before = generation();
    // It is another's now.
    installed
        .petctl(&["setup", "--on", "kube", "--dry-run"])
        .refuses(78, "CLUSTER_CONFLICT", &["gitops"]);
    let same = installed.ok(&["setup", "--on", "kube", "--yes", "--force"]);
    assert!(
        marks(&same.stdout)
            .iter()
            .all(|mark| mark.starts_with("= ")),
        "{same}"
    );
    assert_eq!(generation(), before, "{same}");
    let job = Job::gated(&installed, "printed", 2, "max = 1");
    job.open();
    installed.ok(&["run", &job.path()]);
    installed.all_done_at_once("printed", 2);
}

/// Verbs by resource, as `kubectl auth can-i --list` shows them, without what every account may.
fn rights(installed: &Installed, account: &str) -> BTreeMap<String, BTreeSet<String>> {
    let everybody = all_rights(installed, "default");
    let mut own = all_rights(installed, account);
    own.retain(|resource, verbs| everybody.get(resource) != Some(verbs));
    own
}

fn all_rights(installed: &Installed, account: &str) -> BTreeMap<String, BTreeSet<String>> {
    let user = format!(
        "--as=system:serviceaccount:{}:{account}",
        installed.namespace.name()
    );
    let listed = installed
        .namespace
        .kubectl(&["auth", "can-i", "--list", "--no-headers", &user]);
    let listed = listed.expect("rights can be listed");
    let mut rights: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in listed.lines() {
        let (resource, rest) = line.split_once(' ').unwrap_or((line, ""));
        let lists: Vec<&str> = rest.split(['[', ']']).collect();
        let names = lists.get(3).copied().unwrap_or_default();
        let verbs = lists.get(5).copied().unwrap_or_default();
        let name = if names.is_empty() {
            resource.to_owned()
        } else {
            format!("{resource}/{names}")
        };
        let verbs = verbs.split_whitespace().map(str::to_owned);
        rights.entry(name).or_default().extend(verbs);
    }
    rights
}

#[test]
fn the_coordinator_may_keep_its_jobs_pods_and_nothing_else_and_workers_may_nothing() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "rights");
    let verbs = |list: &str| list.split(' ').map(str::to_owned).collect::<BTreeSet<_>>();
    let expected: BTreeMap<String, BTreeSet<String>> = [
        ("jobs.batch", "get list watch create patch delete"),
        ("pods", "get list watch patch delete"),
        ("pods/log", "get"),
        ("events", "list watch"),
        ("configmaps", "get list watch create patch delete"),
        ("secrets", "create"),
        ("services/petctl-coordinator", "get"),
    ]
    .map(|(name, list)| (name.to_owned(), verbs(list)))
    .into();
    assert_eq!(rights(&installed, "petctl-coordinator"), expected);
    assert_eq!(rights(&installed, "petctl-worker"), BTreeMap::new());
    let pod = installed.namespace.get("pod", "petctl-coordinator-0");
    let pod = pod.expect("the coordinator runs");
    assert_eq!(pod["spec"]["serviceAccountName"], "petctl-coordinator");

    // With exactly these it grows, shrinks, replaces and removes pods.
    let job = Job::gated(&installed, "rights", 6, "min = 1\nmax = 3\nwanted = 1");
    installed.ok(&["run", &job.path(), "-d"]);
    installed.until_pods("rights", 1);
    installed.ok(&["scale", "rights", "--workers", "2"]);
    let pods = installed.until_pods("rights", 2);
    for pod in &pods {
        let pod = installed.namespace.get("pod", &pod.name).expect("it runs");
        assert_eq!(pod["spec"]["serviceAccountName"], "petctl-worker");
        assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
    }
    installed
        .namespace
        .kubectl(&["delete", "pod", &pods[1].name, "--wait=false"])
        .expect("it can be deleted");
    installed.wait("another pod has taken its place", || {
        let now = installed.pods("rights");
        let other = now
            .iter()
            .any(|pod| pod.index == Some(1) && pod.uid != pods[1].uid && pod.runs());
        other.then_some(())
    });
    job.open();
    installed.ok(&["status", "rights", "--wait"]);
    installed.until_no_pods("rights");
    let log = installed
        .namespace
        .kubectl(&["logs", "petctl-coordinator-0"]);
    let log = log.expect("it has a log");
    assert!(!log.to_lowercase().contains("forbidden"), "{log}");
}

/// Verbs by resource in "missing: get/create roles.rbac.authorization.k8s.io, …".
fn named_rights(ran: &Ran) -> BTreeMap<String, BTreeSet<String>> {
    let named = ran.stderr.split_once("missing: ");
    let named = named.and_then(|(_, rest)| rest.lines().next());
    let named = named.unwrap_or_else(|| panic!("nothing is missing: {ran}"));
    let rights = named.split(", ").filter_map(|right| right.split_once(' '));
    rights
        .map(|(verbs, resource)| {
            let verbs = verbs.split('/').map(str::to_owned);
            (resource.to_owned(), verbs.collect())
        })
        .collect()
}

#[test]
fn setup_without_rights_names_each_missing_verb_and_makes_nothing() {
    let cluster = beside_others();
    let installed = Installed::prepared(cluster.bed, "denied", Storage::HostPath, "");
    let everything = ["get", "list", "watch", "create", "patch", "delete"];
    let rules = json!([
        {"apiGroups": [""], "resources": ["pods", "configmaps", "serviceaccounts", "services"], "verbs": everything},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": everything},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["list", "watch"]},
    ]);
    let user = cluster
        .bed
        .user_kubeconfig(installed.namespace.name(), &rules);
    for arguments in [&["--dry-run"][..], &["--yes"]] {
        let arguments = [&["setup", "--on", "kube"], arguments].concat();
        let mut command = installed.command(&arguments);
        command.env("KUBECONFIG", &user);
        let ran = installed
            .start_command(&mut command)
            .ends_within(MINUTE)
            .refuses(
                77,
                "CLUSTER_DENIED",
                &[installed.namespace.name(), "--print"],
            );
        let named = named_rights(&ran);
        for (resource, verbs) in [
            ("secrets", "create patch"),
            ("roles.rbac.authorization.k8s.io", "create get patch"),
            ("rolebindings.rbac.authorization.k8s.io", "create get patch"),
            ("statefulsets.apps", "create get patch"),
            ("pods/log", "get"),
        ] {
            let named = named.get(resource).map(|verbs| {
                let verbs: Vec<&str> = verbs.iter().map(String::as_str).collect();
                verbs.join(" ")
            });
            assert_eq!(named.as_deref(), Some(verbs), "{resource}: {ran}");
        }
        for held in [
            "pods",
            "configmaps",
            "serviceaccounts",
            "services",
            "jobs.batch",
            "events",
        ] {
            assert!(!named.contains_key(held), "it has {held}: {ran}");
        }
    }
    assert_eq!(versions(&installed), BTreeMap::new());
}

#[test]
fn whoever_has_the_role_admin_of_a_namespace_installs_petctl_there_runs_jobs_and_removes_it() {
    let cluster = beside_others();
    let installed = Installed::prepared(cluster.bed, "admin", Storage::HostPath, "");
    let namespace = installed.namespace.name();
    let user = cluster.bed.user_kubeconfig(namespace, &json!([]));
    let account = user.file_stem().and_then(|stem| stem.to_str());
    let account = account.expect("its name");
    let bound = installed.namespace.apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "an-admin"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }));
    bound.expect("a binding");
    let as_admin = |arguments: &[&str]| {
        let mut command = installed.command(arguments);
        command.env("KUBECONFIG", &user);
        let started = installed.start_command(&mut command);
        started.ends_within(MINUTE).exits(0)
    };
    let would = as_admin(&["setup", "--on", "kube", "--dry-run"]);
    assert!(
        would.stdout.contains("+ RoleBinding petctl-coordinator"),
        "{would}"
    );
    as_admin(&["setup", "--on", "kube", "--yes"]);
    let again = as_admin(&["setup", "--on", "kube", "--dry-run"]);
    assert!(again.stdout.contains("nothing would change"), "{again}");
    let job = Job::gated(&installed, "admins", 2, "max = 1");
    job.open();
    as_admin(&["run", &job.path()]);
    as_admin(&["uninstall", "--on", "kube", "--yes"]);
    assert_eq!(versions(&installed), BTreeMap::new());
}

#[test]
fn setup_names_who_changed_a_field_and_takes_it_back_only_by_force() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "conflict");
    let image = || -> Value {
        let set = installed.namespace.get("statefulset", "petctl-coordinator");
        set.expect("it is there")["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    let own = image();
    let other = json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "petctl-coordinator", "namespace": installed.namespace.name()},
        "spec": {"template": {"spec": {"containers": [
            {"name": "coordinator", "image": "petctl.local/debian:1"},
        ]}}},
    });
    let applied = cluster.bed.kubectl_reading(
        &[
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager=another-team",
            "-f",
            "-",
        ],
        &other.to_string(),
    );
    applied.expect("an administrator may");
    for arguments in [&["--dry-run"][..], &["--yes"]] {
        installed
            .petctl(&[&["setup", "--on", "kube"], arguments].concat())
            .refuses(
                78,
                "CLUSTER_CONFLICT",
                &[
                    "another-team",
                    "image",
                    "StatefulSet petctl-coordinator",
                    "--force",
                ],
            );
        assert_eq!(image(), "petctl.local/debian:1");
    }
    let forced = installed.ok(&["setup", "--on", "kube", "--yes", "--force"]);
    assert!(
        forced.stdout.contains("petctl.local/debian:1 -> "),
        "{forced}"
    );
    assert_eq!(image(), own);
    let again = installed.ok(&["setup", "--on", "kube", "--dry-run"]);
    assert!(again.stdout.contains("nothing would change"), "{again}");
}

#[test]
fn setup_over_another_release_says_so_and_brings_it_to_its_own() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "release");
    installed
        .namespace
        .kubectl(&[
            "annotate",
            "statefulset",
            "petctl-coordinator",
            "--overwrite",
            "petctl.io/version=0.0.9",
        ])
        .expect("an administrator may");
    let job = Job::gated(&installed, "release", 2, "max = 1");
    installed.ok(&["run", &job.path(), "-d"]);
    let pods = installed.until_pods("release", 1);
    job.until_started(1);
    let setup = installed.ok(&[
        "setup",
        "--on",
        "kube",
        "--yes",
        "--force",
        "--set",
        "place.kube.coordinator.resources.memory=300MiB",
    ]);
    assert!(
        setup.stderr.contains("petctl 0.0.9 is installed there"),
        "{setup}"
    );
    let lost = missing(
        &setup.stdout,
        &["petctl.io/version: 0.0.9 -> ", "1 job known"],
    );
    assert!(lost.is_empty(), "{lost:?}: {setup}");
    // The job goes on with the coordinator that was made anew.
    assert_eq!(installed.pods("release"), pods);
    job.open();
    installed.ok(&["status", "release", "--wait"]);
    installed.all_done_at_once("release", 2);
}
