//! What commands print with `-o json` is what the schemas in `docs/json` say, and nothing beside it.

use crate::harness::{Harness, Running, wait_for};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/json")
}

/// Outputs that were looked at.
#[derive(Default)]
struct Seen(BTreeSet<String>);

impl Seen {
    /// Holds an output to a schema, which allows no key that it does not name.
    fn check(&mut self, name: &str, output: &Output) -> Value {
        let said = String::from_utf8_lossy(&output.stderr);
        let document: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("no {name} ({error}): {said}"));
        let text = fs::read_to_string(folder().join(format!("{name}.schema.json"))).unwrap();
        let mut schema: Value = serde_json::from_str(&text).unwrap();
        close(&mut schema);
        let validator = jsonschema::validator_for(&schema).unwrap();
        if let Some(error) = validator.iter_errors(&document).next() {
            panic!("{name}: {error} at {}\n{document:#}", error.instance_path());
        }
        self.0.insert(name.to_owned());
        document
    }
}

/// Lets objects have the keys that are named, and no others.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(keys) => {
            if keys.contains_key("properties") {
                keys.insert("additionalProperties".to_owned(), false.into());
            }
            keys.values_mut().for_each(close);
        }
        Value::Array(parts) => parts.iter_mut().for_each(close),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Shards that pass, fail their checks and fail; what needs them; a training.
const JOB: &str = r#"
[job]
name = "all"
[workers]
max = 2
[storage]
input = "in"
output = "out"
[[stage]]
name = "drive"
kind = "shards"
shards = { manifest = "shards.jsonl" }
command = ["sh", "-c", "cp $0.json $1/result.json", "{key}", "{output}"]
retries = 0
allow_failed = 0.5
[[stage]]
name = "fit"
kind = "train"
needs = ["drive"]
command = ["sh", "-c", "petctl checkpoint --step 3 job.toml -o json > recorded.json; touch started; while [ ! -e gate ]; do sleep 0.02; done"]
"#;

fn harness() -> Harness {
    let harness = Harness::new();
    let job = JOB.replace(
        "petctl checkpoint",
        concat!(env!("CARGO_BIN_EXE_petctl"), " checkpoint"),
    );
    harness
        .write("job.toml", &job)
        .write("in/a", "")
        .write(
            "shards.jsonl",
            "{\"key\": \"good\", \"inputs\": [\"a\"], \"size\": 1}\n{\"key\": \"weak\"}\n{\"key\": \"bad\"}\n",
        )
        .write("good.json", r#"{"verdict": "pass", "numbers": {"min_ttc_s": 2.5}}"#)
        .write("weak.json", r#"{"verdict": "fail", "reasons": ["too near"]}"#);
    harness
}

fn trains(harness: &Harness) -> Running {
    let running = harness.start("run job.toml");
    wait_for("the training", || harness.path("started").exists());
    running
}

#[test]
fn every_output_is_as_its_schema_says() {
    let harness = harness();
    let mut seen = Seen::default();
    let mut check = |name: &str, words: &str| seen.check(name, &harness.run(words));
    let valid = check("validate", "validate job.toml -o json");
    assert_eq!(valid["stages"][1]["needs"][0]["stage"], "drive");
    check("validate", "validate nowhere.toml -o json");
    check(
        "validate",
        "validate job.toml --set workers.max=none -o json",
    );

    let place = "[place.gpu]\nbackend = \"kube\"\nenv = { A = \"1\" }\n";
    harness.write("petctl.toml", place);
    check("places", "places -o json");
    let place = check("place", "places gpu -o json --set place.gpu.spot=true");
    assert_eq!(place["defined"]["line"], 1);

    let running = trains(&harness);
    let status = check("status", "status all -o json");
    assert_eq!(status["training"][0]["phase"], "running");
    assert!(status["first_failures"][0]["index"].is_number());
    check("list", "list -o json");
    check("suspend", "suspend all --dry-run -o json");
    check("suspend", "suspend all -o json");
    check("suspend", "suspend all -o json");
    check("resume", "resume all --dry-run -o json");
    check("resume", "resume all -o json");
    check("drain", "drain all local-1 --dry-run -o json");
    check("drain", "drain all local-1 -o json");
    harness.open_gate();
    running.end();
    check("status", "status all -o json");
    let report = check("report", "report all -o json");
    assert_eq!(report["rows"].as_array().map(Vec::len), Some(4));
    let explained = check("explain", "explain all bad -o json");
    assert_eq!(explained["rows"][0]["index"], 2);
    check("explain", "explain all --stage fit -o json");

    check("transfer-plan", "upload in ./store --dry-run -o json");
    check("verify", "verify all -o json");
    check("transfer", "upload in ./store -o json");
    check("storage-ls", "storage ls ./store -o json");
    check("transfer-plan", "download ./store ./home --dry-run -o json");
    check("transfer", "download ./store ./home -o json");
    check(
        "transfer-plan",
        "download ./store --zip one.zip --dry-run -o json",
    );
    check("transfer-zip", "download ./store --zip one.zip -o json");

    let recorded = fs::read(harness.path("recorded.json")).unwrap();
    let mut line = |name: &str, bytes: &[u8]| {
        let mut output = harness.run("list");
        output.stdout = bytes.to_vec();
        seen.check(name, &output);
    };
    line("checkpoint", &recorded);
    for event in harness
        .run("events all -o json")
        .stdout
        .split_inclusive(|byte| *byte == b'\n')
    {
        line("events", event);
    }

    let all: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| name.trim_end_matches(".schema.json").to_owned())
        .collect();
    assert_eq!(seen.0, all, "every schema is met by a real output");
}
