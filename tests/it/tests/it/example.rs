//! The example that the README begins with.

use petctl_test_it::{World, verify_commits, verify_outputs};
use std::fs;
use std::path::Path;
use walkdir::WalkDir;

#[test]
fn the_resim_example_ends_with_a_result_for_each_drive_and_a_summary() {
    let world = World::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/resim");
    let target = world.job_folder();
    for entry in WalkDir::new(&source).into_iter().map(Result::unwrap) {
        let below = entry.path().strip_prefix(&source).unwrap();
        // Results of somebody's own run are none of the example.
        if below.starts_with("out") || below.starts_with("__pycache__") {
            continue;
        }
        if entry.file_type().is_dir() {
            fs::create_dir_all(target.join(below)).unwrap();
        } else {
            fs::copy(entry.path(), target.join(below)).unwrap();
        }
    }
    let mut drives: Vec<String> = fs::read_dir(target.join("drives"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".xml"))
        .collect();
    drives.sort();
    assert_eq!(drives.len(), 8, "{drives:?}");

    world
        .petctl()
        .arg("validate")
        .arg(target.join("job.toml"))
        .run()
        .exits(0);
    let ran = world.run("job.toml").run().exits(0);
    let ran = ran.says("resim succeeded: 9 of 9 shards done");
    assert!(
        drives
            .iter()
            .all(|drive| ran.stdout.contains(drive.as_str())),
        "{ran}"
    );
    let output = target.join("out");
    let found = verify_outputs(&output, "resim", &drives);
    let events: Vec<_> = world
        .ask()
        .events("resim")
        .into_iter()
        .filter(|event| event.number_of("stage") == 0)
        .collect();
    verify_commits(&events, &found, &drives);
    for drive in &drives {
        let folder = output.join("resim").join(drive);
        let result: serde_json::Value =
            serde_json::from_slice(&fs::read(folder.join("result.json")).unwrap()).unwrap();
        assert!(
            ["pass", "fail", "skipped"].contains(&result["verdict"].as_str().unwrap()),
            "{drive}: {result}"
        );
    }
    let summaries: Vec<_> = WalkDir::new(output.join("summary"))
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_name() == "summary.json")
        .collect();
    assert_eq!(summaries.len(), 1, "one summary.json");
    let summary: serde_json::Value =
        serde_json::from_slice(&fs::read(summaries[0].path()).unwrap()).unwrap();
    assert!(summary.is_object(), "{summary}");
    world.finish();
}
