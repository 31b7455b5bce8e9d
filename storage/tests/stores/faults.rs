//! A service that answers late, wrongly, half or not at all.

use crate::service::{azurite, container, fresh, hasty, store_at};
use bytes::Bytes;
use futures::TryStreamExt as _;
use petctl_storage::{
    BlockId, Condition, PutOutcome, SharedStore, StorageProblem, open, open_with,
};
use petctl_test_faults::{Fault, Matching, Proxy};
use std::time::{Duration, Instant};

/// A container, and a store that reaches it by way of a proxy.
async fn behind() -> (Proxy, SharedStore, SharedStore) {
    let root = container(&fresh("faults"), "");
    let direct = open(&root, &azurite().access()).unwrap();
    direct.create().await.unwrap();
    let proxy = Proxy::start(azurite().address(), 1);
    let store = store_at(&proxy.endpoint(azurite().account()), &root);
    (proxy, store, direct)
}

/// The same, and its first request meets this.
async fn behind_one(fault: Fault) -> (Proxy, SharedStore, SharedStore) {
    let behind = behind().await;
    behind.0.strike(Matching::any(), fault, 1);
    behind
}

async fn put(store: &SharedStore, name: &str, text: &str) {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    store.put(name, bytes, &Condition::None).await.unwrap();
}

async fn text(store: &SharedStore, name: &str) -> Result<String, petctl_storage::StorageError> {
    let body = store.get(name, None, None).await?;
    let pieces: Vec<Bytes> = body.bytes.try_collect().await?;
    Ok(String::from_utf8(pieces.concat()).unwrap())
}

#[tokio::test]
async fn what_passes_by_itself_is_tried_again() {
    let refuse = |status| Fault::Refuse {
        status,
        retry_after_s: None,
    };
    for fault in [
        refuse(408),
        refuse(429),
        refuse(500),
        refuse(502),
        refuse(503),
        refuse(504),
        Fault::Cut,
    ] {
        let (proxy, store, direct) = behind().await;
        proxy.strike(Matching::any(), fault, 2);
        put(&store, "a b", "hello").await;
        assert_eq!(text(&direct, "a b").await.unwrap(), "hello", "{fault:?}");
    }
}

#[tokio::test]
async fn a_service_that_goes_on_failing_is_given_up_and_named() {
    let (proxy, store, _) = behind().await;
    let refuse = Fault::Refuse {
        status: 503,
        retry_after_s: None,
    };
    proxy.strike_all(Matching::any(), refuse);
    let error = store.head("a").await.unwrap_err();
    assert_eq!(error.code().as_str(), "STORAGE_UNAVAILABLE");
    assert!(
        error.message.contains("503 ServerBusy through 4 tries"),
        "{error}"
    );
}

#[tokio::test]
async fn a_retry_after_is_waited_for() {
    let (_proxy, store, _) = behind_one(Fault::refuse(503)).await;
    let started = Instant::now();
    assert_eq!(store.head("a").await.unwrap(), None);
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_retry_after_of_an_hour_is_not_waited_for() {
    let (proxy, store, _) = behind().await;
    let refuse = Fault::Refuse {
        status: 429,
        retry_after_s: Some(3_600),
    };
    proxy.strike_all(Matching::any(), refuse);
    let error = store.head("a").await.unwrap_err();
    assert_eq!(error.problem, StorageProblem::Unavailable, "{error}");
    assert_eq!(proxy.seen().len(), 1);
}

#[tokio::test]
async fn an_answer_that_never_comes_is_not_waited_for_for_ever() {
    let (_proxy, store, direct) = behind_one(Fault::Delay(Duration::from_secs(60))).await;
    put(&store, "a", "hello").await;
    assert_eq!(text(&direct, "a").await.unwrap(), "hello");
}

#[tokio::test]
async fn a_body_that_stops_or_breaks_ends_with_an_error() {
    let long = "0123456789".repeat(1_000);
    for fault in [
        Fault::CutAnswer,
        Fault::StallAnswer(Duration::from_secs(60)),
    ] {
        let (_proxy, store, direct) = behind_one(fault).await;
        put(&direct, "a", &long).await;
        let error = text(&store, "a").await.unwrap_err();
        assert_eq!(
            error.problem,
            StorageProblem::Unavailable,
            "{fault:?}: {error}"
        );
        assert!(error.message.contains("az://faults-"), "{error}");
        assert_eq!(text(&store, "a").await.unwrap(), long);
    }
}

#[tokio::test]
async fn a_web_page_in_the_services_place_is_asked_past_and_never_believed() {
    let page = Fault::Page { disguised: false };
    let (proxy, store, direct) = behind().await;
    put(&direct, "a", "hello").await;
    proxy.strike(Matching::any(), page, 2);
    assert_eq!(store.list("", None).await.unwrap().entries.len(), 1);
    // Whatever is asked, a page that stays is an error that names it.
    proxy.strike_all(Matching::any(), page);
    let own = Condition::None;
    let errors = [
        store.list("", None).await.map(drop).unwrap_err(),
        store.head("a").await.map(drop).unwrap_err(),
        text(&store, "a").await.map(drop).unwrap_err(),
        store
            .put("b", "x".into(), &own)
            .await
            .map(drop)
            .unwrap_err(),
        store.delete("a", None).await.map(drop).unwrap_err(),
        store.create().await.map(drop).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.problem, StorageProblem::Unavailable, "{error}");
        let said = "is not Azure Storage through 4 tries (HTTP 200 with content-type: text/html; server: squid)";
        assert!(error.message.contains(said), "{error}");
    }
    assert_eq!(text(&direct, "a").await.unwrap(), "hello");
    assert!(direct.head("b").await.unwrap().is_none());
}

#[tokio::test]
async fn a_page_with_the_services_headers_is_no_listing_and_no_blob_of_that_version() {
    let page = Fault::Page { disguised: true };
    let (proxy, store, direct) = behind().await;
    put(&direct, "a", "hello").await;
    let known = direct.head("a").await.unwrap().unwrap();
    proxy.strike_all(Matching::any(), page);
    let error = store.list("", None).await.map(drop).unwrap_err();
    assert!(
        error
            .message
            .contains("the answer is no listing, it begins with \"<!DOCTYPE html>"),
        "{error}"
    );
    let other = store.get("a", None, Some(&known.etag)).await;
    let version = other.map(|body| body.properties.etag);
    assert_ne!(version.ok(), Some(known.etag));
}

#[tokio::test]
async fn a_list_that_breaks_off_is_asked_for_again() {
    let (_proxy, store, direct) = behind_one(Fault::CutAnswer).await;
    put(&direct, "a", "x").await;
    assert_eq!(store.list("", None).await.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn a_whole_whose_answer_is_lost_may_be_committed_again() {
    let (proxy, store, direct) = behind().await;
    proxy.strike(Matching::has("comp=blocklist"), Fault::LoseAnswer, 1);
    let block = BlockId("block1".to_owned());
    store.put_block("a", &block, "hello".into()).await.unwrap();
    let md5 = {
        use md5::Digest as _;
        md5::Md5::digest("hello").into()
    };
    let outcome = store.put_blocks("a", &[block], md5, &Condition::None).await;
    assert!(matches!(outcome.unwrap(), PutOutcome::Done(_)));
    assert_eq!(text(&direct, "a").await.unwrap(), "hello");
}

#[tokio::test]
async fn bytes_that_change_on_the_way_are_sent_again_and_never_kept() {
    let (_proxy, store, direct) = behind_one(Fault::Spoil).await;
    put(&store, "a", "hello").await;
    assert_eq!(text(&direct, "a").await.unwrap(), "hello");
    let (proxy, store, direct) = behind().await;
    proxy.strike_all(Matching::any(), Fault::Spoil);
    let block = BlockId("block1".to_owned());
    for error in [
        store
            .put("a", "hello".into(), &Condition::None)
            .await
            .unwrap_err(),
        store
            .put_block("a", &block, "hello".into())
            .await
            .unwrap_err(),
    ] {
        assert_eq!(error.code().as_str(), "STORAGE_CORRUPT", "{error}");
    }
    assert_eq!(direct.head("a").await.unwrap(), None);
}

#[tokio::test]
async fn a_host_or_port_where_nobody_is_gets_named_soon() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    for (endpoint, named) in [
        (
            format!("http://127.0.0.1:{port}/devstoreaccount1"),
            format!("127.0.0.1:{port}"),
        ),
        (
            "http://localhost.invalid/devstoreaccount1".to_owned(),
            "localhost.invalid".to_owned(),
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        std::fs::write(&key, azurite().key()).unwrap();
        let access = petctl_spec::StorageAccess {
            endpoint: Some(endpoint),
            account_key: Some(petctl_spec::SecretRef::File(key.display().to_string())),
            ..azurite().access()
        };
        let store = open_with(&container("raw", ""), &access, &hasty()).unwrap();
        let started = Instant::now();
        let error = store.head("a").await.unwrap_err();
        assert_eq!(error.problem, StorageProblem::Unavailable, "{error}");
        assert!(error.message.contains(&named), "{error}");
        assert!(started.elapsed() < Duration::from_secs(20));
    }
}

#[tokio::test]
async fn a_service_that_is_no_https_is_said_to_be_none() {
    let access = petctl_spec::StorageAccess {
        endpoint: Some(format!("https://{}/devstoreaccount1", azurite().address())),
        ..azurite().access()
    };
    let store = open_with(&container("raw", ""), &access, &hasty()).unwrap();
    let error = store.head("a").await.unwrap_err();
    assert_eq!(error.problem, StorageProblem::Unavailable, "{error}");
    assert!(!error.fix.is_empty());
}
