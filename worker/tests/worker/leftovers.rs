//! What a command starts does not outlive its attempt, wherever it hides.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use petctl_proto::v1::Outcome;

use crate::fake::{Bench, lease, until};

/// Processes whose environment has this entry.
pub(crate) fn alive(entry: &str) -> Vec<u32> {
    let pids = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|found| found.unwrap().file_name().to_str()?.parse().ok());
    let has = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|&byte| byte == 0)
            .any(|found| found == entry.as_bytes())
    };
    pids.filter(has).collect()
}

pub(crate) fn marked(spec: &mut petctl_spec::JobSpec) -> String {
    let mark = format!("{}-{}", std::process::id(), spec.folder);
    spec.stages[0]
        .env
        .insert("TEST_MARK".to_owned(), mark.clone());
    format!("TEST_MARK={mark}")
}

#[tokio::test]
async fn grandchildren_in_sessions_of_their_own_are_gone_after_the_attempt() {
    let scripts = [
        "setsid sleep 1000 & exit 0",
        "setsid sh -c 'sleep 1000 & sleep 1000 & wait' >/dev/null 2>&1 & sleep 0.05; exit 0",
        "sleep 1000 & exit 1",
        "(trap '' TERM HUP; sleep 1000) & sleep 0.05; exit 1",
    ];
    for script in scripts {
        let mut mark = String::new();
        let mut bench = Bench::with(script, |spec| mark = marked(spec)).await;
        let started = Instant::now();
        let result = bench.run_one().await;
        let failed = script.ends_with('1');
        assert_eq!(
            result.outcome() == Outcome::Committed,
            !failed,
            "{result:?}"
        );
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "{script}: it waited for what was left behind"
        );
        assert_eq!(alive(&mark), Vec::<u32>::new(), "{script}");
        bench.end().await;
    }
}

#[tokio::test]
async fn zombies_do_not_pile_up() {
    let mut bench = Bench::start("setsid true & true & (setsid true &) ; exit 0").await;
    bench
        .session
        .lease((1..=40).map(|id| lease(id, u32::try_from(id).unwrap())))
        .await;
    bench.session.results(40).await;
    // One more attempt after the last stray has become ours.
    until("no zombie is left", || {
        let own = std::process::id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
        let zombies = children.split_ascii_whitespace().filter(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ")
                .is_some_and(|(_, rest)| rest.starts_with('Z'))
        });
        zombies.count() < 10
    })
    .await;
    bench.end().await;
}

#[tokio::test]
async fn the_exit_of_one_slots_child_is_never_reaped_by_another() {
    let mut bench = Bench::start(
        "sleep 0.0$((PETCTL_LEASE % 7)); setsid sleep 100 & exit $((PETCTL_LEASE % 5))",
    )
    .await;
    bench
        .session
        .lease((1..=60).map(|id| lease(id, u32::try_from(id).unwrap())))
        .await;
    for (lease, result) in bench.session.results(60).await {
        assert_eq!(
            result.exit_code,
            Some(i32::try_from(lease % 5).unwrap()),
            "{result:?}"
        );
    }
    bench.end().await;
}

#[test]
fn a_sweep_kills_what_a_dead_worker_left_behind() {
    let worker = format!("sweep-test-{}", std::process::id());
    let start = |id: &str| {
        Command::new("/bin/sh")
            .args(["-c", "setsid sleep 1000 & sleep 1000"])
            .env("PETCTL_WORKER_ID", id)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let other = format!("{worker}-other");
    let mut mine = start(&worker);
    let mut others = start(&other);
    let started = Instant::now();
    let entry = format!("PETCTL_WORKER_ID={worker}");
    while alive(&entry).len() < 3 || alive(&format!("PETCTL_WORKER_ID={other}")).len() < 3 {
        assert!(started.elapsed() < Duration::from_secs(10));
    }
    assert_eq!(petctl_worker::sweep(&worker), 3);
    mine.wait().unwrap();
    while !alive(&entry).is_empty() {
        assert!(started.elapsed() < Duration::from_secs(10));
    }
    assert_eq!(alive(&format!("PETCTL_WORKER_ID={other}")).len(), 3);
    petctl_worker::sweep(&other);
    others.wait().unwrap();
}
