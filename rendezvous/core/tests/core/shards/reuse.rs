//! What an earlier version of a job has done need not be done again.

use crate::jobs;
use crate::shards::harness::{self, Harness};
use petctl_core::{
    EndState, FoundOutputs, LeaseId, Outcome, Rerun, RerunCause, ShardState, StageOutputs,
    Submitted, SubmittedAs,
};
use petctl_spec::{ShardDetail, StageKind};
use std::time::Instant;

const KEYS: [(&str, u8); 3] = [("a", 1), ("b", 2), ("c", 3)];

/// A job of listed shards, all done.
fn done(spec: petctl_spec::JobSpec) -> Harness {
    let mut harness = Harness::with(harness::listed(spec, &KEYS, 1));
    let worker = harness.join("w", 4);
    while harness.end().is_none() {
        harness.finish(worker, Outcome::Committed, 50);
    }
    harness
}

fn causes(submitted: &Submitted) -> Vec<(u32, RerunCause, Vec<&str>)> {
    let reruns = submitted.reruns.iter();
    let keys = |r: &'_ petctl_core::RerunReason| r.keys.len();
    reruns
        .inspect(|r| assert_eq!(keys(r) as u64, r.shards))
        .map(|r| {
            (
                r.stage,
                r.cause,
                r.keys.iter().map(String::as_str).collect(),
            )
        })
        .collect()
}

#[test]
fn only_what_changed_runs_again_and_what_needs_it() {
    let mut harness = done(jobs::chain(3));
    let first_lease = harness.state().jobs.values().next().unwrap().first_lease;
    let changed = [("a", 1), ("b", 9), ("d", 4), ("c", 3)];
    let submitted = harness
        .ask(harness::listed(jobs::chain(3), &changed, 2))
        .unwrap();
    assert_eq!((submitted.how, submitted.reused), (SubmittedAs::Retried, 4));
    assert_eq!(
        causes(&submitted),
        [
            (0, RerunCause::New, vec!["d"]),
            (0, RerunCause::Input, vec!["b"]),
            (1, RerunCause::New, vec!["d"]),
            (1, RerunCause::Needs, vec!["b"]),
        ]
    );
    let shards: Vec<_> = (0..4).map(|n| harness.shard(n)).collect();
    assert_eq!(
        shards.iter().map(|s| s.reused).collect::<Vec<_>>(),
        [true, false, false, true]
    );
    assert_eq!(shards[3].worker, "w", "names go over too");
    let stage = &harness.view().stages[0];
    assert_eq!((stage.reused, stage.done), (2, 2));
    // What stands of the old version is replaced, never adopted.
    let new = harness.state().jobs.values().next().unwrap().first_lease;
    assert!(new > first_lease);
    let grant = &harness.grants(petctl_core::ConnId(1))[0];
    assert!(grant.fence && grant.replaces_below == new);
    assert!(grant.lease >= new && shards[0].lease < new);
}

#[test]
fn outputs_of_an_earlier_version_never_count_as_new() {
    let mut harness = done(jobs::sharded(1, 1, 3));
    let old = harness.shard(0).lease;
    // It was asked to run again: not even outputs that are made of the same stand for its own.
    let mut again = harness::listed(jobs::sharded(1, 1, 3), &KEYS, 1);
    again.rerun = Rerun::All;
    harness.ask(again).unwrap();
    assert!(harness.grants(petctl_core::ConnId(1))[0].fresh);
    harness.adopt(petctl_core::ConnId(1), old);
    let shard = harness.shard(0);
    assert_eq!(
        (shard.state, shard.code.as_str()),
        (ShardState::Backoff, "STALE_OUTPUT")
    );
}

#[test]
fn outputs_of_before_that_were_brought_back_count_where_it_is_known_what_they_are_made_of() {
    let mut harness = done(jobs::sharded(1, 1, 3));
    let old = harness.shard(0).lease;
    let changed = KEYS.map(|(key, _)| (key, 9));
    harness
        .ask(harness::listed(jobs::sharded(1, 1, 3), &changed, 2))
        .unwrap();
    assert!(harness.grants(petctl_core::ConnId(1))[0].content.is_some());
    harness.adopt(petctl_core::ConnId(1), old);
    let shard = harness.shard(0);
    assert_eq!((shard.state, shard.lease), (ShardState::Done, old));
}

#[test]
fn a_stage_that_needs_another_as_a_whole_runs_again_when_any_of_it_does_or_goes() {
    let whole = || {
        let mut job = jobs::chain(3);
        job.stages[1].kind = StageKind::Once;
        job.stages[1].needs[0].per_shard = false;
        job
    };
    let submit = |keys: &[(&str, u8)]| {
        let mut submission = harness::listed(whole(), keys, 2);
        submission.spec = {
            let mut spec = whole();
            spec.stages[0].kind = submission.spec.stages[0].kind.clone();
            spec
        };
        submission.keys[1].clear();
        submission
    };
    let first = || {
        let mut submission = submit(&KEYS);
        submission.fingerprint = [1; 32];
        let mut harness = Harness::with(submission);
        let worker = harness.join("w", 4);
        while harness.end().is_none() {
            harness.finish(worker, Outcome::Committed, 50);
        }
        harness
    };
    let fewer = first().ask(submit(&KEYS[..2])).unwrap();
    assert_eq!(causes(&fewer), [(1, RerunCause::Needs, vec!["once"])]);
    assert_eq!(fewer.dropped, [("a".to_owned(), "c".to_owned())]);
    let same = first().ask(submit(&KEYS)).unwrap();
    assert_eq!((same.how, same.reused), (SubmittedAs::Finished, 4));
    assert!(same.reruns.is_empty());
}

/// All outputs of the job of [`done`], found as they were committed.
fn found(harness: &Harness, stages: u32) -> Vec<StageOutputs> {
    let view = |stage: u32, shard: u32| harness.shard((stage * 3 + shard) as usize);
    let of_stage = |stage| StageOutputs {
        unknown: false,
        found: (0..3)
            .map(|shard| FoundOutputs {
                shard,
                files: view(stage, shard).files,
                bytes: view(stage, shard).bytes,
                made: None,
            })
            .collect(),
    };
    (0..stages).map(of_stage).collect()
}

#[test]
fn what_is_done_and_not_at_the_output_runs_again_with_what_needs_it() {
    let again = |change: &dyn Fn(&mut Vec<StageOutputs>)| {
        let mut harness = done(jobs::chain(3));
        let mut submission = harness::listed(jobs::chain(3), &KEYS, 1);
        submission.outputs = found(&harness, 2);
        submission.seen = harness.state().seen(&submission.spec.name);
        change(&mut submission.outputs);
        let submitted = harness.ask(submission).unwrap();
        (submitted, harness)
    };
    let (all_there, harness) = again(&|_| {});
    assert_eq!(
        (all_there.how, all_there.reused),
        (SubmittedAs::Finished, 6)
    );
    assert_eq!(harness.end(), Some(EndState::Succeeded));
    // Another attempt's data beside it hides nothing.
    let (beside, _) = again(&|outputs| {
        let mut other = outputs[1].found[2].clone();
        other.files += 1;
        outputs[1].found.push(other);
    });
    assert_eq!(beside.how, SubmittedAs::Finished);
    let (unknown, _) = again(&|outputs| {
        outputs[1] = StageOutputs {
            unknown: true,
            found: Vec::new(),
        };
    });
    assert_eq!(unknown.how, SubmittedAs::Finished);

    let (one_gone, mut harness) = again(&|outputs| {
        outputs[0].found.remove(1);
    });
    assert_eq!((one_gone.how, one_gone.reused), (SubmittedAs::Retried, 4));
    assert_eq!(
        causes(&one_gone),
        [
            (0, RerunCause::Missing, vec!["b"]),
            (1, RerunCause::Needs, vec!["b"]),
        ]
    );
    assert_eq!(harness.end(), None);
    let worker = petctl_core::ConnId(1);
    assert!(!harness.grants(worker)[0].fresh, "it may wait aside");
    for _ in 0..2 {
        harness.finish(worker, Outcome::Committed, 50);
    }
    assert_eq!(harness.end(), Some(EndState::Succeeded));

    let (cut, harness) = again(&|outputs| outputs[1].found[2].bytes += 1);
    assert_eq!(causes(&cut), [(1, RerunCause::Missing, vec!["c"])]);
    assert!(
        harness.grants(worker)[0].fresh,
        "half of it stands for nothing"
    );
    let (none, _) = again(&|outputs| outputs[1].found.clear());
    assert_eq!(
        causes(&none),
        [(1, RerunCause::Missing, vec!["a", "b", "c"])]
    );
}

#[test]
fn a_look_at_the_output_from_before_what_runs_was_committed_counts_for_nothing() {
    let mut harness = Harness::with(harness::listed(jobs::chain(3), &KEYS, 1));
    let worker = harness.join("w", 1);
    harness.finish(worker, Outcome::Committed, 50);
    assert_eq!(harness.running(), 1);
    let mut submission = harness::listed(jobs::chain(3), &KEYS, 1);
    submission.outputs = vec![StageOutputs::default(); 2];
    submission.seen = harness.state().seen(&submission.spec.name);
    let submitted = harness.ask(submission).unwrap();
    assert_eq!((submitted.how, submitted.reused), (SubmittedAs::Resumed, 1));
    assert!(
        submitted
            .reruns
            .iter()
            .all(|rerun| rerun.cause == RerunCause::New)
    );
    assert_eq!(harness.running(), 1);
}

#[test]
fn a_job_of_which_all_is_reused_has_succeeded_at_once() {
    let mut harness = done(jobs::sharded(1, 1, 3));
    harness
        .ask(harness::listed(jobs::sharded(1, 1, 3), &KEYS[1..], 2))
        .unwrap();
    assert_eq!(harness.end(), Some(EndState::Succeeded));
}

#[test]
fn the_first_reason_is_named() {
    let mut harness = done(jobs::sharded(1, 1, 3));
    let mut submission = harness::listed(jobs::sharded(1, 1, 3), &KEYS, 2);
    submission.plan_only = true;
    submission.contents[0].stage.command = [9; 16];
    submission.contents[0].shards[0].params = [9; 16];
    let plan = |harness: &mut Harness, submission: &petctl_core::Submission| {
        let answer = harness.ask(submission.clone()).unwrap();
        causes(&answer)[0].1
    };
    assert_eq!(plan(&mut harness, &submission), RerunCause::Command);
    submission.contents[0].stage.code = [9; 16];
    assert_eq!(plan(&mut harness, &submission), RerunCause::Code);
    submission.contents[0].stage.image = [9; 16];
    assert_eq!(plan(&mut harness, &submission), RerunCause::Image);
    submission.rerun = Rerun::All;
    assert_eq!(plan(&mut harness, &submission), RerunCause::Asked);
    submission.rerun = Rerun::Keys("[ab]".to_owned());
    submission.contents = harness::listed(jobs::sharded(1, 1, 3), &KEYS, 2).contents;
    let answer = harness.ask(submission).unwrap();
    assert_eq!(causes(&answer), [(0, RerunCause::Asked, vec!["a", "b"])]);
    assert_eq!(harness.state().last_job.0, 1, "a plan changes nothing");
}

#[test]
fn a_plan_for_a_job_that_is_not_there_is_all_new() {
    let mut harness = done(jobs::sharded(1, 1, 3));
    let mut submission = harness::listed(jobs::sharded(1, 1, 3), &KEYS, 2);
    submission.spec.name = "other".to_owned();
    submission.plan_only = true;
    let answer = harness.ask(submission).unwrap();
    assert_eq!(answer.how, SubmittedAs::New);
    assert_eq!(causes(&answer), [(0, RerunCause::New, vec!["a", "b", "c"])]);
}

#[test]
fn a_job_with_leases_out_is_not_replaced_and_one_without_is() {
    let mut harness = Harness::with(harness::listed(jobs::sharded(1, 1, 3), &KEYS, 1));
    let worker = harness.join("w", 1);
    harness.finish_one(worker, Outcome::Committed, 5);
    let next = harness::listed(jobs::sharded(1, 1, 3), &[("a", 1), ("b", 9), ("c", 3)], 2);
    let refused = harness.ask(next.clone()).unwrap_err();
    assert_eq!(refused.code.as_str(), "JOB_RUNNING");
    harness.suspend();
    harness.finish(worker, Outcome::Returned, 0);
    assert_eq!(harness.ask(next).unwrap().reused, 1);
    let assigned = harness.grants(worker);
    assert_eq!(assigned.len(), 1, "its worker goes over: {assigned:?}");
    harness.finish(worker, Outcome::Committed, 5);
    harness.finish(worker, Outcome::Committed, 5);
    assert_eq!(harness.end(), Some(EndState::Succeeded));
}

#[test]
fn rerun_failed_takes_what_did_not_pass_its_checks_too() {
    let mut harness = Harness::with(harness::listed(jobs::sharded(1, 1, 3), &KEYS, 1));
    let worker = harness.join("w", 3);
    harness.judge(worker, petctl_core::Verdict::Fail);
    harness.finish(worker, Outcome::Committed, 5);
    assert_eq!(harness.end(), Some(EndState::Failed));
    let mut again = harness::listed(jobs::sharded(1, 1, 3), &KEYS, 1);
    assert_eq!(
        harness.ask(again.clone()).unwrap().how,
        SubmittedAs::Finished
    );
    again.rerun = Rerun::Failed;
    let answer = harness.ask(again).unwrap();
    assert_eq!(answer.reused, 2);
    assert_eq!(causes(&answer), [(0, RerunCause::Asked, vec!["a"])]);
    assert_eq!(harness.shard(0).state, ShardState::Running);
}

#[test]
fn a_submission_without_contents_replaces_nothing() {
    let mut harness = done(jobs::sharded(1, 1, 3));
    let mut submission = harness::listed(jobs::sharded(1, 1, 3), &KEYS, 2);
    submission.contents = Vec::new();
    let refused = harness.ask(submission).unwrap_err();
    assert_eq!(refused.code.as_str(), "JOB_EXISTS");
}

#[test]
fn details_travel_with_leases_and_the_longest_go_first() {
    let mut submission = harness::listed(jobs::sharded(1, 1, 3), &KEYS, 1);
    submission.details = vec![
        [10, 30, 20]
            .map(|ms| ShardDetail {
                expected_ms: Some(ms),
                ..ShardDetail::default()
            })
            .to_vec(),
    ];
    let mut harness = Harness::with(submission);
    let worker = harness.join("w", 1);
    let mut order = Vec::new();
    while harness.end().is_none() {
        let grant = &harness.grants(worker)[0];
        let detail = grant.detail.as_ref().unwrap();
        order.push((grant.key.clone(), detail.expected_ms.unwrap()));
        harness.finish_one(worker, Outcome::Committed, 60_000);
    }
    let order: Vec<_> = order.iter().map(|(k, ms)| (k.as_str(), *ms)).collect();
    assert_eq!(order, [("b", 30), ("c", 20), ("a", 10)]);
}

#[test]
fn the_last_runs_times_tell_what_is_longest() {
    let mut harness = Harness::with(harness::listed(jobs::sharded(1, 1, 3), &KEYS, 1));
    let worker = harness.join("w", 1);
    for ms in [60_001, 60_003, 60_002] {
        harness.finish_one(worker, Outcome::Committed, ms);
    }
    let changed = KEYS.map(|(key, _)| (key, 9));
    harness
        .ask(harness::listed(jobs::sharded(1, 1, 3), &changed, 2))
        .unwrap();
    assert_eq!(harness.grants(worker)[0].key, "b");
}

#[test]
fn a_hundred_thousand_unchanged_shards_are_decided_at_once() {
    const SHARDS: usize = 100_000;
    let keys: Vec<String> = (0..SHARDS).map(|n| format!("drive/{n:06}.bag")).collect();
    let keys: Vec<(&str, u8)> = keys.iter().map(|key| (key.as_str(), 1)).collect();
    let mut harness = Harness::with(harness::listed(jobs::sharded(1, 1, 3), &keys, 1));
    let worker = harness.join("w", 1_024);
    while harness.end().is_none() {
        harness.finish(worker, Outcome::Committed, 1);
    }
    // One more before all others: no key is in its old place.
    let mut more = vec![("another", 1)];
    more.extend(&keys);
    let submission = harness::listed(jobs::sharded(1, 1, 3), &more, 2);
    let start = Instant::now();
    let answer = harness.ask(submission).unwrap();
    assert_eq!(answer.reused, SHARDS as u64);
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}

#[test]
fn a_lease_of_a_job_that_follows_none_replaces_nothing_of_its_own() {
    let mut harness = Harness::new(jobs::sharded(1, 1, 2));
    let worker = harness.join("w", 1);
    let grant = &harness.grants(worker)[0];
    assert!(!grant.fence && grant.replaces_below <= grant.lease);
    assert_ne!(grant.lease, LeaseId(0));
}

#[test]
fn a_first_attempt_fences_where_others_may_have_used_the_output_and_only_there() {
    for new_output in [true, false] {
        let mut submission = harness::submission(jobs::sharded(1, 1, 2));
        submission.outputs = vec![StageOutputs::default()];
        submission.new_output = new_output;
        let mut harness = Harness::with(submission);
        let worker = harness.join("w", 1);
        assert_eq!(harness.grants(worker)[0].fence, !new_output);
    }
}

#[test]
fn a_look_at_the_output_from_before_the_last_results_counts_for_nothing() {
    let mut harness = Harness::with(harness::listed(jobs::sharded(1, 1, 3), &KEYS, 1));
    let mut submission = harness::listed(jobs::sharded(1, 1, 3), &KEYS, 1);
    submission.outputs = found(&harness, 1);
    submission.outputs[0].found.clear();
    submission.seen = harness.state().seen(&submission.spec.name);
    let worker = harness.join("w", 1);
    for _ in 0..3 {
        harness.finish(worker, Outcome::Committed, 50);
    }
    assert_eq!(
        (harness.running(), harness.end()),
        (0, Some(EndState::Succeeded))
    );
    let submitted = harness.ask(submission.clone()).unwrap();
    assert_eq!(
        (submitted.how, submitted.reused),
        (SubmittedAs::Finished, 3)
    );
    assert!(submitted.reruns.is_empty() && submitted.look_again);

    // As is one from before another version took its place; one that saw all of it counts.
    submission.seen.done = 3;
    submission.seen.job.0 += 1;
    let submitted = harness.ask(submission.clone()).unwrap();
    assert_eq!(submitted.how, SubmittedAs::Finished);
    submission.seen = harness.state().seen(&submission.spec.name);
    let submitted = harness.ask(submission).unwrap();
    assert_eq!(
        causes(&submitted),
        [(0, RerunCause::Missing, vec!["a", "b", "c"])]
    );
    assert!(!submitted.look_again);
}
