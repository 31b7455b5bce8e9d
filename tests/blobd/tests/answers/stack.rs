//! petctl's own way to blob storage, on this service.

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use petctl_spec::StorageRoot;
use petctl_storage::{BlockId, Condition, PutOutcome, SharedStore, StorageProblem, open};
use petctl_test_blobd::{Blobd, BlobdOptions};
use std::collections::BTreeSet;

const BLOBS: usize = 1_000;

async fn store(blobd: &Blobd) -> SharedStore {
    let root = StorageRoot::Container {
        container: "raw".to_owned(),
        prefix: "us 101".to_owned(),
    };
    let store = open(&root, &blobd.access()).unwrap();
    assert!(store.create().await.unwrap());
    assert!(!store.create().await.unwrap());
    store
}

fn checking() -> BlobdOptions {
    BlobdOptions {
        checks_md5: true,
        ..BlobdOptions::default()
    }
}

async fn names(store: &SharedStore) -> Vec<String> {
    let (mut names, mut mark) = (Vec::new(), None);
    loop {
        let page = store.list("", mark.as_deref()).await.unwrap();
        names.extend(page.entries.into_iter().map(|entry| entry.name));
        mark = page.mark;
        if mark.is_none() {
            return names;
        }
    }
}

#[tokio::test]
async fn a_thousand_blobs_are_written_read_listed_and_deleted() {
    let blobd = Blobd::start().unwrap();
    let store = store(&blobd).await;
    let all: Vec<String> = (0..BLOBS).map(|n| format!("{:02}/{n:04}", n % 7)).collect();
    let of = |name: &str| Bytes::from(name.repeat(1 + name.len() * 50));
    let store = &store;
    stream::iter(&all)
        .for_each_concurrent(16, |name| async move {
            let outcome = store.put(name, of(name), &Condition::Absent).await.unwrap();
            let PutOutcome::Done(etag) = outcome else {
                panic!("{name} was there already");
            };
            let body = store.get(name, None, Some(&etag)).await.unwrap();
            assert_eq!(body.properties.size, of(name).len() as u64);
            let pieces: Vec<Bytes> = body.bytes.try_collect().await.unwrap();
            assert_eq!(pieces.concat(), of(name), "{name}");
        })
        .await;
    let sorted: BTreeSet<String> = all.iter().cloned().collect();
    assert_eq!(names(store).await, Vec::from_iter(sorted));
    stream::iter(&all)
        .for_each_concurrent(16, |name| async move {
            assert!(store.delete(name, None).await.unwrap(), "{name}");
            assert!(!store.delete(name, None).await.unwrap(), "{name}");
            assert_eq!(store.head(name).await.unwrap(), None, "{name}");
        })
        .await;
    assert!(names(store).await.is_empty());
}

#[tokio::test]
async fn blocks_conditions_notes_and_ends_are_what_petctl_takes_them_for() {
    let blobd = Blobd::start_with(&checking()).unwrap();
    let store = store(&blobd).await;
    let (one, two) = (BlockId("001".to_owned()), BlockId("002".to_owned()));
    store.put_block("a", &two, "456".into()).await.unwrap();
    store.put_block("a", &one, "0123".into()).await.unwrap();
    let waiting: BTreeSet<_> = store.blocks("a").await.unwrap().into_iter().collect();
    let expected = [(one.clone(), 4), (two.clone(), 3)];
    assert_eq!(waiting, BTreeSet::from(expected));
    let blocks = [one, two];
    for (condition, wins) in [(Condition::Absent, true), (Condition::Absent, false)] {
        let outcome = store.put_blocks("a", &blocks, [7; 16], &condition).await;
        assert_eq!(matches!(outcome.unwrap(), PutOutcome::Done(_)), wins);
    }
    assert!(store.blocks("a").await.unwrap().is_empty());
    let known = store.head("a").await.unwrap().unwrap();
    assert_eq!((known.size, known.md5), (7, Some([7; 16])));
    let body = store.get("a", Some(2..5), None).await.unwrap();
    let pieces: Vec<Bytes> = body.bytes.try_collect().await.unwrap();
    assert_eq!(pieces.concat(), b"234");
    let behind = store.get("a", Some(7..9), None).await.err().unwrap();
    assert_eq!(behind.problem, StorageProblem::Changed, "{behind}");

    let noted = store.put_noted("b", "x".into(), &Condition::None, "n");
    noted.await.unwrap();
    store
        .put("c/", Bytes::new(), &Condition::None)
        .await
        .unwrap();
    let body = store.get("c", None, None).await.unwrap();
    assert_eq!(body.properties.size, 0);
    let page = store.list("", None).await.unwrap();
    for entry in &page.entries {
        let known = store.head(&entry.name).await.unwrap().unwrap();
        assert_eq!(entry.properties, known, "{}", entry.name);
    }
    let told = page.entries.into_iter();
    let told: Vec<_> = told.map(|e| (e.name, e.is_folder, e.note)).collect();
    let expected = [
        ("a", false, None),
        ("b", false, Some("n")),
        ("c", true, None),
    ];
    let expected =
        expected.map(|(name, folder, note)| (name.to_owned(), folder, note.map(str::to_owned)));
    assert_eq!(told, expected);
}

#[tokio::test]
async fn of_many_writes_for_one_version_one_wins() {
    let blobd = Blobd::start_with(&BlobdOptions {
        threads: 2,
        ..BlobdOptions::default()
    });
    let blobd = blobd.unwrap();
    let store = &store(&blobd).await;
    let mut condition = Condition::Absent;
    for round in 0..20 {
        let writes = (0..16).map(|n| {
            let condition = condition.clone();
            async move {
                let text = format!("{round}-{n}");
                let outcome = store.put("race", text.into(), &condition).await;
                match outcome.unwrap() {
                    PutOutcome::Done(etag) => Some(etag),
                    PutOutcome::Lost => None,
                }
            }
        });
        let outcomes = futures::future::join_all(writes).await;
        let won: Vec<_> = outcomes.into_iter().flatten().collect();
        let [etag] = won.as_slice() else {
            panic!("{won:?} won");
        };
        condition = Condition::Match(etag.clone());
    }
}

#[tokio::test]
async fn one_that_was_dropped_is_gone_and_another_knows_nothing_of_it() {
    let blobd = Blobd::start_with(&BlobdOptions {
        threads: 2,
        ..BlobdOptions::default()
    });
    let blobd = blobd.unwrap();
    let first = store(&blobd).await;
    let outcome = first.put("a", "x".into(), &Condition::None).await;
    assert!(matches!(outcome.unwrap(), PutOutcome::Done(_)));
    let address = blobd.address();
    drop(blobd);
    assert!(std::net::TcpStream::connect(address).is_err());
    let another = Blobd::start().unwrap();
    assert_eq!(store(&another).await.head("a").await.unwrap(), None);
}
