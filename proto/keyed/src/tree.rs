//! The job file as a tree of values, each with its place; overrides are leaves like any other.

use crate::report::Place;
use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A table: its entries by name.
pub type Table = BTreeMap<String, Entry>;

/// A key with its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Of the key itself.
    pub key: Place,
    /// Grows in the order in which the keys of a table were written.
    pub order: usize,
    /// Its value.
    pub node: Node,
}

/// The entries of a table in the order in which they were written.
#[must_use]
pub fn written(table: &Table) -> Vec<(&String, &Entry)> {
    let mut entries = table.iter().collect::<Vec<_>>();
    entries.sort_by_key(|(_, entry)| entry.order);
    entries
}

/// A value with its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// A value.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string.
    Text(String),
    /// Beyond 128 bits: the nearest one that fits.
    Integer(i128),
    /// As it was written, without `_`.
    Float(String),
    /// A boolean.
    Switch(bool),
    /// As TOML writes it.
    Date(String),
    /// A list.
    List(Vec<Node>),
    /// A table.
    Table(Table),
}

impl Value {
    /// The type with its article, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Switch(_) => "a boolean",
            Self::Date(_) => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }

    /// The text that a command should see, for values that are one.
    #[must_use]
    pub fn as_scalar(&self) -> Option<String> {
        match self {
            Self::Text(text) | Self::Float(text) | Self::Date(text) => Some(text.clone()),
            Self::Integer(number) => Some(number.to_string()),
            Self::Switch(on) => Some(on.to_string()),
            Self::List(_) | Self::Table(_) => None,
        }
    }
}

/// Turns the parser's table into ours.
pub(crate) fn from_document(document: &DeTable<'_>) -> Table {
    from_table(document, None)
}

/// Turns the value of an override into a node; all of it stands at that override.
pub(crate) fn from_override(value: &Spanned<DeValue<'_>>, index: usize) -> Node {
    from_value(value, Some(Place::Option(index)))
}

fn from_table(table: &DeTable<'_>, fixed: Option<Place>) -> Table {
    table
        .iter()
        .map(|(key, value)| {
            let place = fixed.unwrap_or_else(|| Place::text(key.span()));
            (
                key.get_ref().to_string(),
                Entry {
                    key: place,
                    order: key.span().start,
                    node: from_value(value, fixed),
                },
            )
        })
        .collect()
}

fn from_value(value: &Spanned<DeValue<'_>>, fixed: Option<Place>) -> Node {
    let place = fixed.unwrap_or_else(|| Place::text(value.span()));
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Integer(integer(number.as_str(), number.radix())),
        DeValue::Float(number) => Value::Float(number.as_str().trim_start_matches('+').to_owned()),
        DeValue::Boolean(on) => Value::Switch(*on),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(list) => {
            Value::List(list.iter().map(|item| from_value(item, fixed)).collect())
        }
        DeValue::Table(table) => Value::Table(from_table(table, fixed)),
    };
    Node { place, value }
}

fn integer(digits: &str, radix: u32) -> i128 {
    let beyond = if digits.starts_with('-') {
        i128::MIN
    } else {
        i128::MAX
    };
    i128::from_str_radix(digits, radix).unwrap_or(beyond)
}
