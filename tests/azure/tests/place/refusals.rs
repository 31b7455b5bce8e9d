//! What Azure refuses, in the words of the user.

use crate::harness::{User, changing};
use petctl_test_azure::{CLIENT, Client, SECRET, SUBSCRIPTION, World};
use serde_json::json;

const SETUP: &str = "setup --only azure --yes";

fn with(change: impl FnOnce(&mut World)) -> User {
    User::with(change)
}

fn region(world: &mut World) -> &mut petctl_test_azure::Region {
    world.regions.get_mut("westeurope").expect("the region")
}

#[test]
fn a_name_that_somebody_else_has_is_said_so() {
    for name in ["avsdata1", "avsimages1"] {
        let user = with(|world| {
            world.taken.insert(name.to_owned());
        });
        user.run(SETUP).refused(
            78,
            "AZURE_NAME_TAKEN",
            &[name, "unique in the whole of Azure"],
        );
    }
}

#[test]
fn a_quota_is_named_with_its_numbers_and_the_form() {
    let user = with(|world| {
        region(world)
            .quota
            .insert("lowPriorityCores".to_owned(), (0, 0));
    });
    // A pool that may have none now asks for none; so with a node at least.
    user.write_place(|text| text.replace("max = 8, spot", "min = 1, max = 8, spot"));
    user.run(SETUP)
        .refused(75, "AZURE_QUOTA", &["lowPriorityCores", "portal.azure.com"]);
}

#[test]
fn no_capacity_is_told_with_the_ways_out() {
    for code in ["AllocationFailed", "OverconstrainedAllocationRequest"] {
        let user = with(|world| {
            world
                .capacity
                .insert("Standard_NC4as_T4_v3".to_owned(), code.to_owned());
        });
        user.write_place(|text| text.replace("max = 8, spot", "min = 1, max = 8, spot"));
        user.run(SETUP).refused(
            75,
            "AZURE_NO_CAPACITY",
            &["node pool t4", "another size, another region"],
        );
    }
}

#[test]
fn a_size_that_the_region_has_not_is_a_matter_of_settings() {
    let user = with(|world| {
        region(world).sizes.remove("Standard_NC4as_T4_v3");
    });
    user.run(SETUP)
        .refused(78, "AZURE_REFUSED", &["Standard_NC4as_T4_v3"]);
}

#[test]
fn a_missing_right_is_named_with_the_role_and_the_command() {
    for (roles, words) in [
        (
            &["Reader"][..],
            &["--role 'Contributor'", "az role assignment create"][..],
        ),
        (
            &["Contributor"][..],
            &[
                "--role 'Role Based Access Control Administrator'",
                "az role assignment create",
            ][..],
        ),
    ] {
        let user = with(|world| {
            world
                .clients
                .insert(CLIENT.to_owned(), Client::with_roles(SECRET, roles));
        });
        user.run(SETUP).refused(77, "AZURE_RIGHT_MISSING", words);
    }
}

#[test]
fn a_right_that_takes_its_time_is_waited_for() {
    let user = with(|world| world.role_lag = std::time::Duration::from_secs(2));
    user.set_up();
}

#[test]
fn a_subscription_that_is_disabled_or_not_there_is_said_so() {
    let user = with(|world| world.subscription_state = "Disabled".to_owned());
    user.run(SETUP)
        .refused(77, "AZURE_SIGN_IN", &["az account list"]);
    let user = User::new();
    user.write_place(|text| text.replace(SUBSCRIPTION, "00000000-0000-0000-0000-000000000000"));
    user.run(SETUP)
        .refused(77, "AZURE_SIGN_IN", &["subscription"]);
}

#[test]
fn a_lock_keeps_what_it_is_set_on_and_is_named() {
    let user = User::new();
    user.set_up();
    let group = format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/avs");
    user.azure.put(
        &format!("{group}/providers/Microsoft.Authorization/locks/keep"),
        json!({ "properties": { "level": "CanNotDelete" } }),
    );
    let before = user.resources().len();
    user.run("delete-resources --yes")
        .refused(77, "AZURE_LOCKED", &["az lock list"]);
    assert_eq!(user.resources().len(), before);
}

#[test]
fn what_can_not_be_changed_is_refused_before_anything_is() {
    let user = User::new();
    user.set_up();
    for (from, to, words) in [
        (
            "max = 8, spot = true",
            "max = 8",
            &["node pool t4", "scaleSetPriority"][..],
        ),
        (
            "Standard_NC24ads_A100_v4",
            "Standard_NC48ads_A100_v4",
            &["node pool a100", "vmSize"][..],
        ),
        ("westeurope", "eastus", &["location"][..]),
    ] {
        user.write_place(|text| text.replace(from, to));
        user.azure.forget_requests();
        user.run(SETUP).refused(78, "AZURE_REPLACE", words);
        assert_eq!(changing(&user.azure.requests()), Vec::<String>::new());
    }
}

#[test]
fn names_that_azure_would_refuse_are_refused_without_asking() {
    for (from, to, words) in [
        (
            "avsdata1",
            "Avs-Data",
            &["storage account", "small letters"][..],
        ),
        ("name = \"t4\"", "name = \"T4-pool\"", &["pool"][..]),
        (
            "max = 8, spot",
            "min = 9, max = 8, spot",
            &["9 to 8 nodes"][..],
        ),
        ("https://localhost", "http://localhost", &["https"][..]),
    ] {
        let user = User::new();
        user.write_place(|text| text.replace(from, to));
        user.run(SETUP).refused(78, "BAD_PLACE", words);
        assert_eq!(
            user.azure
                .requests()
                .iter()
                .filter(|seen| !seen.path.ends_with("/token"))
                .count(),
            0
        );
    }
}

#[test]
fn a_place_that_says_nothing_of_azure_is_told_so() {
    let user = User::new();
    user.write_place(|text| {
        text.split("[place.gpu.azure]")
            .next()
            .expect("a place")
            .to_owned()
    });
    for line in [
        "setup --only azure",
        "delete-resources",
        "setup --adopt",
        "setup --rg avs",
    ] {
        user.run(line)
            .refused(78, "BAD_PLACE", &["[place.gpu.azure]"]);
    }
}

#[test]
fn nobody_says_yes_where_nobody_is_asked() {
    let user = User::new();
    user.run("setup --only azure")
        .refused(2, "NOT_CONFIRMED", &["--yes"]);
    user.set_up();
    let before = user.resources();
    user.run("delete-resources")
        .refused(2, "NOT_CONFIRMED", &["--yes"]);
    assert_eq!(user.resources(), before);
}
