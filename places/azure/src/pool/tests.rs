use super::fixtures::{assert_valid, recorded, strict, system};
use super::{Change, NodePool, Nodes, SPOT_TAINT};
use serde_json::json;

const PROPERTIES: &str = "ManagedClusterAgentPoolProfileProperties";

fn gpus() -> NodePool {
    NodePool {
        name: "gput4".to_owned(),
        system: false,
        size: "Standard_NC4as_T4_v3".to_owned(),
        nodes: Nodes::Between(0, 8),
        spot: true,
        labels: [("petctl.io/pool".to_owned(), "gput4".to_owned())].into(),
        taints: vec!["sku=gpu:NoSchedule".to_owned()],
        driver: Some(false),
        mig: None,
        zones: Vec::new(),
    }
}

#[test]
fn what_is_asked_for_is_what_the_published_schema_knows() {
    let mut a100 = gpus();
    a100.size = "Standard_NC24ads_A100_v4".to_owned();
    a100.mig = Some("MIG1g".to_owned());
    a100.zones = vec!["1".to_owned(), "3".to_owned()];
    a100.driver = Some(true);
    for pool in [gpus(), a100, system()] {
        assert_eq!(pool.check(), Ok(()));
        assert_valid(PROPERTIES, &pool.properties());
    }
    let spot = gpus().properties();
    assert_eq!(
        spot["nodeTaints"],
        json!([SPOT_TAINT, "sku=gpu:NoSchedule"])
    );
    assert_eq!(spot["gpuProfile"], json!({ "driver": "None" }));
    assert_eq!((&spot["count"], &spot["maxCount"]), (&json!(0), &json!(8)));
    let mut wrong = spot;
    wrong["maxcount"] = json!(8);
    assert!(
        !strict(PROPERTIES).is_valid(&wrong),
        "a slip of the pen is seen"
    );
}

#[test]
fn rules_that_azure_tells_too_late_are_told_at_once() {
    let broken = |change: fn(&mut NodePool)| {
        let mut pool = gpus();
        change(&mut pool);
        pool.check().unwrap_err()
    };
    for name in ["", "Gpu", "9a", "gpu-t4", "abcdefghijklm"] {
        let mut pool = gpus();
        name.clone_into(&mut pool.name);
        assert!(pool.check().is_err(), "{name}");
    }
    assert!(broken(|pool| pool.system = true).contains("spot"));
    assert!(broken(|pool| pool.nodes = Nodes::Between(3, 2)).contains("3 to 2"));
    assert!(broken(|pool| pool.nodes = Nodes::Between(0, 1001)).contains("1001"));
    assert!(broken(|pool| pool.nodes = Nodes::Fixed(2)).contains("autoscaler"));
    let mut none = system();
    none.nodes = Nodes::Fixed(0);
    assert!(none.check().unwrap_err().contains("a node at least"));
}

#[test]
fn a_pool_that_is_as_wanted_is_left_alone_however_the_service_writes_it() {
    let mut there = gpus().properties();
    there["count"] = json!(5);
    there["spotMaxPrice"] = json!(-1.0);
    there["scaleSetPriority"] = json!("spot");
    there["osDiskSizeGB"] = json!(128);
    there["provisioningState"] = json!("Succeeded");
    there["nodeTaints"] = json!(["sku=gpu:NoSchedule", SPOT_TAINT, "others=own:NoExecute"]);
    there["nodeLabels"]["kubernetes.azure.com/scalesetpriority"] = json!("spot");
    assert_eq!(gpus().change(&there), Change::None);
    // One of the recordings, of a test that somebody else made.
    let there = recorded("test_aks_nodepool_update_taints_msi", 27)["properties"].take();
    let same = NodePool {
        size: there["vmSize"].as_str().unwrap().to_owned(),
        ..system()
    };
    assert_eq!(same.change(&there), Change::None);
}

#[test]
fn a_pool_that_grows_keeps_what_others_have_said_of_it() {
    let there = recorded("2020_test_aks_nodepool_create_scale_delete", 25)["properties"].take();
    let larger = NodePool {
        system: false,
        size: there["vmSize"].as_str().unwrap().to_owned(),
        nodes: Nodes::Fixed(3),
        ..system()
    };
    let Change::Put(put) = larger.change(&there) else {
        panic!("{:?}", larger.change(&there));
    };
    assert_eq!(
        (&put["count"], &put["nodeLabels"]["label1"]),
        (&json!(3), &json!("value1"))
    );
    assert!(put.get("provisioningState").is_none());
    assert_valid(PROPERTIES, &put);
    // Nodes that the autoscaler has made stay as many as they are, within the new bounds.
    let mut busy = gpus().properties();
    busy["count"] = json!(5);
    let mut more = gpus();
    more.nodes = Nodes::Between(0, 16);
    let Change::Put(put) = more.change(&busy) else {
        panic!("{:?}", more.change(&busy));
    };
    assert_eq!((&put["count"], &put["maxCount"]), (&json!(5), &json!(16)));
    more.nodes = Nodes::Between(0, 2);
    let Change::Put(put) = more.change(&busy) else {
        panic!("{:?}", more.change(&busy));
    };
    assert_eq!((&put["count"], &put["maxCount"]), (&json!(2), &json!(2)));
}

#[test]
fn what_can_not_be_changed_says_that_the_pool_must_be_made_anew() {
    let there = gpus().properties();
    let mut full_price = gpus();
    full_price.spot = false;
    assert_eq!(
        full_price.change(&there),
        Change::Replace(vec!["scaleSetPriority".to_owned()])
    );
    let mut other = gpus();
    other.size = "Standard_NC8as_T4_v3".to_owned();
    assert_eq!(
        other.change(&there),
        Change::Replace(vec!["vmSize".to_owned()])
    );
    let spare = gpus().change(&full_price.properties());
    assert!(matches!(spare, Change::Replace(why) if why.contains(&"scaleSetPriority".to_owned())));
}
