//! A pool of nodes: what petctl asks for, and what that means for one that is there.
//!
//! Source: `managedClusters/agentPools`, api-version 2026-05-01, whose published schema the tests hold it to.

use crate::same::{Change, is_same, lay_over};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What Azure taints spot nodes with.
pub const SPOT_TAINT: &str = "kubernetes.azure.com/scalesetpriority=spot:NoSchedule";
/// Most characters of a pool's name.
const MAX_NAME: usize = 12;
/// Most nodes of a pool.
const MAX_NODES: u32 = 1000;

/// A pool as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePool {
    /// Its name: `^[a-z][a-z0-9]{0,11}$`.
    pub name: String,
    /// The cluster's own pods may run there. One such pool is always there, and it can't be of spot nodes.
    pub system: bool,
    /// The size of its machines.
    pub size: String,
    /// How many nodes.
    pub nodes: Nodes,
    /// Spare machines at a lower price, which may be taken away.
    pub spot: bool,
    /// Labels of its nodes.
    pub labels: BTreeMap<String, String>,
    /// Taints of its nodes, beside the one of spot nodes: `key=value:Effect`.
    pub taints: Vec<String>,
    /// Whether Azure installs the driver of its GPUs; `None`: it has none.
    pub driver: Option<bool>,
    /// How MIG divides its GPUs, such as `MIG1g`.
    pub mig: Option<String>,
    /// Availability zones; none: as Azure likes it.
    pub zones: Vec<String>,
}

/// How many nodes a pool has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// So many.
    Fixed(u32),
    /// As many as pods ask for, within these bounds.
    Between(u32, u32),
}

/// What can't be changed once a pool is there.
const FIXED: &[&str] = &[
    "vmSize",
    "osType",
    "type",
    "scaleSetPriority",
    "scaleSetEvictionPolicy",
    "spotMaxPrice",
    "availabilityZones",
    "gpuInstanceProfile",
];
/// What an answer has, and a request must not.
const READ_ONLY: &[&str] = &[
    "provisioningState",
    "currentOrchestratorVersion",
    "eTag",
    "nodeImageVersion",
    "status",
];

impl NodePool {
    /// Rules that Azure has, and tells of only in the middle.
    ///
    /// # Errors
    /// The first that is broken, in a sentence.
    pub fn check(&self) -> Result<(), String> {
        let name = &self.name;
        let mut chars = name.chars();
        let starts = chars.next().is_some_and(|c| c.is_ascii_lowercase());
        let goes_on = chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if !starts || !goes_on || name.len() > MAX_NAME {
            return Err(format!(
                "a pool's name is of 1 to {MAX_NAME} small letters and digits and begins with a letter: `{name}` is not"
            ));
        }
        if self.system && self.spot {
            return Err(format!(
                "pool `{name}` can't be of spot nodes and hold the cluster's own pods"
            ));
        }
        let (least, most) = self.bounds();
        if least > most || most > MAX_NODES {
            return Err(format!(
                "pool `{name}` can't have {least} to {most} nodes: 0 to {MAX_NODES}, the smaller first"
            ));
        }
        if self.system && least == 0 {
            return Err(format!(
                "pool `{name}` holds the cluster's own pods, so it needs a node at least"
            ));
        }
        if self.spot && matches!(self.nodes, Nodes::Fixed(_)) {
            return Err(format!(
                "pool `{name}` is of spot nodes: without the autoscaler nodes that are taken away never come back"
            ));
        }
        Ok(())
    }

    fn bounds(&self) -> (u32, u32) {
        match self.nodes {
            Nodes::Fixed(count) => (count, count),
            Nodes::Between(least, most) => (least, most),
        }
    }

    /// Its properties where it is not there yet.
    #[must_use]
    pub fn properties(&self) -> Value {
        let mut properties = self.wanted();
        properties.insert("count".to_owned(), json!(self.bounds().0));
        Value::Object(properties)
    }

    /// All that petctl says of it but the count of nodes, which the autoscaler changes.
    fn wanted(&self) -> Map<String, Value> {
        let mut all = json!({
            "mode": if self.system { "System" } else { "User" },
            "vmSize": self.size,
            "osType": "Linux",
            "type": "VirtualMachineScaleSets",
            "nodeTaints": self.all_taints(),
        });
        let mut say = |name: &str, value: Value| all[name] = value;
        match self.nodes {
            Nodes::Fixed(count) => {
                say("enableAutoScaling", json!(false));
                say("count", json!(count));
            }
            Nodes::Between(least, most) => {
                say("enableAutoScaling", json!(true));
                say("minCount", json!(least));
                say("maxCount", json!(most));
            }
        }
        if self.spot {
            say("scaleSetPriority", json!("Spot"));
            say("scaleSetEvictionPolicy", json!("Delete"));
            // The price of machines that are not spare is the most that is paid.
            say("spotMaxPrice", json!(-1));
        }
        if !self.labels.is_empty() {
            say("nodeLabels", json!(self.labels));
        }
        if let Some(driver) = self.driver {
            // `None`: somebody else brings it. The tag SkipGPUDriverInstall, which said so before, counts no more.
            say(
                "gpuProfile",
                json!({ "driver": if driver { "Install" } else { "None" } }),
            );
        }
        if let Some(mig) = &self.mig {
            say("gpuInstanceProfile", json!(mig));
        }
        if !self.zones.is_empty() {
            say("availabilityZones", json!(self.zones));
        }
        all.as_object().cloned().unwrap_or_default()
    }

    fn all_taints(&self) -> Vec<&str> {
        let spot = self.spot.then_some(SPOT_TAINT);
        let own = self.taints.iter().map(String::as_str);
        spot.into_iter()
            .chain(own.filter(|taint| *taint != SPOT_TAINT))
            .collect()
    }

    /// What has to be done where it is there with these properties. What others have added to it stays.
    #[must_use]
    pub fn change(&self, there: &Value) -> Change {
        let wanted = self.wanted();
        let mut replace = Vec::new();
        let mut next = there.as_object().cloned().unwrap_or_default();
        let mut changes = false;
        for (name, value) in &wanted {
            let is = there.get(name).unwrap_or(&Value::Null);
            let merged = match name.as_str() {
                "nodeLabels" => {
                    let mut labels = is.clone();
                    lay_over(&mut labels, value);
                    labels
                }
                "nodeTaints" => with_all(is, value),
                _ if is_same(is, value) => continue,
                _ => value.clone(),
            };
            if merged == *is || is_same(is, &merged) {
                continue;
            }
            if FIXED.contains(&name.as_str()) {
                replace.push(name.clone());
            } else {
                changes = true;
                next.insert(name.clone(), merged);
            }
        }
        // What is not said is a pool at full price.
        if !self.spot
            && is_same(
                there.get("scaleSetPriority").unwrap_or(&Value::Null),
                &json!("Spot"),
            )
        {
            replace.push("scaleSetPriority".to_owned());
        }
        if !replace.is_empty() {
            return Change::Replace(replace);
        }
        if !changes {
            return Change::None;
        }
        if let Nodes::Between(least, most) = self.nodes {
            let count = there.get("count").and_then(Value::as_u64).unwrap_or(0);
            next.insert(
                "count".to_owned(),
                json!(count.clamp(u64::from(least), u64::from(most))),
            );
        } else {
            next.remove("minCount");
            next.remove("maxCount");
        }
        drop_read_only(&mut next);
        Change::Put(Value::Object(next))
    }
}

/// What is there as a request may have it.
pub(crate) fn for_request(properties: &Value) -> Value {
    let mut next = properties.as_object().cloned().unwrap_or_default();
    drop_read_only(&mut next);
    Value::Object(next)
}

/// Leaves what a request may have.
pub(crate) fn drop_read_only(properties: &mut Map<String, Value>) {
    properties.retain(|name, value| !READ_ONLY.contains(&name.as_str()) && !value.is_null());
}

fn with_all(is: &Value, wanted: &Value) -> Value {
    let mut all = is.as_array().cloned().unwrap_or_default();
    for value in wanted.as_array().into_iter().flatten() {
        if !all.contains(value) {
            all.push(value.clone());
        }
    }
    Value::Array(all)
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
