//! Azurite as petctl starts it.

use crate::service::{azurite, container};
use petctl_azurite::{Azurite, AzuriteOptions, VERSION, install, installed};
use petctl_storage::{Condition, PutOutcome, open};

#[test]
fn it_is_installed_once_in_the_version_that_was_asked_for() {
    let program = install().unwrap();
    assert_eq!(installed(), Some(program.clone()));
    let package = program.ancestors().nth(4).unwrap().join("package.json");
    let package = std::fs::read_to_string(package).unwrap();
    assert!(package.contains(&format!("\"version\": \"{VERSION}\"")));
}

#[tokio::test]
async fn one_that_was_stopped_and_started_again_has_its_blobs_and_its_address() {
    let folder = tempfile::tempdir().unwrap();
    let options = AzuriteOptions {
        folder: Some(folder.path().join("blobs")),
        port: 0,
    };
    let mut azurite = Azurite::start(options).unwrap();
    let store = open(&container("raw", ""), &azurite.access()).unwrap();
    store.create().await.unwrap();
    store
        .put("a", "hello".into(), &Condition::None)
        .await
        .unwrap();
    let endpoint = azurite.endpoint().to_owned();
    azurite.stop();
    assert_eq!(azurite.pid(), None);
    azurite.restart().unwrap();
    assert_eq!(azurite.endpoint(), endpoint);
    assert_eq!(store.head("a").await.unwrap().unwrap().size, 5);
}

#[tokio::test]
async fn a_request_waits_for_a_service_that_was_killed_and_comes_back() {
    let mut azurite = Azurite::start(AzuriteOptions::default()).unwrap();
    let store = open(&container("raw", ""), &azurite.access()).unwrap();
    store.create().await.unwrap();
    azurite.kill();
    let request = tokio::spawn(async move { store.create().await });
    tokio::task::yield_now().await;
    let azurite = tokio::task::spawn_blocking(move || {
        azurite.restart().unwrap();
        azurite
    });
    let azurite = azurite.await.unwrap();
    assert!(
        request.await.unwrap().unwrap(),
        "what was in memory is gone"
    );
    let store = open(&container("raw", ""), &azurite.access()).unwrap();
    let outcome = store.put("a", "x".into(), &Condition::Absent).await;
    assert!(matches!(outcome.unwrap(), PutOutcome::Done(_)));
}

#[test]
fn a_port_that_is_taken_is_said_so_in_its_own_words() {
    let taken = AzuriteOptions {
        folder: None,
        port: azurite().port(),
    };
    let error = Azurite::start(taken).unwrap_err();
    assert_eq!(error.code().as_str(), "STORAGE_UNAVAILABLE");
    assert!(error.message.contains("EADDRINUSE"), "{error}");
}
