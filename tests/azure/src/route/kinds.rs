//! Types of resources that are served, and the api-versions in which they are.

/// A type of resource.
#[derive(Debug)]
pub(crate) struct Kind {
    /// As the service writes it.
    pub(crate) name: &'static str,
    pub(crate) versions: &'static [&'static str],
}

const GROUPS: &[&str] = &[
    "2025-07-01",
    "2025-04-01",
    "2025-03-01",
    "2024-11-01",
    "2024-07-01",
    "2024-03-01",
    "2023-07-01",
    "2022-12-01",
    "2022-09-01",
    "2022-01-01",
    "2021-04-01",
    "2021-01-01",
    "2020-10-01",
    "2020-06-01",
    "2020-01-01",
    "2019-10-01",
    "2019-07-01",
];
const AKS: &[&str] = &[
    "2026-05-01",
    "2026-04-01",
    "2026-03-01",
    "2026-02-01",
    "2026-01-01",
    "2025-10-01",
    "2025-09-01",
    "2025-08-01",
    "2025-07-01",
    "2025-05-01",
    "2025-04-01",
    "2025-03-01",
    "2025-02-01",
    "2025-01-01",
    "2024-10-02-preview",
    "2024-09-01",
    "2024-08-01",
    "2024-05-01",
    "2024-02-01",
    "2023-11-01",
    "2020-03-01",
    "2019-02-01",
];
const STORAGE: &[&str] = &[
    "2026-04-01",
    "2025-08-01",
    "2025-06-01",
    "2025-01-01",
    "2024-01-01",
    "2023-05-01",
    "2023-04-01",
    "2023-01-01",
    "2022-09-01",
    "2022-05-01",
    "2021-09-01",
    "2021-04-01",
    "2019-06-01",
];
const REGISTRY: &[&str] = &[
    "2025-11-01",
    "2025-04-01",
    "2023-07-01",
    "2022-12-01",
    "2021-09-01",
    "2019-05-01",
];
const IDENTITY: &[&str] = &[
    "2024-11-30",
    "2023-01-31",
    "2022-01-31-preview",
    "2018-11-30",
];
const ROLES: &[&str] = &[
    "2022-04-01",
    "2020-10-01-preview",
    "2020-04-01-preview",
    "2018-07-01",
    "2015-07-01",
];
const LOCKS: &[&str] = &["2020-05-01", "2017-04-01", "2016-09-01"];
const COMPUTE: &[&str] = &[
    "2025-04-01",
    "2024-11-01",
    "2024-07-01",
    "2024-03-01",
    "2023-09-01",
    "2023-07-01",
    "2023-03-01",
    "2022-11-01",
    "2021-07-01",
    "2019-04-01",
    "2017-09-01",
];

/// All of them.
pub(crate) const KINDS: &[Kind] = &[
    kind("Microsoft.ContainerService/managedClusters", AKS),
    kind("Microsoft.ContainerService/managedClusters/agentPools", AKS),
    kind("Microsoft.Storage/storageAccounts", STORAGE),
    kind("Microsoft.Storage/storageAccounts/blobServices", STORAGE),
    kind(
        "Microsoft.Storage/storageAccounts/blobServices/containers",
        STORAGE,
    ),
    kind("Microsoft.Storage/checkNameAvailability", STORAGE),
    kind("Microsoft.ContainerRegistry/registries", REGISTRY),
    kind(
        "Microsoft.ContainerRegistry/checkNameAvailability",
        REGISTRY,
    ),
    kind("Microsoft.ManagedIdentity/userAssignedIdentities", IDENTITY),
    kind(
        "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials",
        IDENTITY,
    ),
    kind("Microsoft.Authorization/roleAssignments", ROLES),
    kind("Microsoft.Authorization/locks", LOCKS),
    kind("Microsoft.Compute/skus", COMPUTE),
    kind("Microsoft.Compute/locations/usages", COMPUTE),
];

const fn kind(name: &'static str, versions: &'static [&'static str]) -> Kind {
    Kind { name, versions }
}

/// The type of this name, in any letter case.
pub(crate) fn known(name: &str) -> Option<&'static Kind> {
    KINDS
        .iter()
        .find(|kind| kind.name.eq_ignore_ascii_case(name))
}

/// A provider's name as the service writes it.
pub(crate) fn namespace(name: &str) -> Option<&'static str> {
    let mut all = KINDS.iter().map(|kind| kind.name);
    let own = all.find_map(|kind| {
        let (namespace, _) = kind.split_once('/')?;
        namespace.eq_ignore_ascii_case(name).then_some(namespace)
    });
    let others = ["Microsoft.Resources", "Microsoft.Network"];
    own.or_else(|| {
        others
            .into_iter()
            .find(|other| other.eq_ignore_ascii_case(name))
    })
}

/// Whether groups, subscriptions and providers are served in this version.
pub(crate) fn groups_have(version: &str) -> bool {
    GROUPS.contains(&version)
}

/// The versions of groups, for a refusal.
pub(crate) fn group_versions() -> String {
    GROUPS.join(",")
}
