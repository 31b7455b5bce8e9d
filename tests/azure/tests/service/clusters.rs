//! Clusters and pools, and the operations that make them.

use crate::client::{AKS, Client, cluster_body, spot_pool, wanted_cluster};
use petctl_azure::Change;
use petctl_test_azure::{Azure, Hook, Region, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tempfile::tempdir;

fn pool_body(pool: &petctl_azure::NodePool) -> Value {
    json!({ "properties": pool.properties() })
}

#[test]
fn a_cluster_goes_from_its_put_to_its_end_and_is_then_as_recordings_have_it() {
    let folder = tempdir().unwrap();
    let azure = Azure::start(folder.path());
    let client = Client::new(&azure);
    let cluster = format!(
        "{}/providers/Microsoft.ContainerService/managedClusters/c",
        client.group()
    );
    let begun = client
        .put(&cluster, AKS, &cluster_body("eastus"))
        .expect(201);
    assert_eq!(begun.state(), "Creating");
    assert!(
        begun.headers.contains_key("azure-asyncoperation")
            && !begun.headers.contains_key("location")
    );
    assert!(begun.headers.contains_key("x-ms-request-id"));
    assert!(begun.body.pointer("/properties/identityProfile").is_none());
    let ended = client.follow(&begun);
    assert_eq!(ended.body["status"], "Succeeded");
    let url = &begun.headers["azure-asyncoperation"];
    let id = url
        .split("/operations/")
        .nth(1)
        .unwrap()
        .split('?')
        .next()
        .unwrap();
    assert_ne!(
        ended.body["name"],
        json!(id),
        "the service writes its bytes in another order"
    );
    let there = client
        .get(
            &cluster.replace("resourceGroups/trials", "resourcegroups/TRIALS"),
            AKS,
        )
        .expect(200);
    assert_eq!(there.state(), "Succeeded");
    let at = |pointer: &str| there.body.pointer(pointer).cloned().unwrap_or_default();
    assert_eq!(
        there.body["id"],
        json!(cluster.replace("resourceGroups/trials", "resourcegroups/TRIALS"))
    );
    assert_eq!(at("/properties/nodeResourceGroup"), "MC_trials_c_eastus");
    assert!(
        at("/properties/oidcIssuerProfile/issuerURL")
            .as_str()
            .unwrap()
            .starts_with("https://eastus.oic.")
    );
    assert!(at("/properties/identityProfile/kubeletidentity/objectId").is_string());
    assert_eq!(
        at("/properties/agentPoolProfiles/0/provisioningState"),
        "Succeeded"
    );
    assert_eq!(at("/properties/agentPoolProfiles/0/name"), "sys");
    let keys = client
        .ask(
            "POST",
            &format!("{cluster}/listClusterUserCredential"),
            AKS,
            None,
        )
        .expect(200);
    assert_eq!(keys.body["kubeconfigs"][0]["name"], "clusterUser");
    // What petctl would change of what it has just made: nothing.
    assert_eq!(wanted_cluster("eastus").change(&there.body), Change::None);
    let mut other = wanted_cluster("eastus");
    other.tier = "Standard".to_owned();
    let Change::Put(body) = other.change(&there.body) else {
        panic!("a tier can be changed");
    };
    let begun = client.put(&cluster, AKS, &body).expect(200);
    assert_eq!(begun.state(), "Updating");
    client.follow(&begun);
    let there = client.get(&cluster, AKS).body;
    assert_eq!(there["sku"]["tier"], "Standard");
}

#[test]
fn a_pool_is_made_scaled_and_deleted_and_nothing_else_goes_meanwhile() {
    let folder = tempdir().unwrap();
    let azure = Azure::start(folder.path());
    let client = Client::new(&azure);
    let cluster = client.cluster();
    let pool = format!("{cluster}/agentPools/gpu");
    azure.set(|world| {
        let kind = "Microsoft.ContainerService/managedClusters/agentPools".to_owned();
        world.delays.insert(kind, Duration::from_millis(300));
    });
    let begun = client
        .put(&pool, AKS, &pool_body(&spot_pool(0)))
        .expect(201);
    assert_eq!(begun.state(), "Creating");
    let busy = client
        .put(&pool, AKS, &pool_body(&spot_pool(1)))
        .expect(409);
    assert_eq!(busy.code(), "OperationNotAllowed");
    assert!(
        busy.message()
            .contains("agentpool operation (gpu - Creating)"),
        "{}",
        busy.message()
    );
    let url = &begun.headers["azure-asyncoperation"];
    let asked: Vec<Value> = (0..3)
        .map(|_| client.send("GET", url, &[], "").unwrap().body)
        .collect();
    assert!(asked.iter().all(|body| body["status"] == "InProgress"));
    assert!(
        asked.iter().any(|body| body["error"].is_object()),
        "an error before the end says nothing yet"
    );
    client.follow(&begun);
    let there = client.get(&pool, AKS).expect(200).body;
    assert_eq!(there["properties"]["count"], 0);
    assert_eq!(spot_pool(0).change(&there["properties"]), Change::None);
    let Change::Put(next) = spot_pool(2).change(&there["properties"]) else {
        panic!("bounds can be changed");
    };
    azure.set(|world| world.delays.clear());
    let begun = client
        .put(&pool, AKS, &json!({ "properties": next }))
        .expect(200);
    client.follow(&begun);
    assert_eq!(client.get(&pool, AKS).body["properties"]["count"], 2);
    let mut body = pool_body(&spot_pool(2));
    body["properties"]["vmSize"] = json!("Standard_NC4as_T4_v3");
    let fixed = client.put(&pool, AKS, &body).expect(400);
    assert_eq!(
        (fixed.code(), fixed.body["target"].as_str()),
        ("PropertyChangeNotAllowed", Some("properties.vmSize"))
    );
    let gone = client.ask("DELETE", &pool, AKS, None).expect(202);
    assert!(
        gone.headers.contains_key("azure-asyncoperation") && gone.headers.contains_key("location")
    );
    client.follow(&gone);
    client
        .send("GET", &gone.headers["location"], &[], "")
        .unwrap()
        .expect(204);
    assert_eq!(client.get(&pool, AKS).expect(404).code(), "NotFound");
    let last = client
        .ask("DELETE", &format!("{cluster}/agentPools/sys"), AKS, None)
        .expect(400);
    assert!(
        last.message().contains("at least one system"),
        "{}",
        last.message()
    );
    assert_eq!(client.ask("DELETE", &pool, AKS, None).status, 204);
}

#[test]
fn an_operation_goes_on_while_the_service_is_away() {
    let folder = tempdir().unwrap();
    let world = World {
        delays: BTreeMap::from([(
            "Microsoft.ContainerService/managedClusters".to_owned(),
            Duration::from_millis(400),
        )]),
        ..World::default()
    };
    let azure = Azure::with(folder.path(), world.clone());
    let client = Client::new(&azure);
    let cluster = format!(
        "{}/providers/Microsoft.ContainerService/managedClusters/c",
        client.group()
    );
    let begun = client
        .put(&cluster, AKS, &cluster_body("eastus"))
        .expect(201);
    let since = Instant::now();
    let endpoint = azure.endpoint();
    drop(azure);
    let azure = Azure::with(folder.path(), world);
    assert_eq!(azure.endpoint(), endpoint);
    // The token, the CA and the address of the operation hold on.
    assert_eq!(client.get(&cluster, AKS).expect(200).state(), "Creating");
    let busy = client
        .put(&cluster, AKS, &cluster_body("eastus"))
        .expect(409);
    assert_eq!(busy.code(), "EtagMismatch");
    assert_eq!(client.follow(&begun).body["status"], "Succeeded");
    assert!(since.elapsed() >= Duration::from_millis(300));
    assert_eq!(
        azure.resources()[&cluster.to_lowercase()]["properties"]["provisioningState"],
        "Succeeded"
    );
}

#[test]
fn quota_size_and_schema_are_looked_at_before_and_capacity_in_the_end() {
    let folder = tempdir().unwrap();
    let mut region = Region::wide();
    region
        .quota
        .insert("lowPriorityCores".to_owned(), (40, 100));
    region.sizes.remove("Standard_NC4as_T4_v3");
    let world = World {
        regions: BTreeMap::from([("eastus".to_owned(), region)]),
        ..World::default()
    };
    let azure = Azure::with(folder.path(), world);
    let client = Client::new(&azure);
    let cluster = client.cluster();
    let pool = format!("{cluster}/agentPools/gpu");
    let refused = client
        .put(&pool, AKS, &pool_body(&spot_pool(3)))
        .expect(400);
    assert_eq!(refused.code(), "ErrCode_InsufficientVCPUQuota");
    assert_eq!(
        refused.message(),
        "Insufficient vcpu quota requested 72, remaining 60 for family lowPriorityCores for region eastus."
    );
    let mut other = spot_pool(0);
    other.size = "Standard_NC4as_T4_v3".to_owned();
    let refused = client.put(&pool, AKS, &pool_body(&other)).expect(400);
    assert!(
        refused
            .message()
            .starts_with("The VM size of Standard_NC4as_T4_v3 is not allowed")
    );
    let mut typo = pool_body(&spot_pool(0));
    typo["properties"]["enableAutoscaling"] = json!(true);
    let refused = client.put(&pool, AKS, &typo).expect(400);
    assert!(
        refused.message().contains("enableAutoscaling"),
        "{}",
        refused.message()
    );
    azure.set(|world| {
        world.capacity.insert(
            "Standard_NC24ads_A100_v4".to_owned(),
            "OverconstrainedAllocationRequest".to_owned(),
        );
    });
    let begun = client
        .put(&pool, AKS, &pool_body(&spot_pool(1)))
        .expect(201);
    let ended = client.follow(&begun);
    assert_eq!(ended.body["status"], "Failed");
    assert_eq!(
        ended.body["error"]["code"],
        "OverconstrainedAllocationRequest"
    );
    assert_eq!(client.get(&pool, AKS).state(), "Failed");
    let root = cluster.split("/resourceGroups").next().unwrap();
    let usages = format!("{root}/providers/Microsoft.Compute/locations/eastus/usages");
    let spot = || {
        let (usages, _) = client.pages(&usages, "2024-07-01");
        let spot = usages
            .iter()
            .find(|usage| usage["name"]["value"] == "lowPriorityCores")
            .unwrap();
        (spot["currentValue"].as_u64(), spot["limit"].as_u64())
    };
    assert_eq!(spot(), (Some(40), Some(100)), "what failed takes no cores");
    azure.set(|world| world.capacity.clear());
    let again = client
        .put(&pool, AKS, &pool_body(&spot_pool(2)))
        .expect(200);
    assert_eq!(client.follow(&again).body["status"], "Succeeded");
    assert_eq!(spot(), (Some(88), Some(100)));
}

#[test]
fn a_lost_answer_is_of_a_request_that_was_done_or_was_not() {
    let folder = tempdir().unwrap();
    let azure = Azure::start(folder.path());
    let client = Client::new(&azure);
    let cluster = client.cluster();
    let pool = format!("{cluster}/agentPools/gpu");
    azure.forget_requests();
    azure.on_request(|seen, _| match seen.method.as_str() {
        "PUT" => Hook::DropAfter,
        "DELETE" => Hook::DropBefore,
        "POST" => Hook::Answer(
            503,
            vec![("retry-after".to_owned(), "1".to_owned())],
            json!({}),
        ),
        _ => Hook::Serve,
    });
    let body = pool_body(&spot_pool(0)).to_string();
    let target = format!("{pool}?api-version={AKS}");
    assert!(client.send("PUT", &target, &[], &body).is_err());
    assert!(client.send("DELETE", &target, &[], "").is_err());
    assert_eq!(client.get(&pool, AKS).expect(200).body["name"], "gpu");
    assert_eq!(
        client
            .ask("POST", &format!("{pool}/abort"), AKS, None)
            .status,
        503
    );
    let seen: Vec<(String, u16)> = azure
        .requests()
        .into_iter()
        .map(|seen| (seen.method, seen.status))
        .collect();
    let seen: Vec<(&str, u16)> = seen
        .iter()
        .map(|(method, status)| (method.as_str(), *status))
        .collect();
    assert_eq!(
        seen,
        [("PUT", 201), ("DELETE", 0), ("GET", 200), ("POST", 503)]
    );
    assert_eq!(azure.requests()[0].api_version, AKS);
    assert_eq!(
        azure.requests()[0].body.as_ref().unwrap()["properties"]["vmSize"],
        "Standard_NC24ads_A100_v4"
    );
}

#[test]
fn what_is_under_way_can_be_aborted_and_a_cluster_stopped_started_and_deleted() {
    let folder = tempdir().unwrap();
    let azure = Azure::start(folder.path());
    let client = Client::new(&azure);
    let cluster = client.cluster();
    let pool = format!("{cluster}/agentPools/gpu");
    let kind = "Microsoft.ContainerService/managedClusters/agentPools".to_owned();
    azure.set(|world| world.delays.extend([(kind, Duration::from_secs(60))]));
    let begun = client
        .put(&pool, AKS, &pool_body(&spot_pool(1)))
        .expect(201);
    let busy = client
        .put(&cluster, AKS, &cluster_body("eastus"))
        .expect(409);
    assert_eq!(busy.code(), "OperationNotAllowed");
    let aborted = client
        .ask("POST", &format!("{pool}/abort"), AKS, None)
        .expect(202);
    client.follow(&aborted);
    assert_eq!(client.follow(&begun).body["status"], "Canceled");
    assert_eq!(client.get(&pool, AKS).state(), "Canceled");
    for (action, code) in [("stop", "Stopped"), ("start", "Running")] {
        let begun = client
            .ask("POST", &format!("{cluster}/{action}"), AKS, None)
            .expect(202);
        client.follow(&begun);
        assert_eq!(
            client.get(&cluster, AKS).body["properties"]["powerState"]["code"],
            code
        );
    }
    let gone = client.ask("DELETE", &cluster, AKS, None).expect(202);
    client.follow(&gone);
    assert_eq!(
        client.get(&cluster, AKS).expect(404).code(),
        "ResourceNotFound"
    );
    let left: Vec<String> = azure.resources().into_keys().collect();
    assert_eq!(
        left,
        [cluster.split("/providers").next().unwrap().to_lowercase()]
    );
}
