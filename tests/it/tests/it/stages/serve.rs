//! Warm processes.

use petctl_test_it::{Job, Stage, World, verify_outputs};
use std::fs;
use std::path::Path;

const SERVER: &str = r#"
import os, signal, sys, time
sys.path.insert(0, "HELPER")
from petctl_serve import Refuse, serve

with open("processes", "a") as notes:
    notes.write(f"{os.getpid()}\n")
if os.path.exists("unready"):
    sys.exit(9)

def run(shard):
    print("log of", shard.key)
    if shard.key == "3" and shard.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if shard.key == "5":
        raise Refuse("five is never right")
    if shard.key == "7" and shard.attempt == 1:
        time.sleep(60)
    with open(os.path.join(shard.output, "data"), "w") as out:
        out.write(f"{shard.key} {shard.params['word']}")

serve(run)
"#;

fn write_server(world: &World) {
    let examples =
        Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../../examples");
    let helper = fs::canonicalize(examples).unwrap();
    let text = SERVER.replace("HELPER", helper.to_str().unwrap());
    fs::write(world.job_folder().join("server.py"), text).unwrap();
}

fn processes(world: &World) -> usize {
    let text = fs::read_to_string(world.job_folder().join("processes")).unwrap_or_default();
    text.lines().count()
}

fn stage(shards: u32) -> Stage {
    let number = Stage::command(&["python3", "-B", "server.py"]);
    number
        .shards(&format!("{{ range = [0, {shards}] }}"))
        .with("serve = true\nparams = { word = \"hello\" }\ntimeout = \"3s\"\nbackoff = \"10ms\"\ngrace = \"1s\"")
}

#[test]
fn one_process_takes_many_shards_and_a_new_one_comes_when_it_dies() {
    let world = World::new();
    write_server(&world);
    let file = Job::new("warm").stage(stage(9)).write(&world);
    world.run(&file).run().exits(1);
    let ask = world.ask();
    let keys: Vec<String> = Stage::keys(9)
        .into_iter()
        .filter(|key| key != "5")
        .collect();
    verify_commits_of(&world, "warm", &keys);
    assert_eq!(
        fs::read_to_string(world.output().join("work/4/data")).unwrap(),
        "4 hello"
    );
    // One killed itself, one ran into its timeout; each was followed by one more.
    assert_eq!(processes(&world), 3);
    let refused = ask.shard("warm", "5");
    assert_eq!(
        (&refused["state"], &refused["attempts"]),
        (&"failed".into(), &1.into()),
        "{refused}"
    );
    assert_eq!(refused["error"]["code"], "SERVE_REFUSED", "{refused}");
    assert_eq!(ask.shard("warm", "3")["failures"]["failed"], 1);
    assert_eq!(ask.shard("warm", "7")["failures"]["timed_out"], 1);
    let log = world
        .petctl()
        .args(["logs", "warm", "--shard", "6"])
        .run()
        .exits(0);
    assert!(
        log.stdout.contains("log of 6") && !log.stdout.contains("log of 4"),
        "{log}"
    );
    world.finish();
}

#[test]
fn a_process_that_never_gets_ready_is_not_the_shards_fault() {
    let world = World::new();
    write_server(&world);
    fs::write(world.job_folder().join("unready"), "").unwrap();
    let stage = stage(2).with("budgets = { infrastructure = 1 }");
    let file = Job::new("cold").stage(stage).write(&world);
    world.run(&file).run().exits(1).says("before it was ready");
    for row in world.ask().report("cold") {
        assert_eq!(row["error"]["code"], "SERVE_NOT_READY", "{row}");
        assert_eq!(row["failures"]["failed"], 0, "{row}");
    }
    fs::remove_file(world.job_folder().join("unready")).unwrap();
    world.run(&file).run().exits(0);
    world.finish();
}

/// All of these are committed once; others may be missing.
fn verify_commits_of(world: &World, job: &str, keys: &[String]) {
    let found = verify_outputs(&world.output(), "work", keys);
    let events = world.ask().events(job);
    for key in keys {
        let commits: Vec<_> = events
            .iter()
            .filter(|event| event.kind == "shard_committed" && event.text_of("shard") == key)
            .collect();
        assert_eq!(commits.len(), 1, "{key}: {commits:?}");
        assert_eq!(commits[0].text_of("manifest_sha256"), found[key].sha256);
    }
}
