//! Subscriptions, tenants, and providers that are registered.

use crate::answer::{Answer, Reply, no_method, refuse};
use crate::control::Call;
use crate::route::kinds::{self, KINDS};
use serde_json::{Value, json};

/// Providers that every subscription has.
const ALWAYS: [&str; 2] = ["Microsoft.Authorization", "Microsoft.Resources"];

/// `/subscriptions` and `/tenants`.
pub(crate) fn roots(call: &Call<'_>, name: &str) -> Answer {
    if call.asked.method != "GET" {
        return Err(no_method(&call.asked.method));
    }
    if name.eq_ignore_ascii_case("subscriptions") {
        return Ok(call.page(vec![shown(call)]));
    }
    if name.eq_ignore_ascii_case("tenants") {
        let tenant = &call.world.tenant;
        let one = json!({
            "id": format!("/tenants/{tenant}"), "tenantId": tenant, "displayName": "petctl's tests",
            "tenantCategory": "Home", "tenantType": "AAD",
        });
        return Ok(call.page(vec![one]));
    }
    let message = format!("No HTTP resource was found that matches the request path '/{name}'.");
    Err(refuse(404, "InvalidRequestPath", message))
}

/// The subscription as it is shown.
pub(crate) fn shown(call: &Call<'_>) -> Value {
    let world = &call.world;
    json!({
        "id": format!("/subscriptions/{}", world.subscription),
        "subscriptionId": world.subscription,
        "tenantId": world.tenant,
        "displayName": "petctl's tests",
        "state": world.subscription_state,
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01", "quotaId": "PayAsYouGo_2014-09-01", "spendingLimit": "Off",
        },
    })
}

/// Refuses another subscription than the one there is.
pub(crate) fn check(call: &Call<'_>) -> Result<(), Reply> {
    let asked = &call.target.subscription;
    if asked.eq_ignore_ascii_case(&call.world.subscription) {
        return Ok(());
    }
    let is_id = asked.len() == 36 && asked.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    Err(match is_id {
        true => {
            let message = format!("The subscription '{asked}' could not be found.");
            refuse(404, "SubscriptionNotFound", message)
        }
        false => {
            let message =
                format!("The provided subscription identifier '{asked}' is malformed or invalid.");
            refuse(400, "InvalidSubscriptionId", message)
        }
    })
}

/// Whether the subscription may use a provider by now.
pub(crate) fn is_registered(call: &Call<'_>, namespace: &str) -> bool {
    registration(call, namespace) == "Registered"
}

fn registration(call: &Call<'_>, namespace: &str) -> &'static str {
    let mut registered = call.world.registered.iter();
    let is_there = registered.any(|name| name.eq_ignore_ascii_case(namespace));
    let ends = call.state.registering.get(&namespace.to_ascii_lowercase());
    match ends {
        _ if is_there || ALWAYS.contains(&namespace) => "Registered",
        Some(ends) if *ends <= call.now => "Registered",
        Some(_) => "Registering",
        None => "NotRegistered",
    }
}

/// A provider: how far its registration is, or to begin it.
pub(crate) fn provider(call: &mut Call<'_>) -> Answer {
    let namespace = call.target.namespace.clone();
    let scope = format!("/subscriptions/{}", call.world.subscription);
    match call.asked.method.as_str() {
        "GET" => call.check_right("Microsoft.Resources/subscriptions/providers/read", &scope)?,
        "POST" => {
            call.check_right(&format!("{namespace}/register/action"), &scope)?;
            if registration(call, &namespace) == "NotRegistered" {
                let ends = call.now.saturating_add(call.world.delay_ms(&["register"]));
                call.state
                    .registering
                    .insert(namespace.to_ascii_lowercase(), ends);
            }
        }
        other => return Err(no_method(other)),
    }
    Ok(Reply::new(200, shown_provider(call, &namespace)))
}

/// All providers.
pub(crate) fn providers(call: &Call<'_>) -> Answer {
    let mut names: Vec<&str> = KINDS
        .iter()
        .filter_map(|kind| kinds::namespace(kind.name.split('/').next()?))
        .collect();
    names.sort_unstable();
    names.dedup();
    let all = names
        .into_iter()
        .map(|name| shown_provider(call, name))
        .collect();
    Ok(call.page(all))
}

fn shown_provider(call: &Call<'_>, namespace: &str) -> Value {
    let regions: Vec<&str> = call.world.regions.keys().map(String::as_str).collect();
    let kinds = KINDS.iter().filter_map(|kind| {
        let (own, name) = kind.name.split_once('/')?;
        let shown =
            json!({ "resourceType": name, "locations": regions, "apiVersions": kind.versions });
        (own == namespace).then_some(shown)
    });
    json!({
        "id": format!("/subscriptions/{}/providers/{namespace}", call.world.subscription),
        "namespace": namespace,
        "registrationPolicy": "RegistrationRequired",
        "registrationState": registration(call, namespace),
        "resourceTypes": kinds.collect::<Vec<Value>>(),
    })
}
