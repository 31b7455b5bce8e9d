//! Two workers and one shard: one wins, and readers see all of it or nothing.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use petctl_commit::{Begin, CommitError, Committed, Committer, Maker};
use petctl_output::layout::AttemptName;
use petctl_output::manifest::{Manifest, ManifestError};

const MAKER: Maker<'_> = Maker {
    job: "test",
    worker: "w",
    content: None,
    replaces_below: 0,
    fresh: false,
};
const LINEAGE: u64 = 7;
const TOOK: Duration = Duration::from_millis(5);

fn name(lease_id: u64) -> AttemptName<'static> {
    AttemptName {
        stage: "work",
        key: "a/k.1",
        attempt: 1,
        lineage: LINEAGE,
        lease_id,
    }
}

fn begin(committer: &Committer, lease_id: u64, fence: bool) -> Begin {
    committer.begin(MAKER, name(lease_id), fence).unwrap()
}

fn begin_and_write(committer: &Committer, lease_id: u64, fence: bool) {
    let Begin::Folder(folder) = begin(committer, lease_id, fence) else {
        panic!("adopted")
    };
    fs::write(folder.join("lease"), lease_id.to_string()).unwrap();
    fs::write(
        folder.join("result.json"),
        format!("{{\"numbers\": {{\"lease\": {lease_id}}}}}"),
    )
    .unwrap();
}

fn commit(committer: &Committer, lease_id: u64) -> Result<Committed, CommitError> {
    committer.commit(MAKER, name(lease_id), TOOK)
}

fn committed_lease(folder: &Path) -> u64 {
    let manifest = Manifest::verify(folder).unwrap().manifest;
    assert_eq!(
        fs::read_to_string(folder.join("lease")).unwrap(),
        manifest.lease_id.to_string()
    );
    manifest.lease_id
}

#[test]
fn a_file_that_has_another_name_is_committed_as_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("outside");
    fs::write(&outside, "as it was").unwrap();
    let committer = Committer::open(folder.path().join("out")).unwrap();
    let Begin::Folder(own) = begin(&committer, 1, false) else {
        panic!("adopted")
    };
    fs::write(own.join("lease"), "1").unwrap();
    for n in 0..50 {
        fs::hard_link(&outside, own.join(format!("linked-{n}"))).unwrap();
    }
    fs::create_dir(own.join("deep")).unwrap();
    fs::write(own.join("deep/one"), "two names").unwrap();
    fs::hard_link(own.join("deep/one"), own.join("deep/two")).unwrap();
    assert_eq!(commit(&committer, 1).unwrap().files, 53);
    fs::write(&outside, "changed later").unwrap();
    let committed = committer.layout().committed("work", "a/k.1");
    fs::write(committed.join("deep/two"), "two").unwrap();
    assert_eq!(fs::read(committed.join("deep/one")).unwrap(), b"two names");
    fs::write(committed.join("deep/two"), "two names").unwrap();
    assert_eq!(committed_lease(&committed), 1);
    assert_eq!(
        fs::read_dir(&committed).unwrap().count(),
        53,
        "nothing is left over"
    );
}

#[test]
fn a_fenced_attempt_can_not_commit() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (
        Committer::open(folder.path()).unwrap(),
        Committer::open(folder.path()).unwrap(),
    );
    begin_and_write(&old, 1, false);
    begin_and_write(&new, 2, true);
    assert!(matches!(commit(&old, 1), Err(CommitError::Overtaken)));
    assert!(
        !folder.path().join("work").exists(),
        "nothing is visible before the new one commits"
    );
    assert_eq!(commit(&new, 2).unwrap().lease.lease_id, 2);
    assert_eq!(committed_lease(&folder.path().join("work/a/k.1")), 2);
    assert!(matches!(commit(&old, 1), Err(CommitError::OutputGone)));
}

#[test]
fn a_fence_leaves_other_shards_alone() {
    let folder = tempfile::tempdir().unwrap();
    let committer = Committer::open(folder.path()).unwrap();
    let other = AttemptName {
        key: "a/k",
        ..name(1)
    };
    assert!(matches!(
        committer.begin(MAKER, other, false).unwrap(),
        Begin::Folder(_)
    ));
    begin_and_write(&committer, 2, true);
    assert_eq!(
        committer.commit(MAKER, other, TOOK).unwrap().lease.lease_id,
        1
    );
}

#[test]
fn an_attempt_that_comes_after_a_commit_adopts_it() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (
        Committer::open(folder.path()).unwrap(),
        Committer::open(folder.path()).unwrap(),
    );
    begin_and_write(&first, 1, false);
    begin_and_write(&second, 2, false);
    let committed = commit(&first, 1).unwrap();
    assert_eq!((committed.lease.lease_id, committed.files), (1, 2));
    assert_eq!(
        commit(&second, 2).unwrap(),
        committed,
        "with the numbers of the one that stands"
    );
    assert_eq!(committed.report.as_ref().unwrap().numbers["lease"], 1.0);
    assert_eq!(begin(&second, 3, true), Begin::Adopted(committed));
    assert_eq!(
        names(&folder.path().join(".petctl/attempts/work")),
        Vec::<String>::new()
    );
}

#[test]
fn damaged_outputs_are_moved_away_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let committer = Committer::open(folder.path()).unwrap();
    let target = folder.path().join("work/a/k.1");
    let damages: [&dyn Fn(); 3] = [
        &|| fs::write(target.join("lease"), "").unwrap(),
        &|| fs::write(target.join("manifest.json"), "").unwrap(),
        &|| fs::remove_file(target.join("result.json")).unwrap(),
    ];
    begin_and_write(&committer, 1, false);
    commit(&committer, 1).unwrap();
    for (lease_id, damage) in (2..).zip(damages) {
        damage();
        begin_and_write(&committer, lease_id, lease_id % 2 == 0);
        assert_eq!(
            commit(&committer, lease_id).unwrap().lease.lease_id,
            lease_id
        );
        assert_eq!(committed_lease(&target), lease_id);
    }
    assert_eq!(
        names(&folder.path().join(".petctl/damaged")).len(),
        3,
        "nothing is deleted"
    );
}

#[test]
fn what_is_not_ours_stays_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let committer = Committer::open(folder.path()).unwrap();
    let target = folder.path().join("work/a/k.1");
    fs::create_dir_all(&target).unwrap();
    fs::write(target.join("precious"), "x").unwrap();
    for fence in [false, true] {
        let refused = committer.begin(MAKER, name(2), fence).unwrap_err();
        assert_eq!(refused.code().as_str(), "OUTPUT_OCCUPIED");
    }
    // It came while the attempt ran.
    fs::rename(&target, folder.path().join("later")).unwrap();
    begin_and_write(&committer, 1, false);
    fs::rename(folder.path().join("later"), &target).unwrap();
    assert_eq!(
        commit(&committer, 1).unwrap_err().code().as_str(),
        "OUTPUT_OCCUPIED"
    );
    assert_eq!(names(&target), ["precious"]);

    fs::remove_dir_all(&target).unwrap();
    begin_and_write(&committer, 3, false);
    commit(&committer, 3).unwrap();
    let other = Maker {
        job: "other",
        ..MAKER
    };
    assert_eq!(
        committer
            .begin(other, name(4), true)
            .unwrap_err()
            .code()
            .as_str(),
        "OUTPUT_OCCUPIED"
    );
    assert_eq!(committed_lease(&target), 3);
}

#[test]
fn outputs_of_an_earlier_version_are_replaced_and_those_of_this_one_adopted() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("work/a/k.1");
    let committer = Committer::open(folder.path()).unwrap();
    let version = |replaces_below| Maker {
        replaces_below,
        ..MAKER
    };
    begin_and_write(&committer, 1, false);
    commit(&committer, 1).unwrap();

    for (lease_id, fence) in [(10, false), (20, true)] {
        let begun = committer.begin(version(lease_id), name(lease_id), fence);
        let Begin::Folder(attempt) = begun.unwrap() else {
            panic!("outputs of an earlier version were adopted")
        };
        assert!(
            !target.exists(),
            "nobody may read them for those of this one"
        );
        fs::write(attempt.join("lease"), lease_id.to_string()).unwrap();
        let committed = committer
            .commit(version(lease_id), name(lease_id), TOOK)
            .unwrap();
        assert_eq!(
            (committed.lease.lease_id, committed_lease(&target)),
            (lease_id, lease_id)
        );
    }

    let again = committer.begin(version(20), name(21), true).unwrap();
    assert!(matches!(again, Begin::Adopted(committed) if committed.lease.lease_id == 20));
    let second = committer.begin(version(20), name(22), false).unwrap();
    assert!(matches!(second, Begin::Adopted(committed) if committed.lease.lease_id == 20));
    assert_eq!(
        committed_lease(&target),
        20,
        "a second attempt moves nothing away"
    );
}

#[test]
fn outputs_of_an_earlier_version_that_come_late_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let committer = Committer::open(folder.path()).unwrap();
    let maker = Maker {
        replaces_below: 10,
        ..MAKER
    };
    begin_and_write(&committer, 1, false);
    let Begin::Folder(attempt) = committer.begin(maker, name(10), false).unwrap() else {
        panic!("adopted")
    };
    fs::write(attempt.join("lease"), "10").unwrap();
    commit(&committer, 1).unwrap();
    assert_eq!(
        committer
            .commit(maker, name(10), TOOK)
            .unwrap()
            .lease
            .lease_id,
        10
    );
    assert_eq!(committed_lease(&folder.path().join("work/a/k.1")), 10);
}

/// The second to commit has seen the old outputs, and must not take the first one's for them.
#[test]
fn of_two_that_replace_the_same_outputs_one_wins() {
    for _ in 0..40 {
        let folder = tempfile::tempdir().unwrap();
        let committer = Committer::open(folder.path()).unwrap();
        let maker = Maker {
            replaces_below: 10,
            ..MAKER
        };
        begin_and_write(&committer, 1, false);
        for lease_id in [10, 11] {
            let begun = committer.begin(maker, name(lease_id), false).unwrap();
            let Begin::Folder(attempt) = begun else {
                panic!("adopted")
            };
            fs::write(attempt.join("lease"), lease_id.to_string()).unwrap();
        }
        commit(&committer, 1).unwrap();
        let barrier = Barrier::new(2);
        let stood: Vec<u64> = std::thread::scope(|scope| {
            let commit = |lease_id| {
                let (committer, barrier) = (&committer, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    committer
                        .commit(maker, name(lease_id), TOOK)
                        .unwrap()
                        .lease
                        .lease_id
                })
            };
            let both = [commit(10), commit(11)];
            both.map(|thread| thread.join().unwrap()).to_vec()
        });
        let winner = committed_lease(&folder.path().join("work/a/k.1"));
        assert_eq!(stood, [winner, winner]);
    }
}

/// The place is emptied and filled again under everybody's eyes: no look at it may mix two moments.
#[test]
fn of_many_that_replace_while_an_earlier_version_comes_late_one_wins() {
    const REPLACING: [u64; 4] = [10, 11, 12, 13];
    for _ in 0..40 {
        let folder = tempfile::tempdir().unwrap();
        let committer = Committer::open(folder.path()).unwrap();
        let maker = Maker {
            replaces_below: 10,
            ..MAKER
        };
        begin_and_write(&committer, 1, false);
        begin_and_write(&committer, 2, false);
        commit(&committer, 1).unwrap();
        for lease_id in REPLACING {
            let attempt = committer.layout().attempt(name(lease_id));
            fs::create_dir_all(&attempt).unwrap();
            fs::write(attempt.join("lease"), lease_id.to_string()).unwrap();
        }
        let barrier = Barrier::new(REPLACING.len() + 1);
        let stood: Vec<u64> = std::thread::scope(|scope| {
            let (committer, barrier) = (&committer, &barrier);
            let threads = REPLACING.map(|lease_id| {
                scope.spawn(move || {
                    barrier.wait();
                    committer
                        .commit(maker, name(lease_id), TOOK)
                        .unwrap()
                        .lease
                        .lease_id
                })
            });
            scope.spawn(move || {
                barrier.wait();
                commit(committer, 2).unwrap();
            });
            threads.map(|thread| thread.join().unwrap()).to_vec()
        });
        let winner = committed_lease(&folder.path().join("work/a/k.1"));
        assert_eq!(stood, [winner; 4]);
    }
}

#[test]
fn a_sweep_takes_all_attempts_but_those_named() {
    let folder = tempfile::tempdir().unwrap();
    let committer = Committer::open(folder.path()).unwrap();
    for lease_id in 1..=3 {
        begin_and_write(&committer, lease_id, false);
        let mut file = committer.layout().attempt(name(lease_id)).into_os_string();
        file.push(".json");
        fs::write(file, "{}").unwrap();
    }
    assert_eq!(committer.sweep_attempts(&[name(2).lease()]).unwrap(), 2);
    assert_eq!(
        names(&folder.path().join(".petctl/attempts/work")),
        [
            "a%2Fk.1.1-0000000000000007-0000000000000002",
            "a%2Fk.1.1-0000000000000007-0000000000000002.json"
        ]
    );
    assert_eq!(commit(&committer, 2).unwrap().lease.lease_id, 2);
}

/// Many rounds of threads with a committer each, fencing and not, on one shard; a reader looks all the time.
#[test]
fn of_many_racing_attempts_exactly_one_wins_and_readers_see_it_whole() {
    const THREADS: u64 = 8;
    for round in 0..40 {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("work/a/k.1");
        let (barrier, over) = (Barrier::new(8), AtomicBool::new(false));
        let stood = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = None;
                while !over.load(Ordering::Relaxed) {
                    match Manifest::verify(&target) {
                        Err(ManifestError::Missing) => {
                            assert!(
                                !target.exists() || Manifest::verify(&target).is_ok(),
                                "a folder without a manifest"
                            );
                        }
                        Ok(read) => assert_eq!(
                            *seen.get_or_insert(read.manifest.lease_id),
                            read.manifest.lease_id
                        ),
                        Err(error) => panic!("a reader saw a part: {error}"),
                    }
                }
            });
            let attempts: Vec<_> = (1..=THREADS)
                .map(|lease_id| {
                    let (barrier, stood, path) = (&barrier, &stood, folder.path());
                    scope.spawn(move || {
                        let committer = Committer::open(path).unwrap();
                        barrier.wait();
                        let fence = (lease_id + round) % 3 == 0;
                        let committed = match committer.begin(MAKER, name(lease_id), fence) {
                            Err(CommitError::Overtaken) => return,
                            Err(error) => panic!("{error}"),
                            Ok(Begin::Adopted(committed)) => committed,
                            Ok(Begin::Folder(folder)) => {
                                // The folder may be fenced off at any moment from here on.
                                let _ = fs::write(folder.join("lease"), lease_id.to_string());
                                match commit(&committer, lease_id) {
                                    Ok(committed) => committed,
                                    Err(CommitError::OutputGone | CommitError::Overtaken) => return,
                                    Err(error) => panic!("{error}"),
                                }
                            }
                        };
                        stood.lock().unwrap().push(committed.lease.lease_id);
                    })
                })
                .collect();
            for attempt in attempts {
                attempt.join().unwrap();
            }
            over.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
        let stood = stood.into_inner().unwrap();
        if stood.is_empty() {
            assert!(!target.exists(), "visible, but nobody committed it");
        } else {
            let winner = committed_lease(&target);
            assert!(
                stood.iter().all(|lease| *lease == winner),
                "round {round}: {stood:?}, but {winner} stands"
            );
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

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
