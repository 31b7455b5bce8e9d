//! A coordinator with an honest worker, and calls that no launcher would make.

use petctl_proto::TOKEN_METADATA_KEY;
use petctl_test_it::{
    Coordinator, Job, Stage, World, is_alive, verify_commits, verify_outputs, wait_until,
};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// A coordinator with a worker that runs a shard, all of which must outlive what `nonsense` does to it.
pub(crate) fn outlives(name: &str, nonsense: impl FnOnce(&Coordinator<'_>)) {
    let world = World::new();
    let mut coordinator = Coordinator::start(&world, None);
    let worker = coordinator.worker("honest", 1);
    let file = Job::new(name)
        .workers(1, 1, 1)
        .stage(Stage::gated(3))
        .write(&world);
    let run = coordinator.run(&file).spawn();
    wait_until("a shard that runs", || world.starts().len() == 1);

    nonsense(&coordinator);

    assert!(
        coordinator.runs(),
        "the coordinator ended: {}",
        coordinator.process().stderr()
    );
    assert!(is_alive(world.starts()[0].pid), "the shard was stopped");
    world.open_gate("all");
    run.wait().exits(0);
    let ask = coordinator.ask();
    let keys = Stage::keys(3);
    verify_commits(
        &ask.events(name),
        &verify_outputs(&world.output(), "work", &keys),
        &keys,
    );
    assert_eq!(world.starts().len(), 3, "no shard ran twice");
    worker.terminate();
    coordinator.terminate();
    world.finish();
}

/// Runs calls to their end.
pub(crate) fn talk(coordinator: &Coordinator<'_>, calls: impl AsyncFnOnce(Channel)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let endpoint = tonic::transport::Endpoint::from_shared(coordinator.address()).unwrap();
        let channel = endpoint
            .timeout(Duration::from_secs(30))
            .connect()
            .await
            .unwrap();
        calls(channel).await;
    });
}

pub(crate) fn allowed<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(
        TOKEN_METADATA_KEY,
        format!("Bearer {token}").parse().unwrap(),
    );
    request
}

/// An error of a client's making, not one of the coordinator's, which lives on.
#[track_caller]
pub(crate) fn assert_refused(answer: Result<(), Status>) {
    let status = answer.unwrap_err();
    let bad = matches!(
        status.code(),
        Code::Unavailable | Code::DataLoss | Code::DeadlineExceeded
    );
    assert!(!bad, "{status:?}");
    assert!(!status.message().contains("panic"), "{status:?}");
}
