//! Folders of a container as inputs, such as ROS 2 bags.

use petctl_test_it::{Blobs, Cloud, Job, Stage, World};
use std::fs;

/// Lists what its input folder holds.
const LISTS: &str = r#"echo "$PETCTL_SHARD_KEY $$ $PETCTL_ATTEMPT" >> starts
cd "$1" && find . -type f | sort > "$PETCTL_OUTPUT/names""#;

/// What the committed shard lists.
#[track_caller]
fn names(blobs: &Blobs, key: &str) -> String {
    let prefix = format!("out/list/{key}/");
    let outputs = blobs.list(&prefix);
    let name = outputs
        .keys()
        .find(|name| name.ends_with("/names"))
        .unwrap_or_else(|| panic!("{key} is not committed: {outputs:?}"));
    String::from_utf8(blobs.get(name).unwrap()).unwrap()
}

#[test]
fn a_glob_of_folders_makes_a_shard_of_each_bag() {
    let world = World::new();
    let cloud = Cloud::shared(&world);
    let blobs = cloud.blobs();
    let bags = [
        "bags/a/metadata.yaml",
        "bags/a/a_0.db3",
        "bags/a/deep/x",
        "bags/b/metadata.yaml",
    ];
    cloud.fill(&bags, 1_000);
    cloud.fill(&["bags/readme.txt", "other/c/metadata.yaml"], 10);
    blobs.mark_folder("in/bags/empty");
    let file = Job::new("bags")
        .workers(1, 2, 2)
        .storage(cloud.storage(true))
        .stage(
            Stage::script(1, LISTS)
                .named("list")
                .shards("{ glob = \"bags/*/\" }")
                .args(&["{input}"]),
        )
        .write(&world);
    world.run(&file).run().exits(0);
    let of_a = "./a_0.db3\n./deep/x\n./metadata.yaml\n";
    assert_eq!(names(&blobs, "bags/a"), of_a);
    assert_eq!(names(&blobs, "bags/b"), "./metadata.yaml\n");
    assert_eq!(names(&blobs, "bags/empty"), "");
    world.run(&file).run().exits(0).says("nothing to do");
    // Another version, one more, and one less of what is below a folder are a change of its shard.
    cloud.fill(&["bags/a/a_0.db3"], 1_001);
    blobs.put("in/bags/empty/x", b"1");
    world
        .run(&file)
        .run()
        .exits(0)
        .says("1 of 3 shards reused; 2 run again: 2 input changed");
    assert_eq!(names(&blobs, "bags/empty"), "./x\n");
    blobs.delete("in/bags/a/deep/x");
    world
        .run(&file)
        .run()
        .exits(0)
        .says("2 of 3 shards reused; 1 runs again: 1 input changed");
    assert_eq!(names(&blobs, "bags/a"), "./a_0.db3\n./metadata.yaml\n");
    world.finish();
}

#[test]
fn a_manifest_may_name_folders_of_a_container() {
    let world = World::new();
    let cloud = Cloud::shared(&world);
    let blobs = cloud.blobs();
    cloud.fill(&["bags/a/metadata.yaml", "bags/a/a_0.db3", "map"], 100);
    let lines = |more: &str| {
        let line = "{\"key\": \"one\", \"inputs\": [\"bags/a\", \"map\"]}\n";
        fs::write(
            world.job_folder().join("shards.jsonl"),
            format!("{line}{more}"),
        )
        .unwrap();
    };
    lines("{\"key\": \"two\", \"inputs\": [\"bags/b\"]}\n");
    let file = Job::new("named")
        .workers(1, 2, 2)
        .storage(cloud.storage(true))
        .stage(
            Stage::script(1, LISTS)
                .named("list")
                .shards("{ manifest = \"shards.jsonl\" }")
                .args(&["{input}"]),
        )
        .write(&world);
    world
        .run(&file)
        .run()
        .exits(65)
        .says("bags/b (of shard two)");
    lines("");
    world.run(&file).run().exits(0);
    assert_eq!(names(&blobs, "one"), "./a_0.db3\n./metadata.yaml\n");
    world.run(&file).run().exits(0).says("nothing to do");
    cloud.fill(&["bags/a/a_0.db3"], 101);
    world
        .run(&file)
        .run()
        .exits(0)
        .says("nothing is reused; 1 shard runs: 1 input changed");
    world.finish();
}
