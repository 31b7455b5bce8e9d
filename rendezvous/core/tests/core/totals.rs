//! What metrics count is what statuses say, at every step of every test here.

use petctl_core::{Core, EndState, JobState, MemberState, Millis, ShardTotals, Totals};
use std::collections::{BTreeMap, BTreeSet};

/// Holds the numbers of a coordinator to the sums over its jobs' statuses.
#[track_caller]
pub(crate) fn hold(core: &Core, now: Millis) {
    let mut jobs: BTreeMap<JobState, u64> = BTreeMap::new();
    let mut shards = ShardTotals::default();
    // By worker: one that leaves a training is listed with its rank and without.
    let mut draining = BTreeSet::new();
    let mut done_or_skipped = 0;
    for summary in core.jobs() {
        *jobs.entry(summary.state).or_default() += 1;
        let view = core.job_view(now, summary.job).expect("it is listed");
        let drains = view.members.iter();
        let drains = drains.filter(|member| member.state == MemberState::Draining);
        draining.extend(drains.map(|member| member.worker));
        if summary.ended_at.is_some() {
            continue;
        }
        for stage in view.stages {
            shards.blocked += stage.blocked;
            shards.ready += stage.ready;
            shards.running += stage.running;
            shards.backoff += stage.backoff;
            shards.failed += stage.failed;
            shards.cancelled += stage.cancelled;
            done_or_skipped += stage.done;
        }
    }
    let Totals {
        jobs: counted_jobs,
        shards: counted,
        workers,
        leases,
        ..
    } = core.totals();
    assert_eq!(counted_jobs, jobs);
    assert_eq!(counted.done + counted.skipped, done_or_skipped);
    let counted = ShardTotals {
        done: 0,
        skipped: 0,
        ..counted
    };
    assert_eq!(counted, shards);
    assert_eq!(workers.draining, draining.len() as u64);
    assert_eq!(leases, core.running() as u64);
}

#[test]
fn states_are_all_there_once() {
    let names: Vec<&str> = JobState::ALL.iter().map(|state| state.as_str()).collect();
    for end in [EndState::Succeeded, EndState::Failed, EndState::Cancelled] {
        assert!(names.contains(&end.as_str()), "{end:?}");
    }
    let mut sorted = JobState::ALL.to_vec();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted.len(), names.len());
}
