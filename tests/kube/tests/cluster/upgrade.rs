//! A newer petctl over the release before, in the middle of jobs, and the way back.

use crate::harness::{
    Installed, Job, MINUTE, Storage, beside_others, checkout, missing, petctl, petctl_before,
};
use std::fs;

/// A place with the release before.
fn of_before(name: &str) -> Installed {
    let cluster = beside_others();
    let installed = Installed::prepared(cluster.bed, name, Storage::HostPath, "");
    installed.use_petctl(petctl_before());
    installed.ok(&["setup", "--on", "kube", "--yes"]);
    installed
}

fn annotate(installed: &Installed, annotations: &[&str]) {
    let all = [
        "annotate",
        "--overwrite",
        "statefulset",
        "petctl-coordinator",
    ];
    let annotated = installed
        .namespace
        .kubectl(&[&all[..], annotations].concat());
    annotated.expect("it is there");
}

#[test]
fn a_newer_petctl_is_set_up_in_the_middle_of_a_job_and_its_pods_go_on() {
    let installed = of_before("upgrade");
    let job = Job::gated(&installed, "in-hand", 8, "max = 2");
    installed.ok(&["run", &job.path(), "-d"]);
    let pods = installed.until_pods("in-hand", 2);
    job.until_started(2);

    // A launcher is mostly the first to be of the new release.
    installed.use_petctl(petctl());
    assert_eq!(installed.json(&["status", "in-hand"])["state"], "running");
    let ran = installed.ok(&["setup", "--on", "kube", "--yes"]);
    assert_eq!(
        missing(&ran.stderr, &["is installed there; this is"]),
        [""; 0],
        "{ran}"
    );
    installed.until_members("in-hand", 2);
    let begun = job.noted("started");
    job.open_shard(begun[0].split(' ').next().expect("a key"));
    job.until_started(3);
    // As one of another release may have written it, who has other words for the same pods.
    let words = [
        "petctl.io/template=0123456789abcdef",
        "petctl.io/kept-by=another",
    ];
    let annotate = ["annotate", "--overwrite", "job", "petctl-in-hand"];
    let annotated = installed
        .namespace
        .kubectl(&[&annotate[..], &words].concat());
    annotated.expect("it is there");
    installed.wait("the new coordinator keeps its Job", || {
        let job = installed.namespace.get("job", "petctl-in-hand")?;
        let annotations = &job["metadata"]["annotations"];
        let own = annotations["petctl.io/kept-by"] != "another";
        (own && annotations["petctl.io/template"] != "0123456789abcdef").then_some(())
    });
    assert_eq!(installed.pods("in-hand"), pods, "nothing restarts");
    // More of the same pods, with a worker of the release before.
    installed.ok(&["scale", "in-hand", "--workers", "3"]);
    let more = installed.until_pods("in-hand", 3);
    assert_eq!(more[..2], pods, "those of before stay");
    installed.until_members("in-hand", 3);
    job.open();
    installed.ok(&["status", "in-hand", "--wait"]);
    installed.all_done_at_once("in-hand", 8);
    let begun = job.noted("started");
    let events = installed.ok(&["events", "in-hand"]);
    assert_eq!(
        begun.len(),
        8,
        "a shard was begun twice: {begun:?}\n{events}"
    );
    installed.until_no_pods("in-hand");

    // Somebody has not upgraded yet: launcher and workers are of the release before.
    installed.use_petctl(petctl_before());
    let later = Job::gated(&installed, "later", 2, "max = 1");
    later.open();
    installed.ok(&["run", &later.path()]);
    installed.all_done_at_once("later", 2);
}

#[test]
fn a_newer_petctl_is_not_set_back_unless_the_state_can_be_read_and_the_way_back_is_in_the_manual() {
    let installed = of_before("back");
    let finished = |name: &str| {
        let job = Job::gated(&installed, name, 2, "max = 1");
        job.open();
        installed.ok(&["run", &job.path()]);
        installed.all_done_at_once(name, 2);
    };
    finished("then");
    installed.use_petctl(petctl());
    installed.ok(&["setup", "--on", "kube", "--yes"]);
    finished("since");

    // As if one had been here that is yet to come.
    let setup = ["setup", "--on", "kube", "--yes"];
    let set_back = [&setup[..], &["--downgrade"]].concat();
    annotate(&installed, &["petctl.io/version=99.1.0 (abc)"]);
    let told = ["petctl 99.1.0 (abc) is installed there", "--downgrade"];
    installed.petctl(&setup).refuses(78, "CLUSTER_NEWER", &told);
    annotate(&installed, &["petctl.io/state-format=99"]);
    let told = ["has format 99", "docs/kubernetes.md has the steps"];
    for command in [&setup[..], &set_back] {
        installed
            .petctl(command)
            .refuses(78, "CLUSTER_NEWER", &told);
    }
    let set = installed.namespace.get("statefulset", "petctl-coordinator");
    let set = set.expect("it is left alone");
    assert_eq!(
        set["metadata"]["annotations"]["petctl.io/version"],
        "99.1.0 (abc)"
    );

    // The steps of the manual.
    let page = fs::read_to_string(checkout().join("docs/kubernetes.md"));
    let page = page.expect("a page");
    let (_, page) = page.split_once("\n## The way back\n").expect("its steps");
    let (page, _) = page.split_once("\n## ").expect("its end");
    let (_, yaml) = page
        .split_once("```yaml\n")
        .expect("the pod that puts it back");
    let (yaml, _) = yaml.split_once("```").expect("its end");
    let pod = installed.folder().join("back.yaml");
    fs::write(
        &pod,
        yaml.replace("debian:12-slim", "petctl.local/debian:1"),
    )
    .expect("a file");
    let pod = pod.display().to_string();
    let steps = page
        .lines()
        .filter_map(|line| line.strip_prefix("$ kubectl -n ml "));
    let steps: Vec<&str> = steps.collect();
    assert_eq!(steps.len(), 5, "{steps:?}");
    for step in steps {
        let step = step.replace("back.yaml", &pod).replace('\'', "");
        let words: Vec<&str> = step.split(' ').collect();
        let done = installed.namespace.kubectl(&words);
        done.unwrap_or_else(|error| panic!("{step}: {error}\n{}", installed.state()));
    }
    installed.use_petctl(petctl_before());
    installed.ok(&setup);
    assert_eq!(installed.json(&["status", "then"])["done"], 2);
    let since = installed.start(&["status", "since"]).ends_within(MINUTE);
    since.refuses(66, "NO_SUCH_JOB", &["since"]);
}
