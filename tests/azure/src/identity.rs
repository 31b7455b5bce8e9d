//! Managed identities, and whose tokens they take.

use crate::answer::{Answer, Reply, no_method, refuse};
use crate::control::Call;
use crate::state::guid;
use serde_json::{Value, json};
use std::time::Duration;

const KIND: &str = "Microsoft.ManagedIdentity/userAssignedIdentities";
const FEDERATED: &str =
    "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials";

/// Answers what is asked of an identity or a credential, but to show it.
pub(crate) fn answer(call: &mut Call<'_>, kind: &str, method: &str) -> Answer {
    match (kind, method, call.target.tail.is_none()) {
        (KIND, "PUT" | "PATCH", true) => put(call, method == "PATCH"),
        (KIND, "DELETE", true) => Ok(delete(call)),
        (FEDERATED, "PUT", true) => put_credential(call),
        (FEDERATED, "DELETE", true) => delete_credential(call),
        _ => Err(no_method(method)),
    }
}

fn put(call: &mut Call<'_>, is_patch: bool) -> Answer {
    let body = call.body()?;
    let key = call.target.key();
    let there = call.there().cloned();
    if is_patch && there.is_none() {
        return Err(call.not_there());
    }
    let status = if there.is_some() { 200 } else { 201 };
    let mut full = match there {
        Some(there) if is_patch => there,
        there => {
            let region = call.location(&body)?;
            let mut full = there.unwrap_or_else(|| {
                let mut full = call.head();
                fill(call, &mut full);
                full
            });
            full["location"] = json!(region);
            full["tags"] = json!({});
            full
        }
    };
    if let Some(tags) = body.get("tags").filter(|tags| tags.is_object()) {
        full["tags"] = tags.clone();
    }
    call.state.resources.insert(key, full.clone());
    Ok(Reply::new(status, full))
}

/// An identity with everything that the service adds: a principal that is known everywhere only after a while.
pub(crate) fn fill(call: &mut Call<'_>, full: &mut Value) {
    let principal = guid();
    call.state.principals.insert(principal.clone(), call.now);
    full["location"] = json!("eastus");
    full["properties"] = json!({
        "tenantId": call.world.tenant,
        "principalId": principal,
        "clientId": guid(),
    });
}

fn delete(call: &mut Call<'_>) -> Reply {
    let key = call.target.key();
    if call.there().is_none() {
        return Reply::empty(204);
    }
    call.state.remove(&key);
    Reply::empty(200)
}

/// One write at a time for each identity: it takes a while, and refuses others meanwhile.
fn one_write(call: &mut Call<'_>) -> Result<Duration, Reply> {
    let parent = call.target.parent_key().unwrap_or_default();
    if !call.state.resources.contains_key(&parent) {
        return Err(call.not_there());
    }
    let until = call.state.writing.get(&parent).copied().unwrap_or(0);
    if until > call.now {
        let message = format!(
            "Too many Federated Identity Credentials are written concurrently for the managed identity '{parent}'. Concurrent Federated Identity Credentials writes under the same managed identity are not supported."
        );
        let code = "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity";
        return Err(refuse(409, code, message));
    }
    let delay = call.world.delay_ms(&[FEDERATED]);
    call.state
        .writing
        .insert(parent, call.now.saturating_add(delay));
    Ok(Duration::from_millis(delay))
}

fn put_credential(call: &mut Call<'_>) -> Answer {
    let body = call.body()?;
    let properties = body.get("properties").cloned().unwrap_or_default();
    for needed in ["issuer", "subject", "audiences"] {
        let is_there = properties
            .get(needed)
            .is_some_and(|value| match value.as_array() {
                Some(list) => !list.is_empty(),
                None => value.as_str().is_some_and(|text| !text.is_empty()),
            });
        if !is_there {
            let message = format!(
                "The request format was unexpected: Federated Identity Credential {needed} is missing."
            );
            return Err(refuse(400, "BadRequest", message));
        }
    }
    let key = call.target.key();
    let parent = call.target.parent_key().unwrap_or_default();
    let mut others = call
        .state
        .within(&format!("{parent}/federatedidentitycredentials"));
    let same = |other: &Value| {
        let own = &other["properties"];
        own["issuer"] == properties["issuer"] && own["subject"] == properties["subject"]
    };
    if others.any(|(other, body)| *other != key && same(body)) {
        let message = "Issuer and subject combination already exists for this Managed Identity.";
        return Err(refuse(409, "Conflict", message));
    }
    drop(others);
    let wait = one_write(call)?;
    let status = if call.there().is_some() { 200 } else { 201 };
    let mut full = call.head();
    full["properties"] = json!({
        "issuer": properties["issuer"], "subject": properties["subject"], "audiences": properties["audiences"],
    });
    call.state.resources.insert(key, full.clone());
    Ok(Reply {
        wait,
        ..Reply::new(status, full)
    })
}

fn delete_credential(call: &mut Call<'_>) -> Answer {
    if call.there().is_none() {
        return Ok(Reply::empty(204));
    }
    let wait = one_write(call)?;
    let key = call.target.key();
    call.state.remove(&key);
    Ok(Reply {
        wait,
        ..Reply::empty(200)
    })
}
