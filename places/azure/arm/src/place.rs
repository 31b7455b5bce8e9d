//! From what `petctl.toml` says of a place to what is made.

use crate::cloud::Cloud;
use crate::sign_in::{Account, Way};
use petctl_azure::{Blueprint, Cluster, Identity, NodePool, Nodes, Resource, Size};
use petctl_settings::{AzurePlace, AzurePool, KubePlace};
use petctl_ui::error::{Code, Error, Result};
use std::collections::BTreeMap;

/// The taint of nodes with GPUs, which workers of `spot` places bear.
const GPU_TAINT: &str = "sku=gpu:NoSchedule";
/// The name of the pool of the cluster's own pods.
const SYSTEM_POOL: &str = "system";

/// What a place is made of.
#[must_use]
pub fn blueprint(name: &str, azure: &AzurePlace, kube: &KubePlace) -> Blueprint {
    let system = NodePool {
        name: SYSTEM_POOL.to_owned(),
        system: true,
        size: azure.system_size.clone(),
        nodes: Nodes::Fixed(azure.system_nodes),
        spot: false,
        labels: BTreeMap::new(),
        taints: Vec::new(),
        driver: None,
        mig: None,
        zones: Vec::new(),
    };
    Blueprint {
        place: name.to_owned(),
        subscription: azure.subscription.clone(),
        group: azure.resource_group.clone(),
        cluster_name: azure.cluster.clone(),
        cluster: Cluster {
            location: azure.location.clone(),
            dns_prefix: azure.dns_prefix.clone(),
            tier: azure.tier.clone(),
            version: azure.kubernetes_version.clone(),
            system,
            tags: azure.tags.clone(),
        },
        pools: azure.pools.iter().map(pool).collect(),
        account: azure.storage_account.clone(),
        containers: azure.containers.clone(),
        registry: azure.registry.clone(),
        identity: azure.identity.clone().map(|name| Identity {
            name,
            namespace: kube.namespace.clone(),
            service_account: kube.service_account.clone(),
        }),
    }
}

/// Its resources, each behind what it needs.
///
/// # Errors
/// Where the place can't be, whatever is there.
pub fn check(blueprint: &Blueprint) -> Result<Vec<Resource>> {
    blueprint.resources().map_err(|why| {
        Error::new(
            Code::BadPlace,
            format!("the place can't be made in Azure: {why}"),
        )
        .fix("change it in petctl.toml")
    })
}

fn pool(pool: &AzurePool) -> NodePool {
    let has_gpus = has_gpus(&pool.size);
    let usual = || has_gpus.then(|| GPU_TAINT.to_owned());
    NodePool {
        name: pool.name.clone(),
        system: false,
        size: pool.size.clone(),
        nodes: Nodes::Between(pool.min, pool.max),
        spot: pool.spot,
        labels: pool.labels.clone(),
        taints: pool
            .taints
            .clone()
            .unwrap_or_else(|| usual().into_iter().collect()),
        driver: has_gpus.then_some(pool.driver),
        mig: pool.mig.clone(),
        zones: pool.zones.clone(),
    }
}

/// Azure names all its sizes with GPUs with an N.
fn has_gpus(size: &str) -> bool {
    Size::find(size).is_some() || size.to_ascii_lowercase().starts_with("standard_n")
}

/// Where the place is.
#[must_use]
pub fn cloud(azure: &AzurePlace) -> Cloud {
    let named = Cloud::named(&azure.cloud).unwrap_or_default();
    let own = |given: &Option<String>, named: String| {
        let given = given.as_deref().map(|text| text.trim_end_matches('/'));
        given.map_or(named, str::to_owned)
    };
    Cloud {
        resource_manager: own(&azure.resource_manager, named.resource_manager),
        authority: own(&azure.authority, named.authority),
    }
}

/// Who signs in there.
#[must_use]
pub fn account(azure: &AzurePlace) -> Account {
    let way = azure.sign_in.as_deref();
    Account {
        way: Way::ALL
            .iter()
            .copied()
            .find(|known| Some(known.as_str()) == way),
        tenant: azure.tenant.clone(),
        subscription: Some(azure.subscription.clone()),
        ..Account::default()
    }
}
