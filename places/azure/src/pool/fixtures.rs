//! What tests of pools and clusters share.

use super::{NodePool, Nodes};
use serde_json::{Value, json};

const SCHEMA: &str = include_str!("../../testdata/aks-2026-05-01.json");

/// The published schema of one of its definitions; what it does not know is wrong.
pub(crate) fn strict(definition: &str) -> jsonschema::Validator {
    let mut schema: Value = serde_json::from_str(SCHEMA).unwrap();
    for definition in schema["definitions"].as_object_mut().unwrap().values_mut() {
        if definition.get("properties").is_some() {
            definition["additionalProperties"] = json!(false);
        }
    }
    schema["$ref"] = json!(format!("#/definitions/{definition}"));
    jsonschema::validator_for(&schema).unwrap()
}

pub(crate) fn assert_valid(definition: &str, value: &Value) {
    let strict = strict(definition);
    let errors = strict
        .iter_errors(value)
        .map(|error| format!("{error} at {}", error.instance_path()));
    assert_eq!(
        errors.collect::<Vec<_>>(),
        Vec::<String>::new(),
        "{value:#}"
    );
}

/// The body of an answer, as a recording has it at a line.
pub(crate) fn recorded(recording: &str, line: usize) -> Value {
    let path = format!(
        "{}/tests/transcripts/{recording}.jsonl",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(&path).unwrap();
    let call: Value = serde_json::from_str(text.lines().nth(line).unwrap()).unwrap();
    call["body"].clone()
}

/// A pool for a cluster's own pods.
pub(crate) fn system() -> NodePool {
    NodePool {
        name: "sys".to_owned(),
        system: true,
        size: "Standard_D4ds_v5".to_owned(),
        nodes: Nodes::Fixed(1),
        spot: false,
        labels: [].into(),
        taints: Vec::new(),
        driver: None,
        mig: None,
        zones: Vec::new(),
    }
}
