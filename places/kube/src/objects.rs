//! Objects as JSON, applied on the server with one field manager, compared, and removed.

use crate::cluster::{Cluster, answered, found};
use crate::names::{FIELD_MANAGER, NAMESPACE, managed};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams,
    ValidationDirective,
};
use kube::core::GroupVersionKind;
use petctl_ui::error::{Code, Error, Result};
use serde_json::Value;

/// What an application makes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was not there.
    New,
    /// It was there and becomes another.
    Changed,
    /// It is as it should be.
    Same,
    /// It is there and goes.
    Gone,
}

/// One object, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `StatefulSet petctl-coordinator`.
    pub object: String,
    /// What becomes of it.
    pub change: Change,
    /// Fields that change: path, before, after.
    pub fields: Vec<(String, String, String)>,
}

/// Applies objects, or asks the server what that would do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Applying {
    /// The server's own dry run.
    pub(crate) dry_run: bool,
    /// Take fields over that somebody else has set.
    pub(crate) force: bool,
}

/// Most differing fields that are named of one object.
const MAX_FIELDS: usize = 40;

/// Applies one object.
///
/// # Errors
/// What the server says against it.
pub(crate) async fn apply(cluster: &Cluster, object: &Value, how: Applying) -> Result<Difference> {
    let kind = Kind::of(object)?;
    let api = kind.api(cluster);
    let shown = format!("{}, {}", kind.shown(), cluster.shown);
    let before = found(&shown, api.get(&kind.name)).await?;
    let params = PatchParams {
        dry_run: how.dry_run,
        force: how.force,
        field_manager: Some(FIELD_MANAGER.to_owned()),
        // A field that this cluster does not know is a mistake, not something to be left out in silence.
        field_validation: Some(ValidationDirective::Strict),
    };
    let patch = Patch::Apply(object);
    let after = answered(&shown, api.patch(&kind.name, &params, &patch)).await?;
    let Some(before) = before else {
        return Ok(Difference {
            object: kind.shown(),
            change: Change::New,
            fields: Vec::new(),
        });
    };
    let mut fields = Vec::new();
    let secret = kind.kind == "Secret";
    compare("", &plain(&before), &plain(&after), secret, &mut fields);
    Ok(Difference {
        object: kind.shown(),
        change: if fields.is_empty() {
            Change::Same
        } else {
            Change::Changed
        },
        fields,
    })
}

/// What an object is, and how it is called.
struct Kind {
    resource: ApiResource,
    kind: String,
    name: String,
    namespace: Option<String>,
}

impl Kind {
    fn of(object: &Value) -> Result<Self> {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str);
        let (Some(version), Some(kind), Some(name)) =
            (text("/apiVersion"), text("/kind"), text("/metadata/name"))
        else {
            return Err(Error::new(Code::Bug, "an object without a kind or a name"));
        };
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let gvk = GroupVersionKind::gvk(group, version, kind);
        Ok(Self {
            resource: ApiResource::from_gvk(&gvk),
            kind: kind.to_owned(),
            name: name.to_owned(),
            namespace: text("/metadata/namespace").map(str::to_owned),
        })
    }

    fn api(&self, cluster: &Cluster) -> Api<DynamicObject> {
        match &self.namespace {
            Some(namespace) => {
                Api::namespaced_with(cluster.client.clone(), namespace, &self.resource)
            }
            None => Api::all_with(cluster.client.clone(), &self.resource),
        }
    }

    fn shown(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }
}

/// What counts of an object: not what the server notes for itself.
fn plain(object: &DynamicObject) -> Value {
    let mut value = object.data.clone();
    if let Some(map) = value.as_object_mut() {
        map.remove("status");
    }
    let meta = &object.metadata;
    value["metadata"] = serde_json::json!({
        "labels": meta.labels, "annotations": meta.annotations,
    });
    value
}

/// Names the fields in which two values differ.
fn compare(
    path: &str,
    before: &Value,
    after: &Value,
    secret: bool,
    fields: &mut Vec<(String, String, String)>,
) {
    if before == after || fields.len() >= MAX_FIELDS {
        return;
    }
    match (before, after) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let (a, b) = (a.get(key), b.get(key));
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                compare(
                    &path,
                    a.unwrap_or(&Value::Null),
                    b.unwrap_or(&Value::Null),
                    secret,
                    fields,
                );
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{path}[{index}]"), a, b, secret, fields);
            }
        }
        _ => {
            let shown = |value: &Value| match value {
                Value::Null => "nothing".to_owned(),
                Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_)
                | Value::Object(_)
                    if secret =>
                {
                    "[redacted]".to_owned()
                }
                Value::String(text) => text.clone(),
                Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    value.to_string()
                }
            };
            fields.push((path.to_owned(), shown(before), shown(after)));
        }
    }
}

/// A kind of objects that petctl makes, with how it is asked for.
const KINDS: [(&str, &str, &str); 11] = [
    ("apps", "v1", "StatefulSet"),
    ("apps", "v1", "DaemonSet"),
    ("batch", "v1", "Job"),
    ("", "v1", "Pod"),
    ("", "v1", "Service"),
    ("", "v1", "ConfigMap"),
    ("", "v1", "Secret"),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding"),
    ("rbac.authorization.k8s.io", "v1", "Role"),
    ("", "v1", "ServiceAccount"),
    ("", "v1", "PersistentVolumeClaim"),
];

/// An object that is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct There {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for There {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// Kinds that belong to no namespace: those of one are known by a label.
const OF_NO_NAMESPACE: [(&str, &str, &str); 1] = [("", "v1", "PersistentVolume")];

fn api_of(cluster: &Cluster, (group, version, kind): (&str, &str, &str)) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    if OF_NO_NAMESPACE.iter().any(|(_, _, known)| *known == kind) {
        return Api::all_with(cluster.client.clone(), &resource);
    }
    Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource)
}

/// Everything in the namespace that has these labels, in the order in which it is removed.
///
/// # Errors
/// Where it can't be listed.
pub(crate) async fn list(cluster: &Cluster, labels: &str) -> Result<Vec<There>> {
    let mut all = Vec::new();
    for kind in KINDS {
        match list_of(cluster, kind, labels).await {
            // Roles of before had no reason to let anybody look at them.
            Err(error) if kind.2 == "DaemonSet" && error.is(Code::ClusterDenied) => {}
            listed => all.extend(listed?),
        }
    }
    Ok(all)
}

/// What petctl has made for the namespace outside of it; `None`: you may not look there.
///
/// # Errors
/// Where it can't be listed.
pub(crate) async fn list_outside(cluster: &Cluster) -> Result<Option<Vec<There>>> {
    let labels = format!("{},{NAMESPACE}={}", managed(), cluster.namespace);
    let mut all = Vec::new();
    for kind in OF_NO_NAMESPACE {
        match list_of(cluster, kind, &labels).await {
            Err(error) if error.is(Code::ClusterDenied) => return Ok(None),
            listed => all.extend(listed?),
        }
    }
    Ok(Some(all))
}

async fn list_of(cluster: &Cluster, kind: (&str, &str, &str), labels: &str) -> Result<Vec<There>> {
    let params = ListParams::default().labels(labels);
    let listed = answered(&cluster.shown, api_of(cluster, kind).list(&params)).await?;
    let listed = listed.items.into_iter().filter_map(|object| {
        Some(There {
            kind: kind.2.to_owned(),
            name: object.metadata.name?,
        })
    });
    Ok(listed.collect())
}

/// Removes one object and what belongs to it; whether it was there.
///
/// # Errors
/// Where it can't be removed.
pub(crate) async fn remove(cluster: &Cluster, there: &There) -> Result<bool> {
    let mut kinds = KINDS.iter().chain(&OF_NO_NAMESPACE);
    let known = kinds.find(|(_, _, kind)| *kind == there.kind);
    let Some(kind) = known else {
        return Ok(false);
    };
    let api = api_of(cluster, *kind);
    // A Job that is deleted otherwise leaves its pods.
    let params = DeleteParams::background();
    let shown = format!("{there}, {}", cluster.shown);
    Ok(found(&shown, api.delete(&there.name, &params))
        .await?
        .is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_are_named_field_by_field() {
        let before = json!({ "spec": { "replicas": 1, "c": [{ "image": "a:1" }, { "x": 1 }] } });
        let after = json!({ "spec": { "replicas": 1, "c": [{ "image": "a:2" }, { "x": 1 }], "new": true } });
        let mut fields = Vec::new();
        compare("", &before, &after, false, &mut fields);
        let text = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(
            fields,
            [
                text("spec.c[0].image", "a:1", "a:2"),
                text("spec.new", "nothing", "true")
            ]
        );
    }

    #[test]
    fn a_secret_shows_no_difference_but_that_there_is_one() {
        let mut fields = Vec::new();
        let (before, after) = (
            json!({ "data": { "token": "old" } }),
            json!({ "data": { "token": "new" } }),
        );
        compare("", &before, &after, true, &mut fields);
        let shown = format!("{fields:?}");
        assert!(
            fields.len() == 1 && !shown.contains("old") && !shown.contains("new"),
            "{shown}"
        );
    }
}
