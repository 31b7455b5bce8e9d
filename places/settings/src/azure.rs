//! What a place in Azure is made of: the cluster, its pools, and what they need. Plain data, for those who make it.

use crate::keys::POOL;
use crate::read::{items, texts};
use petctl_keyed::{Report, Section};
use std::collections::BTreeMap;

/// A place in Azure, beside what it is as a place on Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzurePlace {
    /// The subscription that pays.
    pub subscription: String,
    /// The directory in which to sign in.
    pub tenant: Option<String>,
    /// How to sign in, as the file says it.
    pub sign_in: Option<String>,
    /// The group that holds everything.
    pub resource_group: String,
    /// The region.
    pub location: String,
    /// The name of the cluster.
    pub cluster: String,
    /// How the host name of its API server begins.
    pub dns_prefix: String,
    /// `Free` or `Standard`.
    pub tier: String,
    /// The version of Kubernetes.
    pub kubernetes_version: Option<String>,
    /// The size of the nodes of the cluster's own pods.
    pub system_size: String,
    /// How many of them.
    pub system_nodes: u32,
    /// Pools for workers.
    pub pools: Vec<AzurePool>,
    /// The storage account.
    pub storage_account: Option<String>,
    /// Its containers.
    pub containers: Vec<String>,
    /// The registry of images.
    pub registry: Option<String>,
    /// The identity of workers.
    pub identity: Option<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Which Azure.
    pub cloud: String,
    /// The address of the control plane, where it is an own one.
    pub resource_manager: Option<String>,
    /// The address of the sign-in, where it is an own one.
    pub authority: Option<String>,
}

/// A pool of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzurePool {
    /// Its name.
    pub name: String,
    /// The size of its machines.
    pub size: String,
    /// Fewest nodes.
    pub min: u32,
    /// Most nodes.
    pub max: u32,
    /// Spare machines.
    pub spot: bool,
    /// Whether Azure installs the driver of its GPUs.
    pub driver: bool,
    /// How MIG divides each GPU.
    pub mig: Option<String>,
    /// Availability zones.
    pub zones: Vec<String>,
    /// Labels of its nodes.
    pub labels: BTreeMap<String, String>,
    /// Taints of its nodes; `None`: what its size is usually given.
    pub taints: Option<Vec<String>>,
}

/// Reads the table; what is missing in it is reported.
pub(crate) fn read_azure(section: &Section<'_>, report: &mut Report<'_>) -> Option<AzurePlace> {
    let text = |name: &str| section.text(name).map(str::to_owned);
    let cluster = text("cluster").unwrap_or_else(|| "petctl".to_owned());
    let pools = items(section, "pools", POOL, report);
    Some(AzurePlace {
        subscription: text("subscription")?,
        tenant: text("tenant"),
        sign_in: text("sign_in"),
        resource_group: text("resource_group")?,
        location: text("location")?,
        dns_prefix: text("dns_prefix").unwrap_or_else(|| cluster.clone()),
        cluster,
        tier: text("tier").unwrap_or_else(|| "Free".to_owned()),
        kubernetes_version: text("kubernetes_version"),
        system_size: text("system_size").unwrap_or_else(|| "Standard_D4ds_v5".to_owned()),
        system_nodes: section.integer_u32("system_nodes").unwrap_or(1),
        pools: pools.iter().map(pool).collect::<Option<_>>()?,
        storage_account: text("storage_account"),
        containers: if section.is_given("containers") {
            texts(section, "containers")
        } else {
            ["input", "output", "code"].map(str::to_owned).to_vec()
        },
        registry: text("registry"),
        identity: text("identity"),
        tags: section.scalars("tags"),
        cloud: text("cloud").unwrap_or_else(|| "public".to_owned()),
        resource_manager: text("resource_manager"),
        authority: text("authority"),
    })
}

fn pool(section: &Section<'_>) -> Option<AzurePool> {
    let text = |name: &str| section.text(name).map(str::to_owned);
    Some(AzurePool {
        name: text("name")?,
        size: text("size")?,
        min: section.integer_u32("min").unwrap_or(0),
        max: section.integer_u32("max")?,
        spot: section.switch("spot"),
        driver: section.switch("driver"),
        mig: text("mig"),
        zones: texts(section, "zones"),
        labels: section.scalars("labels"),
        taints: section.is_given("taints").then(|| texts(section, "taints")),
    })
}
