//! From a path to what it asks for: who may, in which version, and who answers.

pub(crate) mod kinds;

use crate::answer::{Answer, Reply, no_group, no_method, not_found, refuse, refuse_flat};
use crate::control::Call;
use crate::request::Target;
use crate::state::State;
use crate::world::short_region;
use crate::{assignment, cluster, compute, group, identity, registry, storage, subscription};
use kinds::Kind;
use serde_json::{Value, json};

/// Answers a request to the control plane.
pub(crate) fn answer(call: &mut Call<'_>) -> Answer {
    call.client = crate::signin::bearer(call)?;
    let version = call.asked.parameter("api-version").unwrap_or_default();
    if version.is_empty() {
        let message =
            "The api-version query parameter (?api-version=) is required for all requests.";
        return Err(refuse(400, "MissingApiVersionParameter", message));
    }
    call.version = version.to_owned();
    let segments = call.asked.segments();
    if let [one] = segments[..] {
        check_group_version(call)?;
        return subscription::roots(call, one);
    }
    let Some(target) = Target::read(&segments) else {
        return Err(no_path(call));
    };
    call.target = target;
    subscription::check(call)?;
    if call.target.namespace.is_empty() {
        if call
            .target
            .kinds
            .first()
            .is_some_and(|kind| kind.eq_ignore_ascii_case("operationresults"))
        {
            let id = call.target.name().to_owned();
            return call.operation_result(&id);
        }
        check_group_version(call)?;
        return group::answer(call);
    }
    provider(call)
}

fn no_path(call: &Call<'_>) -> Reply {
    let message = format!(
        "No HTTP resource was found that matches the request path '{}'.",
        call.asked.path
    );
    refuse(404, "InvalidRequestPath", message)
}

fn check_group_version(call: &Call<'_>) -> Result<(), Reply> {
    if kinds::groups_have(&call.version) {
        return Ok(());
    }
    let message = format!(
        "The api-version '{}' is invalid. The supported versions are '{}'.",
        call.version,
        kinds::group_versions()
    );
    Err(refuse(400, "InvalidApiVersionParameter", message))
}

/// What stands behind `providers`.
fn provider(call: &mut Call<'_>) -> Answer {
    let Some(namespace) = kinds::namespace(&call.target.namespace) else {
        let message = format!(
            "The resource namespace '{}' is invalid.",
            call.target.namespace
        );
        return Err(refuse(404, "InvalidResourceNamespace", message));
    };
    call.target.namespace = namespace.to_owned();
    if call.target.group.is_none() && call.target.kinds.is_empty() {
        let registers = call.target.tail_is("register") && call.asked.method == "POST";
        if registers || call.target.tail.is_none() {
            check_group_version(call)?;
            return subscription::provider(call);
        }
    }
    if let [place, kind] = &call.target.kinds[..]
        && place.eq_ignore_ascii_case("locations")
        && !kind.eq_ignore_ascii_case("usages")
    {
        let results = ["operationresults", "asyncoperations"]
            .iter()
            .any(|own| kind.eq_ignore_ascii_case(own));
        let id = call.target.name().to_owned();
        return match results {
            true => call.operation_result(&id),
            false => call.operation_status(&id),
        };
    }
    let Some(kind) =
        kinds::known(&call.target.listed_kind()).or_else(|| kinds::known(&call.target.kind()))
    else {
        let (kind, version) = (call.target.listed_kind(), &call.version);
        let name = kind.split_once('/').map_or("", |(_, name)| name);
        let message = format!(
            "The resource type '{name}' could not be found in the namespace '{namespace}' for api version '{version}'. The supported api-versions are ''."
        );
        return Err(refuse(404, "InvalidResourceType", message));
    };
    check_version(call, kind)?;
    check_action(call, kind)?;
    let method = call.asked.method.as_str();
    if matches!(method, "PUT" | "PATCH" | "DELETE" | "POST") {
        check_writable(call, namespace)?;
    }
    dispatch(call, kind, method)
}

fn check_version(call: &Call<'_>, kind: &Kind) -> Result<(), Reply> {
    if kind.versions.contains(&call.version.as_str()) {
        return Ok(());
    }
    let name = kind.name.split_once('/').map_or("", |(_, name)| name);
    let regions: Vec<&str> = call.world.regions.keys().map(String::as_str).collect();
    let message = format!(
        "No registered resource provider found for location '' and API version '{}' for type '{name}'. The supported api-versions are '{}'. The supported locations are '{}'.",
        call.version,
        kind.versions.join(", "),
        regions.join(", ")
    );
    Err(refuse(400, "NoRegisteredProviderFound", message))
}

fn check_action(call: &Call<'_>, kind: &Kind) -> Result<(), Reply> {
    let is_list = kinds::known(&call.target.listed_kind()).is_some();
    let action = match (call.asked.method.as_str(), &call.target.tail) {
        ("GET" | "HEAD", _) => format!("{}/read", kind.name),
        ("DELETE", _) => format!("{}/delete", kind.name),
        ("POST", Some(tail)) if !is_list => format!("{}/{tail}/action", kind.name),
        ("POST", _) => format!("{}/action", kind.name),
        _ => format!("{}/write", kind.name),
    };
    // Anybody may ask whether a name is free.
    if kind.name.ends_with("checkNameAvailability") {
        return Ok(());
    }
    call.check_right(&action, &call.target.id())
}

fn check_writable(call: &Call<'_>, namespace: &str) -> Result<(), Reply> {
    if call.world.subscription_state != "Enabled" {
        let message = format!(
            "The subscription '{}' is disabled and therefore marked as read only. You cannot perform any write actions on this subscription until it is re-enabled.",
            call.world.subscription
        );
        return Err(refuse(409, "ReadOnlyDisabledSubscription", message));
    }
    if !subscription::is_registered(call, namespace) {
        let message = format!(
            "The subscription is not registered to use namespace '{namespace}'. See https://aka.ms/rps-not-found for how to register subscriptions."
        );
        let mut refusal = refuse(409, "MissingSubscriptionRegistration", message.clone());
        refusal.body["error"]["details"] = json!([{
            "code": "MissingSubscriptionRegistration", "target": namespace, "message": message,
        }]);
        return Err(refusal);
    }
    let Some(name) = &call.target.group else {
        return Ok(());
    };
    let key = format!(
        "/subscriptions/{}/resourcegroups/{name}",
        call.target.subscription
    );
    let Some(group) = call.state.resources.get(&key.to_ascii_lowercase()) else {
        return Err(no_group(name));
    };
    let state = group
        .pointer("/properties/provisioningState")
        .and_then(Value::as_str);
    if state == Some("Deleting") && call.asked.method != "DELETE" {
        let message = format!(
            "The resource group '{name}' is in deprovisioning state and cannot perform this operation."
        );
        return Err(refuse(409, "ResourceGroupBeingDeleted", message));
    }
    if call.target.namespace == "Microsoft.Authorization" {
        return Ok(());
    }
    match call.asked.method.as_str() {
        "DELETE" => call.check_locks(&call.target.key(), true),
        _ => call.check_locks(&call.target.key(), false),
    }
}

fn dispatch(call: &mut Call<'_>, kind: &Kind, method: &str) -> Answer {
    let lists = call.target.tail.is_some() && kinds::known(&call.target.listed_kind()).is_some();
    match (kind.name, method) {
        ("Microsoft.Compute/skus", "GET") => compute::skus(call),
        ("Microsoft.Compute/locations/usages", "GET") => compute::usages(call),
        ("Microsoft.Storage/checkNameAvailability", "POST") => storage::check_name(call),
        ("Microsoft.ContainerRegistry/checkNameAvailability", "POST") => registry::check_name(call),
        ("Microsoft.Authorization/roleAssignments" | "Microsoft.Authorization/locks", _) => {
            assignment::answer(call, kind, lists)
        }
        (_, "GET") if lists => list(call),
        (_, "GET") if call.target.tail.is_none() => show(call),
        (_, "HEAD") => {
            show(call).map(|reply| Reply::empty(if reply.status == 200 { 204 } else { 404 }))
        }
        ("Microsoft.ContainerService/managedClusters", _) => cluster::answer(call, method),
        ("Microsoft.ContainerService/managedClusters/agentPools", _) => {
            cluster::answer_pool(call, method)
        }
        ("Microsoft.ContainerRegistry/registries", _) => registry::answer(call, method),
        (name, _) if name.starts_with("Microsoft.Storage/") => storage::answer(call, name, method),
        (name, _) if name.starts_with("Microsoft.ManagedIdentity/") => {
            identity::answer(call, name, method)
        }
        _ => Err(no_method(method)),
    }
}

/// A resource as GET shows it.
fn show(call: &Call<'_>) -> Answer {
    call.check_group()?;
    if let Some(default) = storage::blob_service(call) {
        return Ok(Reply::new(200, default));
    }
    let shown = shown(call.state, &call.target.key()).ok_or_else(|| call.not_there())?;
    let reply = Reply::new(200, shown);
    Ok(
        match reply
            .body
            .get("etag")
            .and_then(Value::as_str)
            .map(str::to_owned)
        {
            Some(etag) => reply.with("etag", etag),
            None => reply,
        },
    )
}

/// A resource as GET shows it; a cluster with its pools.
pub(crate) fn shown(state: &State, key: &str) -> Option<Value> {
    let mut body = state.resources.get(key)?.clone();
    if key.contains("/managedclusters/")
        && !key.contains("/agentpools/")
        && !key.contains("/microsoft.authorization/")
    {
        body["properties"]["agentPoolProfiles"] = json!(cluster::profiles(state, key));
    }
    Some(body)
}

/// All of a type in a group, in the subscription, or in a resource.
fn list(call: &Call<'_>) -> Answer {
    call.check_group()?;
    let parent = call.target.key();
    if !call.target.kinds.is_empty()
        && storage::blob_service(call).is_none()
        && !call.state.resources.contains_key(&parent)
    {
        return Err(call.not_there());
    }
    let kind = call.target.listed_kind();
    let scope = if call.target.kinds.is_empty() {
        call.target.scope.clone()
    } else {
        parent
    };
    let keys = call.state.within(&scope).filter(|(key, _)| {
        let segments: Vec<&str> = key.split('/').filter(|part| !part.is_empty()).collect();
        Target::read(&segments).is_some_and(|target| target.tail.is_none() && target.kind() == kind)
    });
    let all = keys.filter_map(|(key, _)| shown(call.state, key)).collect();
    Ok(call.page(all))
}

/// What somebody else makes, whole at once.
pub(crate) fn put_by_hand(call: &mut Call<'_>, body: Value) {
    let key = call.target.key();
    if key.ends_with("/agentpools") || key.is_empty() {
        return;
    }
    let mut full = call.head();
    if call.target.namespace.is_empty() {
        full = group::filled(call, &body);
    } else {
        match kinds::known(&call.target.kind()).map(|kind| kind.name) {
            Some("Microsoft.ContainerService/managedClusters") => {
                cluster::by_hand(call, &mut full, &body)
            }
            Some("Microsoft.ContainerService/managedClusters/agentPools") => {
                cluster::pool_by_hand(call, &mut full, &body);
            }
            Some("Microsoft.ManagedIdentity/userAssignedIdentities") => {
                identity::fill(call, &mut full)
            }
            Some("Microsoft.ContainerRegistry/registries") => registry::fill(call, &mut full),
            Some("Microsoft.Storage/storageAccounts") => storage::fill(call, &mut full),
            _ => {}
        }
    }
    let mut body = body;
    if let Some(own) = body
        .pointer_mut("/properties")
        .and_then(Value::as_object_mut)
    {
        own.remove("agentPoolProfiles");
    }
    for read_only in ["id", "name", "type"] {
        if let Some(own) = body.as_object_mut() {
            own.remove(read_only);
        }
    }
    crate::operation::lay_over(&mut full, &body);
    call.state.assigned.insert(key.clone(), 0);
    call.state.resources.insert(key, full);
}

impl Call<'_> {
    /// Id, name and type of what the path names, as the service writes them.
    pub(crate) fn head(&self) -> Value {
        let target = &self.target;
        let kind =
            kinds::known(&target.kind()).map_or_else(|| target.kind(), |kind| kind.name.to_owned());
        let mut id = self.scope();
        id = format!("{id}/providers/{}", target.namespace);
        for (kind, name) in kind.split('/').skip(1).zip(&target.names) {
            id = format!("{id}/{kind}/{name}");
        }
        json!({ "id": id, "name": target.name(), "type": kind })
    }

    /// What stands before the provider, with the group's name as the group has it.
    pub(crate) fn scope(&self) -> String {
        let Some(group) = &self.target.group else {
            return self.target.scope.clone();
        };
        let root = format!("/subscriptions/{}", self.world.subscription);
        let key = format!("{root}/resourcegroups/{group}").to_ascii_lowercase();
        let name = self
            .state
            .resources
            .get(&key)
            .and_then(|body| body["name"].as_str());
        let plain = format!(
            "/subscriptions/{}/resourceGroups/{group}",
            self.target.subscription
        );
        let rest = self.target.scope.get(plain.len()..).unwrap_or_default();
        format!("{root}/resourceGroups/{}{rest}", name.unwrap_or(group))
    }

    /// Refuses where the group is not there.
    pub(crate) fn check_group(&self) -> Result<(), Reply> {
        let Some(group) = &self.target.group else {
            return Ok(());
        };
        let key = format!(
            "/subscriptions/{}/resourcegroups/{group}",
            self.target.subscription
        );
        match self.state.resources.contains_key(&key.to_ascii_lowercase()) {
            true => Ok(()),
            false => Err(no_group(group)),
        }
    }

    /// No such resource; of a part of one that is not there either, its refusal.
    pub(crate) fn not_there(&self) -> Reply {
        let target = &self.target;
        let group = target.group.as_deref().unwrap_or_default();
        let kind =
            kinds::known(&target.kind()).map_or_else(|| target.kind(), |kind| kind.name.to_owned());
        let is_pool = kind.ends_with("/agentPools");
        let has_parent = target
            .parent_key()
            .is_some_and(|key| self.state.resources.contains_key(&key));
        if is_pool && has_parent {
            let message = format!(
                "The agent pool {} was not found in the managed cluster.",
                target.name()
            );
            return refuse_flat(404, "NotFound", message);
        }
        if kind.ends_with("/containers") && has_parent {
            return refuse(
                404,
                "ContainerNotFound",
                "The specified container does not exist.",
            );
        }
        let top = target.parent_key().is_some() && !has_parent;
        let count = if top { 1 } else { target.names.len() };
        let kind: Vec<&str> = kind.split('/').take(count + 1).collect();
        let names: Vec<&str> = target
            .names
            .iter()
            .take(count)
            .map(String::as_str)
            .collect();
        not_found(&format!("{}/{}", kind.join("/"), names.join("/")), group)
    }

    /// The region in a body: one that there is, and the one in which the resource is already.
    pub(crate) fn location(&self, body: &Value) -> Result<String, Reply> {
        let said = body
            .get("location")
            .and_then(Value::as_str)
            .filter(|said| !said.is_empty());
        let Some(said) = said else {
            return Err(refuse(
                400,
                "LocationRequired",
                "The location property is required for this definition.",
            ));
        };
        let kind = self.target.kind();
        let Some((region, _)) = self.world.region(said) else {
            let regions: Vec<&str> = self.world.regions.keys().map(String::as_str).collect();
            let message = format!(
                "The provided location '{said}' is not available for resource type '{kind}'. List of available regions for the resource type is '{}'.",
                regions.join(",")
            );
            return Err(refuse(400, "LocationNotAvailableForResourceType", message));
        };
        if let Some(is) = self.there().and_then(|body| body["location"].as_str())
            && short_region(is) != region
        {
            let name = self.target.name();
            let group = self.target.group.as_deref().unwrap_or_default();
            let message = format!(
                "The resource '{name}' already exists in location '{is}' in resource group '{group}'. A resource with the same name cannot be created in location '{region}'. Please select a new resource name."
            );
            return Err(refuse(409, "InvalidResourceLocation", message));
        }
        Ok(region.to_owned())
    }
}
