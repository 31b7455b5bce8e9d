//! What every store promises, tried on each kind.

use crate::service::new_store;
use bytes::Bytes;
use futures::TryStreamExt as _;
use md5::{Digest as _, Md5};
use petctl_storage::{
    BlockId, Condition, ETag, PutOutcome, SharedStore, StorageProblem, open_folder,
};
use std::collections::BTreeSet;
use std::ops::Range;
use tempfile::TempDir;

/// Names that addresses, signatures and XML get wrong where somebody was careless.
const ODD_NAMES: [&str; 12] = [
    "plain.txt",
    "with space/and more.txt",
    "percent%41%2F%.txt",
    "question?mark#hash&amp;.txt",
    "plus+equals=;comma,.txt",
    "quotes'\"<tag>.txt",
    "日本語/ファイル.xml",
    "é/e\u{301}.txt",
    "emoji-🚗.bin",
    "brackets[1]{2}|^`~!@$()*.txt",
    ".petctl/logs/a.log",
    "deep/er/and/deep/er/still.txt",
];

async fn blob() -> (SharedStore, Option<TempDir>) {
    (new_store("contract", "").await, None)
}

async fn prefixed() -> (SharedStore, Option<TempDir>) {
    (new_store("contract", "us101/a b%").await, None)
}

async fn folder() -> (SharedStore, Option<TempDir>) {
    let folder = tempfile::tempdir().unwrap();
    let store = open_folder(folder.path().join("store")).unwrap();
    assert!(store.create().await.unwrap());
    (store, Some(folder))
}

macro_rules! each_store {
    ($($promise:ident),* $(,)?) => {
        mod in_a_container { $(#[tokio::test] async fn $promise() {
            let (store, _held) = super::blob().await; super::$promise(&store).await;
        })* }
        mod below_a_prefix { $(#[tokio::test] async fn $promise() {
            let (store, _held) = super::prefixed().await; super::$promise(&store).await;
        })* }
        mod in_a_folder { $(#[tokio::test] async fn $promise() {
            let (store, _held) = super::folder().await; super::$promise(&store).await;
        })* }
    };
}

each_store!(
    what_was_put_is_got_back_under_any_name,
    a_part_is_got_and_nothing_behind_the_end,
    nothing_there_is_told_from_failure,
    an_empty_name_has_an_empty_body,
    a_second_put_where_nothing_may_be_loses,
    a_put_for_an_older_version_loses,
    of_many_at_once_one_wins,
    a_body_of_another_version_is_refused,
    blocks_make_a_whole_in_the_order_asked_for,
    blocks_may_be_sent_and_committed_again,
    a_deleted_name_is_gone,
    only_the_version_named_is_deleted,
    names_are_listed_in_order_below_a_prefix,
    a_folder_without_files_is_listed_as_one,
    names_that_lead_elsewhere_are_refused,
    what_is_there_already_is_not_made_again,
);

async fn put(store: &SharedStore, name: &str, text: &str) -> ETag {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    done(store.put(name, bytes, &Condition::None).await.unwrap())
}

fn done(outcome: PutOutcome) -> ETag {
    match outcome {
        PutOutcome::Done(etag) => etag,
        PutOutcome::Lost => panic!("the condition held"),
    }
}

async fn text(store: &SharedStore, name: &str, range: Option<Range<u64>>) -> String {
    let body = store.get(name, range, None).await.unwrap();
    let pieces: Vec<Bytes> = body.bytes.try_collect().await.unwrap();
    String::from_utf8(pieces.concat()).unwrap()
}

async fn names(store: &SharedStore, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut mark = None;
    loop {
        let page = store.list(prefix, mark.as_deref()).await.unwrap();
        names.extend(page.entries.into_iter().map(|entry| entry.name));
        mark = page.mark;
        if mark.is_none() {
            return names;
        }
    }
}

async fn what_was_put_is_got_back_under_any_name(store: &SharedStore) {
    for name in ODD_NAMES {
        let etag = put(store, name, name).await;
        assert_eq!(text(store, name, None).await, name);
        let known = store.head(name).await.unwrap().expect(name);
        assert_eq!(known.size, name.len() as u64, "{name}");
        assert_eq!(known.etag, etag, "{name}");
        if let Some(md5) = known.md5 {
            assert_eq!(md5, <[u8; 16]>::from(Md5::digest(name)), "{name}");
        }
    }
    let listed: BTreeSet<String> = names(store, "").await.into_iter().collect();
    assert_eq!(listed, ODD_NAMES.map(str::to_owned).into());
    let page = store.list("", None).await.unwrap();
    for entry in page.entries {
        let known = store.head(&entry.name).await.unwrap().unwrap();
        assert_eq!(entry.properties, known, "{}", entry.name);
        assert!(!entry.is_folder);
    }
}

async fn a_part_is_got_and_nothing_behind_the_end(store: &SharedStore) {
    put(store, "a", "0123456789").await;
    assert_eq!(text(store, "a", Some(2..5)).await, "234");
    assert_eq!(text(store, "a", Some(8..100)).await, "89");
    assert_eq!(text(store, "a", Some(3..3)).await, "");
    let body = store.get("a", Some(2..5), None).await.unwrap();
    assert_eq!(body.properties.size, 10, "the whole's size");
    let error = store.get("a", Some(10..20), None).await.err().unwrap();
    assert_eq!(error.problem, StorageProblem::Changed, "{error}");
}

async fn nothing_there_is_told_from_failure(store: &SharedStore) {
    assert_eq!(store.head("a").await.unwrap(), None);
    let error = store.get("a", None, None).await.err().unwrap();
    assert_eq!(error.problem, StorageProblem::NotFound, "{error}");
    assert!(error.message.contains(&store.address("a")), "{error}");
    assert!(names(store, "nowhere/").await.is_empty());
    assert!(!store.delete("a", None).await.unwrap());
    assert!(store.blocks("a").await.unwrap().is_empty());
}

async fn an_empty_name_has_an_empty_body(store: &SharedStore) {
    put(store, "empty", "").await;
    assert_eq!(text(store, "empty", None).await, "");
    assert_eq!(store.head("empty").await.unwrap().unwrap().size, 0);
}

async fn a_second_put_where_nothing_may_be_loses(store: &SharedStore) {
    let first = store.put("a", "one".into(), &Condition::Absent).await;
    done(first.unwrap());
    let second = store.put("a", "two".into(), &Condition::Absent).await;
    assert_eq!(second.unwrap(), PutOutcome::Lost);
    assert_eq!(text(store, "a", None).await, "one");
}

async fn a_put_for_an_older_version_loses(store: &SharedStore) {
    let first = put(store, "a", "one").await;
    let second = put(store, "a", "two").await;
    assert_ne!(first, second);
    let late = store
        .put("a", "late".into(), &Condition::Match(first.clone()))
        .await;
    assert_eq!(late.unwrap(), PutOutcome::Lost);
    let third = store
        .put("a", "three".into(), &Condition::Match(second))
        .await;
    done(third.unwrap());
    assert_eq!(text(store, "a", None).await, "three");
    let missing = store.put("b", "x".into(), &Condition::Match(first)).await;
    assert_eq!(missing.unwrap(), PutOutcome::Lost);
}

async fn of_many_at_once_one_wins(store: &SharedStore) {
    let race = |condition: Condition, round: usize| async move {
        let tries = (0..16).map(|n| {
            let condition = condition.clone();
            async move {
                let text = format!("{round}-{n}");
                let outcome = store.put("race", text.clone().into(), &condition).await;
                match outcome.unwrap() {
                    PutOutcome::Done(etag) => Some((etag, text)),
                    PutOutcome::Lost => None,
                }
            }
        });
        let won: Vec<_> = futures::future::join_all(tries)
            .await
            .into_iter()
            .flatten()
            .collect();
        assert_eq!(won.len(), 1, "{won:?}");
        let (etag, wrote) = won.into_iter().next().unwrap();
        assert_eq!(text(store, "race", None).await, wrote);
        etag
    };
    let mut etag = race(Condition::Absent, 0).await;
    for round in 1..5 {
        etag = race(Condition::Match(etag), round).await;
    }
}

async fn a_body_of_another_version_is_refused(store: &SharedStore) {
    let first = put(store, "a", "one").await;
    assert!(store.get("a", None, Some(&first)).await.is_ok());
    put(store, "a", "two").await;
    for range in [None, Some(0..1), Some(1..1)] {
        let error = store.get("a", range, Some(&first)).await.err().unwrap();
        assert_eq!(error.problem, StorageProblem::Changed, "{error}");
    }
}

fn block(number: u32) -> BlockId {
    BlockId(format!("block{number:08}"))
}

async fn blocks_make_a_whole_in_the_order_asked_for(store: &SharedStore) {
    for (number, part) in [(2, "three"), (0, "one"), (1, "two")] {
        store
            .put_block("a b", &block(number), part.into())
            .await
            .unwrap();
    }
    assert_eq!(store.head("a b").await.unwrap(), None, "nothing shows yet");
    assert!(names(store, "").await.is_empty());
    let mut waiting = store.blocks("a b").await.unwrap();
    waiting.sort();
    assert_eq!(waiting, [(block(0), 3), (block(1), 3), (block(2), 5)]);
    let md5: [u8; 16] = Md5::digest("onetwothree").into();
    let all = [block(0), block(1), block(2)];
    let outcome = store.put_blocks("a b", &all, md5, &Condition::Absent).await;
    let etag = done(outcome.unwrap());
    assert_eq!(text(store, "a b", None).await, "onetwothree");
    let known = store.head("a b").await.unwrap().unwrap();
    assert_eq!(known.etag, etag);
    assert!(known.md5.is_none_or(|kept| kept == md5));
    assert!(store.blocks("a b").await.unwrap().is_empty());
}

async fn blocks_may_be_sent_and_committed_again(store: &SharedStore) {
    let md5: [u8; 16] = Md5::digest("two").into();
    for part in ["one", "two"] {
        store.put_block("a", &block(0), part.into()).await.unwrap();
    }
    let outcome = store
        .put_blocks("a", &[block(0)], md5, &Condition::None)
        .await;
    done(outcome.unwrap());
    assert_eq!(text(store, "a", None).await, "two");
    store.put_block("a", &block(0), "two".into()).await.unwrap();
    let outcome = store
        .put_blocks("a", &[block(0)], md5, &Condition::Absent)
        .await;
    assert_eq!(outcome.unwrap(), PutOutcome::Lost);
}

async fn a_deleted_name_is_gone(store: &SharedStore) {
    put(store, "a/b", "x").await;
    assert!(store.delete("a/b", None).await.unwrap());
    assert!(!store.delete("a/b", None).await.unwrap());
    assert_eq!(store.head("a/b").await.unwrap(), None);
}

async fn only_the_version_named_is_deleted(store: &SharedStore) {
    let first = put(store, "a", "one").await;
    let second = put(store, "a", "two").await;
    let error = store.delete("a", Some(&first)).await.unwrap_err();
    assert_eq!(error.problem, StorageProblem::Changed, "{error}");
    assert!(store.delete("a", Some(&second)).await.unwrap());
}

async fn names_are_listed_in_order_below_a_prefix(store: &SharedStore) {
    let all = ["a", "a-b", "a.txt", "a1/x", "a1/y", "ab", "b/c/d", "b/e"];
    for name in all.iter().rev() {
        put(store, name, name).await;
    }
    assert_eq!(names(store, "").await, all);
    assert_eq!(names(store, "a1/").await, ["a1/x", "a1/y"]);
    assert_eq!(
        names(store, "a").await,
        ["a", "a-b", "a.txt", "a1/x", "a1/y", "ab"]
    );
    assert_eq!(names(store, "b/c").await, ["b/c/d"]);
}

async fn a_folder_without_files_is_listed_as_one(store: &SharedStore) {
    put(store, "a/file", "x").await;
    done(
        store
            .put("a/empty/", Bytes::new(), &Condition::None)
            .await
            .unwrap(),
    );
    let page = store.list("a/", None).await.unwrap();
    let folders: Vec<_> = page
        .entries
        .iter()
        .filter(|entry| entry.is_folder)
        .collect();
    assert_eq!(folders.len(), 1, "{page:?}");
    assert_eq!(folders[0].name.trim_end_matches('/'), "a/empty");
    assert!(store.delete(&folders[0].name, None).await.unwrap());
    assert_eq!(names(store, "a/").await, ["a/file"]);
}

async fn names_that_lead_elsewhere_are_refused(store: &SharedStore) {
    for name in ["", "..", "a/../b", "../x", "a/./b", "/etc/passwd"] {
        let error = store
            .put(name, "x".into(), &Condition::None)
            .await
            .unwrap_err();
        assert_eq!(error.problem, StorageProblem::BadName, "{name:?}: {error}");
        let error = store.get(name, None, None).await.err().unwrap();
        assert_eq!(error.problem, StorageProblem::BadName, "{name:?}: {error}");
    }
}

async fn what_is_there_already_is_not_made_again(store: &SharedStore) {
    assert!(!store.create().await.unwrap());
    put(store, "a", "x").await;
    assert!(!store.create().await.unwrap());
    assert_eq!(text(store, "a", None).await, "x");
}

#[tokio::test]
async fn a_link_does_not_lead_a_writer_out_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
    let store = open_folder(folder.path()).unwrap();
    let error = store
        .put("link/a/b", "x".into(), &Condition::None)
        .await
        .unwrap_err();
    assert_eq!(error.problem, StorageProblem::BadName, "{error}");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_folder(folder.path().join("gone")).unwrap();
    for error in [
        store.list("", None).await.unwrap_err(),
        store.head("a").await.unwrap_err(),
        store
            .put("a", "x".into(), &Condition::None)
            .await
            .unwrap_err(),
    ] {
        assert_eq!(error.problem, StorageProblem::NotFound, "{error}");
    }
}
