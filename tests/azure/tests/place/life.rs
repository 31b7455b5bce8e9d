//! A place comes to be, changes, and goes.

use crate::harness::{RESOURCES, User, changing, text};
use petctl_test_azure::SUBSCRIPTION;
use serde_json::json;

#[test]
fn what_if_shows_everything_and_changes_nothing() {
    let user = User::new();
    let ran = user.run("setup --what-if").good();
    for line in [
        "+ resource group avs\n",
        "+ cluster avs\n",
        "+ node pool t4\n",
        "+ node pool a100\n",
        "+ storage account avsdata1\n",
        "+ container avsdata1/input\n",
        "+ registry avsimages1\n",
        "+ role assignment AcrPull of the nodes on avsimages1\n",
        "+ identity avs-worker\n",
        "+ federated credential petctl/petctl-worker\n",
        "+ role assignment Storage Blob Data Contributor of avs-worker on avsdata1\n",
    ] {
        assert!(ran.stdout.contains(line), "{line}: {ran}");
    }
    assert!(
        ran.stdout.contains("12 resources would be made or changed"),
        "{ran}"
    );
    assert_eq!(changing(&user.azure.requests()), Vec::<String>::new());
    assert!(user.resources().is_empty());
    assert!(!user.path("home/azure").exists(), "nothing is written down");
}

#[test]
fn a_place_is_made_once_and_goes_without_a_trace() {
    let user = User::new();
    let ran = user.set_up();
    assert!(ran.stdout.contains("all of it is there in Azure"), "{ran}");
    assert!(
        ran.stderr
            .contains("signs in to Azure by the secret of service principal"),
        "{ran}"
    );
    let config = text(&user.path("work/kubeconfig"));
    assert!(config.contains("gpu"), "{config}");
    let made = user.resources();
    assert!(made.len() >= RESOURCES, "{:#?}", made.keys());
    // Once more: nothing is asked but what is there.
    user.azure.forget_requests();
    let again = user.set_up();
    assert_eq!(
        changing(&user.azure.requests()),
        Vec::<String>::new(),
        "{again}"
    );
    assert!(
        !again.stdout.contains("+ ") && !again.stdout.contains("~ "),
        "{again}"
    );
    assert_eq!(user.resources(), made);
    // And gone.
    let shown = user.run("delete-resources --dry-run").good();
    assert!(
        shown.stdout.contains("12 resources would be removed"),
        "{shown}"
    );
    assert_eq!(user.resources(), made);
    let gone = user.run("delete_resources --yes").good();
    assert!(
        gone.stdout
            .contains("12 resources removed; none answers any more"),
        "{gone}"
    );
    assert!(
        user.resources().is_empty(),
        "{:#?}",
        user.resources().keys()
    );
    let record = user.path("home/azure");
    let left: Vec<_> = std::fs::read_dir(record).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
    let nothing = user.run("delete-resources --yes").good();
    assert!(
        nothing.stdout.contains("nothing of petctl's is left"),
        "{nothing}"
    );
}

#[test]
fn a_change_of_the_place_changes_that_and_nothing_else() {
    let user = User::new();
    user.set_up();
    user.azure.forget_requests();
    user.write_place(|text| text.replace("max = 8", "max = 16"));
    let ran = user.set_up();
    assert!(
        ran.stdout.contains("~ node pool t4: properties.maxCount\n"),
        "{ran}"
    );
    let changes = changing(&user.azure.requests());
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert!(
        changes[0].starts_with("PUT ") && changes[0].ends_with("/agentPools/t4"),
        "{changes:?}"
    );
}

#[test]
fn data_stays_where_it_is_to_be_kept() {
    let user = User::new();
    user.set_up();
    let ran = user.run("delete-resources --keep-data --yes").good();
    assert!(
        ran.stdout
            .contains("= storage account avsdata1: stays, --keep-data"),
        "{ran}"
    );
    let left = user.resources();
    let kept = |kind: &str| left.keys().filter(|id| id.contains(kind)).count();
    assert_eq!(kept("/storageaccounts/avsdata1/"), 2, "{:#?}", left.keys());
    assert_eq!(kept("/registries/avsimages1"), 1, "{:#?}", left.keys());
    assert_eq!(kept("/managedclusters/"), 0, "{:#?}", left.keys());
    user.set_up();
    user.run("delete-resources --yes").good();
    assert!(user.resources().is_empty());
}

#[test]
fn what_the_place_named_before_goes_too_by_its_tag_or_by_the_record() {
    for forgotten in [false, true] {
        let user = User::new();
        user.set_up();
        user.write_place(|text| {
            let text = text
                .replace("avsdata1", "avsdata2")
                .replace("avs-worker", "avs-other");
            text.replace("registry = \"avsimages1\"", "")
        });
        user.set_up();
        if forgotten {
            std::fs::remove_dir_all(user.path("home")).unwrap();
        }
        let ran = user.run("delete-resources --yes").good();
        for gone in [
            "- storage account avsdata1\n",
            "- identity avs-worker\n",
            "- registry avsimages1\n",
        ] {
            assert!(ran.stdout.contains(gone), "{gone}: {ran}");
        }
        assert!(
            user.resources().is_empty(),
            "{:#?}",
            user.resources().keys()
        );
    }
}

#[test]
fn what_others_have_put_into_the_group_stays_and_so_does_the_group() {
    let user = User::new();
    user.set_up();
    let theirs = format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/avs/providers/Microsoft.Storage/storageAccounts/theirs"
    );
    user.azure.put(&theirs, json!({ "location": "westeurope" }));
    let ran = user.run("delete-resources --yes").good();
    assert!(
        ran.stdout
            .contains("= resource group avs: stays, it holds other things"),
        "{ran}"
    );
    let left: Vec<String> = user.resources().into_keys().collect();
    assert!(
        left.iter()
            .all(|id| id.ends_with("/resourcegroups/avs") || id.ends_with("/theirs")),
        "{left:?}"
    );
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn what_was_made_for_others_is_taken_over_only_where_that_is_asked_for_and_never_removed() {
    let user = User::new();
    user.set_up();
    let made = user.resources();
    // The same names, and another place: as if somebody else had made it all.
    std::fs::remove_dir_all(user.path("home")).unwrap();
    user.write_place(|text| {
        text.replace("place.gpu", "place.mine")
            .replace("default = \"gpu\"", "default = \"mine\"")
    });
    user.azure.forget_requests();
    let ran = user.run("setup --what-if");
    assert!(
        ran.stdout
            .contains("! cluster avs: petctl did not make it\n"),
        "{ran}"
    );
    ran.refused(
        78,
        "AZURE_NOT_OURS",
        &["cluster avs", "--adopt", "nothing was changed"],
    );
    user.run("setup --only azure --yes")
        .refused(78, "AZURE_NOT_OURS", &["--adopt"]);
    assert_eq!(changing(&user.azure.requests()), Vec::<String>::new());
    user.run("setup --only azure --yes --adopt").good();
    // From then on it is known, and still somebody else's.
    user.set_up();
    let ran = user.run("delete-resources --yes").good();
    for stays in [
        "cluster avs",
        "storage account avsdata1",
        "resource group avs",
    ] {
        assert!(
            ran.stdout
                .contains(&format!("= {stays}: stays, petctl did not make it")),
            "{ran}"
        );
    }
    let kept: Vec<String> = user.resources().into_keys().collect();
    let before: Vec<String> = made.into_keys().collect();
    assert_eq!(kept, before);
    user.write_place(|text| text);
    user.run("delete-resources --yes").good();
    assert!(user.resources().is_empty());
}

#[test]
fn a_pool_is_scaled_alone_and_a_cluster_is_stopped_and_started() {
    let user = User::new();
    user.set_up();
    let ran = user.run("scale job --nodes 16 --on gpu").good();
    assert!(
        ran.stdout.contains("node pool t4: at most 16 nodes"),
        "{ran}"
    );
    assert!(ran.stderr.contains("petctl.toml says max = 8"), "{ran}");
    let pool = |name: &str| {
        let all = user.resources();
        let found = all
            .iter()
            .find(|(id, _)| id.ends_with(&format!("/agentpools/{name}")));
        found.map(|(_, pool)| pool["properties"]["maxCount"].clone())
    };
    assert_eq!(
        (pool("t4"), pool("a100")),
        (Some(json!(16)), Some(json!(2)))
    );
    user.run("scale job --nodes 4 --pool a100 --on gpu --dry-run")
        .good();
    assert_eq!(pool("a100"), Some(json!(2)));
    user.run("scale job --nodes 4 --pool none --on gpu")
        .refused(78, "BAD_PLACE", &["no pool `none`", "t4, a100"]);
    user.run("stop --on gpu")
        .refused(2, "NOT_CONFIRMED", &["--yes"]);
    let ran = user.run("stop --on gpu --yes").good();
    assert!(ran.stdout.contains("cluster avs is stopped\n"), "{ran}");
    let ran = user.run("stop --on gpu --yes").good();
    assert!(ran.stdout.contains("is stopped already"), "{ran}");
    let ran = user.run("start --on gpu").good();
    assert!(ran.stdout.contains("cluster avs runs\n"), "{ran}");
}

#[test]
fn a_service_that_asks_for_patience_gets_it() {
    let user = User::with(|world| world.throttle_every = Some(15));
    user.set_up();
    assert!(user.azure.requests().iter().any(|seen| seen.status == 429));
    let made = user.resources();
    assert!(made.len() >= RESOURCES, "{:#?}", made.keys());
}

#[test]
fn a_provider_that_is_not_registered_is_registered() {
    let user = User::with(|world| world.registered.clear());
    user.set_up();
    let changes = changing(&user.azure.requests());
    let registered = changes
        .iter()
        .filter(|change| change.ends_with("/register"));
    assert!(registered.count() >= 4, "{changes:?}");
}
