//! Groups of resources, and what is in them.

use crate::answer::{Answer, Reply, no_group, no_method, refuse};
use crate::control::Call;
use crate::operation::{Effect, Told, lay_over};
use crate::subscription;
use crate::world::short_region;
use serde_json::{Value, json};

/// Answers for `/subscriptions/S`, `/subscriptions/S/resourceGroups/G` and lists beneath them.
pub(crate) fn answer(call: &mut Call<'_>) -> Answer {
    let method = call.asked.method.as_str();
    let tail = call
        .target
        .tail
        .clone()
        .map(|tail| tail.to_ascii_lowercase());
    let scope = call.target.scope.clone();
    let groups = "Microsoft.Resources/subscriptions/resourceGroups";
    match (call.target.group.is_some(), tail.as_deref(), method) {
        (false, None, "GET") => {
            call.check_right("Microsoft.Resources/subscriptions/read", &scope)?;
            Ok(Reply::new(200, subscription::shown(call)))
        }
        (false, Some("providers"), "GET") => subscription::providers(call),
        (false, Some("locations"), "GET") => Ok(locations(call)),
        (false, Some("resourcegroups"), "GET") => {
            call.check_right(&format!("{groups}/read"), &scope)?;
            let all = call.state.within(&scope).filter(|(key, _)| is_group(key));
            let all = all.map(|(_, body)| body).filter(|body| wanted(call, body));
            Ok(call.page(all.cloned().collect()))
        }
        (_, Some("resources"), "GET") => {
            call.check_right(&format!("{groups}/resources/read"), &scope)?;
            resources(call)
        }
        (true, None, "GET") => {
            call.check_right(&format!("{groups}/read"), &scope)?;
            let there = call.state.resources.get(&scope.to_ascii_lowercase());
            let body = there.cloned().ok_or_else(|| no_group(call.target.name()))?;
            Ok(Reply::new(200, body))
        }
        (true, None, "HEAD") => {
            let is_there = call
                .state
                .resources
                .contains_key(&scope.to_ascii_lowercase());
            Ok(Reply::empty(if is_there { 204 } else { 404 }))
        }
        (true, None, "PUT" | "PATCH") => {
            call.check_right(&format!("{groups}/write"), &scope)?;
            check_enabled(call)?;
            write(call, method == "PATCH")
        }
        (true, None, "DELETE") => {
            call.check_right(&format!("{groups}/delete"), &scope)?;
            check_enabled(call)?;
            delete(call)
        }
        _ => Err(no_method(method)),
    }
}

fn is_group(key: &str) -> bool {
    key.split('/').filter(|part| !part.is_empty()).count() == 4 && key.contains("/resourcegroups/")
}

fn check_enabled(call: &Call<'_>) -> Result<(), Reply> {
    if call.world.subscription_state == "Enabled" {
        return Ok(());
    }
    let message = format!(
        "The subscription '{}' is disabled and therefore marked as read only. You cannot perform any write actions on this subscription until it is re-enabled.",
        call.world.subscription
    );
    Err(refuse(409, "ReadOnlyDisabledSubscription", message))
}

fn write(call: &mut Call<'_>, is_patch: bool) -> Answer {
    let body = call.body()?;
    let key = call.target.key();
    let there = call.state.resources.get(&key).cloned();
    let name = call.target.name().to_owned();
    if is_patch && there.is_none() {
        return Err(no_group(&name));
    }
    let good = |c: char| c.is_alphanumeric() || "-_.()".contains(c);
    if name.len() > 90 || name.ends_with('.') || !name.chars().all(good) {
        let message = format!(
            "The provided resource group name '{name}' has these invalid characters or is too long. The name can only be a letter, digit, '-', '.', '(', ')' or '_'."
        );
        return Err(refuse(400, "InvalidResourceGroup", message));
    }
    call.check_locks(&key, false)?;
    if let Some(there) = &there {
        let state = there.pointer("/properties/provisioningState");
        if state.and_then(Value::as_str) == Some("Deleting") {
            let message = format!(
                "The resource group '{name}' is in deprovisioning state and cannot perform this operation."
            );
            return Err(refuse(409, "ResourceGroupBeingDeleted", message));
        }
    }
    let mut full = match &there {
        Some(there) => there.clone(),
        None => filled(call, &body),
    };
    if !is_patch {
        let said = body
            .get("location")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if said.is_empty() {
            let message = "The location property is required for this definition.";
            return Err(refuse(400, "LocationRequired", message));
        }
        let Some((region, _)) = call.world.region(said) else {
            let regions: Vec<&str> = call.world.regions.keys().map(String::as_str).collect();
            let message = format!(
                "The provided location '{said}' is not available for resource group. List of available regions is '{}'.",
                regions.join(",")
            );
            return Err(refuse(400, "LocationNotAvailableForResourceGroup", message));
        };
        if full["location"].as_str() != Some(region) {
            let is = full["location"].as_str().unwrap_or_default();
            let message = format!(
                "Invalid resource group location '{said}'. The Resource group already exists in location '{is}'."
            );
            return Err(refuse(409, "InvalidResourceGroupLocation", message));
        }
    }
    match body.get("tags") {
        Some(tags) if tags.is_object() => full["tags"] = tags.clone(),
        _ if !is_patch => full["tags"] = json!({}),
        _ => {}
    }
    call.state.resources.insert(key, full.clone());
    Ok(Reply::new(if there.is_some() { 200 } else { 201 }, full))
}

/// A group with everything that the service adds.
pub(crate) fn filled(call: &Call<'_>, body: &Value) -> Value {
    let name = call.target.name();
    let said = body
        .get("location")
        .and_then(Value::as_str)
        .unwrap_or("eastus");
    let mut full = json!({
        "id": format!("/subscriptions/{}/resourceGroups/{name}", call.world.subscription),
        "name": name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": short_region(said),
        "properties": { "provisioningState": "Succeeded" },
    });
    for other in ["managedBy", "tags"] {
        if let Some(value) = body.get(other) {
            lay_over(&mut full, &json!({ other: value }));
        }
    }
    full
}

fn delete(call: &mut Call<'_>) -> Answer {
    let key = call.target.key();
    let Some(there) = call.state.resources.get(&key) else {
        return Err(no_group(call.target.name()));
    };
    let state = there.pointer("/properties/provisioningState");
    let is_going = state.and_then(Value::as_str) == Some("Deleting");
    call.check_locks(&key, true)?;
    if !is_going {
        let mut inside: Vec<String> = call
            .state
            .within(&key)
            .map(|(key, _)| key.clone())
            .collect();
        inside.retain(|key| !key.contains("/microsoft.authorization/"));
        // What is under way in it comes to nothing.
        for inside in &inside {
            call.state.cancel(inside);
        }
        call.state.set_state(&key, "Deleting");
    }
    // Asked for again, it goes no faster, and goes only once.
    let first = call.state.under_way(&key).map(|(_, first)| first.ends_ms);
    let (delay, remove) = match first {
        Some(ends) => (ends.saturating_sub(call.now), None),
        None => {
            let kinds = ["delete", "Microsoft.Resources/resourceGroups"];
            (call.world.delay_ms(&kinds), Some(key.clone()))
        }
    };
    let effect = Effect {
        remove,
        ..Effect::default()
    };
    Ok(call.begin(
        Reply::empty(202),
        (Told::Location, ""),
        (&key, delay),
        effect,
    ))
}

/// Resources of a group or of the subscription, without their properties and parts.
fn resources(call: &Call<'_>) -> Answer {
    call.check_group()?;
    let all = call.state.within(&call.target.scope).filter(|(key, body)| {
        let is_whole = key
            .split_once("/providers/")
            .is_some_and(|(_, rest)| rest.split('/').count() == 3);
        is_whole && !key.contains("/microsoft.authorization/") && wanted(call, body)
    });
    let shown = all.map(|(_, body)| {
        let mut one = body.clone();
        if let Some(one) = one.as_object_mut() {
            one.retain(|name, _| !matches!(name.as_str(), "properties" | "etag" | "systemData"));
        }
        one
    });
    Ok(call.page(shown.collect()))
}

/// Whether a resource is what `$filter` asks for: of a tag, of a type.
fn wanted(call: &Call<'_>, body: &Value) -> bool {
    let filter = call.asked.parameter("$filter").unwrap_or_default();
    let mut tag = (None, None);
    for term in filter.split(" and ") {
        let Some((name, value)) = term.split_once(" eq ") else {
            continue;
        };
        let value = value.trim().trim_matches('\'');
        match name.trim().to_ascii_lowercase().as_str() {
            "tagname" => tag.0 = Some(value),
            "tagvalue" => tag.1 = Some(value),
            "resourcetype"
                if !body["type"]
                    .as_str()
                    .is_some_and(|is| is.eq_ignore_ascii_case(value)) =>
            {
                return false;
            }
            _ => {}
        }
    }
    let Some(name) = tag.0 else {
        return true;
    };
    let tags = body.get("tags").and_then(Value::as_object);
    let is = tags.and_then(|tags| tags.iter().find(|(tag, _)| tag.eq_ignore_ascii_case(name)));
    is.is_some_and(|(_, value)| tag.1.is_none_or(|wanted| value.as_str() == Some(wanted)))
}

fn locations(call: &Call<'_>) -> Reply {
    let all = call.world.regions.keys().map(|name| {
        json!({
            "id": format!("/subscriptions/{}/locations/{name}", call.world.subscription),
            "name": name, "displayName": name, "regionalDisplayName": name, "type": "Region",
        })
    });
    // This list has one page.
    Reply::new(200, json!({ "value": all.collect::<Vec<Value>>() }))
}
