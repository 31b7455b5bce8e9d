//! Bodies of resources that have no file of their own.

use super::{BLOBS, Blueprint, Kind, Known, PULL, Resource};
use crate::ResourceId;
use crate::same::{Change, is_same, lay_over};
use serde_json::{Value, json};

/// A blueprint beside what is known.
pub(super) struct Seen<'a> {
    pub(super) blueprint: &'a Blueprint,
    pub(super) known: &'a Known,
}

impl Seen<'_> {
    /// The body that makes a resource; `None`: others have to be there first.
    pub(super) fn body(&self, resource: &Resource) -> Option<Value> {
        let blueprint = self.blueprint;
        let (location, tags) = (&blueprint.cluster.location, blueprint.tags());
        match resource.kind {
            Kind::Group => Some(json!({ "location": location, "tags": tags })),
            Kind::Cluster => Some(blueprint.tagged_cluster(tags).body()),
            Kind::Pool => {
                let mut properties = blueprint.pool(resource)?.properties();
                properties["tags"] = json!(tags);
                Some(json!({ "properties": properties }))
            }
            Kind::Account => Some(json!({
                "location": location,
                "tags": tags,
                "kind": "StorageV2",
                "sku": { "name": "Standard_LRS" },
                "properties": {
                    "allowBlobPublicAccess": false,
                    "minimumTlsVersion": "TLS1_2",
                    "supportsHttpsTrafficOnly": true,
                },
            })),
            Kind::Container => Some(json!({ "properties": { "publicAccess": "None" } })),
            Kind::Registry => Some(json!({
                "location": location,
                "tags": tags,
                "sku": { "name": "Basic" },
                "properties": { "adminUserEnabled": false },
            })),
            Kind::Identity => Some(json!({ "location": location, "tags": tags })),
            Kind::Credential => self.credential(),
            Kind::Role => self.role(resource),
        }
    }

    fn credential(&self) -> Option<Value> {
        let identity = self.blueprint.identity.as_ref()?;
        let issuer = self
            .cluster()?
            .pointer("/properties/oidcIssuerProfile/issuerURL")?;
        let (namespace, account) = (&identity.namespace, &identity.service_account);
        Some(json!({ "properties": {
            "issuer": issuer,
            "subject": format!("system:serviceaccount:{namespace}:{account}"),
            "audiences": ["api://AzureADTokenExchange"],
        } }))
    }

    fn role(&self, resource: &Resource) -> Option<Value> {
        let (role, principal) = if self.is_of_registry(resource) {
            let kubelets = "/properties/identityProfile/kubeletidentity/objectId";
            (PULL, self.cluster()?.pointer(kubelets)?)
        } else {
            let name = &self.blueprint.identity.as_ref()?.name;
            let id = self.blueprint.identity_id(name).ok()?;
            let principal = "/properties/principalId";
            (BLOBS, self.known.get(&id)?.pointer(principal)?)
        };
        let subscription = &self.blueprint.subscription;
        let definition = format!(
            "/subscriptions/{subscription}/providers/Microsoft.Authorization/roleDefinitions/{}",
            role.1
        );
        Some(json!({ "properties": {
            "roleDefinitionId": definition,
            "principalId": principal,
            // Without it a principal that was made just now is refused until it is known everywhere.
            "principalType": "ServicePrincipal",
        } }))
    }

    fn is_of_registry(&self, resource: &Resource) -> bool {
        let registry = |id: &ResourceId| {
            let text = id.as_str().to_ascii_lowercase();
            text.contains("/microsoft.containerregistry/registries/")
        };
        registry(&resource.id)
    }

    fn cluster(&self) -> Option<&Value> {
        self.known.get(&self.blueprint.cluster_id().ok()?)
    }
}

/// What has to be done about one that is there, where this would make it.
pub(super) fn change_of(kind: Kind, there: &Value, body: &Value) -> Change {
    let (is, wanted) = (
        there.get("location").and_then(Value::as_str),
        body.get("location").and_then(Value::as_str),
    );
    if let (Some(is), Some(wanted)) = (is, wanted)
        // A group holds what is elsewhere as well.
        && kind != Kind::Group
        && !crate::cluster::same_region(is, wanted)
    {
        return Change::Replace(vec!["location".to_owned()]);
    }
    if kind == Kind::Role {
        // A right is what it is: whose and which can't be changed.
        let other: Vec<String> = RIGHT
            .into_iter()
            .filter(|name| !ends_alike(there, body, name))
            .map(str::to_owned)
            .collect();
        return if other.is_empty() {
            Change::None
        } else {
            Change::Replace(other)
        };
    }
    let mut wanted = body.clone();
    if let Some(map) = wanted.as_object_mut() {
        // A region is written in several ways, and what is there has one that is good.
        map.remove("location");
    }
    if is_same(there, &wanted) {
        return Change::None;
    }
    let mut next = body.clone();
    if let Some(tags) = there.get("tags").filter(|tags| tags.is_object()) {
        let mut all = tags.clone();
        lay_over(&mut all, &body["tags"]);
        next["tags"] = all;
    }
    if let Some(location) = there.get("location") {
        next["location"] = location.clone();
    }
    // Who pays for what kind of storage was decided by whoever made it or changed it since.
    for kept in ["sku", "kind"] {
        if let Some(value) = there.get(kept) {
            next[kept] = match value.get("name") {
                Some(name) => json!({ "name": name }),
                None => value.clone(),
            };
        }
    }
    let mut compared = next.clone();
    if let Some(map) = compared.as_object_mut() {
        map.remove("location");
    }
    if is_same(there, &compared) {
        return Change::None;
    }
    Change::Put(next)
}

/// What a right is.
const RIGHT: [&str; 2] = ["principalId", "roleDefinitionId"];

/// Whether two bodies of role assignments are of one right: the same role for the same principal.
#[must_use]
pub fn is_same_right(one: &Value, other: &Value) -> bool {
    RIGHT.iter().all(|name| ends_alike(one, other, name))
}

/// Ids of roles come with a subscription in front and without.
fn ends_alike(one: &Value, other: &Value, name: &str) -> bool {
    let last = |body: &Value| {
        let value = body.pointer(&format!("/properties/{name}"));
        let text = value.and_then(Value::as_str).unwrap_or_default();
        let last = text.rsplit('/').next().unwrap_or_default();
        last.to_ascii_lowercase()
    };
    last(one) == last(other)
}

/// The paths at which what is wanted is not what is there.
pub(super) fn differences(there: &Value, wanted: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    walk(there, wanted, "", &mut paths);
    paths
}

fn walk(there: &Value, wanted: &Value, path: &str, paths: &mut Vec<String>) {
    if is_same(there, wanted) {
        return;
    }
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => {
            for (name, value) in wanted {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                walk(there.get(name).unwrap_or(&Value::Null), value, &path, paths);
            }
        }
        _ => paths.push(path.to_owned()),
    }
}
