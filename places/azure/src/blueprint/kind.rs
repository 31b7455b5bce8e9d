//! What a resource is one of.

use crate::ResourceId;

/// What kind of resource it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A resource group.
    Group,
    /// A Kubernetes cluster.
    Cluster,
    /// A pool of nodes.
    Pool,
    /// A storage account.
    Account,
    /// A container of blobs.
    Container,
    /// A registry of images.
    Registry,
    /// A managed identity.
    Identity,
    /// What lets a service account of a cluster be an identity.
    Credential,
    /// A right.
    Role,
}

/// The types of resources, as ids have them behind the last `providers`, in small letters and without their names.
const TYPES: [(&str, Kind); 8] = [
    ("microsoft.containerservice/managedclusters", Kind::Cluster),
    (
        "microsoft.containerservice/managedclusters/agentpools",
        Kind::Pool,
    ),
    ("microsoft.storage/storageaccounts", Kind::Account),
    (
        "microsoft.storage/storageaccounts/blobservices/containers",
        Kind::Container,
    ),
    ("microsoft.containerregistry/registries", Kind::Registry),
    (
        "microsoft.managedidentity/userassignedidentities",
        Kind::Identity,
    ),
    (
        "microsoft.managedidentity/userassignedidentities/federatedidentitycredentials",
        Kind::Credential,
    ),
    ("microsoft.authorization/roleassignments", Kind::Role),
];

impl Kind {
    /// What an id is one of; `None`: of nothing that petctl makes.
    #[must_use]
    pub fn of(id: &ResourceId) -> Option<Self> {
        let text = id.as_str().to_ascii_lowercase();
        let Some((_, own)) = text.rsplit_once("/providers/") else {
            let parts: Vec<&str> = text.split('/').collect();
            let is_group = matches!(
                parts.as_slice(),
                ["", "subscriptions", _, "resourcegroups", _]
            );
            return is_group.then_some(Self::Group);
        };
        // A namespace, then pairs of a type and a name.
        let mut parts = own.split('/');
        let mut kind = parts.next()?.to_owned();
        while let Some(part) = parts.next() {
            kind = format!("{kind}/{part}");
            parts.next();
        }
        let found = TYPES.iter().find(|(known, _)| *known == kind);
        found.map(|(_, kind)| *kind)
    }

    /// The version of its interface that petctl speaks.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Group => "2025-04-01",
            Self::Cluster | Self::Pool => "2026-05-01",
            Self::Account | Self::Container => "2026-04-01",
            Self::Registry => "2025-11-01",
            Self::Identity | Self::Credential => "2024-11-30",
            Self::Role => "2022-04-01",
        }
    }

    /// The provider that must be registered for it.
    #[must_use]
    pub fn provider(self) -> Option<&'static str> {
        match self {
            Self::Group | Self::Role => None,
            Self::Cluster | Self::Pool => Some("Microsoft.ContainerService"),
            Self::Account | Self::Container => Some("Microsoft.Storage"),
            Self::Registry => Some("Microsoft.ContainerRegistry"),
            Self::Identity | Self::Credential => Some("Microsoft.ManagedIdentity"),
        }
    }

    /// Whether it carries tags of its own. What doesn't belongs to whom its parent belongs.
    #[must_use]
    pub fn has_tags(self) -> bool {
        match self {
            Self::Group
            | Self::Cluster
            | Self::Pool
            | Self::Account
            | Self::Registry
            | Self::Identity => true,
            Self::Container | Self::Credential | Self::Role => false,
        }
    }

    /// Whether what it holds is the user's: data and images.
    #[must_use]
    pub fn is_data(self) -> bool {
        matches!(self, Self::Account | Self::Container | Self::Registry)
    }

    /// As people say it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Group => "resource group",
            Self::Cluster => "cluster",
            Self::Pool => "node pool",
            Self::Account => "storage account",
            Self::Container => "container",
            Self::Registry => "registry",
            Self::Identity => "identity",
            Self::Credential => "federated credential",
            Self::Role => "role assignment",
        }
    }
}
