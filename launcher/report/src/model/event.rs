//! Events: `petctl events`.

use petctl_proto::v1;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// Something that has happened.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Event {
    /// Its place in the log of its coordinator; grows, with gaps.
    pub sequence: u64,
    /// In ms since 1970.
    pub at_ms: u64,
    /// The job's epoch at that time.
    pub epoch: u64,
    /// What it is, by its name; there may be more of them later.
    pub kind: String,
    /// The same as a sentence.
    pub message: String,
    /// What its kind has: an object. Ids in it are texts.
    pub fields: Value,
}

impl From<&v1::EventRow> for Event {
    fn from(row: &v1::EventRow) -> Self {
        Self {
            sequence: row.sequence,
            at_ms: row.at_ms,
            epoch: row.epoch,
            kind: row.kind.clone(),
            message: row.text.clone(),
            fields: serde_json::from_str(&row.fields_json).unwrap_or(Value::Null),
        }
    }
}
