use super::{Change, Cluster};
use crate::pool::fixtures::{assert_valid, recorded, system};
use serde_json::{Value, json};

fn cluster() -> Cluster {
    Cluster {
        location: "westus2".to_owned(),
        dns_prefix: "petct".to_owned(),
        tier: "Free".to_owned(),
        version: None,
        system: system(),
        tags: [("petctl".to_owned(), "test_job".to_owned())].into(),
    }
}

/// The cluster as a recording has it at a line, asked for as it is.
fn as_recorded(recording: &str, line: usize) -> (Cluster, Value) {
    let there = recorded(recording, line);
    let wanted = Cluster {
        location: there["location"].as_str().unwrap().to_owned(),
        dns_prefix: there["properties"]["dnsPrefix"]
            .as_str()
            .unwrap()
            .to_owned(),
        tags: [].into(),
        ..cluster()
    };
    (wanted, there)
}

#[test]
fn what_is_asked_for_is_what_the_published_schema_knows() {
    let mut versioned = cluster();
    versioned.version = Some("1.37".to_owned());
    for wanted in [cluster(), versioned] {
        let body = wanted.body();
        assert_valid("ManagedClusterProperties", &body["properties"]);
        assert_eq!(body["properties"]["agentPoolProfiles"][0]["name"], "sys");
        assert_eq!(body["tags"]["petctl"], "test_job");
    }
}

#[test]
fn a_cluster_that_is_as_wanted_is_left_alone() {
    let mut there = cluster().body();
    there["location"] = json!("West US 2");
    there["properties"]["oidcIssuerProfile"]["issuerURL"] = json!("https://issuer/");
    there["properties"]["provisioningState"] = json!("Succeeded");
    there["tags"]["team"] = json!("avs");
    assert_eq!(cluster().change(&there), Change::None);
}

#[test]
fn what_is_missing_is_switched_on_and_all_else_stays_as_it_is() {
    let (wanted, there) = as_recorded("test_aks_create_and_update_with_blob_csi_driver", 40);
    let Change::Put(body) = wanted.change(&there) else {
        panic!("{:?}", wanted.change(&there));
    };
    let (is, was) = (&body["properties"], &there["properties"]);
    assert_eq!(was["storageProfile"]["blobCSIDriver"]["enabled"], false);
    assert_eq!(is["storageProfile"]["blobCSIDriver"]["enabled"], true);
    assert_eq!(is["oidcIssuerProfile"]["enabled"], true);
    assert_eq!(is["securityProfile"]["workloadIdentity"]["enabled"], true);
    assert_eq!(
        is["storageProfile"]["fileCSIDriver"],
        was["storageProfile"]["fileCSIDriver"]
    );
    assert_eq!(is["nodeResourceGroup"], was["nodeResourceGroup"]);
    assert_eq!(
        is["agentPoolProfiles"][0]["name"],
        was["agentPoolProfiles"][0]["name"]
    );
    assert!(is.get("fqdn").is_none() && is.get("provisioningState").is_none());
    // With what it has been told it is as wanted.
    let mut then = there;
    for name in ["storageProfile", "oidcIssuerProfile", "securityProfile"] {
        then["properties"][name] = is[name].clone();
    }
    assert_eq!(wanted.change(&then), Change::None);
}

#[test]
fn tags_and_the_tier_are_brought_to_what_is_wanted() {
    let mut there = cluster().body();
    there["tags"] = json!({ "team": "avs" });
    let mut wanted = cluster();
    wanted.tier = "Standard".to_owned();
    let Change::Put(body) = wanted.change(&there) else {
        panic!("{:?}", wanted.change(&there));
    };
    assert_eq!(body["tags"], json!({ "team": "avs", "petctl": "test_job" }));
    assert_eq!(body["sku"], json!({ "name": "Base", "tier": "Standard" }));
}

#[test]
fn a_cluster_elsewhere_is_another_one() {
    let mut wanted = cluster();
    wanted.location = "eastus".to_owned();
    wanted.dns_prefix = "other".to_owned();
    let both = ["location", "dnsPrefix"].map(str::to_owned).to_vec();
    assert_eq!(wanted.change(&cluster().body()), Change::Replace(both));
}
