//! Sizes of machines, the cores they take, and how many of those there may be.

use crate::answer::{Reply, refuse_flat};
use crate::control::Call;
use petctl_azure::{SIZES, SPOT_QUOTA};
use serde_json::Value;
use std::collections::BTreeMap;

/// Cores of a machine of this size, and the quota that they are counted to.
pub(crate) fn size(name: &str) -> (u64, String) {
    if let Some(known) = SIZES
        .iter()
        .find(|size| size.name.eq_ignore_ascii_case(name))
    {
        return (u64::from(known.cores), known.quota.to_owned());
    }
    // `Standard_D4ds_v5`: the letters, the cores, what it has, the version; the family is called `standardDDSv5Family`.
    let parts: Vec<&str> = name.split('_').skip(1).collect();
    let first = parts.first().copied().unwrap_or_default();
    let letters: String = first.chars().take_while(|c| c.is_alphabetic()).collect();
    let rest = first.get(letters.len()..).unwrap_or_default();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let features = rest
        .get(digits.len()..)
        .unwrap_or_default()
        .to_ascii_uppercase();
    let version = parts
        .iter()
        .rev()
        .find(|part| part.starts_with('v'))
        .copied();
    let family = format!(
        "standard{letters}{features}{}Family",
        version.unwrap_or_default()
    );
    (digits.parse().unwrap_or(1), family)
}

/// Cores that a pool takes, by quota.
pub(crate) fn taken(properties: &Value) -> (String, u64) {
    let (cores, family) = size(properties["vmSize"].as_str().unwrap_or_default());
    let spot = properties["scaleSetPriority"].as_str();
    let is_spot = spot.is_some_and(|word| word.eq_ignore_ascii_case("spot"));
    // Where there were no machines, none take cores.
    let failed = properties["provisioningState"].as_str() == Some("Failed");
    let count = properties["count"]
        .as_u64()
        .filter(|_| !failed)
        .unwrap_or(0);
    (
        if is_spot {
            SPOT_QUOTA.to_owned()
        } else {
            family
        },
        cores * count,
    )
}

/// Cores that all pools in a region take, by quota. Machines at full price count to `cores`, too.
pub(crate) fn in_use(call: &Call<'_>, region: &str) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for (key, pool) in &call.state.resources {
        let Some((cluster, _)) = key.split_once("/agentpools/") else {
            continue;
        };
        let home = call
            .state
            .resources
            .get(cluster)
            .and_then(|body| body["location"].as_str());
        if home == Some(region) {
            let (quota, cores) = taken(&pool["properties"]);
            if quota != SPOT_QUOTA {
                *all.entry("cores".to_owned()).or_insert(0) += cores;
            }
            *all.entry(quota).or_insert(0) += cores;
        }
    }
    all
}

/// Refuses a pool that would take more than there may be.
pub(crate) fn check(
    call: &Call<'_>,
    region: &str,
    wanted: &[(Value, Option<Value>)],
) -> Result<(), Reply> {
    let in_use = in_use(call, region);
    let mut more: BTreeMap<String, u64> = BTreeMap::new();
    for (next, before) in wanted {
        let (quota, cores) = taken(next);
        let (_, had) = before.as_ref().map_or((String::new(), 0), taken);
        let added = cores.saturating_sub(had);
        if quota != SPOT_QUOTA {
            *more.entry("cores".to_owned()).or_insert(0) += added;
        }
        *more.entry(quota).or_insert(0) += added;
    }
    let Some((_, offered)) = call.world.region(region) else {
        return Ok(());
    };
    for (quota, added) in more {
        let known = offered
            .quota
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(&quota));
        let Some((_, (used, limit))) = known else {
            continue;
        };
        let used = used + in_use.get(&quota).copied().unwrap_or(0);
        let remaining = limit.saturating_sub(used);
        if added > 0 && added > remaining {
            let message = format!(
                "Insufficient vcpu quota requested {added}, remaining {remaining} for family {quota} for region {region}."
            );
            return Err(refuse_flat(400, "ErrCode_InsufficientVCPUQuota", message));
        }
    }
    Ok(())
}

/// Refuses a size that the region does not offer.
pub(crate) fn check_size(call: &Call<'_>, region: &str, name: &str) -> Result<(), Reply> {
    let Some((_, offered)) = call.world.region(region) else {
        return Ok(());
    };
    if offered
        .sizes
        .iter()
        .any(|size| size.eq_ignore_ascii_case(name))
    {
        return Ok(());
    }
    let sizes: Vec<String> = offered
        .sizes
        .iter()
        .map(|size| size.to_ascii_lowercase())
        .collect();
    let message = format!(
        "The VM size of {name} is not allowed in your subscription in location '{region}'. The available VM sizes are '{}'. For more details, please visit https://aka.ms/aks/quotas-skus-regions",
        sizes.join(",")
    );
    Err(refuse_flat(400, "BadRequest", message))
}
