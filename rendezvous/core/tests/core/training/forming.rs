//! Who trains, with which ranks, and when it begins.

use crate::jobs::{need, rules, shard_stage, train_stage, training};
use crate::training::harness::{Harness, JOB};
use petctl_core::{Event, FromWorker, Hello, ToWorker};
use petctl_spec::{PreflightSpec, Processes};

#[test]
fn it_starts_as_soon_as_the_wanted_count_is_there() {
    let mut harness = Harness::with(training(2, 8, 4), 3);
    assert_eq!(harness.starts(), 0);
    assert_eq!(
        harness.waiting(),
        "GATHERING: waiting for 1 of 4 workers (settles in 30 s)"
    );
    harness.join(3);
    assert_eq!(harness.members(), ["w0", "w1", "w2", "w3"]);
    assert_eq!((harness.epochs(), harness.starts()), (1, 1));
    assert!((0..4).all(|n| harness.runs(n)));
}

#[test]
fn who_was_promised_and_does_not_come_is_waited_for_until_it_settles() {
    let mut harness = Harness::with(training(2, 8, 4), 2);
    harness.wait(29_000);
    assert_eq!(harness.starts(), 0);
    harness.wait(1_500);
    assert_eq!(harness.members(), ["w0", "w1"]);
    assert!(harness.runs(0) && harness.runs(1));
}

#[test]
fn below_min_it_waits_and_says_so() {
    let mut harness = Harness::with(training(2, 8, 4), 1);
    harness.wait(60_000);
    assert_eq!(harness.starts(), 0);
    assert_eq!(
        harness.waiting(),
        "BELOW_MIN: 1 of at least 2 workers are here"
    );
    harness.join(1);
    assert!(harness.runs(0) && harness.runs(1));
}

#[test]
fn ranks_count_the_processes_of_all_workers() {
    let mut job = training(3, 3, 3);
    rules(&mut job).processes = Processes::Auto;
    let mut harness = Harness::new(job);
    for (n, (gpus, processes)) in [(2, 0), (0, 3), (0, 0)].into_iter().enumerate() {
        let hello = Hello {
            gpus,
            cpu_milli: 4_000,
            processes,
            ..Hello::default()
        };
        harness.join_as(n as u128, hello);
    }
    let starts: Vec<_> = (0..3).map(|n| harness.start(n)).collect();
    let layout: Vec<_> = starts
        .iter()
        .map(|s| (s.group_rank, s.first_rank, s.processes))
        .collect();
    assert_eq!(layout, [(0, 0, 2), (1, 2, 3), (2, 5, 4)]);
    assert!(
        starts
            .iter()
            .all(|s| (s.world_size, s.group_world_size) == (9, 3))
    );
}

#[test]
fn places_that_users_chose_are_kept() {
    let mut harness = Harness::new(training(3, 3, 3));
    for (n, place) in [(0, 2), (1, 0), (2, 1)] {
        let hello = Hello {
            node_rank: Some(place),
            ..Hello::default()
        };
        harness.join_as(n, hello);
    }
    assert_eq!(harness.members(), ["w1", "w2", "w0"]);
}

#[test]
fn others_are_told_where_they_reach_rank_0() {
    for (first, second, told) in [
        ("10.0.0.5", "10.0.0.6", "10.0.0.5"),
        ("fd00::5", "127.0.0.1", "fd00::5"),
        // On the coordinator's host: where the others reach the coordinator.
        ("127.0.0.1", "10.0.0.6", ""),
        ("127.0.0.1", "::1", "127.0.0.1"),
        ("", "", "127.0.0.1"),
    ] {
        let mut harness = Harness::new(training(2, 2, 2));
        for (n, address) in [(0, first), (1, second)] {
            let hello = Hello {
                address: address.to_owned(),
                ..Hello::default()
            };
            harness.join_as(n, hello);
        }
        let master = harness.start(1).master;
        assert_eq!((master.address.as_str(), master.port), (told, 29_000));
    }
}

#[test]
fn training_waits_for_what_it_needs_and_shards_wait_for_training() {
    let mut job = training(1, 1, 1);
    job.stages = vec![
        shard_stage("prepare", 1, vec![]),
        train_stage("fit", vec![need(0)]),
        shard_stage("other", 1, vec![need(1)]),
    ];
    let mut harness = Harness::new(job);
    harness.join(0);
    let shards = |harness: &mut Harness| {
        let heard = &harness.worker(0).heard;
        let grants = heard.iter().filter_map(|m| {
            let ToWorker::Leases(grants) = m else {
                return None;
            };
            Some(grants.clone())
        });
        grants.flatten().collect::<Vec<_>>()
    };
    let first = shards(&mut harness);
    assert_eq!((first.len(), harness.starts()), (1, 0));
    assert_eq!(harness.group().phase.as_str(), "blocked");
    let report = petctl_core::AttemptReport {
        lease: first[0].lease,
        shard: first[0].shard,
        outcome: petctl_core::Outcome::Committed,
        ..petctl_core::AttemptReport::default()
    };
    harness.said_in_epoch(0, FromWorker::Results(vec![report]));
    assert!(harness.runs(0));
    assert_eq!(shards(&mut harness).len(), 1, "no leases while it trains");
    assert!(harness.explain("other", "0").contains("NEEDS_PENDING"));
    harness.succeed(0);
    let leased = shards(&mut harness);
    assert_eq!(leased[1].shard.stage, 2);
    assert!(
        harness.verdict().ends_with("training: done in epoch 2"),
        "{}",
        harness.verdict()
    );
}

#[test]
fn two_trainings_run_one_after_the_other() {
    let mut job = training(1, 1, 1);
    job.stages.push(train_stage("again", vec![]));
    let mut harness = Harness::with(job, 1);
    assert_eq!(harness.start(0).stage, 0);
    harness.succeed(0);
    assert_eq!(harness.start(0).stage, 1);
    assert!(harness.runs(0));
    harness.succeed(0);
    assert_eq!(harness.end(), Some(petctl_core::EndState::Succeeded));
}

#[test]
fn a_worker_joins_only_after_its_checks() {
    let mut job = training(1, 2, 2);
    job.workers.preflight = Some(PreflightSpec::default());
    let mut harness = Harness::with(job, 2);
    assert!(
        harness
            .worker(0)
            .has_heard(|m| *m == ToWorker::Preflight(JOB))
    );
    harness.said(0, passed());
    let full = ("PREFLIGHT_DISK".to_owned(), "3 MiB are free".to_owned());
    harness.said(
        1,
        FromWorker::Preflight {
            job: JOB,
            failure: Some(full),
        },
    );
    harness.wait(30_500);
    assert_eq!(harness.members(), ["w0"]);
    let out = harness.group().left_out;
    assert_eq!(out[0].code, "PREFLIGHT_FAILED");
    assert_eq!(
        out[0].message,
        "w1 on node-1 did not pass the checks: PREFLIGHT_DISK: 3 MiB are free"
    );
}

fn passed() -> FromWorker {
    FromWorker::Preflight {
        job: JOB,
        failure: None,
    }
}

#[test]
fn a_slow_rank_0_is_given_up_for_another() {
    let mut harness = Harness::new(training(1, 2, 2));
    harness.join(0);
    harness.stubborn(0, true);
    harness.join(1);
    assert_eq!(harness.group().phase.as_str(), "preparing");
    harness.wait(21_000);
    assert_eq!(harness.members(), ["w1"]);
    assert!(harness.runs(1));
    let charged = |e: &Event| matches!(e, Event::GroupFailed { .. });
    assert!(!harness.events.iter().any(charged));
}

#[test]
fn rank_0_is_asked_again_when_it_comes_back() {
    let mut harness = Harness::new(training(1, 2, 2));
    harness.join(0);
    harness.stubborn(0, true);
    harness.join(1);
    harness.cut(0);
    harness.stubborn(0, false);
    harness.connect(0);
    assert!(harness.runs(0) && harness.runs(1));
    assert_eq!(harness.epochs(), 1);
}

#[test]
fn a_group_of_ten_thousand_forms_at_once() {
    let mut job = training(5_000, 10_000, 10_000);
    rules(&mut job).max_restarts = 1;
    let mut core = petctl_core::Core::new(
        petctl_core::Config::default(),
        petctl_core::State::default(),
        1,
        petctl_core::Millis(0),
    );
    let submission = petctl_core::Submission {
        spec: job,
        fingerprint: [0; 32],
        keys: Vec::new(),
        details: Vec::new(),
        contents: Vec::new(),
        outputs: Vec::new(),
        seen: petctl_core::Seen::default(),
        new_output: false,
        rerun: petctl_core::Rerun::Changed,
        plan_only: false,
    };
    let at = petctl_core::Millis(0);
    core.handle(
        at,
        petctl_core::Input::Request(
            petctl_core::RequestId(1),
            petctl_core::ClientRequest::Submit(Box::new(submission)),
        ),
    );
    let mut starts = 0;
    let mut inbox = Vec::new();
    for n in 1..=10_000_u64 {
        let hello = Hello {
            worker: petctl_core::WorkerId(u128::from(n)),
            name: format!("w{n}"),
            slots: 1,
            ..Hello::default()
        };
        inbox.push(petctl_core::Input::Hello(
            petctl_core::ConnId(n),
            Box::new(hello),
        ));
    }
    while let Some(input) = inbox.pop() {
        core.handle(at, input);
        for effect in core.drain() {
            let petctl_core::Effect::Send { conn, message, .. } = effect else {
                continue;
            };
            if let ToWorker::GroupPrepare { job, epoch, .. } = message {
                let offer = petctl_core::MasterOffer {
                    job,
                    epoch,
                    port: 1,
                    resume_step: None,
                };
                let offer = FromWorker::Master(offer);
                inbox.push(petctl_core::Input::Worker(conn, epoch, offer));
            } else if let ToWorker::GroupStart(start) = message {
                starts += 1;
                let report = petctl_core::GroupReport {
                    job: start.job,
                    stage: start.stage,
                    epoch: start.epoch,
                    phase: petctl_core::GroupPhase::Succeeded,
                    failures: Vec::new(),
                    exited: start.processes,
                    processes: start.processes,
                };
                let report = FromWorker::Group(Box::new(report));
                inbox.push(petctl_core::Input::Worker(conn, start.epoch, report));
            }
        }
    }
    assert_eq!(starts, 10_000);
    let job = &core.state().jobs[&JOB];
    assert_eq!(
        job.end.map(|(end, _)| end),
        Some(petctl_core::EndState::Succeeded)
    );
}
