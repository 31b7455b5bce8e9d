//! Where a value of a place comes from, and each value with it.

use petctl_keyed::{Entry, Key, Node, Place, Presence, Shape, Table, Value};
use serde_json::json;
use std::fmt;

/// Who said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A flag: `--on`, `--set`.
    Flag(&'static str),
    /// A variable of the environment.
    Environment(&'static str),
    /// A file.
    File {
        /// As it is shown: `petctl.toml`.
        file: String,
        /// First line is 1.
        line: usize,
    },
    /// Nobody: it is the default.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) | Self::Environment(name) => f.write_str(name),
            Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A key of a place with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// With its dots: `coordinator.storage`.
    pub key: String,
    /// As a file would have it; null where there is none.
    pub value: serde_json::Value,
    /// Where it comes from.
    pub source: Source,
}

/// Every key of a table with its value; `source` says where a value stands.
pub(crate) fn settings(
    keys: &'static [Key],
    table: Option<&Table>,
    prefix: &str,
    source: &dyn Fn(Place) -> Source,
) -> Vec<Setting> {
    let mut all = Vec::new();
    for key in keys {
        let path = format!("{prefix}{}", key.name);
        let node = table
            .and_then(|table| table.get(key.name))
            .map(|entry| &entry.node);
        let inner = match node.map(|node| &node.value) {
            Some(Value::Table(inner)) => Some(inner),
            _ => None,
        };
        if let Shape::Table(keys) = key.shape {
            all.extend(settings(keys, inner, &format!("{path}."), source));
        } else if let Some(inner) = inner.filter(|inner| !inner.is_empty()) {
            let entry = |(name, entry): (&String, &Entry)| Setting {
                key: format!("{path}.{name}"),
                value: value(&entry.node),
                source: source(entry.node.place),
            };
            all.extend(inner.iter().map(entry));
        } else {
            all.push(Setting {
                key: path,
                value: node.map_or_else(|| default(key), value),
                source: node.map_or(Source::Default, |node| source(node.place)),
            });
        }
    }
    all
}

fn default(key: &Key) -> serde_json::Value {
    let Presence::Default(text) = key.presence else {
        return serde_json::Value::Null;
    };
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}

fn value(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Text(text) | Value::Date(text) => json!(text),
        Value::Integer(number) => {
            i64::try_from(*number).map_or_else(|_| json!(number.to_string()), |n| json!(n))
        }
        Value::Float(text) => text
            .parse::<f64>()
            .map_or_else(|_| json!(text), |number| json!(number)),
        Value::Switch(on) => json!(on),
        Value::List(items) => items.iter().map(value).collect(),
        Value::Table(table) => {
            let entry = |(name, entry): (&String, &Entry)| (name.clone(), value(&entry.node));
            serde_json::Value::Object(table.iter().map(entry).collect())
        }
    }
}
