//! Two lineages and one shard: what of one stands for the other, in folders.

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
        ..name(lease_id)
    }
}

fn made(committer: &Committer, maker: Maker<'_>, attempt: AttemptName<'_>) -> Committed {
    let Begin::Folder(folder) = committer.begin(maker, attempt, true).unwrap() else {
        panic!("adopted")
    };
    fs::write(folder.join("lease"), attempt.lease_id.to_string()).unwrap();
    let committed = committer.commit(maker, attempt, TOOK).unwrap();
    committer.settle(attempt.lease());
    committed
}

#[test]
fn a_late_fence_takes_no_later_attempt_and_gives_up_itself() {
    let folder = tempfile::tempdir().unwrap();
    let committer = Committer::open(folder.path()).unwrap();
    begin_and_write(&committer, 2, true);
    let late = committer.begin(MAKER, name(1), true);
    assert!(matches!(late, Err(CommitError::Overtaken)), "{late:?}");
    assert_eq!(
        names(&folder.path().join(".petctl/attempts/work")),
        ["a%2Fk.1.1-0000000000000007-0000000000000002"],
        "it leaves nothing behind"
    );
    assert_eq!(commit(&committer, 2).unwrap().lease, name(2).lease());
}

#[test]
fn attempts_of_two_lineages_never_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let committer = Committer::open(folder.path()).unwrap();
    for attempt in [name(1), stranger(1)] {
        let Begin::Folder(own) = committer.begin(of(1), attempt, false).unwrap() else {
            panic!("adopted")
        };
        fs::write(own.join("lease"), attempt.lease_id.to_string()).unwrap();
        fs::write(own.join("whose"), attempt.lineage.to_string()).unwrap();
    }
    let first = committer.commit(of(1), name(1), TOOK).unwrap();
    assert_eq!((first.lease, first.files), (name(1).lease(), 2));
    // Made of the same: whoever made it, it stands.
    assert_eq!(committer.commit(of(1), stranger(1), TOOK).unwrap(), first);
}

#[test]
fn outputs_of_another_lineage_are_adopted_where_they_are_made_of_the_same() {
    let theirs = || {
        let folder = tempfile::tempdir().unwrap();
        let committer = Committer::open(folder.path()).unwrap();
        let committed = made(&committer, of(1), stranger(900));
        (folder, committer, committed)
    };
    let (_folder, committer, committed) = theirs();
    let begun = committer.begin(of(1), name(1), true).unwrap();
    assert_eq!(begun, Begin::Adopted(committed));
    // Nothing is known of outputs that say nothing, and nothing stands for what was asked to run again.
    let asked = Maker {
        fresh: true,
        ..of(1)
    };
    for (maker, lease_id) in [(MAKER, 2), (asked, 3), (of(2), 4)] {
        let (_folder, committer, _) = theirs();
        let own = made(&committer, maker, name(lease_id));
        assert_eq!(own.lease, name(lease_id).lease());
    }
}

#[test]
fn outputs_of_before_are_kept_aside_until_others_are_durable_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("work/a/k.1");
    let aside = folder.path().join(".petctl/earlier/work/a%2Fk.1");
    let committer = Committer::open(folder.path()).unwrap();
    let version = |content, replaces_below| Maker {
        replaces_below,
        ..of(content)
    };
    let good = made(&committer, version(1, 1), name(1));

    // A broken version: its attempts fail, one after the other, in two processes.
    for lease_id in [10, 11] {
        let other = Committer::open(folder.path()).unwrap();
        let begun = other.begin(version(2, 10), name(lease_id), true).unwrap();
        assert!(matches!(begun, Begin::Folder(_)));
        assert!(!target.exists() && committed_lease(&aside) == 1);
        other.discard(name(lease_id));
    }
    assert_eq!(committed_lease(&aside), 1, "nothing good is lost");

    // The job file goes back.
    let begun = committer.begin(version(1, 20), name(20), true).unwrap();
    assert_eq!(begun, Begin::Adopted(good));
    assert!(target.exists() && !aside.exists());

    // A version that works: what was before goes, and not before its own outputs are durable.
    let Begin::Folder(own) = committer.begin(version(3, 30), name(30), true).unwrap() else {
        panic!("adopted")
    };
    fs::write(own.join("lease"), "30").unwrap();
    committer.commit(version(3, 30), name(30), TOOK).unwrap();
    assert_eq!((committed_lease(&target), committed_lease(&aside)), (30, 1));
    committer.settle(name(30).lease());
    assert!(!aside.exists());
}

#[test]
fn an_earlier_version_that_wakes_up_replaces_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let committer = Committer::open(folder.path()).unwrap();
    let Begin::Folder(own) = committer.begin(of(1), name(1), false).unwrap() else {
        panic!("adopted")
    };
    fs::write(own.join("lease"), "1").unwrap();
    let later = Maker {
        replaces_below: 10,
        ..of(2)
    };
    // Nobody had fenced it: the later one was the first of its version.
    let Begin::Folder(other) = committer.begin(later, name(10), false).unwrap() else {
        panic!("adopted")
    };
    fs::write(other.join("lease"), "10").unwrap();
    committer.commit(later, name(10), TOOK).unwrap();
    let woken = committer.commit(of(1), name(1), TOOK);
    assert!(matches!(woken, Err(CommitError::Overtaken)), "{woken:?}");
    assert_eq!(committed_lease(&folder.path().join("work/a/k.1")), 10);
}

#[test]
fn whoever_lost_the_output_to_another_lineage_commits_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let committer = Committer::open(folder.path()).unwrap();
    begin_and_write(&committer, 1, false);
    made(&committer, of(2), stranger(5));
    let lost = commit(&committer, 1);
    assert!(matches!(lost, Err(CommitError::OutputGone)), "{lost:?}");
    // It had begun, and its folder is still there: no fence has found it.
    let Begin::Folder(own) = committer.begin(of(3), name(2), false).unwrap() else {
        panic!("adopted")
    };
    fs::write(own.join("lease"), "2").unwrap();
    let stranger_begins = committer.begin(of(2), stranger(6), false).unwrap();
    let Begin::Folder(theirs) = stranger_begins else {
        panic!("adopted")
    };
    fs::write(theirs.join("lease"), "6").unwrap();
    committer.commit(of(2), stranger(6), TOOK).unwrap();
    let lost = committer.commit(of(3), name(2), TOOK);
    assert!(matches!(lost, Err(CommitError::Overtaken)), "{lost:?}");
}

#[test]
fn what_came_back_stands_for_every_attempt_of_the_version_that_it_came_back_for() {
    let folder = tempfile::tempdir().unwrap();
    let committer = Committer::open(folder.path()).unwrap();
    let version = |content, replaces_below| Maker {
        replaces_below,
        ..of(content)
    };
    let good = made(&committer, version(1, 1), name(1));
    let begun = committer.begin(version(2, 10), name(10), true).unwrap();
    assert!(matches!(begun, Begin::Folder(_)));
    let back = committer.begin(version(1, 20), name(20), true).unwrap();
    assert_eq!(back, Begin::Adopted(good.clone()));
    // A second attempt beside the first one fences nobody.
    let second = committer.begin(version(1, 20), name(21), false).unwrap();
    assert_eq!(second, Begin::Adopted(good));
}

#[test]
fn what_waits_aside_goes_only_for_what_is_whole_and_durable() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("work/a/k.1");
    let aside = folder.path().join(".petctl/earlier/work/a%2Fk.1");
    let committer = Committer::open(folder.path()).unwrap();
    let version = |content, replaces_below| Maker {
        replaces_below,
        ..of(content)
    };
    made(&committer, version(1, 1), name(1));
    // Another version publishes, and the power is cut before it is durable.
    let Begin::Folder(own) = committer.begin(version(2, 10), name(10), true).unwrap() else {
        panic!("adopted")
    };
    fs::write(own.join("lease"), "10").unwrap();
    committer.commit(version(2, 10), name(10), TOOK).unwrap();
    fs::write(target.join("lease"), "").unwrap();
    let other = Committer::open(folder.path()).unwrap();
    let begun = other.begin(version(3, 20), name(20), true).unwrap();
    assert!(matches!(begun, Begin::Folder(_)) && !target.exists());
    assert_eq!(committed_lease(&aside), 1, "damage replaces nothing");
    other.discard(name(20));

    // An attempt whose outputs are put aside before it has removed those of before removes nothing of theirs.
    let Begin::Folder(own) = committer.begin(version(4, 30), name(30), true).unwrap() else {
        panic!("adopted")
    };
    fs::write(own.join("lease"), "30").unwrap();
    committer.commit(version(4, 30), name(30), TOOK).unwrap();
    let begun = other.begin(version(5, 40), name(40), true).unwrap();
    assert!(matches!(begun, Begin::Folder(_)));
    committer.settle(name(30).lease());
    assert_eq!(committed_lease(&aside), 30);
}

#[tokio::test]
async fn whoever_stood_still_while_the_output_was_taken_over_puts_nothing_aside() {
    let folder = tempfile::tempdir().unwrap();
    let committer = Committer::open(folder.path()).unwrap();
    made(&committer, of(1), stranger(1));
    let place = RunPlace::Folder(committer.layout().clone());
    place
        .put(&run_of(LINEAGE + 1), false, |_| false)
        .await
        .unwrap();
    let late = committer.begin(of(2), name(1), true);
    assert!(matches!(late, Err(CommitError::Overtaken)), "{late:?}");
    assert_eq!(committed_lease(&folder.path().join("work/a/k.1")), 1);
    // Whose output it is may do so.
    place.remove(|_| true).await.unwrap();
    let begun = committer.begin(of(2), name(2), true).unwrap();
    assert!(matches!(begun, Begin::Folder(_)));
}
