//! A job on pods: its code travels, its commands run as the place says, and nothing is left.

use crate::harness::{Installed, Job, beside_others};
use std::fs;

#[test]
fn a_job_runs_on_pods_with_its_code_and_runs_again_only_where_something_changed() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "code");
    let job = Job::gated(&installed, "hello", 4, "max = 2\nslots = 2");
    // What it may do with its own code.
    let job = job.file(
        "work.sh",
        "set -eu\n\
         (echo x >> work.sh) 2>/dev/null && code=written || code=kept\n\
         (: > more) 2>/dev/null && folder=written || folder=kept\n\
         echo \"$1 as $(id -u):$(id -g) in $PWD code=$code folder=$folder\" > \"$2/out.txt\"\n",
    );
    let first = installed.ok(&["run", &job.path()]);
    assert!(first.stderr.contains("sends the code: 2 files"), "{first}");
    installed.all_done_at_once("hello", 4);
    let place_of = |text: &str| {
        let folder = text.split(' ').nth(4).map(str::to_owned);
        folder.expect("it says where")
    };
    let said = job.text("work/0/out.txt");
    let folder = place_of(&said);
    let digest = folder.strip_prefix("/petctl/code/");
    assert!(
        digest.is_some_and(
            |digest| digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit())
        ),
        "{said}"
    );
    for key in 0..4 {
        assert_eq!(
            job.text(&format!("work/{key}/out.txt")),
            format!("{key} as 65532:65532 in {folder} code=kept folder=kept\n")
        );
    }
    installed.until_no_pods("hello");

    let again = installed.ok(&["run", &job.path()]);
    assert!(!again.stderr.contains("sends the code"), "{again}");
    installed.all_done_at_once("hello", 4);
    assert!(
        again.stderr.contains("nothing to do") || again.stdout.contains("nothing to do"),
        "{again}"
    );
    assert!(installed.pods("hello").is_empty(), "nothing was to be done");

    // What the commands are given has changed: all run again, with the new code.
    let job = job.file(
        "work.sh",
        "set -eu\necho \"$1 anew 0 in $PWD\" > \"$2/out.txt\"\n",
    );
    let changed = installed.ok(&["run", &job.path()]);
    assert!(changed.stderr.contains("sends the code"), "{changed}");
    installed.all_done("hello", 4);
    let said = job.text("work/3/out.txt");
    assert!(said.starts_with("3 anew"), "{said}");
    assert_ne!(place_of(&said), folder);
    installed.until_no_pods("hello");

    // Code that was there once is not sent again.
    let rerun = installed.ok(&["run", &job.path(), "--rerun", "2"]);
    assert!(!rerun.stderr.contains("sends the code"), "{rerun}");
    installed.all_done("hello", 4);
}

#[test]
fn what_a_dry_run_says_makes_no_pod() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "dry");
    let job = Job::gated(&installed, "dry", 3, "max = 2");
    let dry = installed.ok(&["run", &job.path(), "--dry-run"]);
    assert!(
        dry.stdout.contains('3') || dry.stderr.contains('3'),
        "{dry}"
    );
    assert!(!dry.stderr.contains("sends the code"), "{dry}");
    assert_eq!(installed.objects_of_jobs(), "");
    assert!(
        fs::read_dir(job.output()).is_err(),
        "a dry run made the output"
    );
}

#[test]
fn stages_on_this_machine_and_on_pods_are_parts_of_one_job() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "beside");
    let stages = "[[stage]]\nname = \"before\"\nkind = \"once\"\nrun_mode = \"local\"\n\
         command = [\"sh\", \"-c\", \"echo before on $(hostname) in $PWD > {output}/out.txt\"]\n\n\
         [[stage]]\nname = \"work\"\nkind = \"shards\"\nneeds = [\"before\"]\nshards = { range = [0, 3] }\n\
         command = [\"sh\", \"-c\", \"cat {output_root}/before/once/out.txt > {output}/out.txt; echo {key} on $(hostname) in $PWD >> {output}/out.txt\"]\n\n\
         [[stage]]\nname = \"after\"\nkind = \"once\"\nneeds = [\"work\"]\nrun_mode = \"local\"\n\
         command = [\"sh\", \"-c\", \"cat {output_root}/work/*/out.txt > {output}/all.txt\"]\n";
    let job = Job::new(&installed, "beside", "max = 2", stages);
    installed.ok(&["run", &job.path()]);
    installed.all_done_at_once("beside", 5);
    let here = fs::read_to_string("/proc/sys/kernel/hostname").expect("this machine has a name");
    let before = format!("before on {} in {}\n", here.trim(), job.folder().display());
    let before_text = job.text("before/once/out.txt");
    assert_eq!(before_text, before);
    let all = job.text("after/once/all.txt");
    for key in 0..3 {
        let line = format!("{key} on petctl-beside-");
        assert!(all.contains(&line), "{all}");
    }
    assert_eq!(all.matches(&before).count(), 3, "{all}");
    assert!(all.contains("in /petctl/code/"), "{all}");
}
