//! The commands of a laptop, for a job on pods: by its name alone.

use crate::harness::{Installed, Job, MINUTE, beside_others, missing};
use std::fs;
use std::process::Command;

#[test]
fn the_commands_of_a_laptop_find_a_job_on_pods_by_its_name() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "commands");
    let job = Job::gated(&installed, "asked", 3, "max = 1").file(
        "work.sh",
        "set -eu\necho \"begins $1\"\necho \"$1\" >> @NOTES@/started\n\
         until [ -e @NOTES@/open ] || [ -e \"@NOTES@/open.$1\" ]; do sleep 0.05; done\n\
         if [ \"$1\" = 2 ]; then echo 'it is broken' >&2; exit 7; fi\n\
         echo \"done $1\" | tee \"$2/out.txt\"\n",
    );
    installed.ok(&["run", &job.path(), "-d", "--set", "stage.work.retries=0"]);
    job.until_started(1);
    let follow = installed.start(&["logs", "asked", "0", "-f"]);
    installed.wait("the log of a shard that runs", || {
        installed
            .petctl(&["logs", "asked", "0"])
            .stdout
            .contains("begins 0")
            .then_some(())
    });
    job.open();
    let followed = follow.ends_within(MINUTE).exits(0);
    let lost = missing(&followed.stdout, &["begins 0", "done 0"]);
    assert!(lost.is_empty(), "{lost:?}: {followed}");
    installed.petctl(&["status", "asked", "--wait"]).exits(1);

    // Its pods are gone, and what they said is not.
    installed.until_no_pods("asked");
    let failed = installed.ok(&["logs", "asked", "--failed"]);
    assert!(failed.stdout.contains("it is broken"), "{failed}");
    let explained = installed.ok(&["explain", "asked", "2"]);
    let lost = missing(
        &explained.stdout,
        &["exited with 7", "it is broken", "work.sh"],
    );
    assert!(lost.is_empty(), "{lost:?}: {explained}");
    let report = installed.ok(&["report", "asked", "--failed"]);
    assert!(report.stdout.contains("exited with 7"), "{report}");
    installed.ok(&["verify", "asked"]);
    let zip = installed.folder().join("asked.zip").display().to_string();
    let fetched = installed.petctl(&["download", "asked", &zip]);
    assert_eq!(fetched.code, Some(0), "{fetched}");
    assert!(
        fs::metadata(&zip).is_ok_and(|zip| zip.len() > 0),
        "{fetched}"
    );

    // What is mended goes on from there.
    let job = job.file("work.sh", "echo mended > \"$2/out.txt\"\n");
    installed.ok(&["run", &job.path(), "--set", "stage.work.retries=0"]);
    assert_eq!(job.text("work/2/out.txt"), "mended\n");
}

#[test]
fn run_that_is_interrupted_leaves_the_job_to_its_pods_and_run_again_watches_it() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "ctrl-c");
    let job = Job::gated(&installed, "left", 4, "max = 2");
    let run = installed.start(&["run", &job.path()]);
    let pods = installed.until_pods("left", 2);
    job.until_started(2);
    let killed = Command::new("kill")
        .args(["-INT", &run.pid().to_string()])
        .status();
    assert!(killed.is_ok_and(|status| status.success()));
    let left = run.ends_within(MINUTE).exits(130);
    assert!(left.stderr.contains("left"), "{left}");
    let status = installed.json(&["status", "left"]);
    assert_eq!(status["state"], "running", "{left}{status}");
    assert_eq!(installed.pods("left"), pods, "{left}");
    let again = installed.start(&["run", &job.path()]);
    job.open();
    again.ends_within(MINUTE).exits(0);
    installed.all_done_at_once("left", 4);
}
