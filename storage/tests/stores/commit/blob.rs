//! One commit per shard, whatever races, dies or is not heard.

mod lineages;

use crate::service::{azurite, container, fresh, new_store, store_at};
use futures::future::join_all;
use petctl_commit::{
    BlobBegin, BlobCommitter, Commit, Maker, Published, SweepOptions, Swept, Ticket,
};
use petctl_output::layout::{AttemptName, NamedLease};
use petctl_output::manifest::{Manifest, VERSION};
use petctl_output::note::Note;
use petctl_storage::{Condition, SharedStore, StorageProblem, open};
use petctl_test_faults::{Fault, Matching, Proxy};
use std::collections::BTreeSet;

const LINEAGE: u64 = 7;
pub(crate) const MAKER: Maker<'_> = Maker {
    job: "us101",
    worker: "w1",
    content: None,
    replaces_below: 0,
    fresh: false,
};

pub(crate) fn attempt(key: &str, number: u32, lease_id: u64) -> AttemptName<'_> {
    AttemptName {
        stage: "resim",
        key,
        attempt: number,
        lineage: LINEAGE,
        lease_id,
    }
}

pub(crate) fn manifest(name: AttemptName<'_>) -> Manifest {
    Manifest {
        version: VERSION,
        job: "us101".to_owned(),
        stage: name.stage.to_owned(),
        key: name.key.to_owned(),
        attempt: name.attempt,
        lineage: name.lineage,
        lease_id: name.lease_id,
        content: None,
        worker: "w1".to_owned(),
        committed_at: "2026-11-21T15:00:00Z".to_owned(),
        duration_ms: 1_200,
        files: Vec::new(),
        links: Vec::new(),
        empty_folders: Vec::new(),
    }
}

fn lease(lease_id: u64) -> Option<NamedLease> {
    Some(attempt("", 0, lease_id).lease())
}

fn all() -> SweepOptions {
    SweepOptions {
        lineage: LINEAGE,
        ..SweepOptions::default()
    }
}

async fn committer() -> BlobCommitter {
    BlobCommitter::new(new_store("commit", "us101").await)
}

async fn write(committer: &BlobCommitter, name: AttemptName<'_>, file: &str) {
    let blob = format!("{}{file}", committer.data_prefix(name));
    let put = committer
        .store()
        .put(&blob, file.to_owned().into(), &Condition::None);
    put.await.unwrap();
}

async fn begin(committer: &BlobCommitter, name: AttemptName<'_>, fence: bool) -> BlobBegin {
    committer.begin(MAKER, name, fence).await.unwrap()
}

fn free(begin: BlobBegin) -> Ticket {
    match begin {
        BlobBegin::Free(ticket) => ticket,
        other @ (BlobBegin::Committed(_) | BlobBegin::LeaseLost { .. }) => panic!("{other:?}"),
    }
}

fn ours(published: Published) -> Commit {
    match published {
        Published::Ours(commit) => commit,
        other @ (Published::Theirs(_) | Published::LeaseLost { .. }) => panic!("{other:?}"),
    }
}

async fn publish(committer: &BlobCommitter, ticket: &Ticket, name: AttemptName<'_>) -> Published {
    committer
        .publish(ticket, MAKER, name, (&manifest(name), None))
        .await
        .unwrap()
}

/// Runs an attempt to its commit.
async fn run(committer: &BlobCommitter, name: AttemptName<'_>, fence: bool) -> Published {
    let ticket = free(begin(committer, name, fence).await);
    write(committer, name, "out.txt").await;
    publish(committer, &ticket, name).await
}

async fn names(store: &SharedStore) -> BTreeSet<String> {
    let page = store.list("", None).await.unwrap();
    page.entries.into_iter().map(|entry| entry.name).collect()
}

#[tokio::test]
async fn a_committed_shard_is_seen_whole_with_its_data() {
    let committer = committer().await;
    let name = attempt("a/b 1.xml", 1, 7);
    let ticket = free(begin(&committer, name, false).await);
    write(&committer, name, "out.txt").await;
    assert_eq!(committer.committed("resim", name.key).await.unwrap(), None);
    let commit = ours(publish(&committer, &ticket, name).await);
    assert_eq!(
        commit.data,
        "resim/a/b 1.xml/1-0000000000000007-0000000000000007/"
    );
    assert_eq!(commit.manifest, manifest(name));
    let seen = committer.committed("resim", name.key).await.unwrap();
    assert_eq!(seen.as_ref(), Some(&commit));
    assert_eq!(committer.list_committed("resim").await.unwrap(), [commit]);
    assert!(committer.list_committed("other").await.unwrap().is_empty());
}

#[tokio::test]
async fn of_many_attempts_at_once_exactly_one_commits() {
    let committer = committer().await;
    for round in 0..5_u64 {
        let key = format!("shard{round}");
        let mut tickets = Vec::new();
        for n in 1..=12_u32 {
            let name = attempt(&key, n, u64::from(n));
            tickets.push((name, free(begin(&committer, name, false).await)));
        }
        let attempts = tickets.iter().map(|(name, ticket)| {
            let committer = &committer;
            async move {
                write(committer, *name, "out.txt").await;
                publish(committer, ticket, *name).await
            }
        });
        let mut won = BTreeSet::new();
        let mut adopted = BTreeSet::new();
        for published in join_all(attempts).await {
            match published {
                Published::Ours(commit) => assert!(won.insert(commit.manifest.lease_id)),
                Published::Theirs(commit) => {
                    adopted.insert(commit.manifest.lease_id);
                }
                Published::LeaseLost { .. } => panic!("nobody claimed"),
            }
        }
        assert_eq!(won.len(), 1);
        assert_eq!(adopted, won, "everybody else adopts the one that stands");
    }
}

#[tokio::test]
async fn of_fenced_attempts_at_once_one_commits_and_the_others_know_why_not() {
    let committer = committer().await;
    let attempts = (1..=8_u32).map(|n| {
        let committer = &committer;
        async move {
            let name = attempt("a", n, u64::from(n));
            let ticket = match begin(committer, name, true).await {
                BlobBegin::Free(ticket) => ticket,
                BlobBegin::Committed(_) => return false,
                BlobBegin::LeaseLost { by } => {
                    assert!(by.unwrap().lease_id > u64::from(n));
                    return false;
                }
            };
            match publish(committer, &ticket, name).await {
                Published::Ours(_) => true,
                Published::Theirs(_) => false,
                Published::LeaseLost { by } => {
                    assert!(by.unwrap().lease_id > u64::from(n));
                    false
                }
            }
        }
    });
    let won: usize = join_all(attempts).await.into_iter().map(usize::from).sum();
    assert_eq!(won, 1);
}

#[tokio::test]
async fn a_zombie_can_not_commit_after_a_later_lease_began() {
    let committer = committer().await;
    for first_fenced in [false, true] {
        let key = format!("a-{first_fenced}");
        let (zombie, later) = (attempt(&key, 1, 5), attempt(&key, 2, 9));
        let old = free(begin(&committer, zombie, first_fenced).await);
        let new = free(begin(&committer, later, true).await);
        let late = publish(&committer, &old, zombie).await;
        assert_eq!(late, Published::LeaseLost { by: lease(9) });
        assert_eq!(committer.committed("resim", &key).await.unwrap(), None);
        ours(publish(&committer, &new, later).await);
        let late = publish(&committer, &old, zombie).await;
        assert!(matches!(late, Published::Theirs(commit) if commit.manifest.lease_id == 9));
        let again = begin(&committer, zombie, true).await;
        assert!(matches!(again, BlobBegin::Committed(_)));
    }
}

#[tokio::test]
async fn an_earlier_lease_that_begins_late_is_told_so() {
    let committer = committer().await;
    free(begin(&committer, attempt("a", 2, 9), true).await);
    for fence in [false, true] {
        let begun = begin(&committer, attempt("a", 1, 5), fence).await;
        assert_eq!(begun, BlobBegin::LeaseLost { by: lease(9) });
    }
}

#[tokio::test]
async fn of_a_fenced_attempt_and_its_speculative_copy_the_first_commits() {
    for copy_first in [false, true] {
        let committer = committer().await;
        let (first, copy) = (attempt("a", 2, 9), attempt("a", 3, 12));
        let first_ticket = free(begin(&committer, first, true).await);
        let copy_ticket = free(begin(&committer, copy, false).await);
        let pair = [(first, first_ticket), (copy, copy_ticket)];
        let order = if copy_first { [1, 0] } else { [0, 1] };
        let (name, ticket) = &pair[order[0]];
        ours(publish(&committer, ticket, *name).await);
        let (other, ticket) = &pair[order[1]];
        let published = publish(&committer, ticket, *other).await;
        assert!(
            matches!(published, Published::Theirs(commit) if commit.manifest.lease_id == name.lease_id)
        );
    }
}

#[tokio::test]
async fn outputs_of_an_earlier_job_are_replaced_not_adopted() {
    let committer = committer().await;
    let (old, new) = (attempt("a", 1, 5), attempt("a", 1, 20));
    ours(run(&committer, old, false).await);
    let maker = Maker {
        replaces_below: 10,
        ..MAKER
    };
    let begun = committer.begin(maker, new, false).await.unwrap();
    let ticket = free(begun);
    assert_eq!(
        committer.committed("resim", "a").await.unwrap(),
        None,
        "the old one counts no more"
    );
    write(&committer, new, "out.txt").await;
    ours(publish(&committer, &ticket, new).await);
    committer.settle(&ticket).await.unwrap();
    let left = names(committer.store()).await;
    assert!(
        left.contains("resim/a/1-0000000000000007-0000000000000014/out.txt"),
        "{left:?}"
    );
    assert_eq!(left.len(), 2, "{left:?}");
}

/// A committer whose first write of a register is obeyed, but not answered.
async fn unheard() -> (Proxy, BlobCommitter, BlobCommitter) {
    let root = container(&fresh("unheard"), "");
    let direct = open(&root, &azurite().access()).unwrap();
    direct.create().await.unwrap();
    let proxy = Proxy::start(azurite().address(), 1);
    proxy.strike(Matching::of("PUT", "manifest.json"), Fault::LoseAnswer, 1);
    let store = store_at(&proxy.endpoint(azurite().account()), &root);
    (proxy, BlobCommitter::new(store), BlobCommitter::new(direct))
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_known_as_our_own() {
    let (_proxy, committer, direct) = unheard().await;
    let name = attempt("a", 1, 5);
    let ticket = free(begin(&committer, name, false).await);
    let commit = ours(publish(&committer, &ticket, name).await);
    assert_eq!(direct.committed("resim", "a").await.unwrap(), Some(commit));
    // Whoever is not sure may ask again.
    ours(publish(&committer, &ticket, name).await);
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_known_as_our_own() {
    let (_proxy, committer, _direct) = unheard().await;
    let name = attempt("a", 2, 9);
    let ticket = free(begin(&committer, name, true).await);
    assert!(ticket.claim.is_some());
    ours(publish(&committer, &ticket, name).await);
}

#[tokio::test]
async fn discarding_takes_the_data_of_one_attempt_but_never_committed_data() {
    let committer = committer().await;
    let (lost, won) = (attempt("a", 1, 5), attempt("a", 2, 9));
    write(&committer, lost, "x/y.txt").await;
    write(&committer, attempt("a/b", 1, 5), "other.txt").await;
    ours(run(&committer, won, true).await);
    committer.discard(lost).await.unwrap();
    committer.discard(won).await.unwrap();
    committer.discard(lost).await.unwrap();
    let left: Vec<String> = names(committer.store()).await.into_iter().collect();
    assert_eq!(
        left,
        [
            "resim/a/2-0000000000000007-0000000000000009/out.txt",
            "resim/a/b/1-0000000000000007-0000000000000005/other.txt",
            "resim/a/manifest.json",
        ]
    );
}

#[tokio::test]
async fn a_sweep_takes_what_lost_attempts_left_and_nothing_else() {
    let committer = committer().await;
    let store = committer.store().clone();
    ours(run(&committer, attempt("done", 2, 9), false).await);
    write(&committer, attempt("done", 1, 4), "lost.txt").await;
    write(&committer, attempt("done", 1, 4), "sub/lost.txt").await;
    write(&committer, attempt("running", 1, 10), "half.txt").await;
    write(&committer, attempt("running", 1, 8), "lost.txt").await;
    free(begin(&committer, attempt("running", 1, 10), true).await);
    for other in [
        "mine.txt",
        "resim/notes.txt",
        ".petctl/logs/resim/done/1-0000000000000007-0000000000000004.log",
    ] {
        store
            .put(other, "x".into(), &Condition::None)
            .await
            .unwrap();
    }
    let options = SweepOptions {
        lineage: LINEAGE,
        keep: [10].into(),
        ended: false,
    };
    let swept = committer.sweep(&options).await.unwrap();
    assert_eq!(
        swept,
        Swept {
            attempts: 2,
            blobs: 3,
            bytes: 28
        }
    );
    let left: Vec<String> = names(&store).await.into_iter().collect();
    assert_eq!(
        left,
        [
            ".petctl/logs/resim/done/1-0000000000000007-0000000000000004.log",
            "mine.txt",
            "resim/done/2-0000000000000007-0000000000000009/out.txt",
            "resim/done/manifest.json",
            "resim/notes.txt",
            "resim/running/1-0000000000000007-000000000000000a/half.txt",
            "resim/running/manifest.json",
        ]
    );
    let again = committer.sweep(&options).await.unwrap();
    assert_eq!(again, Swept::default());
}

#[tokio::test]
async fn an_attempt_whose_data_was_swept_can_not_commit_any_more() {
    for fence in [false, true] {
        let committer = committer().await;
        let lost = attempt("a", 1, 5);
        let ticket = free(begin(&committer, lost, fence).await);
        write(&committer, lost, "half.txt").await;
        let swept = committer.sweep(&all()).await.unwrap();
        assert_eq!(swept.attempts, 1);
        let late = publish(&committer, &ticket, lost).await;
        assert_eq!(late, Published::LeaseLost { by: lease(5) });
        assert_eq!(
            begin(&committer, lost, fence).await,
            BlobBegin::LeaseLost { by: lease(5) }
        );
        ours(run(&committer, attempt("a", 2, 6), fence).await);
    }
}

#[tokio::test]
async fn a_sweep_does_not_shut_out_what_still_runs() {
    let committer = committer().await;
    let (running, copy) = (attempt("a", 1, 5), attempt("a", 2, 8));
    let ticket = free(begin(&committer, running, false).await);
    free(begin(&committer, copy, false).await);
    write(&committer, copy, "lost.txt").await;
    let options = SweepOptions {
        lineage: LINEAGE,
        keep: [5].into(),
        ended: false,
    };
    committer.sweep(&options).await.unwrap();
    ours(publish(&committer, &ticket, running).await);
    let swept = committer.sweep(&all()).await.unwrap();
    assert_eq!(swept.attempts, 1);
}

#[tokio::test]
async fn after_the_job_claims_go_too() {
    let committer = committer().await;
    ours(run(&committer, attempt("done", 1, 3), false).await);
    free(begin(&committer, attempt("failed", 1, 5), true).await);
    let half = attempt("half", 1, 6);
    free(begin(&committer, half, true).await);
    write(&committer, half, "half.txt").await;
    let ended = SweepOptions {
        lineage: LINEAGE,
        keep: BTreeSet::new(),
        ended: true,
    };
    let swept = committer.sweep(&ended).await.unwrap();
    assert_eq!((swept.attempts, swept.blobs), (1, 2));
    committer.sweep(&ended).await.unwrap();
    let left: Vec<String> = names(committer.store()).await.into_iter().collect();
    assert_eq!(
        left,
        [
            "resim/done/1-0000000000000007-0000000000000003/out.txt",
            "resim/done/manifest.json"
        ]
    );
}

#[tokio::test]
async fn a_register_that_is_none_is_an_error_and_not_overwritten() {
    let committer = committer().await;
    let store = committer.store();
    store
        .put("resim/a/manifest.json", "{}".into(), &Condition::None)
        .await
        .unwrap();
    let error = committer
        .begin(MAKER, attempt("a", 1, 5), true)
        .await
        .unwrap_err();
    assert_eq!(error.problem, StorageProblem::Unexpected, "{error}");
    assert!(
        error.message.contains("/us101/resim/a/manifest.json"),
        "{error}"
    );
}

#[tokio::test]
async fn a_container_deleted_under_the_job_is_not_taken_for_an_empty_one() {
    let root = container(&fresh("gone"), "");
    let committer = BlobCommitter::new(open(&root, &azurite().access()).unwrap());
    let name = attempt("a", 1, 5);
    let error = committer.begin(MAKER, name, false).await.unwrap_err();
    assert_eq!(error.problem, StorageProblem::NotFound, "{error}");
    let ticket = Ticket {
        claim: None,
        earlier: None,
    };
    let error = committer
        .publish(&ticket, MAKER, name, (&manifest(name), None))
        .await
        .unwrap_err();
    assert_eq!(error.problem, StorageProblem::NotFound, "{error}");
}
