//! Shards that can't be what was meant, each with its message.

use petctl_test_it::{Job, Ran, Stage, World, verify_outputs};
use std::fs;

/// Runs a job with these shards, and inputs `a` and `b`.
fn run(world: &World, shards: &str, more: &str) -> Ran {
    let input = world.job_folder().join("in");
    fs::create_dir_all(&input).unwrap();
    for name in ["a", "b"] {
        fs::write(input.join(name), name).unwrap();
    }
    let file = Job::new("listed")
        .storage("input = \"in\"\noutput = \"out\"\n".to_owned())
        .stage(
            Stage::script(1, "cat \"$PETCTL_SHARD_FILE\" > \"$PETCTL_OUTPUT/shard\"")
                .shards(shards)
                .with(more),
        )
        .write(world);
    world.run(&file).run()
}

#[test]
fn shards_that_can_not_be_meant_are_refused_before_anything_starts() {
    let world = World::new();
    let cases = [
        ("{ glob = \"*.xml\" }", 65, "*.xml"),
        ("{ values = [\"a\", \"b\", \"a\"] }", 65, "\"a\""),
        ("{ values = [\"a\", \"a/b\"] }", 65, "a/b"),
        (
            "{ dates = [\"2024-02-30\", \"2024-12-31\"] }",
            65,
            "2024-02-30",
        ),
        (
            "{ dates = [\"2024-12-31\", \"2024-01-01\"] }",
            65,
            "2024-12-31",
        ),
        (
            "{ matrix = { place = [\"x\", \"x\"], seed = [1] } }",
            65,
            "x",
        ),
        ("{ matrix = {} }", 65, "matrix"),
        ("{ manifest = \"nowhere.jsonl\" }", 65, "nowhere.jsonl"),
    ];
    for (shards, _, text) in cases {
        let ran = run(&world, shards, "");
        assert!(matches!(ran.exit, Some(65 | 66)), "{shards}: {ran}");
        assert!(ran.stderr.contains(text), "{shards}: {ran}");
        assert!(
            ran.stderr.contains("fix") || ran.stderr.contains("  "),
            "{shards}: {ran}"
        );
    }
    assert!(!world.output().join("work").exists());
    world.finish();
}

#[test]
fn every_bad_line_of_a_manifest_is_named_by_its_number() {
    let world = World::new();
    let lines = [
        r#"{"key": "good", "inputs": ["a"]}"#,
        r#"{"key": "broken", "#,
        r#"{"key": "twice"}"#,
        r#"{"key": "twice"}"#,
        r#"{"key": "small", "size": -1}"#,
        r#"{"inputs": ["a"]}"#,
    ];
    fs::write(world.job_folder().join("shards.jsonl"), lines.join("\n")).unwrap();
    let ran = run(&world, "{ manifest = \"shards.jsonl\" }", "").exits(65);
    assert!(ran.stderr.contains("SHARD_MANIFEST_INVALID"), "{ran}");
    for line in ["2", "4", "5", "6"] {
        let named = ran.stderr.contains(&format!("line {line}"))
            || ran.stderr.contains(&format!(":{line}"));
        assert!(named, "line {line}: {ran}");
    }
    assert!(
        ran.stderr.contains("twice") && ran.stderr.contains("-1"),
        "{ran}"
    );
    world.finish();
}

#[test]
fn parameters_of_a_shard_reach_its_command_and_its_file() {
    let world = World::new();
    let lines = [
        r#"{"key": "one", "inputs": ["a", "b"], "params": {"gap": 2.5}, "size": 2, "expected_s": 1}"#,
        r#"{"key": "two/deep", "inputs": "b"}"#,
    ];
    fs::write(world.job_folder().join("shards.jsonl"), lines.join("\n")).unwrap();
    run(
        &world,
        "{ manifest = \"shards.jsonl\" }",
        "params = { gap = 1 }",
    )
    .exits(0);
    let keys = ["one".to_owned(), "two/deep".to_owned()];
    verify_outputs(&world.output(), "work", &keys);
    let read = |key: &str| -> serde_json::Value {
        let text = fs::read(world.output().join("work").join(key).join("shard")).unwrap();
        serde_json::from_slice(&text).unwrap()
    };
    let (one, two) = (read("one"), read("two/deep"));
    assert_eq!(
        (&one["params"]["gap"], &two["params"]["gap"]),
        (&"2.5".into(), &"1".into())
    );
    assert_eq!(one["inputs"].as_array().unwrap().len(), 2, "{one}");
    assert_eq!(
        fs::read_to_string(two["input"].as_str().unwrap()).unwrap(),
        "b"
    );
    world.finish();
}

#[test]
fn a_matrix_gives_each_combination_its_parameters() {
    let world = World::new();
    let matrix = "{ matrix = { place = [\"x\", \"y\"], date = { dates = [\"2024-01-31\", \"2024-02-29\"], step = \"1mo\" } } }";
    run(&world, matrix, "").exits(0);
    let keys: Vec<String> = ["x", "y"]
        .iter()
        .flat_map(|place| {
            ["2024-01-31", "2024-02-29"].map(|date| format!("place={place}/date={date}"))
        })
        .collect();
    verify_outputs(&world.output(), "work", &keys);
    let text = fs::read(world.output().join("work").join(&keys[3]).join("shard")).unwrap();
    let shard: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(shard["params"]["place"], "y");
    assert_eq!(shard["params"]["date"], "2024-02-29");
    world.finish();
}
