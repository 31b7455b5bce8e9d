//! Ids of resources.

use std::cmp::Ordering;
use std::fmt;

/// An id, such as `/subscriptions/S/resourceGroups/G/providers/Microsoft.ContainerService/managedClusters/C`. The
/// service gives the same id back in other letter case, so ids that differ in nothing else are equal.
#[derive(Clone, Debug)]
pub struct ResourceId(String);

impl ResourceId {
    /// From text that has the shape of an id: pairs of a kind and a name, after `providers` one namespace more.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim_end_matches('/');
        let mut parts = text.strip_prefix('/')?.split('/');
        let mut is_first = true;
        while let Some(kind) = parts.next() {
            let name = parts.next().filter(|name| !name.is_empty())?;
            let is_known = ["subscriptions", "providers"]
                .iter()
                .any(|k| kind.eq_ignore_ascii_case(k));
            if kind.is_empty() || is_first && !is_known {
                return None;
            }
            if kind.eq_ignore_ascii_case("providers") {
                // The namespace is followed by pairs of its own.
                let (kind, name) = (parts.next()?, parts.next()?);
                if name.is_empty() || kind.is_empty() || !name_is_good(name) {
                    return None;
                }
            } else if !name_is_good(name) {
                return None;
            }
            is_first = false;
        }
        (!is_first).then(|| Self(text.to_owned()))
    }

    /// A resource group.
    #[must_use]
    pub fn group(subscription: &str, group: &str) -> Option<Self> {
        Self::parse(&format!(
            "/subscriptions/{subscription}/resourceGroups/{group}"
        ))
    }

    /// A resource of a provider in this scope, such as `Microsoft.Storage/storageAccounts`.
    #[must_use]
    pub fn resource(&self, kind: &str, name: &str) -> Option<Self> {
        Self::parse(&format!("{self}/providers/{kind}/{name}"))
    }

    /// A part of this resource, such as `agentPools`.
    #[must_use]
    pub fn child(&self, kind: &str, name: &str) -> Option<Self> {
        Self::parse(&format!("{self}/{kind}/{name}"))
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its own name: the last part.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// Whether it is this one, or lies in it.
    #[must_use]
    pub fn is_within(&self, scope: &Self) -> bool {
        let (own, scope) = (self.folded(), scope.folded());
        own == scope || own.starts_with(&format!("{scope}/"))
    }

    fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

/// A name that does not change the way to another resource.
fn name_is_good(name: &str) -> bool {
    let is_good = |c: char| !c.is_control() && !c.is_whitespace() && !"?#%\\".contains(c);
    !matches!(name, "." | "..") && name.chars().all(is_good)
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq for ResourceId {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for ResourceId {}

impl PartialOrd for ResourceId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ResourceId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.folded().cmp(&other.folded())
    }
}

#[cfg(test)]
mod tests {
    use super::ResourceId;
    use std::collections::BTreeSet;

    #[test]
    fn ids_are_the_same_whatever_the_letter_case() {
        let group = ResourceId::group("s-1", "rg").unwrap();
        let cluster = group
            .resource("Microsoft.ContainerService/managedClusters", "c")
            .unwrap();
        let answered = "/subscriptions/s-1/resourcegroups/RG/providers/Microsoft.ContainerService/managedclusters/c";
        let answered = ResourceId::parse(answered).unwrap();
        assert_eq!(cluster, answered);
        let both = BTreeSet::from([cluster.clone(), answered.clone()]);
        assert_eq!(both.len(), 1);
        let pool = answered.child("agentPools", "gpu").unwrap();
        assert!(pool.is_within(&cluster) && pool.is_within(&group) && !cluster.is_within(&pool));
        assert_eq!(pool.name(), "gpu");
        let longer = ResourceId::group("s-1", "rg2").unwrap();
        assert!(
            !longer.is_within(&group),
            "a name that begins alike is another"
        );
    }

    #[test]
    fn what_is_no_id_or_leads_elsewhere_is_none() {
        for text in [
            "",
            "/",
            "subscriptions/s",
            "/subscriptions",
            "/subscriptions/",
            "/subscriptions/s/resourceGroups",
            "/subscriptions/s/resourceGroups/..",
            "/subscriptions/s/resourceGroups/a?b",
            "/subscriptions/s/resourceGroups/a%2fb",
            "/subscriptions/s/resourceGroups/a b",
            "/subscriptions/s/providers/Microsoft.Storage",
            "/somewhere/else",
        ] {
            assert_eq!(ResourceId::parse(text), None, "{text}");
        }
        let group = ResourceId::group("s", "g").unwrap();
        assert_eq!(group.child("agentPools", "../x"), None);
        assert_eq!(
            ResourceId::parse("/subscriptions/s/").unwrap().as_str(),
            "/subscriptions/s"
        );
    }
}
