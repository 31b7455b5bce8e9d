//! The JSON schema of a file, written from the key table.

use crate::key::{Choice, Key, MAX_ENTRIES, NameRule, Presence, Shape};
use serde_json::{Map, Value, json};

/// The schema of a file with these keys.
#[must_use]
pub fn document(title: &str, description: &str, keys: &'static [Key]) -> Value {
    let mut root = table(keys);
    root.insert(
        "$schema".into(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    root.insert("title".into(), json!(title));
    root.insert("description".into(), json!(description));
    sorted(Value::Object(root))
}

fn table(keys: &'static [Key]) -> Map<String, Value> {
    let properties = keys
        .iter()
        .map(|key| (key.name.to_owned(), property(key)))
        .collect::<Map<_, _>>();
    let required = keys
        .iter()
        .filter(|key| key.presence == Presence::Required)
        .map(|key| key.name)
        .collect::<Vec<_>>();
    let mut out = Map::new();
    out.insert("type".into(), json!("object"));
    out.insert("properties".into(), Value::Object(properties));
    out.insert("additionalProperties".into(), json!(false));
    if !required.is_empty() {
        out.insert("required".into(), json!(required));
    }
    out
}

fn property(key: &'static Key) -> Value {
    let mut out = shape(&key.shape);
    out.insert("description".into(), json!(key.doc));
    if let Presence::Default(text) = key.presence {
        out.insert(
            "default".into(),
            serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        );
    }
    Value::Object(out)
}

fn shape(shape: &'static Shape) -> Map<String, Value> {
    let value = match shape {
        Shape::Name => json!({ "type": "string", "pattern": "^[a-z][a-z0-9-]{0,62}$" }),
        Shape::Text => json!({ "type": "string", "minLength": 1 }),
        Shape::Duration { .. } => json!({ "type": "string", "pattern": DURATION }),
        Shape::Bytes { min, max } => json!({ "oneOf": [
            integer(*min, *max),
            { "type": "string", "pattern": "^[0-9]+([kKMGT]i?)?[bB]$" },
        ] }),
        Shape::Integer { min, max } => integer(*min, *max),
        Shape::Count { max, words } => {
            let words = words.iter().map(choice);
            let all = std::iter::once(integer(1, u64::from(*max))).chain(words);
            json!({ "oneOf": all.collect::<Vec<_>>() })
        }
        Shape::Share => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Shape::CountOrPercent { max } => json!({ "oneOf": [
            integer(1, *max),
            { "type": "string", "pattern": "^[0-9]+([.][0-9]+)?%$" },
        ] }),
        Shape::Secret => json!({
            "type": "string", "pattern": "^(env:[A-Za-z_][A-Za-z0-9_]{0,127}|file:.+)$",
        }),
        Shape::Thousandths { max } => {
            json!({ "type": "number", "minimum": 0, "maximum": max / 1_000 })
        }
        Shape::Switch => json!({ "type": "boolean" }),
        Shape::Choice(choices) => {
            json!({ "oneOf": choices.iter().map(choice).collect::<Vec<_>>() })
        }
        Shape::Texts { max } => {
            json!({ "type": "array", "items": { "type": "string" }, "maxItems": max })
        }
        Shape::ExitCodes => json!({ "type": "array", "items": integer(1, 255), "maxItems": 255 }),
        Shape::Scalars(NameRule::Folders { pattern, .. }) => json!({
            "type": "object",
            "maxProperties": MAX_ENTRIES,
            "propertyNames": { "pattern": pattern },
            "additionalProperties": { "type": "string", "pattern": "^/" },
        }),
        Shape::Scalars(NameRule::Foreign) => json!({
            "type": "object",
            "maxProperties": MAX_ENTRIES,
            "additionalProperties": { "type": "string" },
        }),
        Shape::Scalars(rule) => json!({
            "type": "object",
            "maxProperties": MAX_ENTRIES,
            "propertyNames": { "pattern": match rule {
                NameRule::Environment => "^(?!PETCTL_)[A-Za-z_][A-Za-z0-9_]{0,127}$",
                NameRule::Parameter | NameRule::Folders { .. } | NameRule::Foreign => "^[A-Za-z_][A-Za-z0-9_]{0,127}$",
            } },
            "additionalProperties": { "type": ["string", "number", "boolean"] },
        }),
        Shape::Keys { max } => json!({
            "type": "array", "items": { "type": ["string", "integer"] }, "minItems": 1, "maxItems": max,
        }),
        Shape::Range => json!({
            "type": "array", "items": { "type": "integer", "minimum": 0 }, "minItems": 2, "maxItems": 2,
        }),
        Shape::Dates => json!({
            "type": "array", "items": { "type": "string", "format": "date" }, "minItems": 2, "maxItems": 2,
        }),
        Shape::Step => json!({ "type": "string", "pattern": "^[1-9][0-9]{0,4}(d|w|mo|y)$" }),
        Shape::Table(keys) => return table(keys),
        Shape::Tables { keys, max } => json!({
            "type": "array", "items": table(keys), "minItems": 1, "maxItems": max,
        }),
        Shape::Items { keys, max } => json!({
            "type": "array", "items": table(keys), "maxItems": max,
        }),
        Shape::Named(keys) => json!({
            "type": "object",
            "propertyNames": { "pattern": "^[a-z][a-z0-9-]{0,62}$" },
            "additionalProperties": table(keys),
        }),
        Shape::Matrix { keys, max } => json!({
            "type": "object",
            "minProperties": 1,
            "maxProperties": max,
            "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,127}$" },
            "additionalProperties": { "oneOf": [
                { "type": "array", "items": { "type": ["string", "number", "boolean"] }, "minItems": 1 },
                table(keys),
            ] },
        }),
    };
    match value {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}

/// Units from large to small, each at most once, and at least one of them.
const DURATION: &str = "^(?=.)([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";

fn integer(min: u64, max: u64) -> Value {
    if max == u64::MAX {
        json!({ "type": "integer", "minimum": min })
    } else {
        json!({ "type": "integer", "minimum": min, "maximum": max })
    }
}

fn choice(choice: &Choice) -> Value {
    json!({ "const": choice.value, "description": choice.doc })
}

/// Keys in alphabetical order, whatever map type the JSON library was built with.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries = map.into_iter().collect::<Vec<_>>();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(
                entries
                    .into_iter()
                    .map(|(key, value)| (key, sorted(value)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}
