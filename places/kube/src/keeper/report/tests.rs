use super::*;
use crate::keeper::fixtures::{self, worker};

fn pool(workers: &[&str]) -> Pool {
    let all = workers.iter().map(|name| worker(name, true, false));
    fixtures::pool(2, all.collect())
}

fn pod(name: &str) -> PodSeen {
    PodSeen {
        name: name.to_owned(),
        owner: "u1".to_owned(),
        ..PodSeen::default()
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn job() -> JobSeen {
    JobSeen {
        size: 2,
        uid: "u1".to_owned(),
        ..JobSeen::default()
    }
}

fn waiting(report: &PlaceReport) -> Vec<String> {
    let reasons = report.waiting.iter();
    reasons
        .map(|reason| format!("{}: {}", reason.code, reason.message))
        .collect()
}

#[test]
fn pods_that_wait_for_the_same_are_told_together() {
    let image = Reason::new(Code::PodImage, "it can't be pulled".to_owned());
    let seen = Waiting {
        pods: ["a", "b"]
            .map(|name| (name.to_owned(), image.clone()))
            .into(),
        job: None,
    };
    let pods = [pod("a"), pod("b")];
    let memory = Memory::default();
    let report = memory.report(at(0), &pool(&[]), Some(&job()), &pods, &seen);
    assert_eq!(
        waiting(&report),
        ["POD_IMAGE: 2 of 2 pods wait: it can't be pulled"]
    );
    // One whose worker is here waits for nothing.
    let report = memory.report(at(0), &pool(&["a"]), Some(&job()), &pods, &seen);
    assert_eq!(
        waiting(&report),
        ["POD_IMAGE: 1 of 2 pods wait: it can't be pulled"]
    );
}

#[test]
fn pods_that_only_start_are_told_as_long_as_nothing_else_is() {
    let memory = Memory::default();
    let none = Waiting::default();
    let told = |pods: &[PodSeen], workers: &[&str]| {
        waiting(&memory.report(at(0), &pool(workers), Some(&job()), pods, &none))
    };
    assert_eq!(told(&[], &[]), ["POD_STARTING: 2 of 2 pods are being made"]);
    assert_eq!(
        told(&[pod("a")], &["a"]),
        ["POD_STARTING: 1 of 2 pods are being made"]
    );
    assert_eq!(
        told(&[pod("a"), pod("b")], &["a"]),
        ["POD_STARTING: 1 of 2 pods are being started"]
    );
    assert_eq!(told(&[pod("a"), pod("b")], &["a", "b"]), [""; 0]);
    let mut suspended = pool(&[]);
    suspended.suspended = true;
    let report = memory.report(at(0), &suspended, Some(&job()), &[], &none);
    assert_eq!(waiting(&report), [""; 0]);
}

#[test]
fn an_end_is_remembered_and_its_deletion_does_not_hide_it() {
    let mut memory = Memory::default();
    let mut killed = pod("a");
    killed.end = Some(Reason::new(
        Code::PodOutOfMemory,
        "too much memory".to_owned(),
    ));
    memory.look(at(1), Some(&job()), &[killed.clone()]);
    killed.end = Some(Reason::new(Code::PodDeleted, "it was deleted".to_owned()));
    memory.look(at(2), Some(&job()), &[killed]);
    memory.look(at(3), Some(&job()), &[]);
    let report = memory.report(at(3), &pool(&["b"]), Some(&job()), &[], &Waiting::default());
    assert_eq!(report.ended["a"].code, "POD_OUT_OF_MEMORY");
    // Where no worker is there it is the reason for that, for a while.
    let alone = |second| {
        let report = memory.report(
            at(second),
            &pool(&[]),
            Some(&job()),
            &[],
            &Waiting::default(),
        );
        waiting(&report)
    };
    assert_eq!(
        alone(3),
        ["POD_OUT_OF_MEMORY: pod a ended, and no worker is here: too much memory"]
    );
    assert_eq!(alone(1_000), ["POD_STARTING: 2 of 2 pods are being made"]);
}

#[test]
fn a_worker_with_an_unhealthy_gpu_is_said_to_be_drained_and_why_its_pod_ended_stays_known() {
    let mut memory = Memory::default();
    let why = Reason::new(
        Code::GpuUnhealthy,
        "a GPU of node n1 is unhealthy".to_owned(),
    );
    let mut leaves = pod("a").with(Some(&why));
    let mut told = |second, pods: &[PodSeen], workers: &[&str]| {
        memory.look(at(second), Some(&job()), pods);
        let report = memory.report(
            at(second),
            &pool(workers),
            Some(&job()),
            pods,
            &Waiting::default(),
        );
        (waiting(&report), report.ended["a"].code.clone())
    };
    let drained = "GPU_UNHEALTHY: worker a is drained: a GPU of node n1 is unhealthy";
    let code = "GPU_UNHEALTHY".to_owned();
    let pods = [leaves.clone(), pod("b")];
    assert_eq!(
        told(0, &pods, &["a", "b"]),
        (vec![drained.to_owned()], code.clone())
    );
    leaves.goes = true;
    leaves.end = Some(Reason::new(
        Code::PodDeleted,
        "its pod was deleted".to_owned(),
    ));
    leaves.unhealthy = false;
    let starting =
        "POD_STARTING: 1 of 2 pods are being made; a ended: a GPU of node n1 is unhealthy";
    let pods = [leaves, pod("b")];
    assert_eq!(told(1, &pods, &["b"]), (vec![starting.to_owned()], code));
    // Where no other GPU is free, that is the reason for it.
    let why = Reason::new(Code::PodUnschedulable, "no node takes it".to_owned());
    let waits = Waiting {
        pods: [("c".to_owned(), why)].into(),
        job: None,
    };
    let report = memory.report(
        at(900),
        &pool(&["b"]),
        Some(&job()),
        &[pod("b"), pod("c")],
        &waits,
    );
    let unschedulable = "POD_UNSCHEDULABLE: 1 of 2 pods wait: no node takes it; a was drained: a GPU of node n1 is \
                         unhealthy";
    assert_eq!(waiting(&report), [unschedulable]);
}

#[test]
fn workers_of_a_job_that_somebody_deleted_are_told_why_and_those_of_one_that_petctl_removed_are_not()
 {
    let going = |name: &str| {
        let end = Some(Reason::new(Code::PodDeleted, "its pod".to_owned()));
        PodSeen {
            goes: true,
            end,
            ..pod(name)
        }
    };
    let again = JobSeen {
        uid: "u2".to_owned(),
        ..job()
    };
    let mut memory = Memory::default();
    assert!(!memory.look(at(0), Some(&job()), &[pod("a"), pod("b")]));
    assert!(
        memory.look(at(1), None, &[going("a"), pod("b")]),
        "it is news"
    );
    // The next one is there before the pods of the last have gone.
    assert!(!memory.look(at(2), Some(&again), &[going("a"), going("b")]));
    let report = memory.report(at(2), &pool(&[]), Some(&again), &[], &Waiting::default());
    for name in ["a", "b"] {
        let told = &report.ended[name];
        assert_eq!(told.code, "POD_DELETED");
        assert!(told.message.contains("deleted the Job"), "{told:?}");
    }
    let mut memory = Memory::default();
    memory.look(at(0), Some(&job()), &[pod("a")]);
    memory.removes();
    assert!(!memory.look(at(1), None, &[going("a")]));
    let report = memory.report(at(1), &pool(&[]), None, &[], &Waiting::default());
    assert!(report.ended.is_empty(), "{report:?}");
}

#[test]
fn it_gives_up_only_where_no_worker_came_for_all_of_the_time() {
    let mut memory = Memory::default();
    let report = |code: Code, text: &str| PlaceReport {
        waiting: vec![Reason::new(code, text.to_owned())],
        ..PlaceReport::default()
    };
    let stuck = report(Code::PodUnschedulable, "no node takes it");
    assert_eq!(memory.gives_up(at(0), &pool(&[]), &stuck, 10_000), None);
    assert_eq!(memory.gives_up(at(9), &pool(&[]), &stuck, 10_000), None);
    // A worker that was here for a moment: it begins anew.
    assert_eq!(memory.gives_up(at(10), &pool(&["a"]), &stuck, 10_000), None);
    assert_eq!(memory.gives_up(at(11), &pool(&[]), &stuck, 10_000), None);
    assert_eq!(memory.gives_up(at(20), &pool(&[]), &stuck, 10_000), None);
    let why = memory.gives_up(at(21), &pool(&[]), &stuck, 10_000);
    assert_eq!(
        why.as_deref(),
        Some("no worker could be started for 10 s: no node takes it")
    );
    // Nodes that come take longer, and pods that only start are not stuck.
    let grows = report(
        Code::PodUnschedulable,
        "x; the autoscaler adds nodes (pool 1->2)",
    );
    assert_eq!(memory.gives_up(at(30), &pool(&[]), &grows, 10_000), None);
    assert_eq!(memory.gives_up(at(59), &pool(&[]), &grows, 10_000), None);
    assert!(
        memory
            .gives_up(at(60), &pool(&[]), &grows, 10_000)
            .is_some()
    );
    let starts = report(Code::PodStarting, "they start");
    assert_eq!(
        memory.gives_up(at(1_000), &pool(&[]), &starts, 10_000),
        None
    );
    assert_eq!(
        memory.gives_up(at(9_000), &pool(&[]), &starts, 10_000),
        None
    );
}
