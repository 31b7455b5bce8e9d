//! Where the secrets of a run are not.

use super::fill;
use petctl_test_it::{Cloud, Job, Sas, Stage, World, signature};
use std::collections::BTreeSet;
use std::fs;
use walkdir::WalkDir;

#[test]
fn no_secret_is_left_anywhere_after_a_full_run() {
    let world = World::new();
    let cloud = Cloud::shared(&world);
    let sas = cloud.azurite().sas(&Sas::default());
    let secrets = [cloud.azurite().key().to_owned(), signature(&sas).to_owned()];
    let keys = fill(&cloud, 4, 20_000);
    // Each command writes down all that it knows of its surroundings.
    let nosy = "env > \"$PETCTL_OUTPUT/env\"\ncat /proc/$PPID/cmdline /proc/self/cmdline > \"$PETCTL_OUTPUT/argv\"\n\
                env\nsleep 0.2";
    let stage = Stage::script(1, nosy)
        .shards("{ glob = \"**\" }")
        .args(&["{input}"]);
    let mut argvs = BTreeSet::new();
    for (name, line) in [("bykey", ""), ("bysas", "sas_token = \"env:IT_OWN_SAS\"\n")] {
        if !line.is_empty() {
            // A job that does not name the variable hands it to its commands like any other.
            world.set_env("IT_OWN_SAS", &sas);
        }
        let storage = format!(
            "input = {:?}\noutput = {:?}\nendpoint = {:?}\n{line}",
            cloud.address("in"),
            cloud.address(name),
            cloud.endpoint()
        );
        let file = Job::new(name)
            .workers(1, 2, 1)
            .storage(storage)
            .stage(stage.clone())
            .write(&world);
        let mut run = world.run(&file).spawn();
        while run.runs() {
            for process in world.processes() {
                argvs.insert(process.command);
            }
        }
        run.wait().exits(0);
        for command in ["status", "report", "events", "explain"] {
            world.petctl().args([command, name]).run();
            world.petctl().args([command, name, "-o", "json"]).run();
        }
        world.petctl().args(["logs", name]).run();
    }
    let upload = ["upload", "bykey.toml"];
    let up = cloud.address("up/");
    let endpoint = cloud.endpoint();
    let access = ["--endpoint", &endpoint, "--sas-token", "env:IT_OWN_SAS"];
    world
        .petctl()
        .args(upload)
        .arg(&up)
        .args(access)
        .run()
        .exits(0);
    world
        .petctl()
        .args(["storage", "ls", &up])
        .args(access)
        .run()
        .exits(0);
    // A failure says more than a success.
    let missing = ["storage", "cat", &cloud.address("not/there")].map(str::to_owned);
    let ran = world.petctl().args(missing).args(access).run();
    assert_ne!(ran.exit, Some(0), "{ran}");

    let shows = |what: &str, bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let plain = text
            .replace("%2B", "+")
            .replace("%2F", "/")
            .replace("%3D", "=");
        for secret in &secrets {
            let bare = secret
                .replace("%2B", "+")
                .replace("%2F", "/")
                .replace("%3D", "=");
            assert!(
                !text.contains(secret.as_str()) && !plain.contains(&bare),
                "{what} holds a secret"
            );
        }
    };
    assert!(
        argvs.iter().any(|argv| argv.contains("petctl worker")),
        "{argvs:?}"
    );
    for argv in &argvs {
        shows(argv, argv.as_bytes());
    }
    let mut files = 0;
    for entry in WalkDir::new(world.path("")).into_iter().flatten() {
        if entry.file_type().is_file() {
            files += 1;
            shows(
                &entry.path().display().to_string(),
                &fs::read(entry.path()).unwrap(),
            );
        }
    }
    assert!(files > 20, "{files} files were looked at");
    let blobs = cloud.blobs();
    for name in blobs.list("").keys() {
        shows(name, &blobs.get(name).unwrap());
    }
    for name in ["bykey", "bysas"] {
        let commits = blobs.list(&format!("{name}/work/"));
        let commits = commits.keys().filter(|name| name.ends_with("/env"));
        assert_eq!(commits.count(), keys.len());
    }
    world.finish();
}
