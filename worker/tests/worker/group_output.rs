//! What the processes of a group print, and how they get on.

use std::fs;

use petctl_proto::v1::attach_request::Message as Request;
use petctl_proto::v1::attach_response::Message as Response;
use petctl_proto::v1::{GroupPhase, GroupStop};

use crate::fake::Bench;
use crate::group::{WAITS, start, stop, train};

#[tokio::test]
async fn a_million_lines_take_a_bounded_log_and_the_last_is_kept() {
    let script =
        "yes 'a line of some length, as scripts print them' | head -n 1000000; echo the last one";
    let mut bench = Bench::with(script, |spec| {
        train(spec);
        spec.stages[0].log_bytes = 1024 * 1024;
    })
    .await;
    let report = bench.run_group(2).await;
    assert_eq!(report.phase(), GroupPhase::Succeeded, "{report:?}");
    for rank in 0..2 {
        let folder = bench
            .output()
            .join(format!(".petctl/logs/work/epoch-3/rank-{rank}"));
        let files: Vec<_> = fs::read_dir(folder).unwrap().flatten().collect();
        let bytes: u64 = files
            .iter()
            .map(|file| file.metadata().unwrap().len())
            .sum();
        assert!(bytes <= 1024 * 1024 + 64 * 1024, "{bytes}");
        let last = files.iter().any(|file| {
            fs::read_to_string(file.path())
                .unwrap()
                .ends_with(" stdout F the last one\n")
        });
        assert!(last, "{files:?}");
    }
    bench.end().await;
}

#[tokio::test]
async fn logs_are_kept_for_each_epoch() {
    let mut bench = Bench::training("echo epoch $PETCTL_EPOCH").await;
    for epoch in [3, 4] {
        bench.session.start_group(start(epoch, 1)).await;
        bench.session.phase(GroupPhase::Succeeded).await;
    }
    for epoch in [3, 4] {
        let log = bench.log_of(epoch, 0);
        assert!(
            log.ends_with(&format!(" stdout F epoch {epoch}\n")),
            "{log}"
        );
    }
    bench.end().await;
}

#[tokio::test]
async fn a_hanging_group_writes_its_stacks_into_its_log_before_it_is_stopped() {
    let mut bench = Bench::training(WAITS).await;
    bench.session.start_group(start(3, 1)).await;
    bench.until_file("started-3").await;
    let order = GroupStop {
        dump_stacks: true,
        ..stop(3)
    };
    bench.session.send(Response::GroupStop(order)).await;
    bench.session.phase(GroupPhase::Stopped).await;
    let log = bench.log_of(3, 0);
    assert!(
        log.contains(" stderr F [petctl: stacks of rank 0]\n"),
        "{log}"
    );
    bench.end().await;
}

#[tokio::test]
async fn progress_follows_heartbeats_and_quiet_begins_at_the_last_output() {
    let script = "echo 41 > $PETCTL_HEARTBEAT_FILE; touch started; until [ -e go ]; do sleep 0.01; done; echo x; sleep 1000";
    let mut bench = Bench::with_timeout(script, 500, train).await;
    bench.session.start_group(start(3, 1)).await;
    bench.until_file("started").await;
    let mut quiet = 0;
    while quiet < 300 {
        if let Some(Request::GroupProgress(progress)) = bench.session.next().await {
            quiet = progress.quiet_ms;
            assert_eq!((progress.job_id, progress.epoch), (7, 3));
            assert!(
                progress
                    .ranks
                    .iter()
                    .all(|rank| (rank.rank, rank.step) == (0, 41))
            );
        }
    }
    fs::write(bench.root().join("go"), "").unwrap();
    while quiet >= 300 {
        if let Some(Request::GroupProgress(progress)) = bench.session.next().await {
            quiet = progress.quiet_ms;
        }
    }
    bench.end().await;
}
