//! What the service adds to a cluster and to a pool, as its recordings have it.

use crate::control::Call;
use crate::operation::lay_over;
use crate::state::{guid, letters};
use petctl_azure::SPOT_TAINT;
use serde_json::{Value, json};

/// The version of Kubernetes where none is asked for.
const VERSION: &str = "1.34.2";

/// A version in full: `1.33` is the last of its line.
fn full_version(asked: &str) -> String {
    match asked.matches('.').count() {
        0 => VERSION.to_owned(),
        1 if VERSION.starts_with(asked) => VERSION.to_owned(),
        1 => format!("{asked}.5"),
        _ => asked.to_owned(),
    }
}

/// The version in a value, or the default.
fn asked_version(value: &Value) -> &str {
    value
        .as_str()
        .filter(|version| !version.is_empty())
        .unwrap_or(VERSION)
}

/// A new cluster: head and location are there, the request's properties are laid over.
pub(crate) fn fill_cluster(call: &mut Call<'_>, full: &mut Value, region: &str, asked: &Value) {
    let name = call.target.name().to_owned();
    let group = full["id"]
        .as_str()
        .and_then(|id| id.split('/').nth(4))
        .unwrap_or_default()
        .to_owned();
    let properties = asked
        .get("properties")
        .cloned()
        .unwrap_or_else(|| json!({}));
    let kubernetes = asked_version(&properties["kubernetesVersion"]).to_owned();
    let prefix = properties["dnsPrefix"].as_str().unwrap_or(&name).to_owned();
    let host = format!("{prefix}-{}", letters(8));
    let nodes = format!("MC_{group}_{name}_{region}");
    let network = properties
        .get("networkProfile")
        .cloned()
        .unwrap_or_else(|| json!({}));
    let mut all = json!({
        "provisioningState": "Creating",
        "powerState": { "code": "Running" },
        "kubernetesVersion": kubernetes,
        "currentKubernetesVersion": full_version(&kubernetes),
        "dnsPrefix": prefix,
        "fqdn": format!("{host}.hcp.{region}.azmk8s.io"),
        "azurePortalFQDN": format!("{host}.portal.hcp.{region}.azmk8s.io"),
        "nodeResourceGroup": nodes,
        "enableRBAC": true,
        "supportPlan": "KubernetesOfficial",
        "networkProfile": network_defaults(&network),
        "servicePrincipalProfile": { "clientId": "msi" },
        "maxAgentPools": 100,
        "disableLocalAccounts": false,
        "securityProfile": {},
        "storageProfile": {
            "diskCSIDriver": { "enabled": true, "version": "v1" },
            "fileCSIDriver": { "enabled": true },
            "snapshotController": { "enabled": true },
        },
        "oidcIssuerProfile": { "enabled": false },
        "workloadAutoScalerProfile": {},
        "resourceUID": guid().replace('-', ""),
    });
    lay_over(&mut all, &properties);
    all["kubernetesVersion"] = json!(kubernetes);
    if let Some(network) = all["networkProfile"].as_object_mut() {
        network.retain(|_, value| !value.is_null());
        for (one, list) in [("podCidr", "podCidrs"), ("serviceCidr", "serviceCidrs")] {
            if let Some(range) = network.get(one).cloned() {
                network.entry(list).or_insert_with(|| json!([range]));
            }
        }
    }
    if let Some(identity) = asked
        .get("identity")
        .filter(|identity| identity.is_object())
    {
        full["identity"] = identity.clone();
        fill_identity(call, &mut full["identity"]);
    }
    full["sku"] = json!({ "name": "Base", "tier": "Free" });
    full["location"] = json!(region);
    full["properties"] = all;
    for other in ["sku", "tags", "kind"] {
        if let Some(value) = asked.get(other).filter(|value| !value.is_null()) {
            lay_over(&mut full[other], value);
        }
    }
    adorn(call, full, region);
}

/// Whom a cluster is: a principal of its own, or identities that are there.
fn fill_identity(call: &mut Call<'_>, identity: &mut Value) {
    let kind = identity["type"]
        .as_str()
        .unwrap_or_default()
        .to_ascii_lowercase();
    if kind.contains("systemassigned") {
        let principal = guid();
        call.state.principals.insert(principal.clone(), call.now);
        identity["tenantId"] = json!(call.world.tenant);
        identity["principalId"] = json!(principal);
    }
    let others = identity
        .get_mut("userAssignedIdentities")
        .and_then(Value::as_object_mut);
    for (id, shown) in others.into_iter().flatten() {
        let there = call.state.resources.get(&id.to_ascii_lowercase());
        let own = there.map(|body| &body["properties"]);
        *shown = own.map_or_else(
            || json!({}),
            |own| json!({ "clientId": own["clientId"], "principalId": own["principalId"] }),
        );
    }
}

/// What follows from the rest: the issuer of tokens, and a new tag of this version.
pub(crate) fn adorn(call: &Call<'_>, full: &mut Value, region: &str) {
    let properties = &mut full["properties"];
    let issues = properties["oidcIssuerProfile"]["enabled"] == json!(true);
    if issues && properties["oidcIssuerProfile"].get("issuerURL").is_none() {
        let url = format!(
            "https://{region}.oic.prod-aks.azure.com/{}/{}/",
            call.world.tenant,
            guid()
        );
        properties["oidcIssuerProfile"]["issuerURL"] = json!(url);
    }
    let version = asked_version(&properties["kubernetesVersion"]).to_owned();
    properties["currentKubernetesVersion"] = json!(full_version(&version));
    full["eTag"] = json!(guid());
}

fn network_defaults(asked: &Value) -> Value {
    let overlay = asked["networkPluginMode"].as_str().is_some();
    json!({
        "networkPlugin": "azure",
        "networkPolicy": "none",
        "networkDataplane": "azure",
        "loadBalancerSku": "standard",
        "loadBalancerProfile": {
            "managedOutboundIPs": { "count": 1 }, "backendPoolType": "nodeIPConfiguration",
        },
        "podCidr": if overlay { json!("10.244.0.0/16") } else { Value::Null },
        "serviceCidr": "10.0.0.0/16",
        "dnsServiceIP": "10.0.0.10",
        "outboundType": "loadBalancer",
        "ipFamilies": ["IPv4"],
    })
}

/// What a cluster has once it is made.
pub(crate) fn made(call: &mut Call<'_>, full: &Value) -> Value {
    let root = format!("/subscriptions/{}/resourceGroups", call.world.subscription);
    let nodes = full["properties"]["nodeResourceGroup"]
        .as_str()
        .unwrap_or_default();
    let name = full["name"].as_str().unwrap_or_default();
    let object = guid();
    call.state.principals.insert(object.clone(), call.now);
    json!({ "properties": {
        "identityProfile": { "kubeletidentity": {
            "resourceId": format!(
                "{root}/{nodes}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}-agentpool"
            ),
            "clientId": guid(),
            "objectId": object,
        }},
        "networkProfile": {
            // So it is written once the cluster is there.
            "loadBalancerSku": "Standard",
            "loadBalancerProfile": { "effectiveOutboundIPs": [{
                "id": format!("{root}/{nodes}/providers/Microsoft.Network/publicIPAddresses/{}", guid()),
            }]},
        },
    }})
}

/// A pool's properties: those of the request over those that are there, or over what the service gives a new one.
pub(crate) fn fill_pool(cluster: &Value, there: Option<&Value>, asked: &Value) -> Value {
    let version = asked_version(&cluster["properties"]["kubernetesVersion"]).to_owned();
    let overlay = cluster.pointer("/properties/networkProfile/networkPluginMode");
    let most = if overlay.and_then(Value::as_str).is_some() {
        250
    } else {
        110
    };
    let mut all = there.cloned().unwrap_or_else(|| {
        json!({
            "count": 1,
            "osDiskSizeGB": 128,
            "osDiskType": "Managed",
            "kubeletDiskType": "OS",
            "workloadRuntime": "OCIContainer",
            "maxPods": most,
            "type": "VirtualMachineScaleSets",
            "enableAutoScaling": false,
            "scaleDownMode": "Delete",
            "powerState": { "code": "Running" },
            "orchestratorVersion": version,
            "currentOrchestratorVersion": full_version(&version),
            "enableNodePublicIP": false,
            "mode": "User",
            "enableEncryptionAtHost": false,
            "enableUltraSSD": false,
            "osType": "Linux",
            "osSKU": "Ubuntu",
            "nodeImageVersion": "AKSUbuntu-2204gen2containerd-202611.12.0",
            "upgradeSettings": { "maxSurge": "10%" },
            "enableFIPS": false,
            "networkProfile": {},
            "securityProfile": { "enableVTPM": false, "enableSecureBoot": false },
        })
    });
    let before = all.clone();
    // Labels are given all at once.
    if let (Some(all), Some(_)) = (all.as_object_mut(), asked.get("nodeLabels")) {
        all.remove("nodeLabels");
    }
    lay_over(&mut all, asked);
    for read_only in ["currentOrchestratorVersion", "nodeImageVersion"] {
        all[read_only] = before.get(read_only).cloned().unwrap_or_default();
    }
    all["provisioningState"] = Value::Null;
    if all["osDiskSizeGB"] == json!(0) {
        all["osDiskSizeGB"] = before["osDiskSizeGB"].clone();
    }
    if all["orchestratorVersion"]
        .as_str()
        .is_none_or(str::is_empty)
    {
        all["orchestratorVersion"] = json!(version);
    }
    all["currentOrchestratorVersion"] =
        json!(full_version(asked_version(&all["orchestratorVersion"])));
    tidy(&mut all);
    all
}

/// What follows from the rest: bounds of the autoscaler, what spot nodes get, what is not shown where it says nothing.
fn tidy(all: &mut Value) {
    let is_spot = all["scaleSetPriority"]
        .as_str()
        .is_some_and(|word| word.eq_ignore_ascii_case("spot"));
    if is_spot {
        for (name, value) in [
            ("scaleSetEvictionPolicy", json!("Delete")),
            ("spotMaxPrice", json!(-1.0)),
        ] {
            if all.get(name).is_none_or(Value::is_null) {
                all[name] = value;
            }
        }
        let price = all["spotMaxPrice"].as_f64().unwrap_or(-1.0);
        all["spotMaxPrice"] = json!(price);
        let taints = all["nodeTaints"].as_array().cloned().unwrap_or_default();
        if !taints.iter().any(|taint| taint == SPOT_TAINT) {
            let with: Vec<Value> = std::iter::once(json!(SPOT_TAINT)).chain(taints).collect();
            all["nodeTaints"] = json!(with);
        }
        all["nodeLabels"]["kubernetes.azure.com/scalesetpriority"] = json!("spot");
    }
    let scales = all["enableAutoScaling"] == json!(true);
    let count = all["count"].as_u64().unwrap_or(0);
    let (least, most) = (all["minCount"].as_u64(), all["maxCount"].as_u64());
    let Some(own) = all.as_object_mut() else {
        return;
    };
    if scales {
        let within = count.max(least.unwrap_or(0)).min(most.unwrap_or(count));
        own.insert("count".to_owned(), json!(within));
    } else {
        own.remove("minCount");
        own.remove("maxCount");
    }
    if !is_spot {
        for name in ["scaleSetPriority", "scaleSetEvictionPolicy", "spotMaxPrice"] {
            own.remove(name);
        }
    }
    own.remove("name");
    let says_nothing =
        |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    own.retain(|_, value| !says_nothing(value));
    own.insert("eTag".to_owned(), json!(guid()));
}
