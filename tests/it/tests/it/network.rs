//! Training over several machines: hosts with addresses of their own, whose cables are cut and healed.

use petctl_test_it::{
    Background, Coordinator, Family, Network, RankGroup, Training, World, wait_until,
};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What the coordinators of these tests wait for a silent worker.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Rank 0 listens on MASTER_PORT, the others connect to MASTER_ADDR, and each exchanges a byte with it.
const MEET: &str = r#"python3 - << 'END' || exit 1
import os, socket, sys, time
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
if rank == 0:
    server = socket.socket(socket.AF_INET6)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("::", port))
    server.listen(64)
    met = set()
    while len(met) < world - 1:
        peer, _ = server.accept()
        met.add(peer.recv(1)[0])
        peer.sendall(bytes([world]))
else:
    until = time.monotonic() + 20
    while True:
        try:
            peer = socket.create_connection((address, port), 2)
            break
        except OSError as error:
            if time.monotonic() > until:
                sys.exit(f"rank {rank} can't reach {address} port {port}: {error}")
            time.sleep(0.05)
    peer.sendall(bytes([rank]))
    if peer.recv(1)[0] != world:
        sys.exit("that was not rank 0")
END
note met
while [ ! -e orders/end ]; do
    if [ -e "orders/$PETCTL_EPOCH.$RANK" ]; then . "./orders/$PETCTL_EPOCH.$RANK"; fi
    sleep 0.05
done
note done"#;

/// A coordinator on host 0, and workers on hosts.
struct Site<'w> {
    world: &'w World,
    network: Rc<Network>,
    coordinator: Coordinator<'w>,
    job: String,
    run: Background,
    workers: Vec<Stationed>,
}

struct Stationed {
    host: u32,
    id: String,
    process: Background,
}

impl<'w> Site<'w> {
    /// `None`, said loudly, where there can't be several hosts.
    fn open(world: &'w World, training: &Training, hosts: u32, family: Family) -> Option<Self> {
        let network = world.network(hosts, family)?;
        let coordinator = Coordinator::start_on(world, &network.host(0), "1s");
        let file = training.clone().script(MEET).write(world);
        let run = coordinator.run(&file).spawn();
        Some(Self {
            world,
            network,
            coordinator,
            job: training.name().to_owned(),
            run,
            workers: Vec::new(),
        })
    }

    /// Starts a worker that looks for the coordinator where hosts find it.
    fn station(&mut self, host: u32) {
        let address = self.coordinator.address();
        self.station_at(host, &address);
    }

    fn station_at(&mut self, host: u32, address: &str) {
        self.station_with(host, address, &[]);
    }

    fn station_with(&mut self, host: u32, address: &str, more: &[&str]) {
        let id = format!("{:032x}", fastrand::u128(1..));
        let token = self.coordinator.state().join("token");
        let here = self.network.host(host);
        let command = self.world.petctl().on(Some(&here));
        let ca_file = self.coordinator.ca_file().expect("others reach it");
        let process = command
            .args(["worker", "--coordinator", address, "--token-file"])
            .arg(token)
            .arg("--ca-file")
            .arg(ca_file)
            .args(["--name", &here.name, "--id", &id, "--job", &self.job])
            .args(more)
            .spawn();
        self.workers.push(Stationed { host, id, process });
    }

    /// Starts one after the other, so that their order is known.
    fn station_all(&mut self, hosts: &[u32]) {
        for host in hosts {
            self.station(*host);
            self.present(self.workers.len());
        }
    }

    fn present(&self, count: usize) {
        let ask = self.coordinator.ask();
        ask.status_when(
            &self.job,
            "workers that are there",
            |status| matches!(&status["workers"]["members"], Value::Array(members) if members.len() == count),
        );
    }

    fn id(&self, host: u32) -> String {
        let found = self.workers.iter().find(|worker| worker.host == host);
        found.expect("a worker was stationed there").id.clone()
    }

    /// Waits until all ranks of an epoch have met.
    fn met(&self, group: &RankGroup) {
        let epoch = format!("epoch={}", group.epoch);
        wait_until("ranks that have met", || {
            let notes = self.world.notes("met");
            let met: BTreeSet<&String> = notes
                .iter()
                .filter(|line| line.split(' ').any(|word| word == epoch))
                .collect();
            met.len() == group.ranks.len()
        });
    }

    fn save(&self, group: &RankGroup, step: u64) {
        self.world
            .order_once(group.epoch, 0, &format!("save {step}"));
        let ask = self.coordinator.ask();
        ask.status_when(&self.job, "a checkpoint", |status| {
            status["training"][0]["checkpoints"][0]["step"] == step
        });
    }

    fn end(mut self) {
        self.world.order("end", "");
        self.run.wait().exits(0);
        for worker in &mut self.workers {
            if worker.process.runs() {
                worker.process.signal(Signal::TERM);
            }
        }
        for worker in self.workers {
            worker.process.wait().exits(0);
        }
        self.coordinator.terminate();
        self.world.verify_ranks();
    }
}

fn three(name: &str) -> Training {
    Training::new(name, 2, 3).with("grow = \"now\"\nmax_restarts = 3")
}

#[test]
fn ranks_on_three_hosts_meet_at_an_address_that_all_can_reach() {
    let world = World::new();
    let Some(mut site) = Site::open(&world, &three("hosts"), 4, Family::V4) else {
        return world.finish();
    };
    site.station_all(&[1, 2, 3]);
    let group = world.group_after(0, 3);
    site.met(&group);
    assert_eq!(group.workers()[0], site.id(1), "the oldest holds rank 0");
    for rank in &group.ranks {
        assert_eq!(
            rank.field("addr"),
            site.network.host(1).address,
            "MASTER_ADDR is an address, of rank 0's host: {rank:?}"
        );
    }
    world.verify_epochs();
    site.end();
    world.finish();
}

#[test]
fn ranks_meet_where_rank_0_is_on_the_coordinators_host_and_joined_by_loopback() {
    let world = World::new();
    let Some(mut site) = Site::open(&world, &three("loopback"), 3, Family::V4) else {
        return world.finish();
    };
    site.station_at(0, "https://127.0.0.1:7370");
    site.present(1);
    site.station(1);
    site.present(2);
    site.station(2);
    let group = world.group_after(0, 3);
    assert_eq!(group.workers()[0], site.id(0), "the oldest holds rank 0");
    site.met(&group);
    for rank in &group.ranks[1..] {
        assert_eq!(rank.field("addr"), site.network.host(0).address, "{rank:?}");
    }
    world.verify_epochs();
    site.end();
    world.finish();
}

#[test]
fn ranks_meet_over_ipv6_only() {
    let world = World::new();
    let Some(mut site) = Site::open(&world, &three("six"), 3, Family::V6) else {
        return world.finish();
    };
    site.station_at(0, "https://[::1]:7370");
    site.present(1);
    site.station(1);
    site.present(2);
    site.station(2);
    let group = world.group_after(0, 3);
    site.met(&group);
    assert_eq!(
        group.ranks[1].field("addr"),
        site.network.host(0).address,
        "as torch wants it: without brackets"
    );
    world.verify_epochs();
    site.end();
    world.finish();
}

/// Ranks of older epochs that were alive beside a newer one: on this host only, and in this epoch only.
fn assert_overlaps_only(world: &World, host: &str, epoch: u64) {
    for line in world.notes("overlap") {
        let words: Vec<&str> = line.split(' ').collect();
        assert!(
            words.contains(&format!("epoch={epoch}").as_str())
                && line.ends_with(&format!("host={host}")),
            "ranks of two epochs at a time: {line}"
        );
    }
}

/// A host's cable is cut, the group goes on without it, the cable heals, and the host joins again.
fn cut_and_heal(name: &str, victim: u32) {
    let world = World::new();
    // It may see a checkpoint of the others in their folder, and tell of it in vain.
    for text in ["a worker is lost", "given up", "STALE_EPOCH"] {
        world.allow_warning(text);
    }
    let Some(mut site) = Site::open(&world, &three(name), 4, Family::V4) else {
        return world.finish();
    };
    site.station_all(&[1, 2, 3]);
    let first = world.group_after(0, 3);
    site.met(&first);
    site.save(&first, 4);

    let start = Instant::now();
    site.network.cut(victim);
    let second = world.group_after(first.epoch, 2);
    let took = start.elapsed();
    assert!(
        took < HEARTBEAT + Duration::from_secs(2),
        "the group went on after {took:?}"
    );
    assert!(
        second.of(&site.id(victim)).is_empty(),
        "the host that was cut off is not in it"
    );
    assert!(
        second.ranks.iter().all(|rank| rank.resume_step == Some(4)),
        "{second:#?}"
    );
    site.met(&second);
    site.save(&second, 7);

    site.network.heal(victim);
    let third = world.group_after(second.epoch, 3);
    site.met(&third);
    assert_eq!(third.workers()[..2], second.workers()[..]);
    assert_eq!(
        third.ranks[2].field("host"),
        site.network.host(victim).name,
        "the host that was cut off is back"
    );
    assert!(
        third.ranks.iter().all(|rank| rank.resume_step == Some(7)),
        "{third:#?}"
    );
    for rank in first.ranks.iter().chain(&second.ranks) {
        assert!(!rank.is_alive(), "an old process lives on: {rank:?}");
    }
    assert_overlaps_only(&world, &site.network.host(victim).name, second.epoch);
    site.end();
    world.finish();
}

#[test]
fn a_group_goes_on_without_a_host_whose_cable_was_cut_and_takes_it_back() {
    cut_and_heal("cut", 3);
}

#[test]
fn a_group_goes_on_without_rank_0s_host_when_its_cable_was_cut_and_takes_it_back() {
    cut_and_heal("cut-first", 1);
}

#[test]
fn training_outlasts_a_short_cut_of_the_coordinators_own_cable() {
    let world = World::new();
    for text in ["a worker is lost", "given up", "STALE_EPOCH"] {
        world.allow_warning(text);
    }
    let training = Training::new("headless-site", 2, 2).with("max_restarts = 0");
    let Some(mut site) = Site::open(&world, &training, 3, Family::V4) else {
        return world.finish();
    };
    site.station_all(&[1, 2]);
    let first = world.group_after(0, 2);
    site.met(&first);
    site.save(&first, 4);
    site.network.cut(0);
    let ask = site.coordinator.ask();
    wait_until("the coordinator to give up all workers", || {
        ask.members("headless-site").is_empty()
    });
    for rank in &first.ranks {
        assert!(rank.is_alive(), "it did not go on by itself: {rank:?}");
    }
    site.network.heal(0);
    let status = ask.status_when("headless-site", "a group of two", |status| {
        let training = &status["training"][0];
        training["phase"] == "running" && training["world_size"] == 2
    });
    let newest = world.group_after(0, 2);
    assert_eq!(
        status["training"][0]["epoch"].as_u64(),
        Some(newest.epoch),
        "{status}"
    );
    site.save(&newest, 9);
    world.verify_epochs();
    site.end();
    world.finish();
}

#[test]
fn ranks_of_a_host_that_is_cut_off_for_good_stop_by_themselves() {
    let world = World::new();
    let Some(mut site) = Site::open(&world, &three("lonely"), 4, Family::V4) else {
        return world.finish();
    };
    world.expect_warning("a worker is lost");
    site.station_all(&[1, 2]);
    let address = site.coordinator.address();
    site.station_with(3, &address, &["--patience", "2s"]);
    let first = world.group_after(0, 3);
    site.met(&first);
    site.network.cut(3);
    let second = world.group_after(first.epoch, 2);
    site.met(&second);
    // Nobody can tell it; it knows by itself that the others have gone on.
    wait_until("end of the ranks that were cut off", || {
        first.ranks.iter().all(|rank| !rank.is_alive())
    });
    let lonely = site.workers.pop().unwrap();
    lonely.process.wait().fails_with(69, "COORDINATOR_LOST");
    assert_overlaps_only(&world, &site.network.host(3).name, second.epoch);
    site.end();
    world.finish();
}
