//! What there is, kept in a file: resources, operations under way, tokens.

use crate::operation::Operation;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

const FILE: &str = "state.json";

/// Everything that survives a restart.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct State {
    /// By ids in small letters.
    pub(crate) resources: BTreeMap<String, Value>,
    pub(crate) operations: BTreeMap<String, Operation>,
    pub(crate) tokens: BTreeMap<String, Token>,
    pub(crate) devices: BTreeMap<String, Device>,
    /// Providers by their names in small letters, and when they are registered.
    pub(crate) registering: BTreeMap<String, u64>,
    /// When principals were made.
    pub(crate) principals: BTreeMap<String, u64>,
    /// When roles were assigned, by the assignment's id.
    pub(crate) assigned: BTreeMap<String, u64>,
    /// Identities whose credentials are being written, and until when.
    pub(crate) writing: BTreeMap<String, u64>,
}

/// An access token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Token {
    pub(crate) client: String,
    pub(crate) audience: String,
    pub(crate) expires_ms: u64,
}

/// A sign-in that somebody finishes elsewhere.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Device {
    pub(crate) client: String,
    pub(crate) scope: String,
    /// How often it was asked for.
    pub(crate) asked: u32,
}

impl State {
    pub(crate) fn load(folder: &Path) -> Self {
        let text = fs::read(folder.join(FILE)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Whole, or as it was before.
    pub(crate) fn save(&self, folder: &Path) {
        let text = serde_json::to_vec(self).expect("what was read can be written");
        let next = folder.join("state.next");
        let written = fs::write(&next, text).and_then(|()| fs::rename(&next, folder.join(FILE)));
        written.expect("the folder of the state can be written");
    }

    /// What lies in a scope, not the scope itself.
    pub(crate) fn within<'a>(
        &'a self,
        scope: &str,
    ) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
        let prefix = format!("{}/", scope.to_ascii_lowercase());
        let from = prefix.clone();
        self.resources
            .range(from..)
            .take_while(move |(key, _)| key.starts_with(&prefix))
    }

    /// The managed identity with this client id, and its own id.
    pub(crate) fn identity(&self, client: &str) -> Option<(&String, &Value)> {
        let mut all = self.resources.iter();
        all.find(|(key, body)| {
            let own = body.pointer("/properties/clientId").and_then(Value::as_str);
            key.contains("/userassignedidentities/") && own == Some(client)
        })
    }

    /// Removes a resource and all that is in it.
    pub(crate) fn remove(&mut self, key: &str) {
        let mut gone: Vec<String> = self.within(key).map(|(key, _)| key.clone()).collect();
        gone.push(key.to_owned());
        for key in gone {
            let Some(body) = self.resources.remove(&key) else {
                continue;
            };
            self.assigned.remove(&key);
            for pointer in [
                "/properties/principalId",
                "/properties/identityProfile/kubeletidentity/objectId",
            ] {
                if !key.contains("/roleassignments/")
                    && let Some(principal) = body.pointer(pointer).and_then(Value::as_str)
                {
                    self.principals.remove(principal);
                }
            }
            // The group of a cluster's machines goes with it.
            let group = body.pointer("/properties/nodeResourceGroup");
            if let (Some(group), Some((root, _))) = (
                group.and_then(Value::as_str),
                key.split_once("/resourcegroups/"),
            ) {
                let nodes = format!("{root}/resourcegroups/{group}").to_ascii_lowercase();
                self.remove(&nodes);
            }
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, crate::world::millis)
}

/// A time as the service writes it.
pub(crate) fn time_text(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{time:.7}")
}

/// A new id.
pub(crate) fn guid() -> String {
    let mut hex = String::new();
    for position in 0..32 {
        if [8, 12, 16, 20].contains(&position) {
            hex.push('-');
        }
        hex.push(match position {
            12 => '4',
            16 => fastrand::choice(['8', '9', 'a', 'b']).unwrap_or('8'),
            _ => fastrand::digit(16),
        });
    }
    hex
}

/// So many small letters and digits.
pub(crate) fn letters(count: usize) -> String {
    std::iter::repeat_with(|| fastrand::digit(36))
        .take(count)
        .collect()
}
