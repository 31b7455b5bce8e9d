//! Takes away what petctl has made in a cluster, and says what is left.

use crate::cluster::{Cluster, answered, found};
use crate::names::{CREATED, NAMESPACE, managed, selector};
use crate::objects::{There, list, list_outside, remove};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams};
use petctl_ui::error::Result;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long what was removed may take to be gone: pods have their grace.
const GONE_TIMEOUT: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(300);

/// What there is of petctl in the namespace. `all`: the coordinator too, not only what belongs to jobs.
///
/// # Errors
/// Where it can't be listed.
pub async fn what_is_there(cluster: &Cluster, all: bool) -> Result<Vec<There>> {
    if all {
        let mut there = list(cluster, &managed()).await?;
        // Who may not look there has made nothing there.
        there.extend(list_outside(cluster).await?.unwrap_or_default());
        return Ok(there);
    }
    let mut there = Vec::new();
    for component in ["workers", "worker", "job"] {
        there.extend(list(cluster, &selector(component)).await?);
    }
    Ok(there)
}

/// Removes these and waits until they are gone; `say` hears of each. The namespace goes with them where `petctl setup`
/// has made it and nobody else has put anything there.
///
/// # Errors
/// Where one can't be removed.
pub async fn remove_all(
    cluster: &Cluster,
    all: bool,
    what: &[There],
    mut say: impl FnMut(&str),
) -> Result<()> {
    // Jobs first, without their records nobody makes their pods again; workers leave the sooner while their coordinator
    // hears it. Pods go with what they belong to.
    let of_jobs = |there: &&There| matches!(there.kind.as_str(), "Job" | "ConfigMap");
    let mut records: Vec<&There> = what.iter().filter(of_jobs).collect();
    records.sort_by_key(|there| there.kind != "ConfigMap");
    for there in &records {
        if remove(cluster, there).await? {
            say(&format!("removed {there}"));
        }
    }
    if !records.is_empty() {
        until_gone(cluster, false).await?;
    }
    for there in what.iter().filter(|there| !of_jobs(there)) {
        if there.kind != "Pod" && remove(cluster, there).await? {
            say(&format!("removed {there}"));
        }
    }
    until_gone(cluster, all).await?;
    let of_container =
        |there: &There| there.kind == "PersistentVolumeClaim" && there.name.starts_with("petctl-");
    if all && what.iter().any(of_container) && list_outside(cluster).await?.is_none() {
        say(&format!(
            "volumes of containers may be left, which you may not look at: kubectl delete persistentvolume -l {NAMESPACE}={}",
            cluster.namespace
        ));
    }
    if all {
        remove_namespace(cluster, say).await?;
    }
    Ok(())
}

/// What is in the namespace and was made by somebody else; not what every namespace has.
async fn others(cluster: &Cluster) -> Result<Vec<There>> {
    let all = list(cluster, "").await?;
    let own = what_is_there(cluster, true).await?;
    let of_kubernetes = |there: &There| {
        let name = there.name.as_str();
        match there.kind.as_str() {
            "ConfigMap" => name == "kube-root-ca.crt",
            "ServiceAccount" => name == "default",
            _ => false,
        }
    };
    let foreign = all.into_iter();
    Ok(foreign
        .filter(|there| !own.contains(there) && !of_kubernetes(there))
        .collect())
}

/// Waits until what was removed is gone, but not for ever.
async fn until_gone(cluster: &Cluster, all: bool) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < GONE_TIMEOUT && !what_is_there(cluster, all).await?.is_empty() {
        sleep(LOOK).await;
    }
    Ok(())
}

async fn remove_namespace(cluster: &Cluster, mut say: impl FnMut(&str)) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    // Who may not look at namespaces has not made it.
    let Ok(Some(namespace)) = found(&cluster.shown, namespaces.get(&cluster.namespace)).await
    else {
        return Ok(());
    };
    let annotations = namespace.metadata.annotations.unwrap_or_default();
    if !annotations.contains_key(CREATED) {
        return Ok(());
    }
    let others = others(cluster).await?;
    if let Some(first) = others.first() {
        say(&format!(
            "nothing more: namespace {} stays, {first} in it is not petctl's",
            cluster.namespace
        ));
        return Ok(());
    }
    answered(
        &cluster.shown,
        namespaces.delete(&cluster.namespace, &DeleteParams::background()),
    )
    .await?;
    say(&format!("removed Namespace {}", cluster.namespace));
    let start = Instant::now();
    while start.elapsed() < GONE_TIMEOUT {
        if let Ok(None) = found(&cluster.shown, namespaces.get(&cluster.namespace)).await {
            break;
        }
        sleep(LOOK).await;
    }
    Ok(())
}
