//! Bodies held to the published schema: what it does not know is refused.

use crate::answer::{Reply, refuse_flat};
use jsonschema::Validator;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::OnceLock;

const SCHEMA: &str = include_str!("../../../../places/azure/testdata/aks-2026-05-01.json");
/// The version whose schema that is; bodies of other versions are taken as they are.
const VERSION: &str = "2026-05-01";
/// What answers have and requests need not: the service overlooks it, as recordings of its own tool show.
const READ_ONLY: &[&str] = &[
    "id",
    "systemData",
    "etag",
    "eTag",
    "provisioningState",
    "fqdn",
    "azurePortalFQDN",
    "privateFQDN",
    "currentKubernetesVersion",
    "currentOrchestratorVersion",
    "maxAgentPools",
    "resourceUID",
    "issuerURL",
    "effectiveOutboundIPs",
    "principalId",
    "tenantId",
];

static VALIDATORS: OnceLock<BTreeMap<&'static str, Validator>> = OnceLock::new();

fn validators() -> &'static BTreeMap<&'static str, Validator> {
    VALIDATORS.get_or_init(|| {
        let names = ["managedClusters", "managedClusters_agentPools"];
        names.into_iter().map(|name| (name, strict(name))).collect()
    })
}

fn strict(name: &str) -> Validator {
    let mut schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    close(&mut schema);
    schema["$ref"] = json!(format!("#/resourceDefinitions/{name}"));
    jsonschema::validator_for(&schema).expect("the schema is one")
}

/// Objects take no other keys than those that are named, and words are taken in any letter case.
fn close(schema: &mut Value) {
    if let Some(list) = schema.as_array_mut() {
        list.iter_mut().for_each(close);
        return;
    }
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    let is_object = object.get("type").is_some_and(|is| is == "object");
    if is_object
        && object.contains_key("properties")
        && !object.contains_key("additionalProperties")
    {
        object.insert("additionalProperties".to_owned(), json!(false));
    }
    let words = object
        .get("enum")
        .and_then(Value::as_array)
        .and_then(|words| {
            let words: Option<Vec<String>> = words
                .iter()
                .map(|word| Some(word.as_str()?.replace('.', "\\.")))
                .collect();
            words
        });
    if let Some(words) = words {
        object.remove("enum");
        object.insert(
            "pattern".to_owned(),
            json!(format!("(?i)^({})$", words.join("|"))),
        );
    }
    object.values_mut().for_each(close);
}

/// Refuses a body that the published schema does not know.
pub(crate) fn check(
    version: &str,
    definition: &str,
    kind: &str,
    name: &str,
    body: &Value,
) -> Result<(), Reply> {
    if version != VERSION {
        return Ok(());
    }
    let mut whole = body.clone();
    drop_read_only(&mut whole);
    whole["name"] = json!(name);
    whole["type"] = json!(kind);
    whole["apiVersion"] = json!(version);
    let Some(error) = validators()
        .get(definition)
        .and_then(|strict| strict.iter_errors(&whole).next())
    else {
        return Ok(());
    };
    let place = error.instance_path().to_string().replace('/', ".");
    let message = format!(
        "The value of parameter {} is invalid. Error details: {error}. Please see https://aka.ms/aks-naming-rules for more details.",
        place.trim_start_matches('.')
    );
    let mut refusal = refuse_flat(400, "InvalidParameter", message);
    refusal.body["target"] = json!(place.trim_start_matches('.'));
    Err(refusal)
}

fn drop_read_only(value: &mut Value) {
    if let Some(object) = value.as_object_mut() {
        object.retain(|name, value| !READ_ONLY.contains(&name.as_str()) && !value.is_null());
        if let Some(disks) = object
            .get_mut("diskCSIDriver")
            .and_then(Value::as_object_mut)
        {
            disks.remove("version");
        }
        // A cluster is started and stopped by actions; a pool by its body.
        if object.contains_key("agentPoolProfiles") {
            object.remove("powerState");
        }
        object.values_mut().for_each(drop_read_only);
    } else if let Some(list) = value.as_array_mut() {
        list.iter_mut().for_each(drop_read_only);
    }
}
