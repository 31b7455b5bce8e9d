//! A shard over its memory.

use petctl_test_it::{Job, Stage, World, verify_outputs};

#[test]
fn a_shard_over_its_memory_is_killed_and_named_and_the_others_go_on() {
    let world = World::new();
    let greedy = r#"import os, sys, time
key = os.environ["PETCTL_SHARD_KEY"]
held = bytearray(400_000_000) if key == "1" else b""
for place in range(0, len(held), 4096):
    held[place] = 1
time.sleep(1 if held else 0)
open(os.path.join(os.environ["PETCTL_OUTPUT"], "data"), "w").write(key)"#;
    let stage = Stage::command(&["python3", "-c", greedy])
        .shards("{ range = [0, 3] }")
        .with("memory = \"100MiB\"\nretries = 0");
    let file = Job::new("greedy").stage(stage).write(&world);
    world.run(&file).run().exits(1).says("of 100 MiB");
    let row = world.ask().shard("greedy", "1");
    assert_eq!(row["error"]["code"], "MEMORY_EXCEEDED", "{row}");
    let message = row["error"]["message"].as_str().unwrap();
    assert!(message.contains("100 MiB"), "what is allowed: {row}");
    assert_eq!(row["failures"]["failed"], 1, "{row}");
    verify_outputs(&world.output(), "work", &["0".to_owned(), "2".to_owned()]);
    world.finish();
}
