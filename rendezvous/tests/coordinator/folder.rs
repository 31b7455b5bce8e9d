use super::support::{Client, job, soon, start, stop};
use petctl_core::{Config, Millis};
use petctl_rendezvous::{Coordinator, Options, open_offline, read_endpoint, read_token};
use petctl_text::Secret;
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn a_living_coordinator_is_found_by_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("new/folder");
    let handle = start(&home).await;
    assert_eq!(
        fs::metadata(&home).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let endpoint = read_endpoint(&home).unwrap().unwrap();
    assert_eq!(
        (endpoint.address, endpoint.pid),
        (handle.address(), std::process::id())
    );
    let token = read_token(&home).unwrap().unwrap();
    assert!(handle.token().matches(token.expose().as_bytes()));
    stop(&handle).await;
    assert!(read_endpoint(&home).unwrap().is_none());
    assert!(!format!("{handle:?}").contains(token.expose()));
}

#[tokio::test]
async fn a_folder_has_one_coordinator_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path()).await;
    let error = soon(Coordinator::start(Options::new(dir.path())))
        .await
        .unwrap_err();
    assert_eq!(error.code().as_str(), "STATE_IN_USE");
    assert!(
        error.to_string().contains(&std::process::id().to_string()),
        "{error}"
    );
    stop(&handle).await;
    stop(&start(dir.path()).await).await;
}

#[tokio::test]
async fn a_port_in_use_is_refused_and_leaves_the_folder_free() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let handle = start(other.path()).await;
    let taken = Options {
        listen: Some(handle.address()),
        ..Options::new(dir.path())
    };
    let error = soon(Coordinator::start(taken)).await.unwrap_err();
    assert_eq!(error.code().as_str(), "PORT_IN_USE");
    assert!(
        error.to_string().contains(&handle.address().to_string()),
        "{error}"
    );
    stop(&start(dir.path()).await).await;
    // One that was only remembered is given up for another.
    fs::write(dir.path().join("port"), handle.address().port().to_string()).unwrap();
    let elsewhere = start(dir.path()).await;
    assert_ne!(elsewhere.address(), handle.address());
    stop(&elsewhere).await;
    stop(&handle).await;
}

#[tokio::test]
async fn a_given_token_is_the_one_that_counts_and_is_written_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let token = Some(Secret::new("a-token-of-my-own"));
    let handle = soon(Coordinator::start(Options {
        token,
        ..Options::new(dir.path())
    }))
    .await
    .unwrap();
    let mut client = Client::with_token(&handle, Some("a-token-of-my-own")).await;
    client.submit(job(1, 1)).await.unwrap();
    stop(&handle).await;
    for entry in fs::read_dir(dir.path()).unwrap() {
        let contents = fs::read(entry.unwrap().path()).unwrap();
        assert!(
            !contents
                .windows(17)
                .any(|bytes| bytes == b"a-token-of-my-own")
        );
    }
}

#[tokio::test]
async fn a_state_is_read_when_nobody_coordinates_and_only_then() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path()).await;
    Client::of(&handle).await.submit(job(10, 1)).await.unwrap();
    let offline = || open_offline(dir.path(), Config::default(), Millis(0));
    assert_eq!(offline().unwrap_err().code().as_str(), "STATE_IN_USE");
    stop(&handle).await;
    let state = offline().unwrap();
    let id = state.core().resolve("us101").unwrap();
    assert_eq!(
        state.core().job_view(Millis(0), id).unwrap().summary.shards,
        10
    );
    assert_eq!(state.events(1, 10).unwrap().len(), 2);
    let status = state.status("us101", Millis(0)).unwrap();
    assert_eq!(status.last_events.last().unwrap().kind, "job_submitted");
    drop(state);
    stop(&start(dir.path()).await).await;
}
