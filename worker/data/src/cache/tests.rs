use super::*;

fn want(name: &str, bytes: u64) -> Want<()> {
    version(name, "1", bytes)
}

fn version(name: &str, version: &str, bytes: u64) -> Want<()> {
    Want {
        path: name.into(),
        version: version.to_owned(),
        bytes,
        source: (),
    }
}

/// `evict a, fetch b, ready 1`.
fn text(steps: Vec<Step<()>>) -> String {
    let said = steps.into_iter().map(|step| match step {
        Step::Evict(path) => format!("evict {}", path.display()),
        Step::Fetch { path, .. } => format!("fetch {}", path.display()),
        Step::Ready(lease) => format!("ready {lease}"),
        Step::TooLarge { lease, bytes } => format!("{lease} is too large: {bytes}"),
    });
    said.collect::<Vec<_>>().join(", ")
}

fn cache(limit: u64) -> InputCache<()> {
    InputCache::new(limit)
}

impl InputCache<()> {
    fn ask(&mut self, lease: u64, wants: Vec<Want<()>>) -> String {
        self.enqueue(lease);
        text(self.plan(lease, wants))
    }

    fn check(&self) {
        let used: u64 = self.entries.values().map(|entry| entry.bytes).sum();
        let idle: u64 = self
            .entries
            .values()
            .filter(|entry| entry.pins == 0 && entry.whole)
            .map(|entry| entry.bytes)
            .sum();
        assert_eq!((self.used, self.idle_bytes), (used, idle));
    }
}

#[test]
fn two_that_want_the_same_cost_one_download() {
    let mut cache = cache(100);
    assert_eq!(cache.ask(1, vec![want("a", 10)]), "fetch a");
    assert_eq!(cache.ask(2, vec![want("a", 10)]), "");
    assert_eq!(text(cache.fetched(Path::new("a"))), "ready 1, ready 2");
    assert_eq!(cache.ask(3, vec![want("a", 10)]), "ready 3");
    cache.check();
}

#[test]
fn what_is_pinned_stays_and_the_least_recently_used_goes() {
    let mut cache = cache(30);
    for (lease, name) in [(1, "a"), (2, "b"), (3, "c")] {
        cache.ask(lease, vec![want(name, 10)]);
        cache.fetched(Path::new(name));
    }
    cache.release(2);
    cache.release(3);
    // b was used again after c.
    cache.ask(4, vec![want("b", 10)]);
    cache.release(4);
    assert_eq!(cache.ask(5, vec![want("d", 10)]), "evict c, fetch d");
    assert_eq!(cache.ask(6, vec![want("e", 10)]), "evict b, fetch e");
    assert_eq!(
        cache.ask(7, vec![want("f", 10)]),
        "",
        "a, d and e are in use"
    );
    assert_eq!(text(cache.release(1)), "evict a, fetch f");
    cache.check();
}

#[test]
fn nobody_overtakes_so_that_a_large_one_gets_its_room() {
    let mut cache = cache(30);
    cache.ask(1, vec![want("a", 20)]);
    cache.fetched(Path::new("a"));
    assert_eq!(cache.ask(2, vec![want("large", 30)]), "");
    assert_eq!(cache.ask(3, vec![want("small", 1)]), "");
    assert_eq!(text(cache.release(1)), "evict a, fetch large");
    cache.fetched(Path::new("large"));
    assert_eq!(text(cache.release(2)), "evict large, fetch small");
    cache.check();
}

#[test]
fn the_order_is_that_of_the_queue_and_not_of_the_answers() {
    let mut cache = cache(10);
    cache.enqueue(1);
    cache.enqueue(2);
    assert_eq!(text(cache.plan(2, vec![want("b", 10)])), "");
    assert_eq!(text(cache.plan(1, vec![want("a", 10)])), "fetch a");
    cache.fetched(Path::new("a"));
    assert_eq!(text(cache.release(1)), "evict a, fetch b");
    assert_eq!(
        text(cache.plan(9, vec![want("c", 1)])),
        "",
        "not in the queue"
    );
    cache.check();
}

#[test]
fn what_can_never_fit_is_refused_and_holds_nobody_up() {
    let mut cache = cache(10);
    assert_eq!(
        cache.ask(1, vec![want("a", 6), want("b", 5)]),
        "1 is too large: 11"
    );
    assert_eq!(
        cache.ask(2, vec![want("a", 6), want("a", 6)]),
        "fetch a",
        "once, since it is one thing"
    );
    cache.check();
}

#[test]
fn a_failed_download_fails_all_that_waited_for_it_and_is_tried_again_by_the_next() {
    let mut cache = cache(10);
    cache.ask(1, vec![want("a", 5), want("b", 5)]);
    cache.ask(2, vec![want("a", 5)]);
    cache.enqueue(3);
    assert_eq!(text(cache.plan(3, vec![want("c", 5)])), "");
    let (failed, steps) = cache.failed(Path::new("a"));
    assert_eq!((failed, text(steps)), (vec![1, 2], "fetch c".to_owned()));
    // b comes late, and nobody wants it.
    assert_eq!(text(cache.fetched(Path::new("b"))), "");
    assert_eq!(cache.ask(4, vec![want("a", 5)]), "evict b, fetch a");
    cache.check();
}

#[test]
fn another_version_waits_until_the_old_one_is_out_of_use() {
    let mut cache = cache(100);
    cache.ask(1, vec![version("a", "1", 10)]);
    cache.fetched(Path::new("a"));
    assert_eq!(cache.ask(2, vec![version("a", "2", 12)]), "");
    assert_eq!(text(cache.release(1)), "evict a, fetch a");
    cache.check();
}

#[test]
fn own_outputs_are_kept_while_there_is_room() {
    let mut cache = cache(20);
    assert!(cache.keep(Path::new("x"), "7", 15).0);
    let (kept, steps) = cache.keep(Path::new("y"), "8", 15);
    assert_eq!((kept, text(steps)), (true, "evict x".to_owned()));
    assert_eq!(cache.ask(1, vec![version("y", "8", 15)]), "ready 1");
    assert!(!cache.keep(Path::new("z"), "9", 15).0, "y is in use");
    assert!(!cache.keep(Path::new("y"), "9", 1).0, "y is in use");
    cache.release(1);
    assert_eq!(text(cache.clear_idle()), "evict y");
    cache.check();
}

#[test]
fn a_lease_that_is_withdrawn_frees_its_place() {
    let mut cache = cache(10);
    cache.enqueue(1);
    cache.enqueue(2);
    cache.plan(2, vec![want("b", 10)]);
    assert_eq!(text(cache.release(1)), "fetch b");
    assert_eq!(text(cache.release(2)), "", "still under way");
    assert_eq!(text(cache.fetched(Path::new("b"))), "");
    assert_eq!(text(cache.set_limit(5)), "evict b");
    cache.check();
}

#[test]
fn a_folder_that_is_gone_is_forgotten() {
    let mut cache = cache(10);
    cache.keep(Path::new("/s/job/a"), "1", 5);
    cache.keep(Path::new("/s/jobs/a"), "1", 5);
    cache.forget_below(Path::new("/s/job"));
    assert_eq!(cache.ask(1, vec![want("/s/jobs/a", 5)]), "ready 1");
    assert_eq!(cache.ask(2, vec![want("/s/job/a", 5)]), "fetch /s/job/a");
    cache.check();
}
