//! Clusters: made, changed, stopped, started, deleted, and their credentials.

mod pool;
pub(crate) mod quota;
mod schema;
mod shape;

pub(crate) use pool::{answer as answer_pool, by_hand as pool_by_hand};

use crate::answer::{Answer, Reply, no_method, refuse_flat};
use crate::control::Call;
use crate::group;
use crate::operation::{Effect, Told, lay_over};
use crate::request::Target;
use crate::state::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const KIND: &str = "Microsoft.ContainerService/managedClusters";
/// What can't be changed once a cluster is there.
const FIXED: &[&str] = &[
    "dnsPrefix",
    "nodeResourceGroup",
    "enableRBAC",
    "networkProfile/serviceCidr",
    "networkProfile/dnsServiceIP",
    "networkProfile/loadBalancerSku",
];

/// Answers what is asked of a cluster, but to show it.
pub(crate) fn answer(call: &mut Call<'_>, method: &str) -> Answer {
    let tail = call
        .target
        .tail
        .clone()
        .unwrap_or_default()
        .to_ascii_lowercase();
    match (method, tail.as_str()) {
        ("PUT", "") => put(call),
        ("PATCH", "") => patch(call),
        ("DELETE", "") => Ok(call.remove_slowly(KIND)),
        ("POST", "listclusterusercredential") => credential(call, "clusterUser"),
        ("POST", "listclusteradmincredential") => credential(call, "clusterAdmin"),
        ("POST", "stop") => power(call, "Stopping", "Stopped"),
        ("POST", "start") => power(call, "Starting", "Running"),
        ("POST", "abort") => abort(call),
        _ => Err(no_method(method)),
    }
}

/// Pools as a cluster shows them.
pub(crate) fn profiles(state: &State, cluster: &str) -> Vec<Value> {
    let pools = state.within(&format!("{cluster}/agentpools"));
    pools
        .filter(|(key, _)| !key.contains("/microsoft.authorization/"))
        .map(|(_, pool)| {
            let mut profile = pool["properties"].clone();
            profile["name"] = pool["name"].clone();
            profile
        })
        .collect()
}

fn put(call: &mut Call<'_>) -> Answer {
    let body = call.body()?;
    let key = call.target.key();
    let name = call.target.name().to_owned();
    let region = call.location(&body)?;
    check_idle(call, &key)?;
    let there = call.there().cloned();
    check_tag(call, there.as_ref())?;
    schema::check(&call.version, "managedClusters", KIND, &name, &body)?;
    let properties = body.get("properties").cloned().unwrap_or_else(|| json!({}));
    let mut full = match &there {
        Some(there) => {
            check_fixed(FIXED, &properties, &there["properties"])?;
            changed(call, there, &body, &region)
        }
        None => {
            check_new(&properties)?;
            let mut full = call.head();
            full["type"] = json!("Microsoft.ContainerService/ManagedClusters");
            shape::fill_cluster(call, &mut full, &region, &body);
            full
        }
    };
    let profiles = properties["agentPoolProfiles"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut pools = Vec::new();
    for profile in &profiles {
        let name = profile["name"].as_str().unwrap_or_default().to_owned();
        let before = call
            .state
            .resources
            .get(&format!("{key}/agentpools/{name}"));
        let before = before.map(|pool| pool["properties"].clone());
        let next = shape::fill_pool(&full, before.as_ref(), profile);
        pool::check(call, &region, &name, profile, (&next, before.as_ref()))?;
        pools.push((name, next, before));
    }
    let wanted: Vec<(Value, Option<Value>)> = pools
        .iter()
        .map(|(_, next, before)| (next.clone(), before.clone()))
        .collect();
    quota::check(call, &region, &wanted)?;
    let state = if there.is_some() {
        "Updating"
    } else {
        "Creating"
    };
    let mut effect = Effect::default();
    for (name, next, _) in pools {
        let fails = pool::capacity(call, &next);
        let key = pool::store(call, &full, &name, next, state);
        let ends = if fails.is_some() {
            "Failed"
        } else {
            "Succeeded"
        };
        effect.states.push((key, ends.to_owned()));
        effect.error = effect.error.or(fails);
    }
    let ends = if effect.error.is_some() {
        "Failed"
    } else {
        "Succeeded"
    };
    effect.states.push((key.clone(), ends.to_owned()));
    full["properties"]["provisioningState"] = json!(state);
    if let Some(own) = full["properties"].as_object_mut() {
        own.remove("agentPoolProfiles");
    }
    if there.is_none() {
        effect.lays.push((key.clone(), shape::made(call, &full)));
        make_nodes_group(call, &full, &region);
    }
    call.state.resources.insert(key.clone(), full);
    let shown = crate::route::shown(call.state, &key).unwrap_or_default();
    let status = if there.is_some() { 200 } else { 201 };
    let delay = call.world.delay_ms(&[KIND]);
    Ok(call.begin(
        Reply::new(status, shown),
        (Told::Async, &region),
        (&key, delay),
        effect,
    ))
}

fn changed(call: &Call<'_>, there: &Value, body: &Value, region: &str) -> Value {
    let mut full = there.clone();
    let mut properties = body.get("properties").cloned().unwrap_or_else(|| json!({}));
    if let Some(own) = properties.as_object_mut() {
        // What is read only is overlooked.
        own.retain(|name, value| {
            let keeps = [
                "fqdn",
                "azurePortalFQDN",
                "currentKubernetesVersion",
                "identityProfile",
                "powerState",
            ];
            !keeps.contains(&name.as_str()) && !value.is_null()
        });
    }
    lay_over(&mut full["properties"], &properties);
    match body.get("tags").filter(|tags| !tags.is_null()) {
        Some(tags) => full["tags"] = tags.clone(),
        None => lay_over(&mut full, &json!({ "tags": null })),
    }
    if let Some(sku) = body.get("sku").filter(|sku| !sku.is_null()) {
        lay_over(&mut full["sku"], sku);
    }
    shape::adorn(call, &mut full, region);
    full
}

fn check_new(properties: &Value) -> Result<(), Reply> {
    let profiles = properties["agentPoolProfiles"].as_array();
    let profiles = profiles
        .filter(|profiles| !profiles.is_empty())
        .ok_or_else(|| {
            let message = "Required parameter agentPoolProfiles is missing (null).";
            refuse_flat(400, "InvalidParameter", message)
        })?;
    let is_system = |pool: &Value| {
        pool["mode"]
            .as_str()
            .is_some_and(|mode| mode.eq_ignore_ascii_case("system"))
    };
    if !profiles.iter().any(is_system) {
        let message = "There has to be at least one system agent pool in the managed cluster.";
        return Err(refuse_flat(400, "InvalidParameter", message));
    }
    let prefix = properties["dnsPrefix"]
        .as_str()
        .filter(|prefix| !prefix.is_empty());
    if prefix.is_none() && properties["fqdnSubdomain"].as_str().is_none() {
        let message = "Required parameter dnsPrefix is missing (null).";
        return Err(refuse_flat(400, "InvalidParameter", message));
    }
    Ok(())
}

/// The group in which the machines of a cluster are.
fn make_nodes_group(call: &mut Call<'_>, full: &Value, region: &str) {
    let name = full["properties"]["nodeResourceGroup"]
        .as_str()
        .unwrap_or_default();
    let id = format!(
        "/subscriptions/{}/resourceGroups/{name}",
        call.world.subscription
    );
    let segments: Vec<&str> = id.split('/').filter(|part| !part.is_empty()).collect();
    let own = std::mem::replace(
        &mut call.target,
        Target::read(&segments).unwrap_or_default(),
    );
    let group = group::filled(
        call,
        &json!({ "location": region, "managedBy": full["id"] }),
    );
    call.target = own;
    call.state.resources.insert(id.to_ascii_lowercase(), group);
}

/// Only the tags.
fn patch(call: &mut Call<'_>) -> Answer {
    let body = call.body()?;
    let key = call.target.key();
    check_idle(call, &key)?;
    let mut full = call.there().cloned().ok_or_else(|| call.not_there())?;
    full["tags"] = body.get("tags").cloned().unwrap_or_else(|| json!({}));
    full["properties"]["provisioningState"] = json!("Updating");
    let region = full["location"].as_str().unwrap_or_default().to_owned();
    call.state.resources.insert(key.clone(), full);
    let shown = crate::route::shown(call.state, &key).unwrap_or_default();
    let effect = Effect {
        states: vec![(key.clone(), "Succeeded".to_owned())],
        ..Effect::default()
    };
    let delay = call.world.delay_ms(&[KIND]);
    Ok(call.begin(
        Reply::new(200, shown),
        (Told::Async, &region),
        (&key, delay),
        effect,
    ))
}

fn power(call: &mut Call<'_>, state: &str, ends: &str) -> Answer {
    let key = call.target.key();
    let there = call.there().cloned().ok_or_else(|| call.not_there())?;
    check_idle(call, &key)?;
    let region = there["location"].as_str().unwrap_or_default().to_owned();
    let change = json!({ "properties": { "powerState": { "code": ends } } });
    let mut effect = Effect {
        states: vec![(key.clone(), "Succeeded".to_owned())],
        lays: vec![(key.clone(), change.clone())],
        ..Effect::default()
    };
    let pools: Vec<String> = call
        .state
        .within(&format!("{key}/agentpools"))
        .map(|(key, _)| key.clone())
        .collect();
    effect
        .lays
        .extend(pools.into_iter().map(|pool| (pool, change.clone())));
    call.state.set_state(&key, state);
    let delay = call.world.delay_ms(&[KIND]);
    Ok(call.begin(
        Reply::empty(202),
        (Told::Both, &region),
        (&key, delay),
        effect,
    ))
}

/// Ends what is under way on a cluster or one of its pools.
pub(crate) fn abort(call: &mut Call<'_>) -> Answer {
    let own = call.target.key();
    let shown = crate::route::shown(call.state, &own).ok_or_else(|| call.not_there())?;
    let cluster = call.target.parent_key().unwrap_or_else(|| own.clone());
    let region = call
        .state
        .resources
        .get(&cluster)
        .and_then(|body| body["location"].as_str());
    let region = region.unwrap_or_default().to_owned();
    let is_own = |effect: &Effect| {
        let mut states = effect.states.iter();
        own == cluster
            || states.any(|(key, _)| *key == own)
            || effect.remove.as_deref() == Some(&own)
    };
    if call
        .state
        .under_way(&cluster)
        .is_some_and(|(_, operation)| is_own(&operation.effect))
    {
        call.state.cancel(&cluster);
        call.state.set_state(&own, "Canceled");
    }
    let delay = call.world.delay_ms(&["abort"]);
    // An operation of its own, beside which others may begin.
    let about = format!("{own}/abort");
    Ok(call.begin(
        Reply::new(202, shown),
        (Told::Both, &region),
        (&about, delay),
        Effect::default(),
    ))
}

fn credential(call: &Call<'_>, who: &str) -> Answer {
    let there = call.there().ok_or_else(|| call.not_there())?;
    let name = there["name"].as_str().unwrap_or_default();
    let host = there["properties"]["fqdn"].as_str().unwrap_or_default();
    let text = call.world.kubeconfig.clone().unwrap_or_else(|| {
        let (group, data) = (call.target.group.as_deref().unwrap_or_default(), STANDARD.encode("REDACTED"));
        let user = format!("{who}_{group}_{name}");
        format!(
            "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {data}\n    server: https://{host}:443\n  name: {name}\ncontexts:\n- context:\n    cluster: {name}\n    user: {user}\n  name: {name}\ncurrent-context: {name}\nkind: Config\npreferences: {{}}\nusers:\n- name: {user}\n  user:\n    client-certificate-data: {data}\n    client-key-data: {data}\n    token: {data}\n"
        )
    });
    let one = json!({ "name": who, "value": STANDARD.encode(text) });
    Ok(Reply::new(200, json!({ "kubeconfigs": [one] })))
}

/// A cluster that somebody else has made.
pub(crate) fn by_hand(call: &mut Call<'_>, full: &mut Value, body: &Value) {
    let said = body
        .get("location")
        .and_then(Value::as_str)
        .unwrap_or("eastus")
        .to_owned();
    let region = crate::world::short_region(&said);
    full["type"] = json!("Microsoft.ContainerService/ManagedClusters");
    shape::fill_cluster(call, full, &region, body);
    let made = shape::made(call, full);
    lay_over(full, &made);
    full["properties"]["provisioningState"] = json!("Succeeded");
    make_nodes_group(call, full, &region);
    let profiles = body
        .pointer("/properties/agentPoolProfiles")
        .and_then(Value::as_array);
    for profile in profiles.into_iter().flatten() {
        let next = shape::fill_pool(full, None, profile);
        let name = profile["name"].as_str().unwrap_or("nodepool1");
        pool::store(call, full, name, next, "Succeeded");
    }
    if let Some(own) = full["properties"].as_object_mut() {
        own.remove("agentPoolProfiles");
    }
}

/// Refuses while something else is under way on a cluster or one of its pools.
pub(crate) fn check_idle(call: &Call<'_>, cluster: &str) -> Result<(), Reply> {
    let Some((_, operation)) = call.state.under_way(cluster) else {
        return Ok(());
    };
    let state = |key: &str| {
        let body = call.state.resources.get(key);
        let state = body.and_then(|body| body.pointer("/properties/provisioningState"));
        state
            .and_then(Value::as_str)
            .unwrap_or("Updating")
            .to_owned()
    };
    let effect = &operation.effect;
    let pool = effect
        .remove
        .iter()
        .chain(effect.states.iter().map(|(key, _)| key));
    let pool = pool.into_iter().find(|key| key.contains("/agentpools/"));
    let is_whole = effect.states.iter().any(|(key, _)| key == cluster);
    if is_whole && call.target.kinds.len() == 1 && call.asked.method == "PUT" {
        let mut refusal = refuse_flat(
            409,
            "EtagMismatch",
            "Operation is not allowed: Another operation is in progress",
        );
        refusal.body["details"] = json!([{
            "code": "Unspecified", "message": "rpc error: code = FailedPrecondition desc = Etag mismatched",
        }]);
        refusal.body["subcode"] = json!("PutManagedClusterAndComponents_FailedPrecondition");
        return Err(refusal);
    }
    let what = match pool.filter(|_| !is_whole) {
        Some(key) => {
            let name = key.rsplit('/').next().unwrap_or_default();
            format!("agentpool operation ({name} - {})", state(key))
        }
        None => format!("operation ({})", state(cluster)),
    };
    let message = format!(
        "Operation is not allowed: Another {what} is in progress, please wait for it to finish before starting a new operation. See https://aka.ms/aks-pending-operation for more details"
    );
    Err(refuse_flat(409, "OperationNotAllowed", message))
}

/// Refuses where somebody has changed it since the request's tag.
pub(crate) fn check_tag(call: &Call<'_>, there: Option<&Value>) -> Result<(), Reply> {
    let own = there.and_then(|body| {
        body.get("eTag")
            .or_else(|| body.pointer("/properties/eTag"))
    });
    let own = own.and_then(Value::as_str);
    let wanted = call
        .asked
        .header("if-match")
        .map(|tag| tag.trim_matches('"'));
    let stale = wanted.is_some_and(|tag| {
        if tag == "*" {
            own.is_none()
        } else {
            own != Some(tag)
        }
    });
    let unwanted = call.asked.header("if-none-match") == Some("*") && there.is_some();
    if stale || unwanted {
        let message = "The condition specified using HTTP conditional header(s) is not met.";
        return Err(refuse_flat(412, "PreconditionFailed", message));
    }
    Ok(())
}

/// Refuses a change of what can't be changed.
fn check_fixed(fixed: &[&str], asked: &Value, there: &Value) -> Result<(), Reply> {
    for name in fixed {
        let pointer = format!("/{name}");
        let (Some(next), Some(is)) = (asked.pointer(&pointer), there.pointer(&pointer)) else {
            continue;
        };
        if !next.is_null() && !same(next, is) {
            return Err(not_allowed(&name.replace('/', ".")));
        }
    }
    Ok(())
}

fn not_allowed(name: &str) -> Reply {
    let message = format!("Changing property 'properties.{name}' is not allowed.");
    let mut refusal = refuse_flat(400, "PropertyChangeNotAllowed", message);
    refusal.body["target"] = json!(format!("properties.{name}"));
    refusal
}

fn same(one: &Value, other: &Value) -> bool {
    if let (Some(one), Some(other)) = (one.as_str(), other.as_str()) {
        return one.eq_ignore_ascii_case(other);
    }
    if let (Some(one), Some(other)) = (one.as_f64(), other.as_f64()) {
        return (one - other).abs() < f64::EPSILON;
    }
    one == other
}
