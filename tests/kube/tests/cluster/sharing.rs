//! One coordinator for several namespaces.

use crate::harness::{Installed, Job, MINUTE, Ran, Storage, beside_others, missing};
use serde_json::{Value, json};
use std::path::Path;

/// A place in a namespace of its own whose coordinator is that of another one.
fn guest(host: &Installed, name: &str) -> Installed {
    let guest = Installed::prepared(host.bed, name, Storage::HostPath, "");
    let data = guest.data().display().to_string();
    guest.write_place(&format!(
        "volumes = [{{ path = \"{data}\", host_path = \"{data}\" }}]\ncoordinator = {{ namespace = \"{}\" }}\n",
        host.namespace.name()
    ));
    guest
}

/// The names of a place's jobs.
fn listed(place: &Installed) -> Vec<String> {
    let list = place.json(&["list", "--on", "kube"]);
    let jobs = list["jobs"].as_array().cloned().unwrap_or_default();
    let names = jobs.iter().filter_map(|job| job["job"].as_str());
    names.map(str::to_owned).collect()
}

fn as_user(place: &Installed, user: &Path, arguments: &[&str]) -> Ran {
    let mut command = place.command(arguments);
    command.env("KUBECONFIG", user);
    place.start_command(&mut command).ends_within(MINUTE)
}

#[test]
fn one_coordinator_keeps_the_pods_of_namespaces_that_let_it_and_each_has_its_own_jobs() {
    let cluster = beside_others();
    let host = Installed::prepared(cluster.bed, "shared", Storage::HostPath, "");
    let team = guest(&host, "team");
    let (shared, name) = (host.namespace.name(), team.namespace.name());
    host.ok(&["setup", "--on", "kube", "--yes"]);
    let job = Job::gated(&team, "theirs", 3, "max = 2");

    // Neither of both sides alone: the coordinator must be told, and let in.
    let ran = team.ok(&["setup", "--on", "kube", "--yes"]);
    let told = [&*format!("not in {name}"), "--namespace-scope"];
    assert_eq!(missing(&ran.stderr, &told), [""; 0], "{ran}");
    assert!(
        team.namespace
            .get("statefulset", "petctl-coordinator")
            .is_none()
    );
    team.petctl(&["run", &job.path(), "-d"])
        .refuses(78, "BAD_PLACE", &told);
    team.ok(&["uninstall", "--on", "kube", "--yes"]);
    host.ok(&["setup", "--on", "kube", "--yes", "--namespace-scope", name]);
    let told = [name, "petctl setup"];
    team.petctl(&["run", &job.path(), "-d"])
        .refuses(77, "CLUSTER_DENIED", &told);
    team.ok(&["setup", "--on", "kube", "--yes"]);
    // Given again without the flag, it stays.
    let again = host.ok(&["setup", "--on", "kube", "--dry-run"]);
    assert!(again.stdout.contains("nothing would change"), "{again}");

    // Whoever may reach the coordinator needs no right in the namespace of the pods.
    let user = cluster.bed.user_kubeconfig(name, &json!([]));
    let account = user
        .file_stem()
        .and_then(|stem| stem.to_str())
        .expect("its name");
    let bound = host.namespace.apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": account},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "petctl-client"},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": name}],
    }));
    bound.expect("a binding");
    as_user(&team, &user, &["run", &job.path(), "-d"]).exits(0);
    let own = Job::gated(&host, "ours", 2, "max = 1");
    host.ok(&["run", &own.path(), "-d"]);
    team.until_pods("theirs", 2);
    host.until_pods("ours", 1);
    assert_eq!(listed(&team), ["theirs"]);
    assert_eq!(listed(&host), ["ours"]);
    let pods = host
        .namespace
        .kubectl(&["get", "pods", "-l", "petctl.io/job=theirs", "-o", "name"]);
    assert_eq!(pods.as_deref(), Ok(""));
    // A name is one job, wherever it runs.
    let twice = Job::gated(&host, "theirs", 3, "max = 2");
    let refused = host.petctl(&["run", &twice.path(), "-d"]);
    assert!(refused.code != Some(0), "{refused}");
    job.open();
    as_user(&team, &user, &["status", "theirs", "--wait"]).exits(0);
    team.all_done_at_once("theirs", 3);
    team.until_no_pods("theirs");
    // Also when it has ended; until it is deleted where it was.
    let told = ["theirs", "has ended in namespace", name];
    host.petctl(&["run", &twice.path(), "-d"])
        .refuses(78, "JOB_EXISTS", &told);
    team.all_done_at_once("theirs", 3);
    team.ok(&["delete", "theirs", "--yes"]);
    host.ok(&["run", &twice.path(), "-d"]);
    twice.open();
    host.ok(&["status", "theirs", "--wait"]);
    assert_eq!((listed(&team).len(), listed(&host).len()), (0, 2));

    // A second coordinator in there would take its pods away.
    team.write_place("");
    let told = [shared, "coordinator = "];
    team.petctl(&["setup", "--on", "kube", "--yes"])
        .refuses(78, "CLUSTER_CONFLICT", &told);
    assert!(host.pods("ours").len() == 1 && own.noted("started").len() == 1);
    own.open();
    host.ok(&["status", "ours", "--wait"]);
}

#[test]
fn what_is_deleted_in_one_namespace_stays_in_another_and_uninstall_leaves_no_pod_anywhere() {
    let cluster = beside_others();
    let host = Installed::prepared(cluster.bed, "host", Storage::HostPath, "");
    let team = guest(&host, "guest");
    let scope = team.namespace.name();
    host.ok(&["setup", "--on", "kube", "--yes", "--namespace-scope", scope]);
    team.ok(&["setup", "--on", "kube", "--yes"]);
    let (theirs, ours) = (
        Job::gated(&team, "theirs", 2, "max = 1"),
        Job::gated(&host, "ours", 2, "max = 1"),
    );
    team.ok(&["run", &theirs.path(), "-d"]);
    host.ok(&["run", &ours.path(), "-d"]);
    theirs.until_started(1);
    ours.until_started(1);
    host.ok(&["delete", "--all", "--on", "kube", "--yes"]);
    assert_eq!(
        (listed(&host).len(), listed(&team)),
        (0, vec!["theirs".to_owned()])
    );
    assert_eq!(team.until_pods("theirs", 1).len(), 1);

    let said = host.ok(&["uninstall", "--on", "kube", "--yes"]);
    let wanted = [
        "1 job has not ended",
        "theirs",
        &format!("in namespace {scope}"),
        &format!("stay where teams let it in ({scope})"),
    ];
    assert_eq!(missing(&said.stderr, &wanted), [""; 0], "{said}");
    team.until_no_pods("theirs");
    assert_eq!(team.objects_of_jobs(), "");
    let left: Value = team
        .namespace
        .get("rolebinding", "petctl-coordinator")
        .expect("it is the team's");
    assert_eq!(left["subjects"][0]["namespace"], host.namespace.name());
    team.ok(&["uninstall", "--on", "kube", "--yes"]);
    assert!(
        team.namespace
            .get("rolebinding", "petctl-coordinator")
            .is_none()
    );
}

#[test]
fn jobs_that_share_a_number_of_pods_get_equal_parts_or_keep_what_they_have_as_the_place_says() {
    let cluster = beside_others();
    let installed = Installed::prepared(cluster.bed, "parts", Storage::HostPath, "");
    installed.edit_place("coordinator = { ", "coordinator = { max_pods = 4, ");
    installed.ok(&["setup", "--on", "kube", "--yes"]);
    let most = || {
        let mut pods = installed.pods_of("petctl.io/job");
        pods.retain(|pod| !["Succeeded", "Failed"].contains(&&*pod.phase));
        assert!(pods.len() <= 4, "{pods:?}");
        pods.len()
    };
    let first = Job::gated(&installed, "first", 8, "max = 4");
    let second = Job::gated(&installed, "second", 8, "max = 4");
    installed.ok(&["run", &first.path(), "-d"]);
    installed.until_pods("first", 4);
    first.until_started(4);

    // What is in hand is finished first.
    installed.ok(&["run", &second.path(), "-d"]);
    let said = installed.until_waits("second", "PODS_SHARED");
    let told = ["2 of 4 workers", "the 4 pods", "1 other job"];
    assert_eq!(missing(&said, &told), [""; 0], "{said}");
    installed.until_waits("first", "PODS_SHARED");
    assert_eq!(most(), 4, "nobody has ended anything yet");
    for begun in first.noted("started") {
        let (shard, pod) = begun.split_once(' ').expect("shard and pod");
        if ["petctl-first-2", "petctl-first-3"]
            .iter()
            .any(|name| pod.starts_with(name))
        {
            first.open_shard(shard);
        }
    }
    installed.wait("each has its half", || {
        most();
        let halves = installed.pods("first").len() == 2 && installed.pods("second").len() == 2;
        halves.then_some(())
    });
    second.until_started(2);
    first.open();
    installed.ok(&["status", "first", "--wait"]);
    installed.all_done_at_once("first", 8);
    assert_eq!(first.noted("started").len(), 8, "nothing was begun twice");
    installed.until_pods("second", 4);
    second.until_started(4);

    // As the place says: nobody gives anything back.
    installed.edit_place("max_pods = 4", "max_pods = 4, sharing = \"in-order\"");
    installed.ok(&["setup", "--on", "kube", "--yes"]);
    let third = Job::gated(&installed, "third", 2, "max = 2");
    installed.ok(&["run", &third.path(), "-d"]);
    let said = installed.until_waits("third", "PODS_SHARED");
    let told = ["0 of 2 workers", "1 other job"];
    assert_eq!(missing(&said, &told), [""; 0], "{said}");
    assert_eq!(installed.pods("third").len(), 0);
    assert_eq!(installed.until_members("second", 4).len(), 4);
    second.open();
    installed.ok(&["status", "second", "--wait"]);
    installed.all_done_at_once("second", 8);
    third.open();
    installed.ok(&["status", "third", "--wait"]);
    installed.all_done_at_once("third", 2);
    most();
}
