//! Nodes on machines of their own.

use super::{WAITS, column, said, torchrun};
use petctl_test_it::{Family, World};

/// Several machines: the endpoint is the first one's address, and rank 0 is where the others reach it.
fn meet_on_hosts(family: Family, at: impl Fn(&str) -> Vec<String>) {
    let world = World::new();
    world.script("wait.sh", WAITS);
    let Some(network) = world.network(3, family) else {
        return world.finish();
    };
    let address = network.host(0).address;
    let endpoint = network.host(0).bracketed();
    let flags = at(&endpoint);
    let start = |host: u32| {
        torchrun(&world)
            .args([
                "--no-python",
                "--nnodes=3",
                "--node-rank",
                &host.to_string(),
            ])
            .args(&flags)
            .arg("./wait.sh")
            .on(Some(&network.host(host)))
            .spawn()
    };
    let nodes = [start(2), start(1), start(0)];
    let first = said(&world, 3, 3);
    assert_eq!(column(&first, 0), ["0", "1", "2"]);
    let masters: std::collections::BTreeSet<&str> = column(&first, 5).into_iter().collect();
    let hosts: Vec<String> = (0..3).map(|host| network.host(host).address).collect();
    assert_eq!(masters.len(), 1, "{masters:?}");
    let master = masters
        .first()
        .unwrap()
        .rsplit_once(':')
        .unwrap()
        .0
        .to_owned();
    assert!(
        hosts.contains(&master),
        "{master} is none of {hosts:?}; the endpoint is {address}"
    );
    world.open_gate("all");
    for node in nodes {
        node.wait().exits(0);
    }
    world.finish();
}

#[test]
fn nodes_on_machines_of_their_own_meet_at_the_endpoint() {
    meet_on_hosts(Family::V4, |endpoint| {
        let endpoint = format!("--rdzv-endpoint={endpoint}:29400");
        vec![
            "--rdzv-backend=c10d".to_owned(),
            "--rdzv-id=far".to_owned(),
            endpoint,
        ]
    });
}

#[test]
fn machines_with_ipv6_only_meet_too() {
    meet_on_hosts(Family::V6, |endpoint| {
        let endpoint = format!("--rdzv-endpoint={endpoint}");
        vec!["--rdzv-backend=c10d".to_owned(), endpoint]
    });
}

#[test]
fn static_nodes_on_machines_of_their_own_meet_at_the_master() {
    meet_on_hosts(Family::V4, |endpoint| {
        vec![
            format!("--master-addr={endpoint}"),
            "--master-port=29500".to_owned(),
        ]
    });
}
