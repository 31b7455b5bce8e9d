//! What is laid on a scope: roles that are assigned there, and locks.

use crate::answer::{Answer, Reply, no_method, refuse};
use crate::control::Call;
use crate::rights;
use crate::route::kinds::Kind;
use crate::state::time_text;
use crate::world::millis;
use serde_json::{Value, json};

/// Answers what is asked of roles and locks, lists too.
pub(crate) fn answer(call: &mut Call<'_>, kind: &Kind, lists: bool) -> Answer {
    check_scope(call)?;
    let is_role = kind.name.ends_with("/roleAssignments");
    match (call.asked.method.as_str(), lists) {
        ("GET", true) => Ok(list(call, is_role)),
        ("GET", false) => {
            let body = call
                .there()
                .cloned()
                .ok_or_else(|| missing(call, is_role))?;
            Ok(Reply::new(200, body))
        }
        ("PUT", false) if is_role => assign(call),
        ("PUT", false) => lock(call),
        ("DELETE", false) => Ok(remove(call)),
        (method, _) => Err(no_method(method)),
    }
}

/// Refuses a scope that is not there.
fn check_scope(call: &Call<'_>) -> Result<(), Reply> {
    call.check_group()?;
    let scope = call.target.scope.to_ascii_lowercase();
    if !scope.contains("/providers/") || call.state.resources.contains_key(&scope) {
        return Ok(());
    }
    let segments: Vec<&str> = call
        .target
        .scope
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    let target = crate::request::Target::read(&segments).unwrap_or_default();
    let kind = crate::route::kinds::known(&target.kind())
        .map_or_else(|| target.kind(), |kind| kind.name.to_owned());
    let group = target.group.as_deref().unwrap_or_default();
    Err(crate::answer::not_found(
        &format!("{kind}/{}", target.name()),
        group,
    ))
}

fn missing(call: &Call<'_>, is_role: bool) -> Reply {
    let name = call.target.name();
    match is_role {
        true => refuse(
            404,
            "RoleAssignmentNotFound",
            format!("The role assignment '{name}' is not found."),
        ),
        false => refuse(
            404,
            "LockNotFound",
            format!("The lock '{name}' could not be found."),
        ),
    }
}

fn assign(call: &mut Call<'_>) -> Answer {
    let body = call.body()?;
    let name = call.target.name().to_owned();
    let is_guid = name.len() == 36 && name.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if !is_guid {
        let message = format!(
            "The role assignment ID '{name}' is not valid. The role assignment ID must be a GUID."
        );
        return Err(refuse(400, "InvalidRoleAssignmentId", message));
    }
    let text = |name: &str| {
        body.pointer(&format!("/properties/{name}"))
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (principal, definition) = (
        text("principalId").to_owned(),
        text("roleDefinitionId").to_owned(),
    );
    if principal.is_empty() || definition.is_empty() {
        let message = "The request body is missing a principalId or a roleDefinitionId.";
        return Err(refuse(400, "InvalidCreateRoleAssignmentRequest", message));
    }
    if rights::role_name(&definition).is_none() {
        let id = definition.rsplit('/').next().unwrap_or_default();
        let message = format!("The specified role definition with ID '{id}' does not exist.");
        return Err(refuse(404, "RoleDefinitionDoesNotExist", message));
    }
    check_principal(call, &principal, text("principalType"))?;
    let scope = call.target.scope.to_ascii_lowercase();
    let role = |definition: &str| {
        definition
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase()
    };
    let prefix = format!("{scope}/providers/microsoft.authorization/roleassignments");
    let is_same = |body: &Value| {
        let own = &body["properties"];
        let own_role = role(own["roleDefinitionId"].as_str().unwrap_or_default());
        own["principalId"].as_str() == Some(&principal) && own_role == role(&definition)
    };
    let same = call.state.within(&prefix).find(|(_, body)| is_same(body));
    if let Some((_, same)) = same {
        let id = same["name"].as_str().unwrap_or_default().replace('-', "");
        let message = format!(
            "The role assignment already exists. The ID of the existing role assignment is {id}."
        );
        return Err(refuse(409, "RoleAssignmentExists", message));
    }
    if call.there().is_some() {
        let message =
            "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.";
        return Err(refuse(409, "RoleAssignmentUpdateNotPermitted", message));
    }
    let kind = Some(text("principalType"))
        .filter(|kind| !kind.is_empty())
        .unwrap_or("ServicePrincipal");
    let mut full = call.head();
    let time = time_text(call.now);
    full["properties"] = json!({
        "roleDefinitionId": definition, "principalId": principal, "principalType": kind, "scope": call.scope(),
        "condition": null, "conditionVersion": null, "delegatedManagedIdentityResourceId": null, "description": null,
        "createdOn": time, "updatedOn": time, "createdBy": call.principal(), "updatedBy": call.principal(),
    });
    let key = call.target.key();
    call.state.assigned.insert(key.clone(), call.now);
    call.state.resources.insert(key, full.clone());
    Ok(Reply::new(201, full))
}

/// Refuses a principal that is not known yet. Where the request says what kind of principal it is, nobody looks whether
/// a new one is known everywhere.
fn check_principal(call: &Call<'_>, principal: &str, kind: &str) -> Result<(), Reply> {
    let made = call.state.principals.get(principal);
    let lag = millis(call.world.role_lag);
    let is_known =
        made.is_some_and(|made| made.saturating_add(lag) <= call.now || !kind.is_empty());
    if is_known || call.world.clients.contains_key(principal) {
        return Ok(());
    }
    let message = format!(
        "Principal {} does not exist in the directory {}. Check that you have the correct principal ID. If you are creating this principal and then immediately assigning a role, this error might be related to a replication delay. In this case, set the role assignment principalType property to a value, such as ServicePrincipal, User, or Group.  See https://aka.ms/docs-principaltype",
        principal.replace('-', ""),
        call.world.tenant
    );
    Err(refuse(400, "PrincipalNotFound", message))
}

fn lock(call: &mut Call<'_>) -> Answer {
    let body = call.body()?;
    let level = body
        .pointer("/properties/level")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !["CanNotDelete", "ReadOnly"].contains(&level) {
        let message = format!(
            "The lock level '{level}' is not supported. Supported levels are 'CanNotDelete, ReadOnly'."
        );
        return Err(refuse(400, "LockLevelNotSupported", message));
    }
    let status = if call.there().is_some() { 200 } else { 201 };
    let mut full = call.head();
    full["properties"] = body["properties"].clone();
    let key = call.target.key();
    call.state.resources.insert(key, full.clone());
    Ok(Reply::new(status, full))
}

fn remove(call: &mut Call<'_>) -> Reply {
    let key = call.target.key();
    let Some(body) = call.there().cloned() else {
        return Reply::empty(204);
    };
    call.state.remove(&key);
    Reply::new(200, body)
}

/// At the scope, above and beneath it; `atScope()`: not beneath it; of one principal where it is named.
fn list(call: &Call<'_>, is_role: bool) -> Reply {
    let filter = call.asked.parameter("$filter").unwrap_or_default();
    let at_scope = filter
        .replace(' ', "")
        .to_ascii_lowercase()
        .contains("atscope()");
    let quoted = filter.split('\'').nth(1);
    let principal =
        quoted.filter(|_| filter.contains("principalId") || filter.contains("assignedTo"));
    let kind = if is_role { "roleassignments" } else { "locks" };
    let part = format!("/providers/microsoft.authorization/{kind}/");
    let scope = call.target.scope.to_ascii_lowercase();
    let all = call.state.resources.iter().filter(|(key, body)| {
        let Some((own, _)) = key.split_once(&part) else {
            return false;
        };
        let above = scope == own || scope.starts_with(&format!("{own}/"));
        let beneath = !at_scope && own.starts_with(&format!("{scope}/"));
        let of =
            principal.is_none_or(|principal| body["properties"]["principalId"] == json!(principal));
        (above || beneath) && of
    });
    call.page(all.map(|(_, body)| body.clone()).collect())
}
