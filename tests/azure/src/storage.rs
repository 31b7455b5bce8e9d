//! Storage accounts and their containers of blobs.

use crate::answer::{Answer, Reply, no_method, refuse};
use crate::control::Call;
use crate::operation::{Effect, Told, lay_over};
use crate::state::time_text;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const KIND: &str = "Microsoft.Storage/storageAccounts";
const CONTAINERS: &str = "Microsoft.Storage/storageAccounts/blobServices/containers";

/// Answers what is asked of an account or a container, but to show it.
pub(crate) fn answer(call: &mut Call<'_>, kind: &str, method: &str) -> Answer {
    match (kind, method, call.target.tail.is_none()) {
        (KIND, "PUT", true) => put(call),
        (KIND, "PATCH", true) => patch(call),
        (KIND, "DELETE", true) => Ok(remove(call)),
        (KIND, "POST", false) if call.target.tail_is("listKeys") => keys(call),
        (CONTAINERS, "PUT" | "PATCH", true) => put_container(call),
        (CONTAINERS, "DELETE", true) => {
            check_account(call)?;
            Ok(remove(call))
        }
        (_, "PUT", true) if blob_service(call).is_some() => put_blob_service(call),
        _ => Err(no_method(method)),
    }
}

/// The blob service of an account, which is there as soon as the account is.
pub(crate) fn blob_service(call: &Call<'_>) -> Option<Value> {
    let target = &call.target;
    if target.kind() != "microsoft.storage/storageaccounts/blobservices"
        || target.name() != "default"
    {
        return None;
    }
    call.state.resources.get(&target.parent_key()?)?;
    let mut body = call.head();
    body["properties"] =
        json!({ "cors": { "corsRules": [] }, "deleteRetentionPolicy": { "enabled": false } });
    if let Some(own) = call.there() {
        lay_over(&mut body, own);
    }
    Some(body)
}

fn put_blob_service(call: &mut Call<'_>) -> Answer {
    let body = call.body()?;
    let mut full = blob_service(call).unwrap_or_default();
    lay_over(&mut full["properties"], &body["properties"]);
    call.state.resources.insert(call.target.key(), full.clone());
    Ok(Reply::new(200, full))
}

fn name_is_good(name: &str) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (3..=24).contains(&name.len()) && name.chars().all(good)
}

/// Where an account of this name is already.
fn account(call: &Call<'_>, name: &str) -> Option<String> {
    let end = format!(
        "/microsoft.storage/storageaccounts/{}",
        name.to_ascii_lowercase()
    );
    call.state
        .resources
        .keys()
        .find(|key| key.ends_with(&end))
        .cloned()
}

/// Why a name is not free.
fn trouble(call: &Call<'_>, name: &str) -> Option<(&'static str, &'static str, String)> {
    if !name_is_good(name) {
        let message = format!(
            "{name} is not a valid storage account name. Storage account name must be between 3 and 24 characters in length and use numbers and lower-case letters only."
        );
        return Some(("AccountNameInvalid", "AccountNameInvalid", message));
    }
    let message = format!("The storage account named {name} is already taken.");
    let is_taken = call.world.is_taken(name) || account(call, name).is_some();
    is_taken.then_some(("AlreadyExists", "StorageAccountAlreadyTaken", message))
}

/// Whether a name is free.
pub(crate) fn check_name(call: &Call<'_>) -> Answer {
    let body = call.body()?;
    let name = body["name"].as_str().unwrap_or_default();
    Ok(Reply::new(
        200,
        match trouble(call, name) {
            None => json!({ "nameAvailable": true }),
            Some((reason, _, message)) => {
                json!({ "nameAvailable": false, "reason": reason, "message": message })
            }
        },
    ))
}

fn put(call: &mut Call<'_>) -> Answer {
    let body = call.body()?;
    let key = call.target.key();
    let name = call.target.name().to_owned();
    let there = call.there().cloned();
    if there.is_none() {
        if let Some((_, code, message)) = trouble(call, &name) {
            let status = if code == "AccountNameInvalid" {
                400
            } else {
                409
            };
            let elsewhere = account(call, &name).is_some();
            return Err(match elsewhere {
                true => {
                    let message = format!(
                        "The account {name} is already in another resource group in this subscription."
                    );
                    refuse(409, "StorageAccountInAnotherResourceGroup", message)
                }
                false => refuse(status, code, message),
            });
        }
    } else if call.state.under_way(&key).is_some() {
        let message = format!(
            "An operation is currently performing on this storage account that requires exclusive access. Account: {name}."
        );
        return Err(refuse(409, "StorageAccountOperationInProgress", message));
    }
    let region = call.location(&body)?;
    for needed in ["/sku/name", "/kind"] {
        if body.pointer(needed).and_then(Value::as_str).is_none() {
            let message = format!(
                "The required property '{}' is missing or empty.",
                needed.trim_start_matches('/').replace('/', ".")
            );
            return Err(refuse(400, "MissingRequiredProperty", message));
        }
    }
    if let Some(mut full) = there {
        overlay(&mut full, &body);
        call.state.resources.insert(key, full.clone());
        return Ok(Reply::new(200, full));
    }
    let mut full = call.head();
    fill(call, &mut full);
    full["location"] = json!(region);
    overlay(&mut full, &body);
    full["properties"]["provisioningState"] = json!("Creating");
    call.state.resources.insert(key.clone(), full);
    let effect = Effect {
        states: vec![(key.clone(), "Succeeded".to_owned())],
        ..Effect::default()
    };
    let delay = call.world.delay_ms(&[KIND]);
    Ok(call.begin(
        Reply::empty(202),
        (Told::Location, &region),
        (&key, delay),
        effect,
    ))
}

/// What the request says, over what is there. Tags are given all at once.
fn overlay(full: &mut Value, body: &Value) {
    let mut body = body.clone();
    if let Some(own) = body.as_object_mut() {
        own.retain(|name, _| {
            matches!(
                name.as_str(),
                "sku" | "kind" | "tags" | "identity" | "properties"
            )
        });
        if let Some(tags) = own.remove("tags") {
            full["tags"] = tags;
        }
    }
    lay_over(full, &body);
    let name = full
        .pointer("/sku/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let tier = name.split('_').next().unwrap_or_default().to_owned();
    full["sku"]["tier"] = json!(tier);
}

fn patch(call: &mut Call<'_>) -> Answer {
    let body = call.body()?;
    let mut full = call.there().cloned().ok_or_else(|| call.not_there())?;
    overlay(&mut full, &body);
    call.state.resources.insert(call.target.key(), full.clone());
    Ok(Reply::new(200, full))
}

/// An account with everything that the service adds.
pub(crate) fn fill(call: &Call<'_>, full: &mut Value) {
    let name = call.target.name();
    let mut ends = json!({});
    for service in ["blob", "dfs", "file", "queue", "table", "web"] {
        ends[service] = json!(format!("https://{name}.{service}.core.windows.net/"));
    }
    full["location"] = json!("eastus");
    full["tags"] = json!({});
    full["kind"] = json!("StorageV2");
    full["sku"] = json!({ "name": "Standard_LRS", "tier": "Standard" });
    full["properties"] = json!({
        "provisioningState": "Succeeded",
        "accessTier": "Hot",
        "allowBlobPublicAccess": false,
        "creationTime": time_text(call.now),
        "encryption": {
            "keySource": "Microsoft.Storage",
            "services": { "blob": { "enabled": true, "keyType": "Account" } },
        },
        "minimumTlsVersion": "TLS1_2",
        "networkAcls": { "bypass": "AzureServices", "defaultAction": "Allow", "ipRules": [], "virtualNetworkRules": [] },
        "primaryEndpoints": ends,
        "statusOfPrimary": "available",
        "supportsHttpsTrafficOnly": true,
    });
}

fn remove(call: &mut Call<'_>) -> Reply {
    let key = call.target.key();
    if call.there().is_none() {
        return Reply::empty(204);
    }
    call.state.remove(&key);
    Reply::empty(200)
}

fn keys(call: &Call<'_>) -> Answer {
    let there = call.there().ok_or_else(|| call.not_there())?;
    let name = there["name"].as_str().unwrap_or_default();
    let keys: Vec<Value> = ["key1", "key2"]
        .iter()
        .map(|key| {
            let made = there.pointer("/properties/creationTime");
            let value = STANDARD.encode(format!(
                "{key} of {name}, made up, of as many bytes as a key has: 64..."
            ));
            json!({ "keyName": key, "value": value, "permissions": "FULL", "creationTime": made })
        })
        .collect();
    Ok(Reply::new(200, json!({ "keys": keys })))
}

/// The account of a container: there, and ready.
fn check_account(call: &Call<'_>) -> Result<(), Reply> {
    let (service, name) = (
        call.target.parent_key().unwrap_or_default(),
        &call.target.names[0],
    );
    let key = service.split("/blobservices/").next().unwrap_or_default();
    let Some(account) = call.state.resources.get(key) else {
        let message = format!(
            "Failed to perform 'write' on resource(s) of type 'storageAccounts/blobServices/containers', because the parent resource '{}' could not be found.",
            key.replace("storageaccounts", "storageAccounts")
        );
        return Err(refuse(404, "ParentResourceNotFound", message));
    };
    if account.pointer("/properties/provisioningState") != Some(&json!("Succeeded")) {
        let message = format!(
            "The storage account '{name}' provisioning state must be 'Succeeded' before executing the operation."
        );
        return Err(refuse(409, "StorageAccountIsNotProvisioned", message));
    }
    Ok(())
}

fn put_container(call: &mut Call<'_>) -> Answer {
    check_account(call)?;
    let name = call.target.name().to_owned();
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ends = name.starts_with('-') || name.ends_with('-') || name.contains("--");
    if !(3..=63).contains(&name.len()) || !name.chars().all(good) || ends {
        let message = "The specified resource name contains invalid characters.";
        return Err(refuse(400, "ContainerOperationFailure", message));
    }
    let key = call.target.key();
    let there = call.there().cloned();
    let status = if there.is_some() { 200 } else { 201 };
    let mut full = there.unwrap_or_else(|| {
        let mut full = call.head();
        full["properties"] = json!({
            "publicAccess": "None", "leaseStatus": "Unlocked", "leaseState": "Available", "deleted": false,
            "hasImmutabilityPolicy": false, "hasLegalHold": false, "lastModifiedTime": time_text(call.now),
        });
        full
    });
    full["etag"] = json!(format!("\"0x{:X}\"", call.now));
    let body = call.body_or_empty();
    if let Some(properties) = body.get("properties") {
        lay_over(&mut full["properties"], properties);
    }
    call.state.resources.insert(key, full.clone());
    Ok(Reply::new(status, full))
}
