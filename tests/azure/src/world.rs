//! What the service's world is like: who may do what, what is offered where, what goes wrong.

use petctl_azure::{SIZES, SPOT_QUOTA};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The tenant of the default world.
pub const TENANT: &str = "7e7a11aa-0000-4000-8000-00000000aaaa";
/// The subscription of the default world.
pub const SUBSCRIPTION: &str = "50b5c21b-0000-4000-8000-00000000bbbb";
/// The client of the default world: it may do anything.
pub const CLIENT: &str = "c11e0000-0000-4000-8000-00000000cccc";
/// Its secret.
pub const SECRET: &str = "a secret of tests";

/// How long an operation takes for which nothing else is said.
const DELAY: Duration = Duration::from_millis(20);
/// Sizes without GPUs that the default world offers.
const PLAIN_SIZES: &[&str] = &[
    "Standard_B2s",
    "Standard_D2s_v3",
    "Standard_D4s_v3",
    "Standard_D8s_v3",
    "Standard_D2ds_v5",
    "Standard_D4ds_v5",
    "Standard_D8ds_v5",
    "Standard_D16ds_v5",
    "Standard_D2s_v5",
    "Standard_D4s_v5",
    "Standard_D8s_v5",
    "Standard_D4as_v5",
    "Standard_DS2_v2",
];

/// Everything about the service that a test may want to be otherwise.
#[derive(Clone, Debug)]
pub struct World {
    /// The tenant's id.
    pub tenant: String,
    /// The subscription's id.
    pub subscription: String,
    /// `Enabled`, or `Disabled` and the like: then nothing can be written.
    pub subscription_state: String,
    /// Who can sign in, by client id.
    pub clients: BTreeMap<String, Client>,
    /// Regions by their short names, such as `eastus`.
    pub regions: BTreeMap<String, Region>,
    /// Providers that are registered in the subscription; the others refuse until they are.
    pub registered: BTreeSet<String>,
    /// Names of storage accounts and registries that others have.
    pub taken: BTreeSet<String>,
    /// How long long operations take, by the type of resource, `delete` or `register`; 20 ms where nothing is said.
    pub delays: BTreeMap<String, Duration>,
    /// `Retry-After` of answers that tell of an operation, in seconds.
    pub retry_after: Option<u64>,
    /// Every so many requests to the control plane, one is refused with 429.
    pub throttle_every: Option<usize>,
    /// How long it takes until a new principal is known and a new role counts.
    pub role_lag: Duration,
    /// Sizes of which there are no machines: the code with which the operation ends.
    pub capacity: BTreeMap<String, String>,
    /// Whether ids in answers come back in other letter case.
    pub letter_case: bool,
    /// Entries on a page of a list.
    pub page_size: usize,
    /// What the credential of a cluster is; `None`: one that is made up.
    pub kubeconfig: Option<String>,
    /// How long an access token lasts.
    pub token_life: Duration,
}

/// Somebody who can sign in.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// With this secret.
    pub secret: Option<String>,
    /// With a signed assertion, whoever signed it: a certificate, or a workload's token.
    pub assertion: bool,
    /// Names of its roles in the whole subscription, such as `Owner`.
    pub roles: BTreeSet<String>,
}

impl Client {
    /// One with a secret who may do anything.
    #[must_use]
    pub fn owner(secret: &str) -> Self {
        Self {
            secret: Some(secret.to_owned()),
            assertion: true,
            roles: BTreeSet::from(["Owner".to_owned()]),
        }
    }

    /// One with a secret and with these roles only.
    #[must_use]
    pub fn with_roles(secret: &str, roles: &[&str]) -> Self {
        Self {
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            ..Self::owner(secret)
        }
    }
}

/// A region.
#[derive(Clone, Debug, Default)]
pub struct Region {
    /// Sizes of machines that are offered.
    pub sizes: BTreeSet<String>,
    /// Quotas in cores by family, `cores` or `lowPriorityCores`: used by others, and at most. What is not there has none.
    pub quota: BTreeMap<String, (u64, u64)>,
}

impl Region {
    /// One that offers every size that petctl knows, with a thousand cores of each family.
    #[must_use]
    pub fn wide() -> Self {
        let known = SIZES.iter().map(|size| size.name);
        let mut quota: BTreeMap<String, (u64, u64)> = SIZES
            .iter()
            .map(|size| (size.quota.to_owned(), (0, 1_000)))
            .collect();
        for name in [
            SPOT_QUOTA,
            "cores",
            "standardDDSv5Family",
            "standardDSv3Family",
        ] {
            quota.insert(name.to_owned(), (0, 1_000));
        }
        Self {
            sizes: known
                .chain(PLAIN_SIZES.iter().copied())
                .map(str::to_owned)
                .collect(),
            quota,
        }
    }
}

impl Default for World {
    fn default() -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            tenant: TENANT.to_owned(),
            subscription: SUBSCRIPTION.to_owned(),
            subscription_state: "Enabled".to_owned(),
            clients: BTreeMap::from([(CLIENT.to_owned(), Client::owner(SECRET))]),
            regions: ["eastus", "westeurope", "westus2"]
                .into_iter()
                .map(|name| (name.to_owned(), Region::wide()))
                .collect(),
            registered: owned(&[
                "Microsoft.Compute",
                "Microsoft.ContainerRegistry",
                "Microsoft.ContainerService",
                "Microsoft.ManagedIdentity",
                "Microsoft.Network",
                "Microsoft.Storage",
            ]),
            taken: BTreeSet::new(),
            delays: BTreeMap::new(),
            retry_after: None,
            throttle_every: None,
            role_lag: Duration::ZERO,
            capacity: BTreeMap::new(),
            letter_case: true,
            page_size: 2,
            kubeconfig: None,
            token_life: Duration::from_secs(3_599),
        }
    }
}

impl World {
    /// How long an operation of this kind takes.
    pub(crate) fn delay_ms(&self, kinds: &[&str]) -> u64 {
        let said = kinds.iter().find_map(|kind| {
            let mut all = self.delays.iter();
            all.find(|(name, _)| name.eq_ignore_ascii_case(kind))
        });
        millis(said.map_or(DELAY, |(_, delay)| *delay))
    }

    /// The region of this name, however it is written: `East US` is `eastus`.
    pub(crate) fn region(&self, name: &str) -> Option<(&str, &Region)> {
        let short = short_region(name);
        let (name, region) = self.regions.iter().find(|(known, _)| **known == short)?;
        Some((name, region))
    }

    /// Whether somebody else has this name.
    pub(crate) fn is_taken(&self, name: &str) -> bool {
        self.taken
            .iter()
            .any(|taken| taken.eq_ignore_ascii_case(name))
    }
}

/// A region's name without spaces and capital letters.
pub(crate) fn short_region(name: &str) -> String {
    name.replace(' ', "").to_ascii_lowercase()
}

/// Whole milliseconds.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
