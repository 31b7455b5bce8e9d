//! Registries of container images.

use crate::answer::{Answer, Reply, no_method, refuse};
use crate::control::Call;
use crate::operation::{Effect, Told, lay_over};
use crate::state::time_text;
use serde_json::{Value, json};

const KIND: &str = "Microsoft.ContainerRegistry/registries";

/// Answers what is asked of a registry, but to show it.
pub(crate) fn answer(call: &mut Call<'_>, method: &str) -> Answer {
    match (method, call.target.tail.is_none()) {
        ("PUT" | "PATCH", true) => put(call, method == "PATCH"),
        ("DELETE", true) => Ok(call.remove_slowly(KIND)),
        _ => Err(no_method(method)),
    }
}

fn trouble(call: &Call<'_>, name: &str) -> Option<(u16, &'static str, &'static str, String)> {
    if !(5..=50).contains(&name.len()) || !name.chars().all(|c| c.is_ascii_alphanumeric()) {
        let message = "Registry names may contain alpha numeric characters only and must be between 5 and 50 characters.";
        return Some((400, "InvalidRegistryName", "Invalid", message.to_owned()));
    }
    let end = format!(
        "/microsoft.containerregistry/registries/{}",
        name.to_ascii_lowercase()
    );
    let is_there = call.state.resources.keys().any(|key| key.ends_with(&end));
    let message = format!(
        "The registry DNS name {}.azurecr.io is already in use. You can check if the name is already claimed using following API: https://docs.microsoft.com/en-us/rest/api/containerregistry/registries/checknameavailability",
        name.to_ascii_lowercase()
    );
    (is_there || call.world.is_taken(name)).then_some((
        409,
        "AlreadyInUse",
        "AlreadyExists",
        message,
    ))
}

/// Whether a name is free.
pub(crate) fn check_name(call: &Call<'_>) -> Answer {
    let body = call.body()?;
    let name = body["name"].as_str().unwrap_or_default();
    Ok(Reply::new(
        200,
        match trouble(call, name) {
            None => json!({ "nameAvailable": true }),
            Some((_, _, reason, message)) => {
                json!({ "nameAvailable": false, "reason": reason, "message": message })
            }
        },
    ))
}

fn put(call: &mut Call<'_>, is_patch: bool) -> Answer {
    let body = call.body()?;
    let key = call.target.key();
    let name = call.target.name().to_owned();
    let there = call.there().cloned();
    if there.is_none() {
        if is_patch {
            return Err(call.not_there());
        }
        if let Some((status, code, _, message)) = trouble(call, &name) {
            return Err(refuse(status, code, message));
        }
    } else if call.state.under_way(&key).is_some() {
        let message =
            format!("The registry {name} has an operation in progress. Please try again later.");
        return Err(refuse(409, "RegistryOperationInProgress", message));
    }
    let region = match (&there, is_patch) {
        (Some(there), true) => there["location"].as_str().unwrap_or_default().to_owned(),
        _ => call.location(&body)?,
    };
    if there.is_none() && body.pointer("/sku/name").and_then(Value::as_str).is_none() {
        return Err(refuse(400, "SkuRequired", "The registry sku is required."));
    }
    let mut full = match &there {
        Some(there) => there.clone(),
        None => {
            let mut full = call.head();
            fill(call, &mut full);
            full["location"] = json!(region);
            full
        }
    };
    let mut said = body;
    if let Some(own) = said.as_object_mut() {
        own.retain(|name, _| matches!(name.as_str(), "sku" | "tags" | "identity" | "properties"));
        if let Some(tags) = own.remove("tags") {
            full["tags"] = tags;
        }
    }
    lay_over(&mut full, &said);
    full["sku"]["tier"] = full["sku"]["name"].clone();
    if there.is_some() {
        full["properties"]["provisioningState"] = json!("Succeeded");
        call.state.resources.insert(key, full.clone());
        return Ok(Reply::new(200, full));
    }
    full["properties"]["provisioningState"] = json!("Creating");
    call.state.resources.insert(key.clone(), full.clone());
    let effect = Effect {
        states: vec![(key.clone(), "Succeeded".to_owned())],
        ..Effect::default()
    };
    let delay = call.world.delay_ms(&[KIND]);
    Ok(call.begin(
        Reply::new(201, full),
        (Told::Async, &region),
        (&key, delay),
        effect,
    ))
}

/// A registry with everything that the service adds.
pub(crate) fn fill(call: &Call<'_>, full: &mut Value) {
    let name = call.target.name().to_ascii_lowercase();
    full["location"] = json!("eastus");
    full["tags"] = json!({});
    full["sku"] = json!({ "name": "Basic", "tier": "Basic" });
    full["properties"] = json!({
        "loginServer": format!("{name}.azurecr.io"),
        "creationDate": time_text(call.now),
        "provisioningState": "Succeeded",
        "adminUserEnabled": false,
        "publicNetworkAccess": "Enabled",
        "networkRuleBypassOptions": "AzureServices",
        "zoneRedundancy": "Disabled",
        "anonymousPullEnabled": false,
    });
}
