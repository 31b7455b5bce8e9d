//! Two workers and one shard: one wins, and readers see all of it or nothing.

mod lineages;
mod stored;

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
