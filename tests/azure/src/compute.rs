//! Sizes of machines on offer, and what of the quotas is used.

use crate::answer::{Answer, Reply, refuse};
use crate::cluster::quota;
use crate::control::Call;
use crate::world::short_region;
use petctl_azure::SIZES;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// `Microsoft.Compute/skus`: of one region where `$filter` names it, else of all.
pub(crate) fn skus(call: &Call<'_>) -> Answer {
    let filter = call.asked.parameter("$filter").unwrap_or_default();
    let wanted = filter
        .split_once("location eq ")
        .map(|(_, region)| short_region(region.trim_matches(['\'', ' '])));
    let mut all = Vec::new();
    for (region, offered) in &call.world.regions {
        if wanted.as_ref().is_some_and(|wanted| wanted != region) {
            continue;
        }
        let known = SIZES.iter().map(|size| size.name.to_owned());
        let names: BTreeSet<String> = known.chain(offered.sizes.iter().cloned()).collect();
        for name in names {
            let is_offered = offered.sizes.contains(&name);
            all.push(sku(&name, region, is_offered));
        }
    }
    Ok(call.page(all))
}

fn sku(name: &str, region: &str, is_offered: bool) -> Value {
    let (cores, family) = quota::size(name);
    let known = SIZES.iter().find(|size| size.name == name);
    let memory = known.map_or(cores * 4, |size| u64::from(size.memory_gib));
    let mut capabilities = vec![
        ("MaxResourceVolumeMB", "102400".to_owned()),
        ("vCPUs", cores.to_string()),
        ("MemoryGB", memory.to_string()),
        ("LowPriorityCapable", "True".to_owned()),
        ("CpuArchitectureType", "x64".to_owned()),
    ];
    if let Some(size) = known {
        capabilities.push(("GPUs", size.gpus.to_string()));
    }
    let capabilities: Vec<Value> = capabilities
        .into_iter()
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect();
    let restrictions = match is_offered {
        true => json!([]),
        false => json!([{
            "type": "Location", "values": [region], "restrictionInfo": { "locations": [region] },
            "reasonCode": "NotAvailableForSubscription",
        }]),
    };
    json!({
        "resourceType": "virtualMachines",
        "name": name,
        "tier": "Standard",
        "size": name.trim_start_matches("Standard_"),
        "family": family,
        "locations": [region],
        "locationInfo": [{ "location": region, "zones": ["1", "2", "3"], "zoneDetails": [] }],
        "capabilities": capabilities,
        "restrictions": restrictions,
    })
}

/// `Microsoft.Compute/locations/L/usages`.
pub(crate) fn usages(call: &Call<'_>) -> Answer {
    let asked = call
        .target
        .names
        .first()
        .map(String::as_str)
        .unwrap_or_default();
    let Some((region, offered)) = call.world.region(asked) else {
        let message = format!("The provided location '{asked}' is not available.");
        return Err(refuse(400, "NoRegisteredProviderFound", message));
    };
    let in_use = quota::in_use(call, region);
    let all = offered.quota.iter().map(|(name, (used, limit))| {
        let shown = match name.as_str() {
            "cores" => "Total Regional vCPUs".to_owned(),
            "lowPriorityCores" => "Total Regional Low-priority vCPUs".to_owned(),
            other => format!("{} vCPUs", other.trim_start_matches("standard")),
        };
        json!({
            "limit": limit, "unit": "Count", "currentValue": used + in_use.get(name).copied().unwrap_or(0),
            "name": { "value": name, "localizedValue": shown },
        })
    });
    let page = call.page(all.collect());
    Ok(Reply::new(200, page.body))
}
