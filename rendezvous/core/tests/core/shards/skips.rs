//! Skips travel to what needs the skipped shard, and a stage says how much of it must be really done.

use crate::jobs;
use crate::shards::harness::{self, Harness};
use petctl_core::{ConnId, EndState, Outcome, ShardState, SubmittedAs, Verdict};
use petctl_spec::{JobSpec, MinDone, Need, StageKind};

/// Three stages, shard by shard, and one that needs all of the last.
fn pipeline(shards: u64) -> JobSpec {
    let mut job = jobs::chain(shards);
    let need = |stage, per_shard| vec![Need { stage, per_shard }];
    job.stages
        .push(jobs::retried_stage("c", shards, need(1, true)));
    let mut last = jobs::retried_stage("all", 1, need(2, false));
    last.kind = StageKind::Once;
    job.stages.push(last);
    job
}

fn finish_all(harness: &mut Harness, worker: ConnId) {
    while harness.end().is_none() && !harness.leases(worker).is_empty() {
        harness.finish(worker, Outcome::Committed, 1);
    }
}

fn notices(harness: &Harness) -> Vec<String> {
    let notices = harness.view().notices.into_iter();
    notices
        .map(|n| format!("{} {}", n.code, n.message))
        .collect()
}

#[test]
fn what_needs_a_skipped_shard_is_skipped_without_running_and_says_why() {
    let mut harness = Harness::new(pipeline(3));
    let worker = harness.join("w", 1);
    harness.judge(worker, Verdict::Skipped);
    for shard in [3, 6] {
        let view = harness.shard(shard);
        assert_eq!(view.state, ShardState::Skipped);
        assert_eq!((view.attempts, view.verdict), (0, Verdict::Skipped));
        assert_eq!(view.code, "", "nothing failed");
    }
    assert_eq!(harness.shard(3).reasons, ["its input a/0 was skipped"]);
    assert_eq!(harness.shard(6).reasons, ["its input b/0 was skipped"]);
    let explained = harness.explain("0");
    assert!(explained.contains("INPUT_SKIPPED"), "{explained}");
    finish_all(&mut harness, worker);
    assert_eq!(harness.end(), Some(EndState::Succeeded));
    let view = harness.view();
    let stages = view.stages.iter().map(|s| (s.done, s.skipped));
    assert_eq!(stages.collect::<Vec<_>>(), [(3, 1), (3, 1), (3, 1), (1, 0)]);
    assert_eq!(view.summary.verdict, "10 of 10 shards done, 3 skipped");
    assert_eq!(notices(&harness), Vec::<String>::new());
}

#[test]
fn a_stage_may_run_after_skips() {
    let mut job = pipeline(2);
    job.stages[1].dispatch.run_after_skip = true;
    let mut harness = Harness::new(job);
    let worker = harness.join("w", 1);
    harness.judge(worker, Verdict::Skipped);
    assert_eq!(
        harness.stages_leased(worker)[0],
        1,
        "before what has not begun"
    );
    finish_all(&mut harness, worker);
    assert_eq!(harness.end(), Some(EndState::Succeeded));
    assert_eq!(
        harness.view().summary.verdict,
        "7 of 7 shards done, 1 skipped"
    );
}

#[test]
fn after_a_skip_that_travelled_it_may_run_too() {
    let mut job = pipeline(1);
    job.stages[2].dispatch.run_after_skip = true;
    let mut harness = Harness::new(job);
    let worker = harness.join("w", 1);
    harness.judge(worker, Verdict::Skipped);
    assert_eq!(harness.shard(1).state, ShardState::Skipped);
    assert_eq!(harness.stages_leased(worker), [2]);
    finish_all(&mut harness, worker);
    assert_eq!(harness.end(), Some(EndState::Succeeded));
}

#[test]
fn a_job_in_which_nothing_was_done_says_so() {
    let mut harness = Harness::new(pipeline(2));
    let worker = harness.join("w", 1);
    for _ in 0..2 {
        harness.judge(worker, Verdict::Skipped);
    }
    finish_all(&mut harness, worker);
    assert_eq!(harness.end(), Some(EndState::Succeeded));
    let notices = notices(&harness);
    assert_eq!(notices.len(), 3, "{notices:?}");
    assert_eq!(
        notices[0],
        "ALL_SKIPPED nothing was done in stage `a`: all of its 2 shards were skipped"
    );
    assert!(
        harness
            .view()
            .summary
            .verdict
            .ends_with("NOTHING DONE in stage c")
    );
}

/// Of ten shards so many are skipped; whether the job succeeds, and whether what needs them all ran.
fn with_skips(min_done: MinDone, skips: usize) -> (EndState, bool) {
    let mut job = jobs::chain(10);
    job.stages[0].dispatch.min_done = min_done;
    job.stages[1].kind = StageKind::Once;
    job.stages[1].needs[0].per_shard = false;
    let mut harness = Harness::new(job);
    let worker = harness.join("w", 1);
    for shard in 0..10 {
        let skip = shard < skips;
        harness.judge(
            worker,
            if skip {
                Verdict::Skipped
            } else {
                Verdict::Pass
            },
        );
    }
    let ran = !harness.leases(worker).is_empty();
    finish_all(&mut harness, worker);
    let end = harness.end().expect("it has ended");
    let failed = end == EndState::Failed;
    assert_eq!(failed, harness.shard(10).state == ShardState::Cancelled);
    let view = harness.view();
    assert_eq!(
        failed,
        view.summary.verdict.contains("TOO FEW DONE in stage a")
    );
    if failed {
        let explained = harness.explain("once");
        assert!(
            explained.contains("NEEDS_FAILED") && explained.contains("min_done"),
            "{explained}"
        );
        assert_eq!(view.notices[0].code, "TOO_FEW_DONE");
        assert!(
            view.notices[0].message.contains("stage `a`"),
            "{:?}",
            view.notices
        );
    }
    (end, ran)
}

#[test]
fn a_stage_with_too_little_really_done_fails_the_job_and_what_needs_it_does_not_run() {
    let well = (EndState::Succeeded, true);
    let ill = (EndState::Failed, false);
    assert_eq!(with_skips(MinDone::Nothing, 9), well);
    assert_eq!(with_skips(MinDone::Shards(7), 3), well);
    assert_eq!(with_skips(MinDone::Shards(7), 4), ill);
    assert_eq!(with_skips(MinDone::Ppm(500_000), 5), well);
    assert_eq!(
        with_skips(MinDone::Ppm(500_001), 5),
        ill,
        "a part of a shard counts as one"
    );
    assert_eq!(with_skips(MinDone::Shards(11), 0), ill, "fewer were listed");
}

#[test]
fn skipped_with_what_it_needs_is_not_really_done() {
    let mut job = pipeline(2);
    job.stages[2].dispatch.min_done = MinDone::Ppm(1_000_000);
    let mut harness = Harness::new(job);
    let worker = harness.join("w", 1);
    harness.judge(worker, Verdict::Skipped);
    finish_all(&mut harness, worker);
    assert_eq!(harness.end(), Some(EndState::Failed));
    assert!(notices(&harness)[0].starts_with("TOO_FEW_DONE stage `c`: 1 of 2 shards really done"));
}

#[test]
fn the_same_again_says_the_same_and_lower_demands_are_met_without_running() {
    let mut job = jobs::sharded(1, 1, 2);
    job.stages[0].dispatch.min_done = MinDone::Shards(2);
    let mut harness = Harness::new(job.clone());
    let worker = harness.join("w", 1);
    harness.judge(worker, Verdict::Skipped);
    harness.judge(worker, Verdict::Pass);
    assert_eq!(harness.end(), Some(EndState::Failed));
    harness.submit(job.clone());
    assert_eq!(harness.end(), Some(EndState::Failed));
    job.stages[0].dispatch.min_done = MinDone::Shards(1);
    let mut less = harness::submission(job);
    less.fingerprint = [1; 32];
    let submitted = harness.ask(less).unwrap();
    assert_eq!(submitted.reused, 2);
    assert_eq!(harness.end(), Some(EndState::Succeeded));
    assert!(harness.leases(worker).is_empty());
}

#[test]
fn what_was_skipped_stays_so_until_its_input_changes_or_it_may_run() {
    let keys = |input| [("a", input), ("b", 2)];
    let mut harness = Harness::with(harness::listed(jobs::chain(2), &keys(1), 1));
    let worker = harness.join("w", 1);
    harness.judge(worker, Verdict::Skipped);
    finish_all(&mut harness, worker);
    assert_eq!(harness.end(), Some(EndState::Succeeded));
    let again = harness.ask(harness::listed(jobs::chain(2), &keys(1), 1));
    assert_eq!(again.unwrap().how, SubmittedAs::Finished);
    let mut other = jobs::chain(2);
    other.stages[1].dispatch.run_after_skip = true;
    harness.ask(harness::listed(other, &keys(1), 2)).unwrap();
    assert_eq!(
        harness.stages_leased(worker),
        [1],
        "the one that was skipped"
    );
    finish_all(&mut harness, worker);
    harness
        .ask(harness::listed(jobs::chain(2), &keys(3), 3))
        .unwrap();
    assert_eq!(harness.stages_leased(worker), [0], "its input has changed");
    harness.judge(worker, Verdict::Skipped);
    assert_eq!(harness.shard(2).state, ShardState::Skipped);
    assert_eq!(harness.end(), Some(EndState::Succeeded));
}

#[test]
fn a_coordinator_that_starts_anew_knows_what_was_skipped() {
    let mut harness = Harness::new(pipeline(2));
    let worker = harness.join("w", 1);
    harness.judge(worker, Verdict::Skipped);
    harness.restart();
    let worker = harness.join("v", 1);
    finish_all(&mut harness, worker);
    assert_eq!(harness.shard(2).state, ShardState::Skipped);
    assert_eq!(harness.shard(4).state, ShardState::Skipped);
}

/// Who looks at an output knows a job by its view: counted otherwise, no look would ever be believed.
#[test]
fn how_a_job_stood_at_a_look_is_counted_as_its_view_counts() {
    let job = pipeline(3);
    let name = job.name.clone();
    let mut harness = Harness::new(job);
    let worker = harness.join("w", 1);
    harness.judge(worker, Verdict::Skipped);
    harness.finish_one(worker, Outcome::Committed, 1);
    let (seen, summary) = (harness.state().seen(&name), harness.view().summary);
    assert_eq!((seen.done, seen.job.0), (4, 1));
    assert_eq!(summary.done, seen.done);
}
