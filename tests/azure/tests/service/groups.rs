//! Groups and what is in them, lists, locks, rights, versions.

use crate::client::{AKS, Client, secret_form};
use petctl_test_azure::{Azure, Client as Known, SUBSCRIPTION, TENANT, World};
use serde_json::json;
use std::time::Duration;
use tempfile::tempdir;

const GROUPS: &str = "2025-04-01";

#[test]
fn a_group_goes_with_all_that_is_in_it_unless_a_lock_is_there() {
    let folder = tempdir().unwrap();
    let azure = Azure::start(folder.path());
    let client = Client::new(&azure);
    let cluster = client.cluster();
    let group = client.group();
    let lock = format!("{cluster}/providers/Microsoft.Authorization/locks/keep");
    let body = json!({ "properties": { "level": "CanNotDelete" } });
    client.put(&lock, "2020-05-01", &body).expect(201);
    let refused = client.ask("DELETE", &group, GROUPS, None).expect(409);
    assert_eq!(refused.code(), "ScopeLocked");
    client.ask("DELETE", &lock, "2020-05-01", None).expect(200);
    azure.set(|world| {
        world
            .delays
            .extend([("delete".to_owned(), Duration::from_millis(200))])
    });
    let gone = client.ask("DELETE", &group, GROUPS, None).expect(202);
    assert!(!gone.headers.contains_key("azure-asyncoperation"));
    assert_eq!(client.get(&group, GROUPS).expect(200).state(), "Deleting");
    let pool = format!("{cluster}/agentPools/more");
    let refused = client
        .put(&pool, AKS, &json!({ "properties": {} }))
        .expect(409);
    assert_eq!(refused.code(), "ResourceGroupBeingDeleted");
    client.follow(&gone).expect(200);
    assert_eq!(
        client.get(&group, GROUPS).expect(404).code(),
        "ResourceGroupNotFound"
    );
    assert_eq!(azure.resources(), std::collections::BTreeMap::new());
}

#[test]
fn lists_come_in_pages_and_by_tag() {
    let folder = tempdir().unwrap();
    let azure = Azure::start(folder.path());
    let client = Client::new(&azure);
    let group = client.group();
    for name in ["a", "b", "c", "d"] {
        let id =
            format!("{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}");
        let tag = if name == "d" { "other" } else { "place" };
        let body = json!({ "location": "eastus", "tags": { "petctl": tag } });
        client.put(&id, "2023-01-31", &body).expect(201);
    }
    let (all, pages) = client.pages(&format!("{group}/resources"), GROUPS);
    // Two pages that are full, and one that says that there is no more.
    assert_eq!((all.len(), pages), (4, 3));
    assert!(all[0].get("properties").is_none());
    let filter = "%24filter=tagName%20eq%20%27petctl%27%20and%20tagValue%20eq%20%27place%27";
    let (tagged, _) = client.pages(&format!("{group}/resources?{filter}"), GROUPS);
    assert_eq!(tagged.len(), 3);
    let (whole, _) = client.pages(
        &format!("/subscriptions/{SUBSCRIPTION}/resources?{filter}"),
        GROUPS,
    );
    assert_eq!(whole.len(), 3);
    let skus = format!("/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/skus");
    azure.set(|world| {
        world.page_size = 10;
        world
            .regions
            .get_mut("eastus")
            .unwrap()
            .sizes
            .remove("Standard_NC6s_v3");
    });
    let (skus, pages) = client.pages(
        &format!("{skus}?$filter=location%20eq%20'eastus'"),
        "2021-07-01",
    );
    assert!(pages > 2);
    let restricted: Vec<_> = skus
        .iter()
        .filter(|sku| sku["restrictions"] != json!([]))
        .collect();
    assert_eq!(restricted.len(), 1);
    assert_eq!(restricted[0]["name"], "Standard_NC6s_v3");
}

#[test]
fn who_has_no_right_is_told_which_and_a_new_role_counts_after_a_while() {
    let folder = tempdir().unwrap();
    let mut world = World::default();
    world
        .clients
        .insert("reader".to_owned(), Known::with_roles("r", &["Reader"]));
    world.role_lag = Duration::from_millis(300);
    let azure = Azure::with(folder.path(), world);
    let owner = Client::new(&azure);
    let group = owner.group();
    let mut reader = Client::stranger(&azure);
    let got = reader
        .sign_in(TENANT, &secret_form("reader", "r"))
        .expect(200);
    reader.token = got.body["access_token"].as_str().unwrap().to_owned();
    reader.get(&group, GROUPS).expect(200);
    let body = json!({ "location": "eastus" });
    let refused = reader.put(&group, GROUPS, &body).expect(403);
    assert_eq!(refused.code(), "AuthorizationFailed");
    let sentence = format!(
        "The client 'reader' with object id 'reader' does not have authorization to perform action 'Microsoft.Resources/subscriptions/resourceGroups/write' over scope '{group}' or the scope is invalid. If access was recently granted, please refresh your credentials."
    );
    assert_eq!(refused.message(), sentence);
    let role = format!("/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization");
    let body_of = json!({ "properties": {
        "principalId": "reader",
        "roleDefinitionId": format!("{role}/roleDefinitions/b24988ac-6180-42a0-ab88-20f7382dd24c"),
    }});
    let one = format!(
        "{group}/providers/Microsoft.Authorization/roleAssignments/11111111-0000-4000-8000-000000000001"
    );
    owner.put(&one, "2022-04-01", &body_of).expect(201);
    assert_eq!(
        owner.put(&one, "2022-04-01", &body_of).expect(409).code(),
        "RoleAssignmentExists"
    );
    let two = one.replace("11111111", "22222222");
    assert_eq!(
        owner.put(&two, "2022-04-01", &body_of).expect(409).code(),
        "RoleAssignmentExists"
    );
    reader.put(&group, GROUPS, &body).expect(403);
    std::thread::sleep(Duration::from_millis(350));
    reader.put(&group, GROUPS, &body).expect(200);
    let filter = "%24filter=principalId%20eq%20'reader'";
    let path = format!("{group}/providers/Microsoft.Authorization/roleAssignments?{filter}");
    assert_eq!(owner.pages(&path, "2022-04-01").0.len(), 1);
}

#[test]
fn versions_subscriptions_throttling_and_registration_are_looked_at() {
    let folder = tempdir().unwrap();
    let mut world = World::default();
    world.registered.remove("Microsoft.ContainerRegistry");
    world
        .delays
        .insert("register".to_owned(), Duration::from_millis(200));
    let azure = Azure::with(folder.path(), world);
    let client = Client::new(&azure);
    let group = client.group();
    let registry = format!("{group}/providers/Microsoft.ContainerRegistry/registries/images");
    let without = client.send("GET", &registry, &[], "").unwrap().expect(400);
    assert_eq!(without.code(), "MissingApiVersionParameter");
    assert_eq!(
        client.get(&registry, "1999-01-01").expect(400).code(),
        "NoRegisteredProviderFound"
    );
    assert_eq!(
        client.get(&group, "1999-01-01").expect(400).code(),
        "InvalidApiVersionParameter"
    );
    let other = "/subscriptions/00000000-0000-4000-8000-000000000000";
    assert_eq!(
        client.get(other, "2022-12-01").expect(404).code(),
        "SubscriptionNotFound"
    );
    let body = json!({ "location": "eastus", "sku": { "name": "Basic" } });
    let refused = client.put(&registry, "2025-04-01", &body).expect(409);
    assert_eq!(refused.code(), "MissingSubscriptionRegistration");
    let provider = format!("/subscriptions/{SUBSCRIPTION}/providers/Microsoft.ContainerRegistry");
    let begun = client
        .ask("POST", &format!("{provider}/register"), "2021-04-01", None)
        .expect(200);
    assert_eq!(begun.body["registrationState"], "Registering");
    std::thread::sleep(Duration::from_millis(250));
    assert_eq!(
        client.get(&provider, "2021-04-01").body["registrationState"],
        "Registered"
    );
    client.put(&registry, "2025-04-01", &body).expect(201);
    azure.set(|world| world.throttle_every = Some(1));
    let refused = client.get(&group, GROUPS).expect(429);
    assert_eq!(refused.headers["retry-after"], "1");
    azure.set(|world| {
        world.throttle_every = None;
        world.subscription_state = "Disabled".to_owned();
    });
    let refused = client
        .put(&group, GROUPS, &json!({ "location": "eastus" }))
        .expect(409);
    assert_eq!(refused.code(), "ReadOnlyDisabledSubscription");
}
