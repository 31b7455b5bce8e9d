//! A cluster: what petctl asks for, and what that means for one that is there.
//!
//! Source: `managedClusters`, api-version 2026-05-01, whose published schema the tests hold it to.

use crate::same::{Change, is_same, lay_over};
use crate::{NodePool, pool};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A cluster as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its region.
    pub location: String,
    /// The first part of its API server's host name.
    pub dns_prefix: String,
    /// `Free`, or `Standard` with an uptime that is promised.
    pub tier: String,
    /// The version of Kubernetes; `None`: the default of the region, and what is there stays.
    pub version: Option<String>,
    /// The pool for its own pods, made with it.
    pub system: NodePool,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// What an answer has, and a request must not.
const READ_ONLY: &[&str] = &[
    "azurePortalFQDN",
    "currentKubernetesVersion",
    "fqdn",
    "maxAgentPools",
    "powerState",
    "privateFQDN",
    "provisioningState",
    "resourceUID",
    "status",
];

impl Cluster {
    /// The body that makes it.
    #[must_use]
    pub fn body(&self) -> Value {
        let mut pool = self.system.properties();
        pool["name"] = json!(self.system.name);
        let mut properties = self.features();
        properties.insert("dnsPrefix".to_owned(), json!(self.dns_prefix));
        properties.insert("enableRBAC".to_owned(), json!(true));
        properties.insert("agentPoolProfiles".to_owned(), json!([pool]));
        let network = json!({
            "networkPlugin": "azure", "networkPluginMode": "overlay", "loadBalancerSku": "standard",
        });
        properties.insert("networkProfile".to_owned(), network);
        if let Some(version) = &self.version {
            properties.insert("kubernetesVersion".to_owned(), json!(version));
        }
        json!({
            "location": self.location,
            "identity": { "type": "SystemAssigned" },
            "sku": { "name": "Base", "tier": self.tier },
            "tags": self.tags,
            "properties": properties,
        })
    }

    /// What petctl needs of a cluster: pods with identities of their own, and blob containers as volumes.
    fn features(&self) -> Map<String, Value> {
        [
            ("oidcIssuerProfile", json!({ "enabled": true })),
            (
                "securityProfile",
                json!({ "workloadIdentity": { "enabled": true } }),
            ),
            (
                "storageProfile",
                json!({ "blobCSIDriver": { "enabled": true } }),
            ),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }

    /// What has to be done where it is there, as the service has answered. What others have set stays, and so do its
    /// pools, which are resources of their own.
    #[must_use]
    pub fn change(&self, there: &Value) -> Change {
        let is = there.get("properties").unwrap_or(&Value::Null);
        let mut replace = Vec::new();
        let is_there = there
            .get("location")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !same_region(is_there, &self.location) {
            replace.push("location".to_owned());
        }
        if !is_same(
            is.get("dnsPrefix").unwrap_or(&Value::Null),
            &json!(self.dns_prefix),
        ) {
            replace.push("dnsPrefix".to_owned());
        }
        if !replace.is_empty() {
            return Change::Replace(replace);
        }
        let mut next = is.clone();
        for (name, value) in self.features() {
            if !is_same(is.get(&name).unwrap_or(&Value::Null), &value) {
                lay_over(&mut next[&name], &value);
            }
        }
        if let Some(version) = &self.version
            && !is_same(
                is.get("kubernetesVersion").unwrap_or(&Value::Null),
                &json!(version),
            )
        {
            next["kubernetesVersion"] = json!(version);
        }
        let mut tags = there.get("tags").cloned().unwrap_or_else(|| json!({}));
        lay_over(&mut tags, &json!(self.tags));
        let tags_are = there.get("tags").filter(|tags| !tags.is_null()).cloned();
        let mut sku = there
            .get("sku")
            .cloned()
            .unwrap_or_else(|| json!({ "name": "Base" }));
        if !is_same(sku.get("tier").unwrap_or(&Value::Null), &json!(self.tier)) {
            sku["tier"] = json!(self.tier);
        }
        let same_sku = there.get("sku").is_some_and(|before| is_same(before, &sku));
        if next == *is && tags_are.unwrap_or_else(|| json!({})) == tags && same_sku {
            return Change::None;
        }
        if let Some(properties) = next.as_object_mut() {
            properties
                .retain(|name, value| !READ_ONLY.contains(&name.as_str()) && !value.is_null());
        }
        drop_read_only(&mut next);
        let mut body = json!({
            "location": there["location"],
            "sku": sku,
            "tags": tags,
            "properties": next,
        });
        if let Some(identity) = there.pointer("/identity/type") {
            body["identity"] = json!({ "type": identity });
        }
        Change::Put(body)
    }
}

/// Regions are written with spaces and without: `West US 2`, `westus2`.
pub(crate) fn same_region(one: &str, other: &str) -> bool {
    let short = |region: &str| region.replace(' ', "").to_ascii_lowercase();
    short(one) == short(other)
}

/// What is read only deeper down.
fn drop_read_only(properties: &mut Value) {
    if let Some(issuer) = properties
        .get_mut("oidcIssuerProfile")
        .and_then(Value::as_object_mut)
    {
        issuer.remove("issuerURL");
    }
    if let Some(disks) = properties
        .pointer_mut("/storageProfile/diskCSIDriver")
        .and_then(Value::as_object_mut)
    {
        disks.remove("version");
    }
    let pools = properties
        .get_mut("agentPoolProfiles")
        .and_then(Value::as_array_mut);
    for pool in pools.into_iter().flatten().filter_map(Value::as_object_mut) {
        pool::drop_read_only(pool);
    }
}

#[cfg(test)]
mod tests;
