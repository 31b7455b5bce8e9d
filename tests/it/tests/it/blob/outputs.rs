//! What commands write that is no plain file with a plain name, and what stands in a container that can't come home.

use petctl_test_it::{Cloud, Coordinator, Fault, Job, Matching, Ran, Stage, World};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Files, a folder in which nothing is, and links to each kind.
const SHAPED: &str = r#"mkdir -p "$PETCTL_OUTPUT/run3/frames" "$PETCTL_OUTPUT/logs"
echo one > "$PETCTL_OUTPUT/run3/a.csv"
ln -s run3 "$PETCTL_OUTPUT/latest"
ln -s "$PETCTL_OUTPUT/run3/a.csv" "$PETCTL_OUTPUT/logs/a.csv""#;

/// Fails unless a folder holds what [`SHAPED`] wrote.
const LOOK: &str = r#"set -e
test "$(readlink "$1/latest")" = run3
test "$(readlink "$1/logs/a.csv")" = ../run3/a.csv
test "$(cat "$1/latest/a.csv")" = one
test -d "$1/run3/frames""#;

#[track_caller]
fn is_shaped(folder: &Path) {
    let link = |name: &str| fs::read_link(folder.join(name)).unwrap();
    assert_eq!(link("latest"), Path::new("run3"));
    assert_eq!(link("logs/a.csv"), Path::new("../run3/a.csv"));
    assert_eq!(fs::read(folder.join("latest/a.csv")).unwrap(), b"one\n");
    assert!(folder.join("run3/frames").is_dir());
}

fn download(world: &World, cloud: &Cloud<'_>, words: &[&str]) -> Ran {
    let download = world.petctl().arg("download").args(words);
    download.args(["--endpoint", &cloud.endpoint()]).run()
}

#[test]
fn links_and_empty_folders_go_to_other_workers_and_come_home_from_a_container() {
    let world = World::new();
    let cloud = Cloud::shared(&world);
    let file = Job::new("shaped")
        .workers(2, 2, 1)
        .storage(cloud.storage(false))
        .stage(Stage::script(4, SHAPED).named("make"))
        .stage(
            Stage::script(4, LOOK)
                .named("look")
                .args(&["{output_root}/make/{key}"])
                .with("needs = [\"make\"]"),
        )
        .stage(
            Stage::once(&format!(
                "for folder in \"$1\"/make/*; do (set -- \"$folder\"; {LOOK}) || exit 1; done"
            ))
            .named("all")
            .args(&["{output_root}"])
            .with("needs = [\"look\", \"make\"]"),
        )
        .write(&world);
    let coordinator = Coordinator::start(&world, None);
    let workers = [coordinator.worker("a", 1), coordinator.worker("b", 1)];
    coordinator.run(&file).run().exits(0);
    for worker in workers {
        worker.terminate();
    }
    coordinator.terminate();
    world.finish();
}

#[test]
fn links_and_empty_folders_come_home_alike_from_both_kinds_of_store() {
    let world = World::new();
    let cloud = Cloud::shared(&world);
    let jobs = [
        Job::new("blobs").storage(cloud.storage(false)),
        Job::new("folder"),
    ];
    for (job, name) in jobs.into_iter().zip(["blobs", "folder"]) {
        let file = job.stage(Stage::script(1, SHAPED)).write(&world);
        world.run(&file).run().exits(0);
        world.petctl().args(["verify", name]).run().exits(0);
        let home = world.path(&format!("home-{name}"));
        let to = home.display().to_string();
        world
            .petctl()
            .args(["download", name, &to])
            .run()
            .exits(0)
            .says("2 links, 1 empty folder");
        is_shaped(&home.join("work/0"));
        world
            .petctl()
            .args(["download", name, &to])
            .run()
            .exits(0)
            .says("0 files fetched");
        let zip = world.path(&format!("{name}.zip"));
        let path = zip.display().to_string();
        world
            .petctl()
            .args(["download", name, "--zip", &path])
            .run()
            .exits(0);
        world.run(&file).run().exits(0).says("nothing to do");
    }
    let zips =
        ["blobs", "folder"].map(|name| fs::read(world.path(&format!("{name}.zip"))).unwrap());
    assert!(zips[0] == zips[1], "the same outputs make the same zip");
    // A folder's links are looked at.
    let link = world.output().join("work/0/latest");
    fs::remove_file(&link).unwrap();
    let verified = world.petctl().args(["verify", "folder"]).run().exits(1);
    verified.says("work/0/latest");
    world.finish();
}

#[test]
fn names_that_a_container_can_not_hold_fail_the_shard_once_and_are_all_named() {
    let world = World::new();
    let cloud = Cloud::shared(&world);
    let script = r#"echo "$PETCTL_SHARD_KEY $$ $PETCTL_ATTEMPT" >> starts
cd "$PETCTL_OUTPUT"
touch good 'a.' 'back\slash' "new
line"
mkdir 'b.' && touch 'b./c'"#;
    let file = Job::new("odd")
        .storage(cloud.storage(false))
        .stage(Stage::script(1, script).with("retries = 0"))
        .write(&world);
    world.run(&file).run().exits(1);
    assert_eq!(world.starts().len(), 1, "it is not run again");
    let report = world.ask().report("odd");
    let error = &report[0]["error"];
    assert_eq!(error["code"], "OUTPUT_BAD_NAME", "{error}");
    let message = error["message"].as_str().unwrap();
    for name in ["a. ", r#""back\\slash" "#, r#""new\nline" "#, "b./c "] {
        assert!(message.contains(name), "{name}: {message}");
    }
    assert!(!message.contains("good"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    world.finish();
}

#[test]
fn keys_that_a_container_can_not_hold_are_refused_before_the_start() {
    let world = World::new();
    let cloud = Cloud::shared(&world);
    let stage = |keys: &str| Stage::script(1, "true").shards(keys);
    let keys = r#"{ values = ["good", "a.", "b./c", "x/1-0000000000000007-0000000000000001"] }"#;
    let file = Job::new("keys")
        .storage(cloud.storage(false))
        .stage(stage(keys))
        .write(&world);
    let validated = world.petctl().args(["validate", &file]).run();
    let ran = world.run(&file).run();
    for refused in [validated, ran] {
        let refused = refused.fails_with(65, "INVALID_SHARD_KEY");
        for key in ["a.: ", "b./c: ", "x/1-0000000000000007-0000000000000001: "] {
            assert!(refused.stderr.contains(key), "{key}: {refused}");
        }
    }
    // A folder holds them.
    let file = Job::new("folders").stage(stage(keys)).write(&world);
    world.run(&file).run().exits(0);
    world.finish();
}

#[test]
fn blobs_that_can_not_come_stop_no_others_and_are_listed_at_the_end() {
    let world = World::new();
    let cloud = Cloud::shared(&world).through_proxy(1);
    let names = ["in/a", "in/b/c", "in/archived", "in/z"];
    for name in names {
        cloud.blobs().put(name, b"bytes");
    }
    // No file here has such a name, and no folder can be a file too.
    let long = format!("in/{}", "x".repeat(300));
    cloud.blobs().put(&long, b"bytes");
    cloud.blobs().put("in/a/below", b"bytes");
    cloud.blobs().archive("in/archived");
    let home = world.path("home-again");
    let to = home.display().to_string();
    let fetch = |more: &[&str]| {
        let mut words = vec![cloud.address("in"), to.clone()];
        words.extend(more.iter().map(|word| (*word).to_owned()));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        download(&world, &cloud, &words)
    };
    let ran = fetch(&[]).exits(65);
    for said in ["archived", "xxx", "a/below", "3 files fetched, 3 names not"] {
        assert!(ran.stderr.contains(said), "{said}: {ran}");
    }
    for name in ["a", "b/c", "z"] {
        assert_eq!(fs::read(home.join(name)).unwrap(), b"bytes", "{name}");
    }
    let ran = fetch(&["-o", "json"]).exits(65);
    let outcome: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(outcome["errors"].as_array().unwrap().len(), 3, "{outcome}");
    assert_eq!(
        (&outcome["whole"], &outcome["unchanged"]),
        (&false.into(), &3.into())
    );
    // What is left out by name is no fault.
    fetch(&[
        "--exclude",
        "archived",
        "--exclude",
        "x*",
        "--exclude",
        "a/below",
    ])
    .exits(0);
    // A blob that goes meanwhile may be gone the next time: that is worth another try.
    fs::remove_dir_all(&home).unwrap();
    let gone = Matching::of("GET", "/in/z");
    cloud.proxy().strike(gone, Fault::refuse(404), 1);
    let ran = fetch(&[
        "--exclude",
        "archived",
        "--exclude",
        "x*",
        "--exclude",
        "a/below",
    ]);
    ran.exits(75).says("2 files fetched, 1 name not");
    // Of a zip, all that can't come is named too, and there is none.
    let zip = world.path("all.zip").display().to_string();
    let ran = download(
        &world,
        &cloud,
        &[
            &cloud.address("in"),
            "--zip",
            &zip,
            "--exclude",
            "x*",
            "--exclude",
            "a/below",
        ],
    );
    ran.exits(65).says("archived");
    assert!(!world.path("all.zip").exists());
    world.finish();
}
