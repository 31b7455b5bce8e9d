//! GPUs are handed out device by device.

use crate::jobs;
use crate::shards::harness::Harness;
use petctl_core::{ConnId, GpuShare, Hello, Outcome};

fn job(milli: u32) -> petctl_spec::JobSpec {
    let mut job = jobs::sharded(1, 1, 8);
    job.stages[0].dispatch.gpu_milli = milli;
    job
}

fn with_gpus(harness: &mut Harness, gpus: u32) -> ConnId {
    harness.hello(hello(gpus))
}

fn hello(gpus: u32) -> Hello {
    Hello {
        name: "w".to_owned(),
        slots: 8,
        gpus,
        ..Hello::default()
    }
}

fn shares(harness: &Harness, worker: ConnId) -> Vec<Vec<(u32, u32)>> {
    let grants = harness.grants(worker).iter();
    grants
        .map(|g| g.gpus.iter().map(|s| (s.device, s.milli)).collect())
        .collect()
}

#[test]
fn each_attempt_has_its_own_devices() {
    let mut harness = Harness::new(job(1_000));
    let worker = with_gpus(&mut harness, 2);
    assert_eq!(shares(&harness, worker), [[(0, 1_000)], [(1, 1_000)]]);
    harness.finish_one(worker, Outcome::Committed, 60_000);
    assert_eq!(shares(&harness, worker), [[(1, 1_000)], [(0, 1_000)]]);
}

#[test]
fn parts_of_a_device_are_filled_up_before_the_next_one_is_begun() {
    let mut harness = Harness::new(job(400));
    let worker = with_gpus(&mut harness, 2);
    let devices: Vec<u32> = shares(&harness, worker).iter().map(|s| s[0].0).collect();
    assert_eq!(devices, [0, 0, 1, 1], "two of 0.4 fit on each");
}

#[test]
fn a_worker_without_enough_devices_gets_none_and_the_status_says_why() {
    let mut harness = Harness::new(job(2_000));
    let worker = with_gpus(&mut harness, 1);
    assert!(harness.leases(worker).is_empty());
    let waiting = harness.waiting();
    assert!(
        waiting.contains("NO_WORKER_FITS") && waiting.contains("2 GPUs"),
        "{waiting}"
    );
}

#[test]
fn claims_take_their_devices_back() {
    let mut harness = Harness::new(job(1_000));
    let worker = with_gpus(&mut harness, 2);
    harness.finish_one(worker, Outcome::Committed, 60_000);
    harness.give_back_one(worker);
    let kept: Vec<GpuShare> = harness.grants(worker)[0].gpus.clone();
    harness.restart();
    let back = harness.come_back(worker, hello(2));
    let shares = shares(&harness, back);
    assert_eq!(shares[0], [(kept[0].device, 1_000)]);
    assert_eq!(shares[1], [(1 - kept[0].device, 1_000)]);
}
