//! What the service answers.

use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// An answer: its status, its headers by their names in small letters, its body (`Null`: none, or no JSON).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers by name, in small letters.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Value,
}

impl Answer {
    /// A header that says something.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.get(name)?.trim();
        (!value.is_empty()).then_some(value)
    }

    /// How long to wait before the next request, where it says so in seconds.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.header("retry-after")?.parse().ok()?;
        Some(Duration::from_secs(seconds))
    }

    /// How far the resource in the body is; none where resources of its kind have no such state.
    #[must_use]
    pub fn provisioning_state(&self) -> Option<&str> {
        provisioning_state(&self.body)
    }
}

pub(crate) fn provisioning_state(resource: &Value) -> Option<&str> {
    resource.pointer("/properties/provisioningState")?.as_str()
}
