//! Two lineages and one shard: what of one stands for the other, in containers.

use super::*;
use crate::commit::run_of;
use petctl_commit::RunPlace;

/// Made of `content`, which is all that another lineage's outputs are known by.
fn of(content: u8) -> Maker<'static> {
    Maker {
        content: Some([content; 16]),
        ..MAKER
    }
}

fn stranger(lease_id: u64) -> AttemptName<'static> {
    AttemptName {
        lineage: LINEAGE + 1,
        ..attempt("a", 1, lease_id)
    }
}

async fn begin_as(committer: &BlobCommitter, maker: Maker<'_>, name: AttemptName<'_>) -> BlobBegin {
    committer.begin(maker, name, true).await.unwrap()
}

/// Writes a file and publishes it.
async fn finish(
    committer: &BlobCommitter,
    maker: Maker<'_>,
    name: AttemptName<'_>,
    ticket: &Ticket,
) -> Published {
    write(committer, name, "out.txt").await;
    let mut made = manifest(name);
    made.content = maker.content.map(|content| petctl_text::hex(&content));
    let published = committer.publish(ticket, maker, name, (&made, None)).await;
    published.unwrap()
}

async fn made(committer: &BlobCommitter, maker: Maker<'_>, name: AttemptName<'_>) -> Commit {
    let ticket = free(begin_as(committer, maker, name).await);
    let commit = ours(finish(committer, maker, name, &ticket).await);
    committer.settle(&ticket).await.unwrap();
    commit
}

#[tokio::test]
async fn attempts_of_two_lineages_never_write_to_one_name() {
    let committer = committer().await;
    let own = attempt("a", 1, 1);
    assert_ne!(
        committer.data_prefix(own),
        committer.data_prefix(stranger(1))
    );
    // The later owner of the output claims the shard; whoever had begun before commits nothing more.
    let lost = free(begin_as(&committer, of(1), own).await);
    let ticket = free(begin_as(&committer, of(1), stranger(1)).await);
    let by = Some(stranger(1).lease());
    assert_eq!(
        finish(&committer, of(1), own, &lost).await,
        Published::LeaseLost { by }
    );
    let stands = ours(finish(&committer, of(1), stranger(1), &ticket).await);
    // Made of the same: whoever made it, it stands.
    let adopted = finish(&committer, of(1), own, &lost).await;
    let Published::Theirs(adopted) = adopted else {
        panic!("{adopted:?}")
    };
    assert_eq!(
        (adopted.manifest, adopted.data),
        (stands.manifest, stands.data)
    );
    assert_eq!(adopted.adopted_by, Some(own.lease()));
    assert_eq!(
        finish(&committer, of(2), own, &lost).await,
        Published::LeaseLost { by }
    );
}

#[tokio::test]
async fn outputs_of_another_lineage_are_adopted_where_they_are_made_of_the_same() {
    let asked = Maker {
        fresh: true,
        ..of(1)
    };
    for (maker, adopted) in [
        (of(1), true),
        (of(2), false),
        (MAKER, false),
        (asked, false),
    ] {
        let committer = committer().await;
        let theirs = made(&committer, of(1), stranger(900)).await;
        let begun = begin_as(&committer, maker, attempt("a", 1, 1)).await;
        if adopted {
            let BlobBegin::Committed(found) = begun else {
                panic!("{begun:?}")
            };
            // An earlier attempt that comes late finds who counts on it.
            assert_eq!(found.adopted_by, Some(attempt("a", 1, 1).lease()));
            assert_eq!((found.manifest, found.data), (theirs.manifest, theirs.data));
            continue;
        }
        let ticket = free(begun);
        let own = finish(&committer, maker, attempt("a", 1, 1), &ticket).await;
        assert_eq!(ours(own).manifest.lease(), attempt("a", 1, 1).lease());
    }
}

#[tokio::test]
async fn outputs_of_before_are_kept_until_others_stand_and_come_back() {
    let committer = committer().await;
    let version = |content, replaces_below| Maker {
        replaces_below,
        ..of(content)
    };
    let good = made(&committer, version(1, 1), attempt("a", 1, 1)).await;
    let data = format!("{}out.txt", good.data);

    // A broken version: its attempts fail, one after the other, and are swept.
    for lease_id in [10, 11] {
        let name = attempt("a", 1, lease_id);
        free(begin_as(&committer, version(2, 10), name).await);
        write(&committer, name, "half.txt").await;
        committer.discard(name).await.unwrap();
        let ended = SweepOptions {
            ended: true,
            ..all()
        };
        committer.sweep(&ended).await.unwrap();
        assert_eq!(committer.committed("resim", "a").await.unwrap(), None);
        assert!(committer.store().head(&data).await.unwrap().is_some());
    }

    // The job file goes back.
    let begun = begin_as(&committer, version(1, 20), attempt("a", 1, 20)).await;
    let BlobBegin::Committed(back) = begun else {
        panic!("{begun:?}")
    };
    assert_eq!((&back.manifest, &back.data), (&good.manifest, &good.data));
    assert_eq!(
        committer.committed("resim", "a").await.unwrap(),
        Some(*back)
    );

    // A version that works: what was before goes, and not before its own outputs stand.
    let name = attempt("a", 1, 30);
    let ticket = free(begin_as(&committer, version(3, 30), name).await);
    ours(finish(&committer, version(3, 30), name, &ticket).await);
    assert!(committer.store().head(&data).await.unwrap().is_some());
    committer.settle(&ticket).await.unwrap();
    assert_eq!(committer.store().head(&data).await.unwrap(), None);
}

#[tokio::test]
async fn what_came_back_is_not_written_over_by_those_it_had_made_room_for() {
    let committer = committer().await;
    let version = |content, replaces_below| Maker {
        replaces_below,
        ..of(content)
    };
    let good = made(&committer, version(1, 1), attempt("a", 1, 1)).await;
    let lost = attempt("a", 1, 10);
    let ticket = free(begin_as(&committer, version(2, 10), lost).await);
    // Its lease is lost, and the job file goes back.
    let back = begin_as(&committer, version(1, 20), attempt("a", 1, 20)).await;
    assert!(matches!(back, BlobBegin::Committed(_)), "{back:?}");
    let by = Some(good.manifest.lease());
    assert_eq!(
        finish(&committer, version(2, 10), lost, &ticket).await,
        Published::LeaseLost { by }
    );
    let stands = committer.committed("resim", "a").await.unwrap().unwrap();
    assert_eq!(stands.manifest, good.manifest);
}

#[tokio::test]
async fn discarding_leaves_what_was_committed_and_waits_aside() {
    let committer = committer().await;
    let own = attempt("a", 1, 1);
    let good = made(&committer, of(1), own).await;
    free(begin_as(&committer, of(2), stranger(1)).await);
    // Its answer was lost: it does not know that it has committed.
    committer.discard(own).await.unwrap();
    let data = format!("{}out.txt", good.data);
    assert!(committer.store().head(&data).await.unwrap().is_some());
}

#[tokio::test]
async fn a_listing_says_in_short_what_is_committed() {
    let committer = committer().await;
    let commit = made(&committer, of(1), attempt("a", 2, 9)).await;
    free(begin(&committer, attempt("claimed", 1, 3), true).await);
    let page = committer.store().list("", None).await.unwrap();
    let notes: Vec<(String, Note)> = page
        .entries
        .into_iter()
        .filter_map(|entry| Some((entry.name, Note::parse(&entry.note?)?)))
        .collect();
    let note = Note::new(
        &commit.manifest,
        "2-0000000000000007-0000000000000009",
        None,
    );
    assert_eq!(notes, [("resim/a/manifest.json".to_owned(), note)]);
}

#[tokio::test]
async fn a_sweep_shuts_out_nobody_of_another_lineage() {
    let committer = committer().await;
    let ticket = free(begin_as(&committer, of(1), stranger(5)).await);
    write(&committer, stranger(5), "half.txt").await;
    let ended = SweepOptions {
        ended: true,
        ..all()
    };
    assert_eq!(committer.sweep(&ended).await.unwrap(), Swept::default());
    ours(finish(&committer, of(1), stranger(5), &ticket).await);
}

#[tokio::test]
async fn whoever_stood_still_while_the_output_was_taken_over_puts_nothing_aside() {
    let committer = committer().await;
    let good = made(&committer, of(1), stranger(1)).await;
    let place = RunPlace::Blobs(committer.store().clone());
    place
        .put(&run_of(LINEAGE + 1), false, |_| false)
        .await
        .unwrap();
    let by = Some(stranger(1).lease());
    let late = begin_as(&committer, of(2), attempt("a", 1, 1)).await;
    assert_eq!(late, BlobBegin::LeaseLost { by });
    let stands = committer.committed("resim", "a").await.unwrap();
    assert_eq!(stands.map(|commit| commit.manifest), Some(good.manifest));
    // Whose output it is may do so.
    place.remove(|_| true).await.unwrap();
    free(begin_as(&committer, of(2), attempt("a", 1, 2)).await);
}
