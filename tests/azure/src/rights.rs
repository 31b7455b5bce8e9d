//! Who may do what.

use crate::answer::{Reply, refuse};
use crate::control::Call;
use crate::signin::PUBLIC_CLIENT;
use crate::world::millis;
use serde_json::Value;

/// Roles that exist everywhere, and their ids.
pub(crate) const ROLES: &[(&str, &str)] = &[
    ("8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "Owner"),
    ("b24988ac-6180-42a0-ab88-20f7382dd24c", "Contributor"),
    ("acdd72a7-3385-48ef-bd42-f606fba81ae7", "Reader"),
    (
        "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9",
        "User Access Administrator",
    ),
    (
        "f58310d9-a9f6-439a-9e8d-f62e7b41a168",
        "Role Based Access Control Administrator",
    ),
    ("7f951dda-4ed3-4680-a7ca-43fe172d538d", "AcrPull"),
    ("8311e382-0749-4cb8-b61a-304f252e45ec", "AcrPush"),
    (
        "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
        "Storage Blob Data Contributor",
    ),
    (
        "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
        "Storage Blob Data Owner",
    ),
    (
        "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
        "Storage Blob Data Reader",
    ),
    (
        "17d1049b-9a84-46fb-8f53-869881c3d3ab",
        "Storage Account Contributor",
    ),
    (
        "ed7f3fbd-7b88-4dd4-9017-9adb7ce333f8",
        "Azure Kubernetes Service Contributor Role",
    ),
    (
        "4abbcc35-e782-43d8-92c5-2d3f1bd2253f",
        "Azure Kubernetes Service Cluster User Role",
    ),
    (
        "0ab0b1a8-8aac-4efd-b8c2-3ee1fb270be8",
        "Azure Kubernetes Service Cluster Admin Role",
    ),
    (
        "b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b",
        "Azure Kubernetes Service RBAC Cluster Admin",
    ),
    (
        "e40ec5ca-96e0-45a2-b4ff-59039f2c2b59",
        "Managed Identity Contributor",
    ),
    (
        "f1a07417-d97a-45cb-824c-7a7467783830",
        "Managed Identity Operator",
    ),
];

/// Whether a role holds an action, such as `Microsoft.Storage/storageAccounts/write`.
fn holds(role: &str, action: &str) -> bool {
    let action = action.to_ascii_lowercase();
    let is_read = action.ends_with("/read");
    let changes_rights = action.starts_with("microsoft.authorization/") && !is_read;
    let is_of = |provider: &str| action.starts_with(&provider.to_ascii_lowercase());
    match role {
        "Owner" => true,
        "Contributor" => !changes_rights,
        "Reader" => is_read,
        "User Access Administrator" => is_read || changes_rights,
        "Role Based Access Control Administrator" => {
            is_read || is_of("Microsoft.Authorization/roleAssignments/")
        }
        "Storage Account Contributor" => {
            is_of("Microsoft.Storage/storageAccounts") || is_read && is_of("Microsoft.Resources/")
        }
        "Azure Kubernetes Service Contributor Role" => {
            is_of("Microsoft.ContainerService/managedClusters")
                || is_read && is_of("Microsoft.Resources/")
        }
        "Azure Kubernetes Service Cluster User Role" => {
            action.ends_with("/listclusterusercredential/action")
                || is_read && is_of("Microsoft.ContainerService/managedClusters")
        }
        "Azure Kubernetes Service Cluster Admin Role" => {
            action.ends_with("credential/action")
                || is_read && is_of("Microsoft.ContainerService/managedClusters")
        }
        "Managed Identity Contributor" => {
            is_of("Microsoft.ManagedIdentity/userAssignedIdentities")
                || is_read && is_of("Microsoft.Resources/")
        }
        "Storage Blob Data Contributor"
        | "Storage Blob Data Owner"
        | "Storage Blob Data Reader" => {
            is_read && is_of("Microsoft.Storage/storageAccounts/blobServices")
        }
        "AcrPull" | "AcrPush" => is_read && is_of("Microsoft.ContainerRegistry/registries"),
        _ => false,
    }
}

impl Call<'_> {
    /// Refuses where whoever signed in has no role that holds the action over this scope.
    pub(crate) fn check_right(&self, action: &str, scope: &str) -> Result<(), Reply> {
        let client = &self.client;
        if self
            .roles_over(scope)
            .iter()
            .any(|role| holds(role, action))
        {
            return Ok(());
        }
        let object = self.principal();
        let message = format!(
            "The client '{client}' with object id '{object}' does not have authorization to perform action '{action}' over scope '{scope}' or the scope is invalid. If access was recently granted, please refresh your credentials."
        );
        Err(refuse(403, "AuthorizationFailed", message))
    }

    /// Roles that whoever signed in has over a scope, as far as they count already.
    fn roles_over(&self, scope: &str) -> Vec<String> {
        let own = self.world.clients.get(&self.client);
        let mut roles: Vec<String> = own.iter().flat_map(|own| own.roles.clone()).collect();
        if own.is_none() && self.client == PUBLIC_CLIENT {
            // A person at a browser.
            roles.push("Owner".to_owned());
        }
        let principal = self.principal();
        let lag = millis(self.world.role_lag);
        let scope = format!("{}/", scope.to_ascii_lowercase());
        for (key, body) in &self.state.resources {
            let Some((over, _)) =
                key.split_once("/providers/microsoft.authorization/roleassignments/")
            else {
                continue;
            };
            let made = self.state.assigned.get(key).copied().unwrap_or_default();
            let of = body
                .pointer("/properties/principalId")
                .and_then(Value::as_str);
            let counts = made.saturating_add(lag) <= self.now;
            if counts && of == Some(principal.as_str()) && scope.starts_with(&format!("{over}/")) {
                let definition = body.pointer("/properties/roleDefinitionId");
                let definition = definition.and_then(Value::as_str).unwrap_or_default();
                roles.extend(role_name(definition).map(str::to_owned));
            }
        }
        roles
    }

    /// The principal of whoever signed in: of a managed identity its own, of others the client's id.
    pub(crate) fn principal(&self) -> String {
        let identity = self.identity(&self.client);
        let own = identity.and_then(|body| body.pointer("/properties/principalId"));
        own.and_then(Value::as_str)
            .unwrap_or(&self.client)
            .to_owned()
    }

    /// The managed identity with this client id.
    fn identity(&self, client: &str) -> Option<&Value> {
        self.state.identity(client).map(|(_, body)| body)
    }

    /// Refuses where a lock keeps this from being changed.
    pub(crate) fn check_locks(&self, scope: &str, deletes: bool) -> Result<(), Reply> {
        let scope = scope.to_ascii_lowercase();
        for (key, body) in &self.state.resources {
            let Some((locked, _)) = key.split_once("/providers/microsoft.authorization/locks/")
            else {
                continue;
            };
            let level = body.pointer("/properties/level").and_then(Value::as_str);
            let above = scope == locked || scope.starts_with(&format!("{locked}/"));
            let beneath = deletes && locked.starts_with(&format!("{scope}/"));
            let holds = deletes || level == Some("ReadOnly");
            if holds && (above || beneath) {
                let what = if deletes { "delete" } else { "write" };
                let message = format!(
                    "The scope '{}' cannot perform {what} operation because following scope(s) are locked: '{locked}'. Please remove the lock and try again.",
                    self.target.id()
                );
                return Err(refuse(409, "ScopeLocked", message));
            }
        }
        Ok(())
    }
}

/// The role that an id of a definition names.
pub(crate) fn role_name(definition: &str) -> Option<&'static str> {
    let id = definition.rsplit('/').next().unwrap_or_default();
    let known = ROLES
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(id))?;
    Some(known.1)
}
