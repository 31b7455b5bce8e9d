//! How long a coordinator that starts again waits for the workers of before.

use crate::jobs::sharded;
use crate::shards::harness::{self, Harness};
use petctl_core::{ConnId, Outcome, ToWorker};

/// As many workers as shards, each of which runs one; then the coordinator starts again.
fn at_work(workers: usize) -> (Harness, Vec<(String, ConnId)>) {
    let size = u32::try_from(workers).expect("few");
    let mut harness = Harness::new(sharded(1, size, u64::from(size)));
    let names = (0..workers).map(|n| format!("w{n}"));
    let all: Vec<(String, ConnId)> = names
        .map(|name| (name.clone(), harness.join(&name, 1)))
        .collect();
    for (name, worker) in &all {
        assert_eq!(harness.leases(*worker).len(), 1, "{name}");
    }
    harness.restart();
    (harness, all)
}

fn returns(harness: &mut Harness, (name, worker): &(String, ConnId)) -> (ConnId, bool) {
    let back = harness.come_back(*worker, harness::hello(name));
    let keeps = |told: &ToWorker| matches!(told, ToWorker::Welcome { kept, .. } if kept.len() == 1);
    let kept = harness.heard(back).iter().any(keeps);
    (back, kept)
}

#[test]
fn whoever_comes_back_late_keeps_its_shard_as_long_as_others_still_come() {
    let (mut harness, workers) = at_work(5);
    for worker in &workers {
        harness.wait(4_000);
        let (back, kept) = returns(&mut harness, worker);
        assert!(kept, "{worker:?}");
        harness.finish(back, Outcome::Committed, 10);
    }
    for index in 0..5 {
        assert_eq!(harness.shard(index).attempts, 1, "{index}");
    }
    assert!(harness.end().is_some());
}

#[test]
fn who_does_not_come_back_is_given_up_5_s_after_the_last_that_did() {
    let (mut harness, workers) = at_work(2);
    harness.wait(4_000);
    let (back, kept) = returns(&mut harness, &workers[0]);
    assert!(kept);
    harness.finish(back, Outcome::Committed, 10);
    harness.wait(4_000);
    assert_eq!(harness.leases(back), [], "the other one may come");
    harness.wait(1_000);
    assert_eq!(harness.leases(back).len(), 1);
}

#[test]
fn nobody_is_waited_for_longer_than_a_minute() {
    let (mut harness, workers) = at_work(20);
    let mut last = None;
    for worker in &workers[..14] {
        harness.wait(4_000);
        let (back, kept) = returns(&mut harness, worker);
        assert!(kept, "{worker:?}");
        last = Some(back);
    }
    let last = last.expect("some came");
    harness.finish(last, Outcome::Committed, 10);
    harness.wait(3_000);
    assert_eq!(harness.leases(last), [], "59 s");
    harness.wait(1_000);
    assert!(!harness.leases(last).is_empty(), "60 s");
}
