//! A place in Azure as the resources that it is made of: what each needs before it, its body, and what has to be done
//! about one that is there.
//!
//! Sources of the bodies: the published schemas of `resourceGroups` 2025-04-01, `managedClusters` 2026-05-01,
//! `storageAccounts` 2026-04-01, `registries` 2025-11-01, `userAssignedIdentities` 2024-11-30, `roleAssignments`
//! 2022-04-01.

mod bodies;
mod kind;

use crate::same::lay_over;
use crate::{Change, Cluster, NodePool, ResourceId, pool};
pub use bodies::is_same_right;
use bodies::{Seen, change_of};
pub use kind::Kind;
use petctl_text::hex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;

/// The tag that says whose a resource is: its value is the place's name.
pub const TAG: &str = "petctl-place";

/// The tag of what somebody else has made and the place uses all the same: it is never removed.
pub const ADOPTED_TAG: &str = "petctl-adopted-by";

/// A role that a resource is given, by its name and its definition, which is the same in every tenant.
type Role = (&'static str, &'static str);
const PULL: Role = ("AcrPull", "7f951dda-4ed3-4680-a7ca-43fe172d538d");
const BLOBS: Role = (
    "Storage Blob Data Contributor",
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
);

/// A place as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blueprint {
    /// Its name.
    pub place: String,
    /// The subscription that pays.
    pub subscription: String,
    /// The resource group that holds everything.
    pub group: String,
    /// The name of the cluster.
    pub cluster_name: String,
    /// The cluster.
    pub cluster: Cluster,
    /// Pools for workers.
    pub pools: Vec<NodePool>,
    /// The storage account; `None`: none is made.
    pub account: Option<String>,
    /// Its containers.
    pub containers: Vec<String>,
    /// The registry from which nodes pull images; `None`: none is made.
    pub registry: Option<String>,
    /// The identity of workers; `None`: they have none.
    pub identity: Option<Identity>,
}

/// An identity that pods have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// The pods' namespace.
    pub namespace: String,
    /// The pods' service account.
    pub service_account: String,
}

/// A resource of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Where it is.
    pub id: ResourceId,
    /// What it is.
    pub kind: Kind,
    /// What people call it.
    pub shown: String,
    /// What must be there before.
    pub needs: Vec<ResourceId>,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.shown)
    }
}

/// What the service has answered of resources that are there.
pub type Known = BTreeMap<ResourceId, Value>;

/// What has to be done about a resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing.
    Same,
    /// Make it.
    Make(Value),
    /// PUT this over what is there; the names of what changes.
    Change(Value, Vec<String>),
    /// It can't become what is wanted, because of these; what it holds would go with it.
    Replace(Vec<String>),
    /// The same of one that holds nothing: remove it and make it anew.
    Renew(Vec<String>),
    /// Somebody else made it, by its tags.
    Foreign,
    /// What it is made of is known only once others are there.
    Later,
}

impl Blueprint {
    /// Its resources, each behind what it needs.
    ///
    /// # Errors
    /// A name that can't be part of an id, or a pool that Azure would refuse, in a sentence.
    pub fn resources(&self) -> Result<Vec<Resource>, String> {
        self.check()?;
        let mut all = Vec::new();
        let group = self.group_id()?;
        let mut add = |id: ResourceId, kind: Kind, shown: String, needs: &[&ResourceId]| {
            let needs = needs.iter().map(|&id| id.clone()).collect();
            all.push(Resource {
                id,
                kind,
                shown,
                needs,
            });
        };
        add(group.clone(), Kind::Group, self.group.clone(), &[]);
        let cluster = self.cluster_id()?;
        add(
            cluster.clone(),
            Kind::Cluster,
            self.cluster_name.clone(),
            &[&group],
        );
        for pool in &self.pools {
            let id = child(&cluster, "agentPools", &pool.name)?;
            add(id, Kind::Pool, pool.name.clone(), &[&cluster]);
        }
        let mut account = None;
        if let Some(name) = &self.account {
            let id = resource(&group, "Microsoft.Storage/storageAccounts", name)?;
            add(id.clone(), Kind::Account, name.clone(), &[&group]);
            let blobs = child(&id, "blobServices", "default")?;
            for container in &self.containers {
                let shown = format!("{name}/{container}");
                add(
                    child(&blobs, "containers", container)?,
                    Kind::Container,
                    shown,
                    &[&id],
                );
            }
            account = Some(id);
        }
        if let Some(name) = &self.registry {
            let id = resource(&group, "Microsoft.ContainerRegistry/registries", name)?;
            add(id.clone(), Kind::Registry, name.clone(), &[&group]);
            let role = self.role(&id, PULL)?;
            let shown = format!("{} of the nodes on {name}", PULL.0);
            add(role, Kind::Role, shown, &[&id, &cluster]);
        }
        if let Some(identity) = &self.identity {
            let id = self.identity_id(&identity.name)?;
            add(id.clone(), Kind::Identity, identity.name.clone(), &[&group]);
            let service_account = format!("{}/{}", identity.namespace, identity.service_account);
            let credential = child(&id, "federatedIdentityCredentials", &self.cluster_name)?;
            add(
                credential,
                Kind::Credential,
                service_account,
                &[&id, &cluster],
            );
            if let (Some(account), Some(name)) = (&account, &self.account) {
                let role = self.role(account, BLOBS)?;
                let shown = format!("{} of {} on {name}", BLOBS.0, identity.name);
                add(role, Kind::Role, shown, &[account, &id]);
            }
        }
        Ok(all)
    }

    fn check(&self) -> Result<(), String> {
        let mut names = std::collections::BTreeSet::new();
        for pool in self.pools.iter().chain([&self.cluster.system]) {
            pool.check()?;
            if !names.insert(&pool.name) {
                return Err(format!("two pools are named `{}`", pool.name));
            }
        }
        if let Some(account) = &self.account {
            let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            if !(3..=24).contains(&account.len()) || !account.chars().all(good) {
                return Err(format!(
                    "a storage account's name is of 3 to 24 small letters and digits: `{account}` is not"
                ));
            }
        }
        if let Some(registry) = &self.registry
            && (!(5..=50).contains(&registry.len())
                || !registry.chars().all(|c| c.is_ascii_alphanumeric()))
        {
            return Err(format!(
                "a registry's name is of 5 to 50 letters and digits: `{registry}` is not"
            ));
        }
        Ok(())
    }

    /// What has to be done about one of its resources, where this is there and these others are known.
    #[must_use]
    pub fn step(&self, resource: &Resource, there: Option<&Value>, known: &Known) -> Step {
        if let Some(there) = there
            && resource.kind.has_tags()
            && resource.kind != Kind::Group
            && !self.is_ours(there)
            && !self.is_adopted(there)
        {
            return Step::Foreign;
        }
        self.step_of_ours(resource, there, known)
    }

    /// The same for one that is taken over, whoever made it.
    #[must_use]
    pub fn step_of_ours(&self, resource: &Resource, there: Option<&Value>, known: &Known) -> Step {
        let seen = Seen {
            blueprint: self,
            known,
        };
        let change = match (resource.kind, there) {
            // Somebody else's group is used as it is.
            (Kind::Group, Some(there)) if !self.is_ours(there) => Change::None,
            (Kind::Cluster, Some(there)) => self.tagged_cluster(self.tags_of(there)).change(there),
            (Kind::Pool, Some(there)) => self.pool_change(resource, there),
            (_, there) => {
                let Some(mut body) = seen.body(resource) else {
                    return Step::Later;
                };
                if let Some(there) = there
                    && body.get("tags").is_some()
                {
                    body["tags"] = json!(self.tags_of(there));
                }
                let Some(there) = there else {
                    return Step::Make(body);
                };
                change_of(resource.kind, there, &body)
            }
        };
        match change {
            Change::None => Step::Same,
            Change::Put(body) => {
                let fields = bodies::differences(there.unwrap_or(&Value::Null), &body);
                Step::Change(body, fields)
            }
            // A right of somebody who is gone: nothing is lost with it.
            Change::Replace(why) if resource.kind == Kind::Role => Step::Renew(why),
            Change::Replace(why) => Step::Replace(why),
        }
    }

    fn pool_change(&self, resource: &Resource, there: &Value) -> Change {
        let Some(pool) = self.pool(resource) else {
            return Change::None;
        };
        let properties = there.get("properties").unwrap_or(&Value::Null);
        let is = properties.get("tags").filter(|tags| tags.is_object());
        let mut tags = is.cloned().unwrap_or_else(|| json!({}));
        lay_over(&mut tags, &json!(self.tags_of(there)));
        let mut next = match pool.change(properties) {
            Change::Put(next) => next,
            // Others have made it as it should be: all that is missing is whose it is.
            Change::None if is != Some(&tags) => pool::for_request(properties),
            other @ (Change::None | Change::Replace(_)) => return other,
        };
        next["tags"] = tags;
        Change::Put(json!({ "properties": next }))
    }

    /// Whether a resource is this place's, by its tags.
    #[must_use]
    pub fn is_ours(&self, there: &Value) -> bool {
        self.has_tag(there, TAG)
    }

    /// Whether somebody else made it, and this place took it over.
    #[must_use]
    pub fn is_adopted(&self, there: &Value) -> bool {
        self.has_tag(there, ADOPTED_TAG)
    }

    fn has_tag(&self, there: &Value, tag: &str) -> bool {
        // A pool has them among its properties.
        let own = there.get("tags").filter(|tags| tags.is_object());
        let tags = own.or_else(|| there.pointer("/properties/tags"));
        let value = tags.and_then(|tags| tags.get(tag)).and_then(Value::as_str);
        value.is_some_and(|value| value == self.place)
    }

    /// The tags that one that is there should have: what others have made says so for ever.
    fn tags_of(&self, there: &Value) -> BTreeMap<String, String> {
        if self.is_ours(there) {
            return self.tags();
        }
        let mut tags = self.cluster.tags.clone();
        tags.insert(ADOPTED_TAG.to_owned(), self.place.clone());
        tags
    }

    /// The tags of its resources.
    fn tags(&self) -> BTreeMap<String, String> {
        let mut tags = self.cluster.tags.clone();
        tags.insert(TAG.to_owned(), self.place.clone());
        tags
    }

    /// The id of its group.
    ///
    /// # Errors
    /// A name that can't be part of an id.
    pub fn group_id(&self) -> Result<ResourceId, String> {
        ResourceId::group(&self.subscription, &self.group).ok_or_else(|| {
            format!(
                "`{}` can't be a resource group of subscription `{}`",
                self.group, self.subscription
            )
        })
    }

    /// The id of its cluster.
    ///
    /// # Errors
    /// A name that can't be part of an id.
    pub fn cluster_id(&self) -> Result<ResourceId, String> {
        resource(
            &self.group_id()?,
            "Microsoft.ContainerService/managedClusters",
            &self.cluster_name,
        )
    }

    fn identity_id(&self, name: &str) -> Result<ResourceId, String> {
        resource(
            &self.group_id()?,
            "Microsoft.ManagedIdentity/userAssignedIdentities",
            name,
        )
    }

    fn tagged_cluster(&self, tags: BTreeMap<String, String>) -> Cluster {
        Cluster {
            tags,
            ..self.cluster.clone()
        }
    }

    fn pool(&self, resource: &Resource) -> Option<&NodePool> {
        self.pools.iter().find(|pool| pool.name == resource.shown)
    }

    /// The id of a right: its name is made from what it is, so that giving it twice gives it once.
    fn role(&self, scope: &ResourceId, role: Role) -> Result<ResourceId, String> {
        let text = format!("{scope}|{}|{}", role.1, self.place).to_ascii_lowercase();
        let hash = Sha256::digest(text.as_bytes());
        let hex = hex(&hash[..16]);
        let name = format!(
            "{}-{}-4{}-8{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[13..16],
            &hex[17..20],
            &hex[20..32]
        );
        resource(scope, "Microsoft.Authorization/roleAssignments", &name)
    }
}

fn resource(scope: &ResourceId, kind: &str, name: &str) -> Result<ResourceId, String> {
    let id = scope.resource(kind, name);
    id.ok_or_else(|| format!("`{name}` can't be the name of a resource ({kind})"))
}

fn child(of: &ResourceId, kind: &str, name: &str) -> Result<ResourceId, String> {
    let id = of.child(kind, name);
    id.ok_or_else(|| format!("`{name}` can't be the name of a resource ({kind} of {of})"))
}

/// What a listing has of a cluster's credentials: a kubeconfig in base64.
#[must_use]
pub fn kubeconfig_of(answer: &Value) -> Option<&str> {
    answer.pointer("/kubeconfigs/0/value")?.as_str()
}

#[cfg(test)]
mod tests;
