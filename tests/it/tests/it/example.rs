//! The example that the README begins with.

use petctl_test_it::{Azurite, Cloud, World, petctl, verify_commits, verify_outputs};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use walkdir::WalkDir;

fn examples() -> PathBuf {
    Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../../examples")
}

/// Copies an example, without the results of somebody's own run.
fn copy(name: &str, target: &Path) {
    let source = examples().join(name);
    for entry in WalkDir::new(&source).into_iter().map(Result::unwrap) {
        let below = entry.path().strip_prefix(&source).unwrap();
        let own = ["out", "blobs", "__pycache__"];
        if own.iter().any(|folder| below.starts_with(folder)) {
            continue;
        }
        if entry.file_type().is_dir() {
            fs::create_dir_all(target.join(below)).unwrap();
        } else {
            fs::copy(entry.path(), target.join(below)).unwrap();
        }
    }
}

/// Names of the files in a zip.
fn in_zip(file: &Path) -> Vec<String> {
    let list = "import sys, zipfile; print(*zipfile.ZipFile(sys.argv[1]).namelist(), sep='\\n')";
    let ran = Command::new("python3")
        .args(["-c", list])
        .arg(file)
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let text = String::from_utf8(ran.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_resim_example_ends_with_a_result_for_each_drive_and_a_summary() {
    let world = World::new();
    let target = world.job_folder();
    copy("resim", &target);
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
        .filter(|event| event.text_of("stage") == "resim")
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

#[test]
fn the_resim_example_runs_from_azurite_by_one_command_and_a_second_run_has_nothing_to_do() {
    let world = World::new();
    let folder = world.job_folder().join("resim");
    copy("resim", &folder);
    let helper = "petctl_serve.py";
    fs::copy(examples().join(helper), world.job_folder().join(helper)).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    for last in ["17 of 17 shards done", "nothing to do"] {
        let mut command = Command::new(folder.join("from-azurite"));
        world.prepare(&mut command);
        let ran = command
            .env("PETCTL", petctl())
            .env("PORT", &port)
            .output()
            .unwrap();
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&ran.stdout),
            String::from_utf8_lossy(&ran.stderr)
        );
        assert!(ran.status.success(), "{said}");
        assert!(said.contains(last), "{said}");
    }
    let names = in_zip(&folder.join("resim.zip"));
    let of = |ending: &str| names.iter().filter(|name| name.ends_with(ending)).count();
    assert_eq!(
        (of("speeds.png"), of("summary.json"), names.len()),
        (8, 1, 9),
        "{names:?}"
    );
    world.finish();
}

#[test]
fn the_pipeline_example_ends_with_a_summary_and_one_zip() {
    let world = World::new();
    copy("pipeline", &world.job_folder());
    world
        .run("job.toml")
        .args(["--date", "2026-01-31"])
        .run()
        .exits(0)
        .says("55 of 55 shards done");
    let zip = world.path("pipeline.zip");
    let download = world
        .petctl()
        .args(["download", "pipeline", "--zip"])
        .arg(&zip);
    download
        .args(["--include", "*.png", "--include", "results_summary.json"])
        .run()
        .exits(0);
    let names = in_zip(&zip);
    let of = |ending: &str| names.iter().filter(|name| name.ends_with(ending)).count();
    assert_eq!(
        (of("image.png"), of("mask.png"), of("results_summary.json")),
        (17, 17, 1),
        "{names:?}"
    );
    assert_eq!(of("cover-delta.png"), 1, "{names:?}");
    // Another greenness downloads nothing again.
    let again = [
        "--date",
        "2026-01-31",
        "--set",
        "stage.process.params.greenness=70",
        "--why-rerun",
    ];
    let ran = world.run("job.toml").args(again).run().exits(0);
    // With what was skipped with its download.
    ran.says("20 of 55 shards reused");
    world.finish();
}

#[test]
fn the_datagen_example_is_checked_uploaded_and_generated() {
    let world = World::new();
    let cloud = Cloud::on(Azurite::shared(), &world);
    copy("datagen", &world.job_folder());
    let upload = || {
        let upload = world
            .petctl()
            .args(["upload", "dataset", &cloud.address("dataset")]);
        let upload = upload.args(["--layout", "datagen", "--script", "generate.py"]);
        upload
            .args(["--asset-dir", "roads", "--endpoint", &cloud.endpoint()])
            .run()
    };
    let run = world.job_folder().join("dataset/sim_config/town.jsonc");
    let good = fs::read_to_string(&run).unwrap();
    fs::write(&run, good.replace("8.5", "-1")).unwrap();
    let collector = world
        .job_folder()
        .join("dataset/datacollector_config.jsonc");
    let sensors = fs::read_to_string(&collector).unwrap();
    fs::write(&collector, sensors.replace("\"camera\"", "\"radio\"")).unwrap();
    let ran = upload();
    assert_ne!(ran.exit, Some(0), "{ran}");
    assert!(
        ran.stderr.contains("town.jsonc") && ran.stderr.contains("radio"),
        "both at once: {ran}"
    );
    assert!(
        cloud.blobs().list("dataset").is_empty(),
        "not a byte is sent"
    );
    fs::write(&run, good).unwrap();
    fs::write(&collector, sensors).unwrap();
    upload().exits(0);
    let account = cloud.azurite().account();
    let set = [
        format!("storage.input={}", cloud.address("dataset")),
        format!("storage.output={}", cloud.address("generated")),
        format!("storage.endpoint={}", cloud.endpoint()),
        format!("storage.account={account}"),
    ];
    let run = set
        .iter()
        .fold(world.run("job.toml"), |run, set| run.args(["--set", set]));
    run.run().exits(0).says("3 of 3 shards done");
    let images = cloud.blobs().list("generated/generate/");
    let images = images.keys().filter(|name| name.ends_with(".pgm")).count();
    assert_eq!(images, 30);
    world.finish();
}
