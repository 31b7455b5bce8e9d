//! `petctl scale` on pods.

use crate::harness::{Installed, Job, MINUTE, Pod, beside_others};

#[test]
fn pods_follow_the_scale_up_and_down_and_no_attempt_is_lost() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "scale");
    let job = Job::gated(&installed, "scale", 12, "min = 1\nmax = 4\nwanted = 1");
    let run = installed.start(&["run", &job.path()]);
    let first = installed.until_pods("scale", 1);
    job.until_started(1);
    installed.ok(&["scale", "scale", "--workers", "4"]);
    let four = installed.until_pods("scale", 4);
    assert_eq!(four[0], first[0], "the one that was there goes on");
    job.until_started(4);
    let indexes = |pods: &[Pod]| pods.iter().map(|pod| pod.index).collect::<Vec<_>>();
    assert_eq!(indexes(&four), [0, 1, 2, 3].map(Some));

    // Down: what leaves ends what it has begun, and is not asked to begin anything more.
    let dry = installed.ok(&["scale", "scale", "--workers", "2", "--dry-run"]);
    assert_eq!(installed.until_pods("scale", 4), four, "{dry}");
    installed.ok(&["scale", "scale", "--workers", "2"]);
    assert_eq!(
        installed.pods("scale"),
        four,
        "all four have something in hand"
    );
    let begun = job.noted("started");
    assert_eq!(begun.len(), 4, "{begun:?}");
    for line in &begun {
        let key = line.split(' ').next().expect("a key");
        job.open_shard(key);
    }
    let two = installed.until_pods("scale", 2);
    assert_eq!(
        two,
        four[..2],
        "the highest indexes go, the others stay as they are"
    );
    job.open();
    run.ends_within(MINUTE).exits(0);
    installed.all_done_at_once("scale", 12);
    let begun = job.noted("started");
    assert_eq!(begun.len(), 12, "a shard was begun twice: {begun:?}");
    let left = |line: &&String| four[2..].iter().any(|pod| line.ends_with(&pod.host));
    assert_eq!(begun.iter().filter(left).count(), 2, "{begun:?}");
    let status = installed.json(&["status", "scale"]);
    assert_eq!(status["stages"][0]["retries"], 0, "{status}");
    installed.until_no_pods("scale");
}

#[test]
fn a_job_gets_no_more_pods_than_find_something_to_do() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "useful");
    let job = Job::gated(&installed, "few", 2, "min = 1\nmax = 5");
    installed.ok(&["run", &job.path(), "-d"]);
    installed.until_pods("few", 2);
    job.until_started(2);
    assert_eq!(installed.pods("few").len(), 2);
    // A worker drained by hand makes room for another.
    let pods = installed.pods("few");
    job.open_shard(&key_of(&job, &pods[1]));
    installed.ok(&["drain", "few", &pods[1].name]);
    job.open();
    installed.ok(&["status", "few", "--wait"]);
    installed.all_done_at_once("few", 2);
}

fn key_of(job: &Job<'_>, pod: &Pod) -> String {
    let lines = job.noted("started");
    let line = lines.iter().find(|line| line.ends_with(&pod.host));
    let key = line.and_then(|line| line.split(' ').next());
    key.unwrap_or_else(|| panic!("{pod:?} has begun none: {lines:?}"))
        .to_owned()
}
