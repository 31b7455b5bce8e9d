//! Outputs are the record of what is done, whoever made them: who runs the same takes them over.

use crate::jobs;
use crate::shards::harness::{self, Harness};
use petctl_core::{
    Config, Core, EndState, Event, FoundOutputs, LeaseGrant, LeaseId, Lineage, Made, Millis,
    Outcome, Rerun, RerunCause, ShardState, StageOutputs, State, Submission, Submitted,
    SubmittedAs, ToWorker, Verdict,
};
use petctl_spec::{JobSpec, StageContent, StageKind};

const KEYS: [(&str, u8); 3] = [("a", 1), ("b", 2), ("c", 3)];

fn chain() -> JobSpec {
    jobs::chain(3)
}

/// The second stage runs once, and needs all of the first.
fn summed() -> JobSpec {
    let mut job = chain();
    job.stages[1].kind = StageKind::Once;
    job.stages[1].needs[0].per_shard = false;
    job
}

fn submission(job: &JobSpec, keys: &[(&str, u8)], version: u8) -> Submission {
    let mut submission = harness::listed(job.clone(), keys, version);
    if job.stages[1].kind == StageKind::Once {
        submission.spec.stages[1].kind = StageKind::Once;
        submission.keys[1].clear();
        submission.contents[1].shards.clear();
    }
    submission
}

/// Runs the job to its end, and finds its outputs as a listing would.
fn made_elsewhere(job: &JobSpec) -> Vec<StageOutputs> {
    let mut harness = Harness::with(submission(job, &KEYS, 1));
    let worker = harness.join("far", 1);
    let mut outputs = vec![StageOutputs::default(); 2];
    while harness.end().is_none() {
        let grant = harness.grants(worker)[0].clone();
        outputs[grant.shard.stage as usize]
            .found
            .push(found(&grant));
        harness.finish_one(worker, Outcome::Committed, 50);
    }
    for stage in &mut outputs {
        stage.found.sort_by_key(|found| found.shard);
    }
    outputs
}

fn found(grant: &LeaseGrant) -> FoundOutputs {
    let made = Made {
        lineage: grant.lineage,
        lease: grant.lease,
        content: grant.content,
        worker: "far".to_owned(),
        duration_ms: 50,
        verdict: Verdict::Fail,
        reasons: vec!["too close".to_owned()],
        numbers: vec![("ttc_s".to_owned(), 0.5)],
    };
    FoundOutputs {
        shard: grant.shard.index,
        files: 2,
        bytes: 10,
        made: Some(Box::new(made)),
    }
}

/// Submits the job on another log, with what is at its output.
fn take_over(mut submission: Submission, outputs: Vec<StageOutputs>) -> (Harness, Submitted) {
    submission.outputs = outputs;
    submission.new_output = false;
    Harness::elsewhere(submission)
}

fn reruns(submitted: &Submitted) -> Vec<(u32, RerunCause, u64)> {
    let reruns = submitted.reruns.iter();
    reruns.map(|r| (r.stage, r.cause, r.shards)).collect()
}

#[test]
fn a_home_that_knows_nothing_takes_over_all_that_is_made_of_the_same() {
    for job in [chain(), summed()] {
        let outputs = made_elsewhere(&job);
        let all = outputs
            .iter()
            .map(|stage| stage.found.len() as u64)
            .sum::<u64>();
        let (harness, submitted) = take_over(submission(&job, &KEYS, 1), outputs);
        assert_eq!((submitted.reused, reruns(&submitted)), (all, Vec::new()));
        // Nobody runs anything, and the verdicts are known.
        assert_eq!(harness.end(), Some(EndState::Failed));
        let shard = harness.shard(0);
        assert_eq!(
            (shard.state, shard.worker.as_str()),
            (ShardState::Done, "far")
        );
        assert!(shard.reused && shard.files == 2 && shard.bytes == 10);
        assert_eq!(shard.reasons, ["too close"]);
        assert_eq!(shard.numbers, [("ttc_s".to_owned(), 0.5)]);
    }
}

#[test]
fn what_changed_runs_and_what_needs_it_and_the_rest_is_taken_over() {
    let outputs = made_elsewhere(&chain());
    let changed = [("a", 1), ("b", 9), ("c", 3)];
    let (harness, submitted) = take_over(submission(&chain(), &changed, 2), outputs);
    assert_eq!(submitted.reused, 4);
    assert_eq!(
        reruns(&submitted),
        [(0, RerunCause::New, 1), (1, RerunCause::New, 1)]
    );
    assert_eq!(harness.shard(1).state, ShardState::Ready);

    let outputs = made_elsewhere(&summed());
    let (_, submitted) = take_over(submission(&summed(), &changed, 2), outputs);
    assert_eq!(
        reruns(&submitted),
        [(0, RerunCause::New, 1), (1, RerunCause::New, 1)],
        "of another sum nothing is taken over"
    );
}

#[test]
fn what_was_made_of_other_outputs_than_those_that_are_there_runs_again() {
    for job in [chain(), summed()] {
        let mut outputs = made_elsewhere(&job);
        // Somebody made the first stage's shard anew, and was killed before what needs it.
        if let Some(made) = &mut outputs[0].found[1].made {
            made.lease = LeaseId(made.lease.0 + 1_000);
        }
        let (_, submitted) = take_over(submission(&job, &KEYS, 1), outputs);
        assert_eq!(reruns(&submitted), [(1, RerunCause::New, 1)]);
    }
}

#[test]
fn what_is_not_there_or_says_nothing_of_itself_runs() {
    let mut outputs = made_elsewhere(&chain());
    outputs[0].found.remove(0);
    outputs[0].found[0].made = None;
    let (_, submitted) = take_over(submission(&chain(), &KEYS, 1), outputs.clone());
    assert_eq!((submitted.reused, submitted.reruns[0].shards), (2, 2));

    // A submission that says nothing of what its shards are made of.
    let mut silent = submission(&chain(), &KEYS, 1);
    for contents in &mut silent.contents {
        contents.stage = StageContent::default();
    }
    let (_, submitted) = take_over(silent, outputs);
    assert_eq!(submitted.reused, 0);
}

#[test]
fn what_is_asked_to_run_again_runs_whatever_is_there() {
    let asked = |rerun| {
        let mut submission = submission(&chain(), &KEYS, 1);
        submission.rerun = rerun;
        let (mut harness, submitted) = take_over(submission, made_elsewhere(&chain()));
        let worker = harness.join("w", 8);
        let grants = harness.grants(worker).to_vec();
        assert!(!grants.is_empty() && grants.iter().all(|grant| grant.fresh && grant.fence));
        submitted.reused
    };
    assert_eq!(asked(Rerun::All), 0);
    // Those whose verdict is fail: all.
    assert_eq!(asked(Rerun::Failed), 0);
    // `b`, and what was made of it.
    assert_eq!(asked(Rerun::Keys("b".to_owned())), 4);
}

#[test]
fn what_is_remembered_is_taken_over_too_where_somebody_else_has_made_it_since() {
    let mut harness = Harness::with(submission(&chain(), &KEYS, 1));
    let worker = harness.join("w", 4);
    while harness.end().is_none() {
        harness.finish(worker, Outcome::Committed, 50);
    }
    // Another home has run the same with `b` changed, over these outputs.
    let changed = [("a", 1), ("b", 9), ("c", 3)];
    let (mut other, _) = Harness::elsewhere(submission(&chain(), &changed, 2));
    let far = other.join("far", 1);
    let mut outputs = vec![StageOutputs::default(); 2];
    while other.end().is_none() {
        let grant = other.grants(far)[0].clone();
        outputs[grant.shard.stage as usize]
            .found
            .push(found(&grant));
        other.finish_one(far, Outcome::Committed, 50);
    }
    for stage in &mut outputs {
        stage.found.sort_by_key(|found| found.shard);
    }
    let mut back = submission(&chain(), &KEYS, 1);
    back.outputs = outputs.clone();
    back.seen = harness.state().seen(&back.spec.name);
    let submitted = harness.ask(back).unwrap();
    assert_eq!(submitted.reused, 4, "`a` and `c`, and what needs them");
    assert_eq!(
        reruns(&submitted),
        [(0, RerunCause::Missing, 1), (1, RerunCause::Missing, 1)],
        "what was remembered of `b` is not what is there"
    );
}

#[test]
fn a_job_that_goes_on_stays_the_same_job_whatever_of_it_was_committed_and_not_reported() {
    let mut harness = Harness::with(submission(&chain(), &KEYS, 1));
    let worker = harness.join("w", 1);
    // Committed, and its worker died before it said so.
    let unheard = found(&harness.grants(worker)[0].clone());
    harness.lose(worker);
    let mut again = submission(&chain(), &KEYS, 1);
    again.outputs = vec![StageOutputs::default(); 2];
    again.outputs[0].found.push(unheard);
    let before = harness.state().last_job;
    let submitted = harness.ask(again).unwrap();
    assert_eq!(submitted.how, SubmittedAs::Resumed);
    assert_eq!(harness.state().last_job, before);
}

#[test]
fn a_lease_of_a_log_that_was_put_back_is_never_given_out_twice() {
    let start = |state: &State, clock: u64| {
        let core = Core::new(Config::default(), state.clone(), 1, Millis(clock));
        core.state().clone()
    };
    let first = start(&State::default(), 5_000_000);
    assert_ne!(first.lineage, Lineage(0));
    assert_eq!((first.incarnation, first.starts), (5_000, 1));
    // The copy was taken here; the log went on, and was lost.
    let lost = start(&first, 9_000_000);
    let restored = start(&first, 9_500_000);
    assert!(restored.incarnation > lost.incarnation);
    assert_eq!((restored.lineage, restored.starts), (first.lineage, 2));
    // A clock that stands still, or goes back, takes nothing back.
    assert_eq!(
        start(&restored, 1_000).incarnation,
        restored.incarnation + 1
    );
    let other = Core::new(Config::default(), State::default(), 2, Millis(0));
    assert_ne!(
        other.lineage(),
        first.lineage,
        "another log is another lineage"
    );
    assert!(matches!(
        Core::new(Config::default(), State::default(), 2, Millis(0)).drain()[..],
        [petctl_core::Effect::Persist(ref record)]
            if matches!(record.event, Event::CoordinatorStarted { starts: 1, .. })
    ));
}

#[test]
fn what_workers_of_before_may_bring_is_looked_at_again() {
    let mut harness = Harness::with(submission(&chain(), &KEYS, 1));
    let worker = harness.join("w", 1);
    harness.restart();
    let mut again = submission(&chain(), &KEYS, 1);
    again.outputs = vec![StageOutputs::default(); 2];
    again.seen = harness.state().seen(&again.spec.name);
    // It may have committed before somebody removed that, and tell it only now.
    let recovering = harness.ask(again.clone()).unwrap();
    assert_eq!(
        (recovering.how, recovering.look_again),
        (SubmittedAs::Resumed, true)
    );
    let back = harness.come_back(worker, harness::hello("w"));
    let running = harness.ask(again.clone()).unwrap();
    assert!(running.look_again);
    harness.finish(back, Outcome::Committed, 50);
    let grew = harness.ask(again).unwrap();
    assert!(grew.look_again, "nobody has seen what it has committed");
}

#[test]
fn a_log_that_was_put_back_keeps_no_lease_of_which_it_does_not_know_what_it_was_granted_on() {
    let mut harness = Harness::with(submission(&chain(), &KEYS[..1], 1));
    let worker = harness.join("w", 1);
    let copy = harness.state().clone();
    harness.finish_one(worker, Outcome::Committed, 50);
    assert_eq!(harness.stages_leased(worker), [1]);
    harness.put_back(copy);
    let back = harness.come_back(worker, harness::hello("w"));
    let mut heard = harness.heard(back).iter();
    assert!(heard.any(|m| matches!(m, ToWorker::Welcome { kept, .. } if kept.is_empty())));
    let granted: Vec<u32> = harness.grants(back).iter().map(|g| g.shard.stage).collect();
    assert!(
        granted.contains(&0),
        "what it needs runs first: {granted:?}"
    );
}

/// Three stages, shard by shard, and one that needs all of the last.
fn pipeline(run_after_skip: [bool; 3]) -> JobSpec {
    let mut job = jobs::chain(3);
    let need = |stage, per_shard| vec![petctl_spec::Need { stage, per_shard }];
    job.stages.push(jobs::retried_stage("c", 3, need(1, true)));
    job.stages
        .push(jobs::retried_stage("all", 1, need(2, false)));
    for (stage, after) in job.stages.iter_mut().zip(run_after_skip) {
        stage.dispatch.run_after_skip = after;
    }
    job
}

fn of_pipeline(job: &JobSpec, keys: &[(&str, u8)], version: u8) -> Submission {
    let mut submission = harness::listed(job.clone(), keys, version);
    submission.spec.stages[3].kind = StageKind::Once;
    submission.keys[3].clear();
    submission
}

/// Runs the pipeline to its end, with its first shard skipped by itself, and finds its outputs.
fn skipped_elsewhere(job: &JobSpec) -> Vec<StageOutputs> {
    let mut harness = Harness::with(of_pipeline(job, &KEYS, 1));
    let worker = harness.join("far", 1);
    let mut outputs = vec![StageOutputs::default(); 4];
    while harness.end().is_none() {
        let grant = harness.grants(worker)[0].clone();
        let skips = (grant.shard.stage, grant.shard.index) == (0, 0);
        let verdict = if skips {
            Verdict::Skipped
        } else {
            Verdict::Pass
        };
        let mut found = found(&grant);
        if let Some(made) = &mut found.made {
            made.verdict = verdict;
        }
        outputs[grant.shard.stage as usize].found.push(found);
        harness.judge(worker, verdict);
    }
    assert_eq!(harness.end(), Some(EndState::Succeeded));
    for stage in &mut outputs {
        stage.found.sort_by_key(|found| found.shard);
    }
    outputs
}

#[test]
fn what_was_skipped_is_skipped_again_and_what_needs_its_stage_is_taken_over() {
    for (after, committed) in [
        // With what it needs; in the second stage not, but in the third; in the third not, by a skip that travelled.
        ([false, false, false], [3, 2, 2, 1]),
        ([false, true, true], [3, 3, 3, 1]),
        ([false, false, true], [3, 2, 3, 1]),
        ([false, true, false], [3, 3, 3, 1]),
    ] {
        let job = pipeline(after);
        let outputs = skipped_elsewhere(&job);
        let found: Vec<usize> = outputs.iter().map(|stage| stage.found.len()).collect();
        assert_eq!(found, committed, "{after:?}");
        let mut submission = of_pipeline(&job, &KEYS, 1);
        submission.outputs = outputs;
        let (harness, submitted) = Harness::elsewhere(submission);
        assert_eq!(
            (submitted.reused, reruns(&submitted)),
            (10, Vec::new()),
            "{after:?}"
        );
        assert_eq!(harness.end(), Some(EndState::Succeeded), "{after:?}");
        let skipped = harness.view().stages.iter().map(|s| s.skipped).sum::<u64>();
        assert_eq!(skipped, 10 - committed.iter().sum::<usize>() as u64 + 1);
    }
}

#[test]
fn what_is_skipped_by_a_change_is_made_anew_in_what_needs_its_stage() {
    let job = pipeline([false; 3]);
    let outputs = skipped_elsewhere(&job);
    // Another one was skipped there; this one is not any more.
    let changed = [("a", 9), ("b", 2), ("c", 3)];
    let mut submission = of_pipeline(&job, &changed, 2);
    submission.outputs = outputs.clone();
    let (mut harness, submitted) = Harness::elsewhere(submission);
    assert_eq!(submitted.reused, 6);
    let new = |stage| (stage, RerunCause::New, 1);
    assert_eq!(reruns(&submitted), [0, 1, 2, 3].map(new));
    let worker = harness.join("w", 1);
    while harness.end().is_none() {
        harness.judge(worker, Verdict::Pass);
    }
    assert_eq!(harness.view().summary.verdict, "10 of 10 shards done");
    // Back to what the other home has: it is skipped with it, although its outputs are remembered.
    let mut back = of_pipeline(&job, &KEYS, 3);
    back.outputs = outputs;
    back.seen = harness.state().seen(&back.spec.name);
    let submitted = harness.ask(back).unwrap();
    assert_eq!((submitted.reused, reruns(&submitted)), (10, Vec::new()));
    assert!(harness.leases(worker).is_empty());
    assert_eq!(harness.end(), Some(EndState::Succeeded));
    assert_eq!(harness.shard(3).state, ShardState::Skipped);
}

#[test]
fn what_was_skipped_here_and_run_elsewhere_is_skipped_again_and_counted_once() {
    let one = &KEYS[..1];
    let mut harness = Harness::with(submission(&chain(), one, 1));
    let worker = harness.join("w", 1);
    let mut outputs = vec![StageOutputs::default(); 2];
    let first = FoundOutputs {
        files: 0,
        bytes: 0,
        ..found(&harness.grants(worker)[0])
    };
    outputs[0].found.push(first);
    harness.judge(worker, Verdict::Skipped);
    assert_eq!(harness.shard(1).state, ShardState::Skipped);

    let mut runs = chain();
    runs.stages[1].dispatch.run_after_skip = true;
    let (mut elsewhere, _) = take_over(submission(&runs, one, 1), outputs.clone());
    let far = elsewhere.join("far", 1);
    outputs[1].found.push(found(&elsewhere.grants(far)[0]));

    let mut again = submission(&chain(), one, 2);
    again.outputs = outputs;
    again.seen = harness.state().seen(&again.spec.name);
    let submitted = harness.ask(again).unwrap();
    assert_eq!((submitted.reused, reruns(&submitted)), (2, Vec::new()));
    assert_eq!(harness.shard(1).state, ShardState::Skipped);
}
