//! A service that answers late, wrongly, half or not at all.

use crate::service::{azurite, container, fresh, hasty, store_at};
use bytes::Bytes;
use futures::TryStreamExt as _;
use petctl_azurite::faults::{Fault, FaultProxy, Seen};
use petctl_storage::{
    BlockId, Condition, PutOutcome, SharedStore, StorageProblem, open, open_with,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A container, and a store that reaches it by way of a proxy.
async fn behind(
    plan: impl FnMut(&Seen) -> Fault + Send + 'static,
) -> (FaultProxy, SharedStore, SharedStore) {
    let root = container(&fresh("faults"), "");
    let direct = open(&root, &azurite().access()).unwrap();
    direct.create().await.unwrap();
    let proxy = FaultProxy::start(azurite().address(), plan).unwrap();
    let store = store_at(&proxy.endpoint(azurite().account()), &root);
    (proxy, store, direct)
}

/// The first requests meet these, the others nothing.
fn script(faults: Vec<Fault>) -> impl FnMut(&Seen) -> Fault + Send + 'static {
    let mut faults = faults.into_iter();
    move |_| faults.next().unwrap_or(Fault::Pass)
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
        retry_after: None,
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
        let faults = vec![fault.clone(), fault.clone()];
        let (_proxy, store, direct) = behind(script(faults)).await;
        put(&store, "a b", "hello").await;
        assert_eq!(text(&direct, "a b").await.unwrap(), "hello", "{fault:?}");
    }
}

#[tokio::test]
async fn a_service_that_goes_on_failing_is_given_up_and_named() {
    let (proxy, store, _) = behind(|_| Fault::Refuse {
        status: 503,
        retry_after: None,
    })
    .await;
    let error = store.head("a").await.unwrap_err();
    assert_eq!(error.code().as_str(), "STORAGE_UNAVAILABLE");
    assert!(
        error.message.contains("503 ServerBusy through 4 tries"),
        "{error}"
    );
    drop(proxy);
}

#[tokio::test]
async fn a_retry_after_is_waited_for() {
    let (_proxy, store, _) = behind(script(vec![Fault::Refuse {
        status: 503,
        retry_after: Some(1),
    }]))
    .await;
    let started = Instant::now();
    assert_eq!(store.head("a").await.unwrap(), None);
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_retry_after_of_an_hour_is_not_waited_for() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let (_proxy, store, _) = behind(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Fault::Refuse {
            status: 429,
            retry_after: Some(3_600),
        }
    })
    .await;
    let error = store.head("a").await.unwrap_err();
    assert_eq!(error.problem, StorageProblem::Unavailable, "{error}");
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_answer_that_never_comes_is_not_waited_for_for_ever() {
    let (_proxy, store, direct) = behind(script(vec![Fault::Delay(Duration::from_secs(60))])).await;
    put(&store, "a", "hello").await;
    assert_eq!(text(&direct, "a").await.unwrap(), "hello");
}

#[tokio::test]
async fn a_body_that_stops_or_breaks_ends_with_an_error() {
    let long = "0123456789".repeat(1_000);
    for fault in [
        Fault::CutBody(500),
        Fault::SlowBody(500, Duration::from_secs(60)),
    ] {
        let (_proxy, store, direct) = behind(script(vec![fault.clone()])).await;
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
async fn a_list_that_breaks_off_is_asked_for_again() {
    let (_proxy, store, direct) = behind(script(vec![Fault::CutBody(200)])).await;
    put(&direct, "a", "x").await;
    assert_eq!(store.list("", None).await.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn a_whole_whose_answer_is_lost_may_be_committed_again() {
    let dropped = Arc::new(Mutex::new(false));
    let done = dropped.clone();
    let (_proxy, store, direct) = behind(move |seen| {
        let mut done = done.lock().unwrap();
        if seen.query.contains("comp=blocklist") && !*done {
            *done = true;
            return Fault::DropAnswer;
        }
        Fault::Pass
    })
    .await;
    let block = BlockId("block1".to_owned());
    store.put_block("a", &block, "hello".into()).await.unwrap();
    let md5 = {
        use md5::Digest as _;
        md5::Md5::digest("hello").into()
    };
    let outcome = store.put_blocks("a", &[block], md5, &Condition::None).await;
    assert!(matches!(outcome.unwrap(), PutOutcome::Done(_)));
    assert!(*dropped.lock().unwrap());
    assert_eq!(text(&direct, "a").await.unwrap(), "hello");
}

#[tokio::test]
async fn bytes_that_change_on_the_way_are_sent_again_and_never_kept() {
    let (_proxy, store, direct) = behind(script(vec![Fault::Spoil])).await;
    put(&store, "a", "hello").await;
    assert_eq!(text(&direct, "a").await.unwrap(), "hello");
    let (_proxy, store, direct) = behind(|_| Fault::Spoil).await;
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
