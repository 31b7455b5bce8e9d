use super::*;
use crate::pool::fixtures::{assert_valid, recorded, system};
use crate::{Graph, Nodes};

fn blueprint() -> Blueprint {
    let gpu = NodePool {
        name: "t4".to_owned(),
        system: false,
        size: "Standard_NC4as_T4_v3".to_owned(),
        nodes: Nodes::Between(0, 8),
        spot: true,
        labels: [("petctl.io/pool".to_owned(), "t4".to_owned())].into(),
        taints: vec!["sku=gpu:NoSchedule".to_owned()],
        driver: Some(false),
        mig: None,
        zones: Vec::new(),
    };
    Blueprint {
        place: "gpu".to_owned(),
        subscription: "11111111-2222-3333-4444-555555555555".to_owned(),
        group: "avs".to_owned(),
        cluster_name: "avs".to_owned(),
        cluster: Cluster {
            location: "westeurope".to_owned(),
            dns_prefix: "avs".to_owned(),
            tier: "Free".to_owned(),
            version: None,
            system: system(),
            tags: [("team".to_owned(), "av".to_owned())].into(),
        },
        pools: vec![gpu],
        account: Some("avsdata".to_owned()),
        containers: vec!["input".to_owned(), "output".to_owned()],
        registry: Some("avsimages".to_owned()),
        identity: Some(Identity {
            name: "avs-worker".to_owned(),
            namespace: "petctl".to_owned(),
            service_account: "petctl-worker".to_owned(),
        }),
    }
}

fn find(all: &[Resource], kind: Kind) -> &Resource {
    all.iter().find(|resource| resource.kind == kind).unwrap()
}

/// The service's answers once all is there.
fn all_there(blueprint: &Blueprint) -> Known {
    let mut known = Known::new();
    let identity = blueprint.identity_id("avs-worker").unwrap();
    for resource in blueprint.resources().unwrap() {
        let Step::Make(mut body) = blueprint.step(&resource, None, &known) else {
            panic!("{resource} can't be made: {known:#?}");
        };
        body["id"] = json!(resource.id.as_str().to_uppercase());
        if resource.kind == Kind::Cluster {
            body["properties"]["oidcIssuerProfile"]["issuerURL"] = json!("https://oidc.example/1/");
            body["properties"]["identityProfile"]["kubeletidentity"]["objectId"] = json!("k-1");
            body["properties"]["fqdn"] = json!("avs.hcp.example");
        }
        if resource.id == identity {
            body["properties"]["principalId"] = json!("p-1");
        }
        if body["location"].is_string() {
            body["location"] = json!("West Europe");
        }
        known.insert(resource.id, body);
    }
    known
}

#[test]
fn each_resource_stands_behind_what_it_needs_and_the_rest_may_be_made_at_once() {
    let all = blueprint().resources().unwrap();
    let graph = Graph::new(all.iter().map(|resource| {
        let needs = resource.needs.iter().map(ResourceId::as_str).collect();
        (resource.id.as_str(), needs)
    }))
    .unwrap();
    assert_eq!(graph.ready(), [all[0].id.as_str()], "the group comes first");
    assert_eq!(graph.depth(), 3);
    let shown: Vec<String> = all.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "resource group avs",
            "cluster avs",
            "node pool t4",
            "storage account avsdata",
            "container avsdata/input",
            "container avsdata/output",
            "registry avsimages",
            "role assignment AcrPull of the nodes on avsimages",
            "identity avs-worker",
            "federated credential petctl/petctl-worker",
            "role assignment Storage Blob Data Contributor of avs-worker on avsdata",
        ]
    );
}

#[test]
fn every_id_says_what_it_is_one_of() {
    for resource in blueprint().resources().unwrap() {
        let shouted = ResourceId::parse(&resource.id.as_str().to_uppercase()).unwrap();
        for id in [&resource.id, &shouted] {
            assert_eq!(Kind::of(id), Some(resource.kind), "{id}");
        }
    }
    for other in [
        "/subscriptions/s",
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm",
    ] {
        assert_eq!(
            Kind::of(&ResourceId::parse(other).unwrap()),
            None,
            "{other}"
        );
    }
}

#[test]
fn once_all_is_there_nothing_is_left_to_do() {
    let blueprint = blueprint();
    let known = all_there(&blueprint);
    for resource in blueprint.resources().unwrap() {
        let there = known.get(&resource.id);
        assert_eq!(
            blueprint.step(&resource, there, &known),
            Step::Same,
            "{resource}: {there:#?}"
        );
    }
}

#[test]
fn what_depends_on_others_answers_is_known_only_then() {
    let blueprint = blueprint();
    let none = Known::new();
    let all = blueprint.resources().unwrap();
    for resource in &all {
        let step = blueprint.step(resource, None, &none);
        let waits = matches!(resource.kind, Kind::Credential | Kind::Role);
        assert_eq!(step == Step::Later, waits, "{resource}: {step:?}");
    }
    let known = all_there(&blueprint);
    let credential = &known[&find(&all, Kind::Credential).id]["properties"];
    assert_eq!(credential["issuer"], "https://oidc.example/1/");
    assert_eq!(
        credential["subject"],
        "system:serviceaccount:petctl:petctl-worker"
    );
    let principals: Vec<&Value> = all
        .iter()
        .filter(|resource| resource.kind == Kind::Role)
        .map(|resource| &known[&resource.id]["properties"]["principalId"])
        .collect();
    assert_eq!(principals, ["k-1", "p-1"]);
}

#[test]
fn the_bodies_of_clusters_and_pools_pass_the_schema_and_carry_the_tag() {
    let blueprint = blueprint();
    let known = all_there(&blueprint);
    let all = blueprint.resources().unwrap();
    let made = |kind| {
        let step = blueprint.step(find(&all, kind), None, &known);
        let Step::Make(body) = step else {
            panic!("{step:?}");
        };
        body
    };
    assert_valid(
        "ManagedClusterProperties",
        &made(Kind::Cluster)["properties"],
    );
    assert_valid(
        "ManagedClusterAgentPoolProfileProperties",
        &made(Kind::Pool)["properties"],
    );
    for resource in all.iter().filter(|resource| resource.kind.has_tags()) {
        let body = &known[&resource.id];
        assert!(blueprint.is_ours(body), "{resource}: {body:#}");
    }
}

#[test]
fn what_others_have_made_is_foreign_and_a_group_of_theirs_is_used() {
    let blueprint = blueprint();
    let known = all_there(&blueprint);
    for resource in blueprint.resources().unwrap() {
        let mut there = known[&resource.id].clone();
        if let Some(tags) = there.get_mut("tags") {
            *tags = json!({ "team": "others" });
        }
        if let Some(tags) = there.pointer_mut("/properties/tags") {
            *tags = json!({});
        }
        let step = blueprint.step(&resource, Some(&there), &known);
        let expected = resource.kind.has_tags() && resource.kind != Kind::Group;
        assert_eq!(step == Step::Foreign, expected, "{resource}: {step:?}");
        assert_ne!(
            blueprint.step_of_ours(&resource, Some(&there), &known),
            Step::Foreign
        );
    }
}

#[test]
fn what_changes_is_named_and_what_others_have_set_stays() {
    let before = blueprint();
    let known = all_there(&before);
    let mut after = before;
    after.pools[0].nodes = Nodes::Between(0, 16);
    let all = after.resources().unwrap();
    let pool = find(&all, Kind::Pool);
    let mut there = known[&pool.id].clone();
    there["properties"]["nodeLabels"]["cost"] = json!("17");
    let Step::Change(body, fields) = after.step(pool, Some(&there), &known) else {
        panic!("it changes");
    };
    assert_eq!(fields, ["properties.maxCount"]);
    assert_eq!(body["properties"]["nodeLabels"]["cost"], "17");
    let account = find(&all, Kind::Account);
    let mut there = known[&account.id].clone();
    there["properties"]["allowBlobPublicAccess"] = json!(true);
    there["sku"]["name"] = json!("Standard_GRS");
    there["tags"]["owner"] = json!("eve");
    let Step::Change(body, fields) = after.step(account, Some(&there), &known) else {
        panic!("it changes");
    };
    assert_eq!(fields, ["properties.allowBlobPublicAccess"]);
    assert_eq!(body["sku"]["name"], "Standard_GRS");
    assert_eq!(body["tags"]["owner"], "eve");
}

#[test]
fn a_region_a_priority_and_a_principal_are_not_changed_in_place() {
    let blueprint = blueprint();
    let known = all_there(&blueprint);
    let all = blueprint.resources().unwrap();
    for (kind, at, value, why) in [
        (Kind::Account, "/location", json!("eastus"), "location"),
        (Kind::Cluster, "/location", json!("eastus"), "location"),
        (
            Kind::Pool,
            "/properties/scaleSetPriority",
            json!("Regular"),
            "scaleSetPriority",
        ),
        (
            Kind::Role,
            "/properties/principalId",
            json!("gone"),
            "principalId",
        ),
    ] {
        let resource = find(&all, kind);
        let mut there = known[&resource.id].clone();
        *there.pointer_mut(at).unwrap() = value;
        let why = vec![why.to_owned()];
        // A right holds nothing that would go with it.
        let expected = if kind == Kind::Role {
            Step::Renew(why)
        } else {
            Step::Replace(why)
        };
        assert_eq!(
            blueprint.step(resource, Some(&there), &known),
            expected,
            "{resource}"
        );
    }
}

#[test]
fn a_recorded_cluster_is_nobody_of_ours() {
    let blueprint = blueprint();
    let all = blueprint.resources().unwrap();
    let there = recorded("test_aks_create_with_workload_identity_enabled", 4);
    let known = Known::new();
    let step = blueprint.step(find(&all, Kind::Cluster), Some(&there), &known);
    assert_eq!(step, Step::Foreign);
}

#[test]
fn names_that_azure_would_refuse_are_refused_before() {
    type Row = (fn(&mut Blueprint), &'static str);
    let rows: [Row; 5] = [
        (
            |b| b.account = Some("Avs-Data".to_owned()),
            "storage account",
        ),
        (|b| b.registry = Some("avs".to_owned()), "registry"),
        (|b| b.pools[0].name = "sys".to_owned(), "two pools"),
        (|b| b.group = "a/b".to_owned(), "resource group"),
        (|b| b.containers[0] = "a?b".to_owned(), "can't be the name"),
    ];
    for (change, expected) in rows {
        let mut blueprint = blueprint();
        change(&mut blueprint);
        let refused = blueprint.resources().unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    }
}
