//! Pools of nodes.

use super::{abort, check_idle, check_tag, not_allowed, quota, same, schema, shape};
use crate::answer::{Answer, Reply, no_method, not_found, refuse_flat};
use crate::control::Call;
use crate::operation::{Effect, Told};
use serde_json::{Value, json};

const KIND: &str = "Microsoft.ContainerService/managedClusters/agentPools";
/// What can't be changed once a pool is there, and what it is where nothing is said.
const FIXED: &[(&str, &str)] = &[
    ("vmSize", ""),
    ("osType", "Linux"),
    ("type", "VirtualMachineScaleSets"),
    ("scaleSetPriority", "Regular"),
    ("scaleSetEvictionPolicy", "Delete"),
    ("spotMaxPrice", "-1"),
    ("availabilityZones", "[]"),
    ("gpuInstanceProfile", ""),
    ("osDiskSizeGB", "0"),
    ("osDiskType", ""),
    ("maxPods", ""),
];

/// Answers what is asked of a pool, but to show it.
pub(crate) fn answer(call: &mut Call<'_>, method: &str) -> Answer {
    match (method, call.target.tail.is_none()) {
        ("PUT", true) => put(call),
        ("DELETE", true) => delete(call),
        ("POST", false) if call.target.tail_is("abort") => abort(call),
        _ => Err(no_method(method)),
    }
}

fn put(call: &mut Call<'_>) -> Answer {
    let body = call.body()?;
    let key = call.target.key();
    let name = call.target.name().to_owned();
    let (cluster_key, cluster) = cluster(call)?;
    let region = cluster["location"].as_str().unwrap_or_default().to_owned();
    check_idle(call, &cluster_key)?;
    let there = call.there().cloned();
    check_tag(call, there.as_ref())?;
    schema::check(
        &call.version,
        "managedClusters_agentPools",
        KIND,
        &name,
        &body,
    )?;
    let asked = body.get("properties").cloned().unwrap_or_else(|| json!({}));
    let before = there.as_ref().map(|pool| pool["properties"].clone());
    let mut next = shape::fill_pool(&cluster, before.as_ref(), &asked);
    check(call, &region, &name, &asked, (&next, before.as_ref()))?;
    let power = |value: Option<&Value>| {
        let code = value.and_then(|value| value.pointer("/powerState/code"));
        code.and_then(Value::as_str).unwrap_or("Running").to_owned()
    };
    let (was, is) = (power(before.as_ref()), power(Some(&next)));
    let state = match (&before, was == is, is.as_str()) {
        (None, ..) => "Creating",
        (Some(_), false, "Stopped") => {
            next["count"] = json!(0);
            "Stopping"
        }
        (Some(_), false, _) => "Starting",
        (Some(was), true, _) if was["count"] != next["count"] => "Scaling",
        (Some(_), true, _) => "Updating",
    };
    quota::check(call, &region, &[(next.clone(), before)])?;
    let fails = capacity(call, &next);
    store(call, &cluster, &name, next, state);
    let ends = if fails.is_some() {
        "Failed"
    } else {
        "Succeeded"
    };
    let effect = Effect {
        states: vec![(key.clone(), ends.to_owned())],
        error: fails,
        ..Effect::default()
    };
    let shown = call.state.resources.get(&key).cloned().unwrap_or_default();
    let status = if there.is_some() { 200 } else { 201 };
    let delay = call.world.delay_ms(&[KIND]);
    Ok(call.begin(
        Reply::new(status, shown),
        (Told::Async, &region),
        (&cluster_key, delay),
        effect,
    ))
}

fn delete(call: &mut Call<'_>) -> Answer {
    let key = call.target.key();
    let (cluster_key, cluster) = cluster(call)?;
    let Some(there) = call.there().cloned() else {
        return Ok(Reply::empty(204));
    };
    check_idle(call, &cluster_key)?;
    check_tag(call, Some(&there))?;
    let is_system = |pool: &Value| pool["properties"]["mode"] == json!("System");
    let mut others = call.state.within(&format!("{cluster_key}/agentpools"));
    if is_system(&there) && !others.any(|(other, pool)| *other != key && is_system(pool)) {
        let message = "There has to be at least one system agent pool in the managed cluster. See https://aka.ms/aks/system-node-pool-requirements";
        return Err(refuse_flat(400, "OperationNotAllowed", message));
    }
    drop(others);
    let region = cluster["location"].as_str().unwrap_or_default().to_owned();
    call.state.set_state(&key, "Deleting");
    let effect = Effect {
        remove: Some(key),
        ..Effect::default()
    };
    let delay = call.world.delay_ms(&["delete", KIND]);
    Ok(call.begin(
        Reply::empty(202),
        (Told::Both, &region),
        (&cluster_key, delay),
        effect,
    ))
}

/// The cluster of the pool that the path names.
fn cluster(call: &Call<'_>) -> Result<(String, Value), Reply> {
    let key = call.target.parent_key().unwrap_or_default();
    let name = call
        .target
        .names
        .first()
        .map(String::as_str)
        .unwrap_or_default();
    let group = call.target.group.as_deref().unwrap_or_default();
    let there = call.state.resources.get(&key).cloned();
    let cluster = there.ok_or_else(|| not_found(&format!("{}/{name}", super::KIND), group))?;
    if cluster["properties"]["provisioningState"] == json!("Deleting") {
        let message = "Operation is not allowed: the managed cluster is being deleted.";
        return Err(refuse_flat(409, "OperationNotAllowed", message));
    }
    Ok((key, cluster))
}

/// Refuses what a pool can't be, and what it can't become.
pub(super) fn check(
    call: &Call<'_>,
    region: &str,
    name: &str,
    asked: &Value,
    (next, before): (&Value, Option<&Value>),
) -> Result<(), Reply> {
    let bad = |parameter: &str, details: &str| {
        let message = format!(
            "The value of parameter agentPoolProfile.{parameter} is invalid. Error details: {details}."
        );
        let mut refusal = refuse_flat(400, "InvalidParameter", message);
        refusal.body["target"] = json!(format!("agentPoolProfile.{parameter}"));
        refusal
    };
    let mut chars = name.chars();
    let starts = chars.next().is_some_and(|c| c.is_ascii_lowercase());
    if !starts || name.len() > 12 || !chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()) {
        return Err(bad("name", "the name has to match '^[a-z][a-z0-9]{0,11}$'"));
    }
    if let Some(before) = before {
        for (property, otherwise) in FIXED {
            let Some(wanted) = asked.get(property).filter(|value| !value.is_null()) else {
                continue;
            };
            let said = serde_json::from_str(otherwise).unwrap_or_else(|_| json!(otherwise));
            let is = before.get(property).unwrap_or(&said);
            let default_size = *property == "osDiskSizeGB" && wanted == &json!(0);
            if !default_size && !same(wanted, is) {
                return Err(not_allowed(property));
            }
        }
    }
    let size = next["vmSize"].as_str().unwrap_or_default();
    if size.is_empty() {
        return Err(bad("vmSize", "required parameter vmSize is missing (null)"));
    }
    if before.is_none() {
        quota::check_size(call, region, size)?;
    }
    let is_system = next["mode"]
        .as_str()
        .is_some_and(|mode| mode.eq_ignore_ascii_case("system"));
    let is_spot = next.get("scaleSetPriority").is_some();
    if is_system && is_spot {
        return Err(bad(
            "scaleSetPriority",
            "a system agent pool can't be of spot nodes",
        ));
    }
    let least = if next["enableAutoScaling"] == json!(true) {
        let (least, most) = (next["minCount"].as_u64(), next["maxCount"].as_u64());
        let (Some(least), Some(most)) = (least, most) else {
            return Err(bad(
                "minCount",
                "minCount and maxCount are required where enableAutoScaling is true",
            ));
        };
        if least > most || most > 1_000 || most == 0 {
            return Err(bad(
                "maxCount",
                "maxCount has to be within 1 and 1000 and not below minCount",
            ));
        }
        least
    } else {
        if asked["minCount"].as_u64().is_some() || asked["maxCount"].as_u64().is_some() {
            return Err(bad(
                "minCount",
                "minCount and maxCount are not allowed where enableAutoScaling is false",
            ));
        }
        next["count"].as_u64().unwrap_or(0)
    };
    let stops = next
        .pointer("/powerState/code")
        .is_some_and(|code| code == "Stopped");
    if is_system && least == 0 && !stops {
        return Err(bad("count", "a system agent pool needs a node at least"));
    }
    Ok(())
}

/// How a pool's operation ends where there are no machines of its size.
pub(super) fn capacity(call: &Call<'_>, next: &Value) -> Option<Value> {
    let size = next["vmSize"].as_str().unwrap_or_default();
    let mut all = call.world.capacity.iter();
    let (_, code) = all.find(|(name, _)| name.eq_ignore_ascii_case(size))?;
    let sentence = match code.as_str() {
        "AllocationFailed" => {
            "Allocation failed. We do not have sufficient capacity for the requested VM size in this region. Read more about improving likelihood of allocation success at https://aka.ms/allocation-guidance".to_owned()
        }
        "OverconstrainedAllocationRequest" => {
            "Allocation failed. VM(s) with the following constraints cannot be allocated, because the condition is too restrictive. Please remove some constraints and try again. Constraints applied are: - Networking Constraints (such as Accelerated Networking or IPv6) - VM Size".to_owned()
        }
        _ => format!(
            "The requested size for resource '{size}' is currently not available in location. Please try another size or deploy to a different location or zones. See https://aka.ms/azureskunotavailable for details."
        ),
    };
    // A pool of no machines asks for none; whether the size is offered at all is looked at even so.
    let asks =
        next["count"].as_u64().unwrap_or(0) > 0 || code.eq_ignore_ascii_case("SkuNotAvailable");
    asks.then(|| json!({ "code": code, "message": sentence }))
}

/// Keeps a pool; says under which id.
pub(super) fn store(
    call: &mut Call<'_>,
    cluster: &Value,
    name: &str,
    next: Value,
    state: &str,
) -> String {
    let id = format!(
        "{}/agentPools/{name}",
        cluster["id"].as_str().unwrap_or_default()
    );
    let key = id.to_ascii_lowercase();
    let mut properties = next;
    properties["provisioningState"] = json!(state);
    let body = json!({ "id": id, "name": name, "type": KIND, "properties": properties });
    call.state.resources.insert(key.clone(), body);
    key
}

/// A pool that somebody else has made.
pub(crate) fn by_hand(call: &mut Call<'_>, full: &mut Value, body: &Value) {
    let parent = call.target.parent_key().unwrap_or_default();
    let cluster = call
        .state
        .resources
        .get(&parent)
        .cloned()
        .unwrap_or_default();
    let asked = body.get("properties").cloned().unwrap_or_else(|| json!({}));
    full["properties"] = shape::fill_pool(&cluster, None, &asked);
    full["properties"]["provisioningState"] = json!("Succeeded");
}
