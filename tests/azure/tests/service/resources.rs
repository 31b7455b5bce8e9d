//! Accounts, containers, registries, identities.

use crate::client::Client;
use petctl_test_azure::{Azure, World};
use serde_json::json;
use std::time::Duration;
use tempfile::tempdir;

const STORAGE: &str = "2026-04-01";

#[test]
fn an_account_is_made_at_its_location_and_has_containers() {
    let folder = tempdir().unwrap();
    let mut world = World::default();
    world.taken.insert("everybodys".to_owned());
    world.retry_after = Some(1);
    world.delays.insert(
        "Microsoft.Storage/storageAccounts".to_owned(),
        Duration::from_millis(200),
    );
    let azure = Azure::with(folder.path(), world);
    let client = Client::new(&azure);
    let group = client.group();
    let accounts = format!("{group}/providers/Microsoft.Storage/storageAccounts");
    let body =
        json!({ "location": "eastus", "kind": "StorageV2", "sku": { "name": "Standard_LRS" } });
    let taken = client
        .put(&format!("{accounts}/everybodys"), STORAGE, &body)
        .expect(409);
    assert_eq!(taken.code(), "StorageAccountAlreadyTaken");
    let account = format!("{accounts}/trials");
    let begun = client.put(&account, STORAGE, &body).expect(202);
    assert_eq!(begun.headers["retry-after"], "1");
    let container = format!("{account}/blobServices/default/containers/data");
    assert_eq!(
        client
            .put(&container, STORAGE, &json!({}))
            .expect(409)
            .code(),
        "StorageAccountIsNotProvisioned"
    );
    let made = client.follow(&begun).expect(200);
    assert_eq!(made.state(), "Succeeded");
    assert_eq!(
        made.body["properties"]["primaryEndpoints"]["blob"],
        "https://trials.blob.core.windows.net/"
    );
    client.put(&account, STORAGE, &body).expect(200);
    client.put(&container, STORAGE, &json!({})).expect(201);
    client
        .put(&container, STORAGE, &json!({ "properties": {} }))
        .expect(200);
    let (all, _) = client.pages(
        &format!("{account}/blobServices/default/containers"),
        STORAGE,
    );
    assert_eq!(all.len(), 1);
    let keys = client
        .ask("POST", &format!("{account}/listKeys"), STORAGE, None)
        .expect(200);
    assert_eq!(keys.body["keys"].as_array().unwrap().len(), 2);
    let check = account.split("/resourceGroups").next().unwrap().to_owned();
    let check = format!("{check}/providers/Microsoft.Storage/checkNameAvailability");
    let body = json!({ "name": "trials", "type": "Microsoft.Storage/storageAccounts" });
    let got = client.ask("POST", &check, STORAGE, Some(&body)).expect(200);
    assert_eq!(got.body["reason"], "AlreadyExists");
    client.ask("DELETE", &account, STORAGE, None).expect(200);
    assert_eq!(
        client.get(&container, STORAGE).expect(404).code(),
        "ResourceNotFound"
    );
}

#[test]
fn an_identity_takes_one_credential_at_a_time_and_then_its_tokens() {
    let folder = tempdir().unwrap();
    let azure = Azure::start(folder.path());
    let client = Client::new(&azure);
    let identity = format!(
        "{}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/trainer",
        client.group()
    );
    let made = client
        .put(&identity, "2023-01-31", &json!({ "location": "eastus" }))
        .expect(201)
        .body;
    let kind = "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials";
    azure.set(|world| {
        world
            .delays
            .extend([(kind.to_owned(), Duration::from_millis(300))])
    });
    let put = |name: &str| {
        let body = json!({ "properties": {
            "issuer": "https://issuer/", "subject": format!("system:serviceaccount:{name}"),
            "audiences": ["api://AzureADTokenExchange"],
        }});
        client.put(
            &format!("{identity}/federatedIdentityCredentials/{name}"),
            "2023-01-31",
            &body,
        )
    };
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| put("one"));
        std::thread::sleep(Duration::from_millis(100));
        let second = put("two");
        (first.join().unwrap(), second)
    });
    assert_eq!(first.status, 201);
    assert_eq!(
        second.expect(409).code(),
        "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity"
    );
    put("two").expect(201);
    let id = made["properties"]["clientId"].as_str().unwrap();
    let form = |subject: &str| {
        use base64::Engine as _;
        let claims = json!({ "iss": "https://issuer/", "sub": subject }).to_string();
        let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims);
        format!(
            "grant_type=client_credentials&client_id={id}&client_assertion=e30.{claims}.x&scope=https%3A%2F%2Fmanagement.azure.com%2F.default"
        )
    };
    let tenant = petctl_test_azure::TENANT;
    assert_eq!(
        client
            .sign_in(tenant, &form("system:serviceaccount:one"))
            .status,
        200
    );
    let refused = client
        .sign_in(tenant, &form("system:serviceaccount:three"))
        .expect(401);
    assert_eq!(refused.body["error"], "invalid_client");
    // Its role can be assigned once it is known, or where the request says what it is.
    azure.set(|world| world.role_lag = Duration::from_secs(60));
    let role = format!(
        "{identity}/providers/Microsoft.Authorization/roleAssignments/11111111-0000-4000-8000-000000000001"
    );
    let mut body = json!({ "properties": {
        "principalId": made["properties"]["principalId"],
        "roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/7f951dda-4ed3-4680-a7ca-43fe172d538d",
    }});
    assert_eq!(
        client.put(&role, "2022-04-01", &body).expect(400).code(),
        "PrincipalNotFound"
    );
    body["properties"]["principalType"] = json!("ServicePrincipal");
    client.put(&role, "2022-04-01", &body).expect(201);
}

#[test]
fn a_registry_is_made_and_what_others_make_is_there_at_once() {
    let folder = tempdir().unwrap();
    let azure = Azure::start(folder.path());
    azure.set(|world| world.taken.extend(["everybodys".to_owned()]));
    let client = Client::new(&azure);
    let group = client.group();
    let registries = format!("{group}/providers/Microsoft.ContainerRegistry/registries");
    let body = json!({ "location": "eastus", "sku": { "name": "Basic" } });
    let taken = client
        .put(&format!("{registries}/everybodys"), "2025-04-01", &body)
        .expect(409);
    assert_eq!(taken.code(), "AlreadyInUse");
    let begun = client
        .put(&format!("{registries}/images"), "2025-04-01", &body)
        .expect(201);
    client.follow(&begun);
    let there = client
        .get(&format!("{registries}/images"), "2025-04-01")
        .expect(200);
    assert_eq!(there.body["properties"]["loginServer"], "images.azurecr.io");
    let cluster = format!("{group}/providers/Microsoft.ContainerService/managedClusters/theirs");
    azure.put(&cluster, json!({ "location": "westus2", "tags": { "team": "x" }, "properties": {
        "agentPoolProfiles": [{ "name": "sys", "mode": "System", "vmSize": "Standard_D4ds_v5", "count": 1 }],
    }}));
    let there = client.get(&cluster, crate::client::AKS).expect(200);
    assert_eq!(
        (there.state(), &there.body["location"]),
        ("Succeeded", &json!("westus2"))
    );
    assert_eq!(there.body["properties"]["agentPoolProfiles"][0]["count"], 1);
    azure.remove(&cluster);
    client.get(&cluster, crate::client::AKS).expect(404);
}
