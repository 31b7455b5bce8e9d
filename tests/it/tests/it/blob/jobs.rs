//! From container to container.

use super::{copies, fill, verify};
use petctl_test_it::{Cloud, Coordinator, Job, Stage, World};
use std::collections::BTreeSet;
use std::process::Command;

#[test]
fn a_job_from_a_container_to_a_container_commits_every_shard_once() {
    let world = World::new();
    let cloud = Cloud::shared(&world);
    let keys = fill(&cloud, 6, 200_000);
    let file = Job::new("whole")
        .workers(1, 2, 2)
        .storage(cloud.storage(true))
        .stage(copies())
        .write(&world);
    world.run(&file).run().exits(0);
    verify(&world.ask(), "whole", &cloud.blobs(), "work", &keys);
    let starts: Vec<String> = world.starts().into_iter().map(|start| start.key).collect();
    assert_eq!(starts.len(), keys.len(), "{starts:?}");
    let logs = cloud.blobs().list("out/.petctl/logs/work/");
    assert_eq!(logs.len(), keys.len(), "a log of each attempt: {logs:?}");
    // Again, and nothing is left to do.
    world.run(&file).run().exits(0).says("nothing to do");
    assert_eq!(world.starts().len(), keys.len());
    world.finish();
}

#[test]
fn a_blob_that_somebody_removed_is_made_again() {
    let world = World::new();
    let cloud = Cloud::shared(&world);
    let keys = fill(&cloud, 6, 2_000);
    let file = Job::new("holes")
        .workers(1, 2, 2)
        .storage(cloud.storage(true))
        .stage(copies())
        .write(&world);
    world.run(&file).run().exits(0);
    let blobs = cloud.blobs().list("out/work/");
    let of = |key: &String, end: &str| {
        let mut names = blobs.keys();
        let is_it =
            |name: &&String| name.starts_with(&format!("out/work/{key}/")) && name.ends_with(end);
        names.find(is_it).expect("it is committed").clone()
    };
    cloud.blobs().delete(&of(&keys[1], "/manifest.json"));
    cloud.blobs().delete(&of(&keys[4], "/copy"));
    let before = world.starts().len();
    world
        .run(&file)
        .run()
        .exits(0)
        .says("4 of 6 shards reused; 2 run again: 2 whose output is gone");
    let again: BTreeSet<String> = world.starts()[before..]
        .iter()
        .map(|start| start.key.clone())
        .collect();
    assert_eq!(again, BTreeSet::from([keys[1].clone(), keys[4].clone()]));
    let verified = world.petctl().args(["verify", "holes"]).run().exits(0);
    verified.says("holes: 12 files in 6 shards (11.7 KiB) are as they were committed");
    world.run(&file).run().exits(0).says("nothing to do");
    world.finish();
}

#[test]
fn stages_that_need_one_another_find_their_outputs_on_any_worker() {
    let world = World::new();
    let cloud = Cloud::shared(&world);
    let keys = fill(&cloud, 8, 50_000);
    let second = r#"test -s "$1" && wc -c < "$1" > "$PETCTL_OUTPUT/size"
printf '{"verdict": "pass", "numbers": {"size": %s}}' "$(cat "$PETCTL_OUTPUT/size")" > "$PETCTL_OUTPUT/result.json""#;
    let last = r#"cat "$1"/second/*/size | sort | uniq -c > "$PETCTL_OUTPUT/sizes""#;
    let file = Job::new("chain")
        .workers(2, 2, 1)
        .storage(cloud.storage(true))
        .stage(copies().named("first"))
        .stage(
            Stage::script(1, second)
                .named("second")
                .shards("{ glob = \"**\" }")
                .args(&["{output_root}/first/{key}/copy"])
                .with("needs = [\"first\"]"),
        )
        .stage(
            Stage::once(last)
                .named("last")
                .args(&["{output_root}"])
                .with("needs = [\"second\"]"),
        )
        .write(&world);
    let coordinator = Coordinator::start(&world, None);
    let workers = [coordinator.worker("a", 1), coordinator.worker("b", 1)];
    coordinator.run(&file).run().exits(0);
    let ask = coordinator.ask();
    let ran_by: BTreeSet<String> = ask
        .report("chain")
        .iter()
        .filter_map(|row| row["worker"].as_str().map(str::to_owned))
        .collect();
    for row in ask
        .report("chain")
        .iter()
        .filter(|row| row["stage"] == "second")
    {
        assert_eq!(row["numbers"]["size"], 50_000.0, "{row}");
    }
    assert!(ran_by.len() <= 2, "{ran_by:?}");
    let sizes: Vec<String> = cloud
        .blobs()
        .list("out/last/")
        .into_keys()
        .filter(|name| name.ends_with("/sizes"))
        .collect();
    let sizes = cloud.blobs().get(&sizes[0]).unwrap();
    let sizes = String::from_utf8(sizes).unwrap();
    assert_eq!(sizes.split_whitespace().collect::<Vec<_>>(), ["8", "50000"]);
    for stage in ["first", "second"] {
        let outputs = cloud.blobs().list(&format!("out/{stage}/"));
        let commits = outputs
            .keys()
            .filter(|name| name.ends_with("/manifest.json"));
        assert_eq!(commits.count(), keys.len(), "{outputs:?}");
    }
    for worker in workers {
        worker.terminate();
    }
    coordinator.terminate();
    world.finish();
}

#[test]
fn outputs_are_taken_home_as_one_zip_with_the_same_bytes_each_time() {
    let world = World::new();
    let cloud = Cloud::shared(&world);
    let keys = fill(&cloud, 3, 9_000);
    let file = Job::new("home")
        .storage(cloud.storage(true))
        .stage(copies())
        .write(&world);
    world.run(&file).run().exits(0);
    let zip = |name: &str| {
        let path = world.path(name);
        let download = world
            .petctl()
            .args(["download", "home", "--zip"])
            .arg(&path);
        (download, path)
    };
    let ((first, one), (second, two)) = (zip("one.zip"), zip("two.zip"));
    first.run().exits(0);
    second.run().exits(0);
    let bytes = std::fs::read(&one).unwrap();
    assert!(bytes == std::fs::read(&two).unwrap(), "the same bytes");
    let listed = Command::new("python3")
        .args(["-m", "zipfile", "-l"])
        .arg(&one)
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for key in &keys {
        assert!(listed.contains(&format!("{key}/copy")), "{listed}");
        assert!(listed.contains(&format!("{key}/more/text")), "{listed}");
    }
    // A file that is there is not written over.
    let (again, path) = zip("one.zip");
    let ran = again.run();
    assert_ne!(ran.exit, Some(0), "{ran}");
    assert!(ran.stderr.contains(&path.display().to_string()), "{ran}");
    // Only what is wanted.
    let (some, path) = zip("some.zip");
    some.args(["--include", "text"]).run().exits(0);
    let listed = Command::new("python3")
        .args(["-m", "zipfile", "-l"])
        .arg(&path)
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(
        listed.contains("more/text") && !listed.contains("copy"),
        "{listed}"
    );
    world.finish();
}

#[test]
fn a_local_input_goes_to_a_container_with_its_date() {
    let world = World::new();
    let cloud = Cloud::shared(&world);
    let input = world.job_folder().join("in");
    std::fs::create_dir_all(&input).unwrap();
    std::fs::write(input.join("only"), "here").unwrap();
    let storage = format!("input = \"in\"\ndated = true\n{}", cloud.storage(false));
    let file = Job::new("dated")
        .storage(storage)
        .stage(copies())
        .write(&world);
    world
        .run(&file)
        .args(["--date", "2026-01-31"])
        .run()
        .exits(0);
    let blobs = cloud.blobs().list("out_2026-01-31/work/only/");
    assert!(
        blobs.keys().any(|name| name.ends_with("/copy")),
        "{blobs:?}"
    );
    world.finish();
}
