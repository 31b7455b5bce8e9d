//! A job is stopped, goes on, and is removed; so is petctl.

use crate::harness::{Installed, Job, Storage, beside_others};
use serde_json::Value;

#[test]
fn a_suspended_job_gives_its_pods_back_and_a_resumed_one_gets_them_again() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "suspend");
    let job = Job::gated(&installed, "rests", 4, "max = 2");
    installed.ok(&["run", &job.path(), "-d"]);
    installed.until_pods("rests", 2);
    job.until_started(2);
    installed.ok(&["suspend", "rests"]);
    installed.wait("its pods are gone", || {
        installed.pods("rests").is_empty().then_some(())
    });
    let status = installed.json(&["status", "rests"]);
    assert_eq!(status["state"], "suspended", "{status}");
    installed.ok(&["resume", "rests"]);
    installed.until_pods("rests", 2);
    job.open();
    installed.ok(&["status", "rests", "--wait"]);
    // What a suspension stops is no failure.
    installed.all_done("rests", 4);
    installed.until_no_pods("rests");
}

#[test]
fn a_cancelled_job_has_no_pods_any_more() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "cancel");
    let job = Job::gated(&installed, "stops", 4, "max = 2");
    let run = installed.start(&["run", &job.path()]);
    installed.until_pods("stops", 2);
    job.until_started(2);
    installed.ok(&["cancel", "stops"]);
    run.ends_within(crate::harness::MINUTE).exits(3);
    installed.petctl(&["status", "stops"]).exits(3);
    installed.until_no_pods("stops");
}

/// Names of the jobs that `list` shows, with their places.
fn listed(installed: &Installed) -> Vec<(String, Option<String>)> {
    let listed = installed.json(&["list"]);
    let jobs = listed["jobs"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut names: Vec<_> = jobs
        .map(|job| (text(&job["job"]).unwrap_or_default(), text(&job["place"])))
        .collect();
    names.sort();
    names
}

#[test]
fn list_shows_jobs_of_all_places_and_delete_removes_one_with_all_that_belongs_to_it() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "list");
    let near = Job::gated(&installed, "near", 1, "max = 1");
    let far = Job::gated(&installed, "far", 1, "max = 1");
    let runs = Job::gated(&installed, "runs", 1, "max = 1");
    near.open();
    far.open();
    installed.ok(&["run", &near.path(), "--on", "local"]);
    installed.ok(&["run", &far.path()]);
    installed.ok(&["run", &runs.path(), "-d"]);
    installed.until_pods("runs", 1);
    let at = |name: &str, place: Option<&str>| (name.to_owned(), place.map(str::to_owned));
    let all = [
        at("far", Some("kube")),
        at("near", None),
        at("runs", Some("kube")),
    ];
    assert_eq!(listed(&installed), all);

    installed.ok(&["delete", "far", "--yes"]);
    assert_eq!(listed(&installed), all[1..]);
    installed.petctl(&["status", "far"]).exits(66);
    // One that runs is not deleted by accident.
    let refused = installed.petctl(&["delete", "runs", "--yes"]);
    assert_ne!(refused.code, Some(0), "{refused}");

    let dry = installed.ok(&["delete", "--all", "--on", "kube", "--dry-run"]);
    assert!(dry.stderr.contains("would delete job `runs`"), "{dry}");
    assert_eq!(listed(&installed), all[1..]);
    let deleted = installed.ok(&["delete", "--all", "--on", "kube", "--yes"]);
    assert!(deleted.stdout.contains("1 job deleted"), "{deleted}");
    assert_eq!(listed(&installed), all[1..2]);
    let left = installed.namespace.kubectl(&[
        "get",
        "jobs,pods,configmaps",
        "-l",
        "petctl.io/job",
        "-o",
        "name",
    ]);
    assert_eq!(left.as_deref(), Ok(""), "{deleted}");
    // The coordinator is there, and takes the next one.
    installed.ok(&["run", &far.path()]);
}

#[test]
fn uninstall_leaves_nothing_and_takes_the_namespace_that_setup_has_made() {
    let cluster = beside_others();
    let installed = Installed::prepared(cluster.bed, "uninstall", Storage::HostPath, "");
    // One of petctl's own, beside that of the test.
    let namespace = format!("{}-own", installed.namespace.name());
    let lines = format!("coordinator = {{ ephemeral = true }}\nnamespace = \"{namespace}\"\n");
    let text = installed.place();
    let kept = text.lines().filter(|line| {
        !["namespace", "volumes", "coordinator"]
            .iter()
            .any(|key| line.starts_with(key))
    });
    let text: String = kept.map(|line| format!("{line}\n")).collect();
    std::fs::write(
        installed.folder().join("petctl.toml"),
        format!("{text}{lines}"),
    )
    .expect("a file of the test");
    let kubectl = |words: &[&str]| cluster.bed.kubectl(&[&["-n", &namespace], words].concat());

    let made = installed.ok(&["setup", "--on", "kube", "--yes"]);
    assert!(
        made.stdout.contains(&format!("+ Namespace {namespace}")),
        "{made}"
    );
    let job = Job::new(
        &installed,
        "stays",
        "max = 2",
        "[[stage]]\nname = \"work\"\nkind = \"shards\"\nshards = { range = [0, 2] }\ncommand = [\"sleep\", \"600\"]\n",
    );
    installed.ok(&[
        "run",
        &job.path(),
        "-d",
        "--set",
        &format!(
            "place.kube.volumes=[{{ path = \"{}\", memory = \"1MiB\" }}]",
            installed.data().display()
        ),
    ]);
    installed.wait("its pods run", || {
        let pods = kubectl(&[
            "get",
            "pods",
            "-l",
            "petctl.io/job=stays",
            "--field-selector=status.phase=Running",
            "-o",
            "name",
        ]);
        (pods.ok()?.lines().count() == 2).then_some(())
    });
    let dry = installed.ok(&["uninstall", "--on", "kube", "--dry-run"]);
    for object in [
        "StatefulSet petctl-coordinator",
        "Secret petctl-token",
        "Job petctl-stays",
        "Role petctl-coordinator",
    ] {
        assert!(
            dry.stderr.contains(&format!("would remove {object}")),
            "{dry}"
        );
    }
    kubectl(&["get", "statefulset", "petctl-coordinator"]).expect("a dry run removes nothing");
    let gone = installed.ok(&["uninstall", "--on", "kube", "--yes"]);
    assert!(gone.stdout.contains("nothing of petctl is left"), "{gone}");
    assert!(
        gone.stderr
            .contains(&format!("removed Namespace {namespace}")),
        "{gone}"
    );
    let there = cluster.bed.kubectl(&["get", "namespace", &namespace]);
    assert!(
        there.is_err_and(|error| error.contains("not found")),
        "{gone}"
    );
    let again = installed.ok(&["uninstall", "--on", "kube", "--yes"]);
    assert!(
        again.stdout.contains("nothing of petctl is there"),
        "{again}"
    );
    let after = installed.petctl(&["status", "stays"]);
    assert_eq!(after.code, Some(78), "{after}");
}

#[test]
fn uninstall_leaves_a_namespace_and_what_others_have_in_it_alone() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "others");
    installed
        .namespace
        .kubectl(&["create", "configmap", "of-others", "--from-literal=a=b"])
        .expect("it is made");
    installed.ok(&["uninstall", "--on", "kube", "--yes"]);
    let left = installed.namespace.kubectl(&[
        "get",
        "all,secrets,configmaps,serviceaccounts,roles,rolebindings,pvc",
        "-l",
        "petctl.io/managed=true",
        "-o",
        "name",
    ]);
    assert_eq!(left.as_deref(), Ok(""));
    assert!(installed.namespace.get("configmap", "of-others").is_some());
    // And it can be set up again.
    installed.write_place("coordinator = { ephemeral = true }\n");
    installed.ok(&["setup", "--on", "kube", "--yes"]);
}
