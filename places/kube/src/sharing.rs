//! A coordinator for several namespaces: which they are, and that each has but one.

use crate::cluster::{Cluster, found};
use crate::names::{COORDINATOR, NAMESPACES};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::rbac::v1::RoleBinding;
use petctl_settings::KubePlace;
use petctl_ui::error::{Code, Error, Result};

/// The other namespaces in which a coordinator that is installed keeps pods.
pub(crate) fn others(set: &StatefulSet) -> Vec<String> {
    let annotations = set.metadata.annotations.as_ref();
    let all = annotations.and_then(|all| all.get(NAMESPACES));
    let names = all.map(String::as_str).unwrap_or_default().split(',');
    let names = names.filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

/// The other namespaces in which the coordinator of this one keeps pods; none where that can't be seen.
pub async fn shared_with(cluster: &Cluster) -> Vec<Cluster> {
    let sets = cluster.api::<StatefulSet>();
    let set = found(&cluster.shown, sets.get(COORDINATOR)).await;
    let names = set.ok().flatten().as_ref().map(others);
    let names = names.unwrap_or_default().into_iter();
    names.map(|name| cluster.in_namespace(&name)).collect()
}

/// Why a coordinator of these namespaces takes no job of that one, and what to do.
#[must_use]
pub fn unkept(kept: &[&str], namespace: &str) -> String {
    let (word, all) = (
        if kept.len() == 1 {
            "namespace"
        } else {
            "namespaces"
        },
        kept.join(", "),
    );
    let own = kept.first().copied().unwrap_or_default();
    format!(
        "this coordinator keeps pods in {word} {all}, not in {namespace}; whoever runs it adds that one: petctl setup \
         --namespace-scope {namespace} at the place of namespace {own}"
    )
}

/// Refuses a second coordinator for a namespace: each would take the other's pods away.
///
/// # Errors
/// [`Code::ClusterConflict`] where another one keeps pods there.
pub(crate) async fn check(cluster: &Cluster, place: &KubePlace) -> Result<()> {
    let bindings = cluster.api::<RoleBinding>();
    let binding = found(&cluster.shown, bindings.get(COORDINATOR)).await?;
    let mut subjects = binding
        .into_iter()
        .flat_map(|b| b.subjects.unwrap_or_default());
    let other = subjects.find_map(|subject| {
        let namespace = subject.namespace?;
        (namespace != place.coordinator_namespace()).then_some(namespace)
    });
    let Some(other) = other else { return Ok(()) };
    let whose = match other == place.namespace {
        true => "a coordinator of its own".to_owned(),
        false => format!("the coordinator of namespace {other}"),
    };
    let what = format!(
        "{whose} keeps pods in namespace {} already ({})",
        place.namespace, cluster.shown
    );
    Err(Error::new(Code::ClusterConflict, what).fix(format!(
        "use that one: `coordinator = {{ namespace = \"{other}\" }}` in the place; or take it away first: petctl \
         uninstall at a place that has it"
    )))
}
