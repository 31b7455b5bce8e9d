//! Whole trees: what goes, what stays, what is never touched.

use super::memory::*;
use petctl_codes::Code;
use petctl_output::manifest::ManifestLink;
use petctl_storage::StorageError;
use petctl_transfer::{Download, Filter, Item, Items, NoProgress, PART_ENDING, Upload, Wanted};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

#[tokio::test]
async fn a_tree_with_strange_names_and_empty_folders_goes_there_and_back() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    for (number, name) in (0_u8..).zip([
        "a b.txt",
        "100%/x%20y",
        "路径/文件",
        "é/ß?#&+.bin",
        "z/large",
    ]) {
        let length = 700 * (usize::from(number) + 1);
        write(&from, name, &noise(length, number));
    }
    fs::create_dir_all(from.join("empty/deep er")).unwrap();
    let plan = assert_send(upload(&from, &store).plan()).await.unwrap();
    let report = assert_send(plan.run(&NoProgress)).await.unwrap();
    assert!(report.is_whole());
    assert_eq!((report.files, report.folders), (5, 1));
    assert!(memory.names().contains(&"p/empty/deep er/".to_owned()));
    let plan = assert_send(download(&store, &to).plan()).await.unwrap();
    let report = assert_send(plan.run(&NoProgress)).await.unwrap();
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(tree(&from), tree(&to));
    // Nothing is left to do.
    let plan = upload(&from, &store).plan().await.unwrap();
    assert_eq!(
        (plan.files().count(), plan.folders().len(), plan.unchanged()),
        (0, 0, 5)
    );
}

#[tokio::test]
async fn what_has_not_changed_costs_a_listing_and_no_reading() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    for index in 0..7 {
        write(&from, &format!("f{index}"), &noise(50, index));
    }
    let journal = Some(folder.path().join("journal"));
    let plan = Upload {
        journal: journal.clone(),
        ..upload(&from, &store)
    }
    .plan()
    .await
    .unwrap();
    assert_eq!(plan.run(&NoProgress).await.unwrap().files, 7);
    drop(plan);
    memory.take(|counts| &counts.lists);

    // The same size and time, but other bytes: who still finds it has read it.
    let path = from.join("f3");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, noise(50, 99)).unwrap();
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    let plan = Upload {
        journal: journal.clone(),
        ..upload(&from, &store)
    }
    .plan()
    .await
    .unwrap();
    assert_eq!((plan.files().count(), plan.unchanged()), (0, 7));
    assert_eq!(
        memory.take(|counts| &counts.lists),
        3,
        "seven names in pages of three"
    );
    assert_eq!(memory.take(|counts| &counts.heads), 0);
    drop(plan);

    // Without the journal the bytes are compared.
    let plan = upload(&from, &store).plan().await.unwrap();
    assert_eq!(plan.files().collect::<Vec<_>>(), [("f3", 50)]);

    // Somebody else wrote there: the journal is not believed.
    memory.add("p/f1", &noise(50, 77));
    let plan = Upload {
        journal,
        ..upload(&from, &store)
    }
    .plan()
    .await
    .unwrap();
    assert_eq!(plan.files().collect::<Vec<_>>(), [("f1", 50)]);
}

#[tokio::test]
async fn a_download_takes_only_what_changed_and_mends_what_was_edited_here() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("to");
    for name in ["p/a", "p/b", "p/c"] {
        memory.add(name, &noise(2_500, name.as_bytes()[2]));
    }
    let journal = Some(folder.path().join("journal"));
    let plan = || {
        Download {
            journal: journal.clone(),
            ..download(&store, &to)
        }
        .plan()
    };
    assert_eq!(
        plan().await.unwrap().run(&NoProgress).await.unwrap().files,
        3
    );
    let again = plan().await.unwrap();
    assert_eq!((again.files().count(), again.unchanged()), (0, 3));
    drop(again);
    memory.add("p/a", &noise(2_500, 1));
    fs::write(to.join("b"), noise(2_500, 2)).unwrap();
    let again = plan().await.unwrap();
    let names: BTreeSet<&str> = again.files().map(|(name, _)| name).collect();
    assert_eq!(names, BTreeSet::from(["a", "b"]));
    again.run(&NoProgress).await.unwrap();
    assert_eq!(fs::read(to.join("b")).unwrap(), noise(2_500, b'b'));
}

#[tokio::test]
async fn what_the_source_has_no_more_goes_only_when_asked_and_never_what_is_left_out() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    write(&from, "kept.txt", b"1");
    for name in ["p/old.txt", "p/sub/old.txt", "p/old.log", "q/other.txt"] {
        memory.add(name, b"x");
    }
    let text_only = || Filter::new(&[], &["*.log".to_owned()]).unwrap();
    let plan = Upload {
        filter: text_only(),
        ..upload(&from, &store)
    }
    .plan()
    .await
    .unwrap();
    assert_eq!(plan.doomed().count(), 0);
    let plan = Upload {
        filter: text_only(),
        delete: true,
        ..upload(&from, &store)
    }
    .plan()
    .await
    .unwrap();
    let doomed: Vec<&str> = plan.doomed().map(|(name, _)| name).collect();
    assert_eq!(doomed, ["old.txt", "sub/old.txt"]);
    assert_eq!(plan.run(&NoProgress).await.unwrap().deleted, 2);
    assert_eq!(memory.names(), ["p/kept.txt", "p/old.log", "q/other.txt"]);

    let to = folder.path().join("to");
    write(&to, "sub/deep/gone.txt", b"1");
    write(&to, "kept.txt", b"2");
    let what = Wanted::Prefix("p".to_owned(), text_only());
    let plan = Download {
        what,
        delete: true,
        ..download(&store, &to)
    }
    .plan()
    .await
    .unwrap();
    assert_eq!(
        plan.doomed().collect::<Vec<_>>(),
        [("sub/deep/gone.txt", 1)]
    );
    plan.run(&NoProgress).await.unwrap();
    assert_eq!(
        tree(&to),
        BTreeMap::from([("kept.txt".to_owned(), b"1".to_vec())])
    );
}

#[tokio::test]
async fn nothing_is_deleted_when_something_could_not_be_sent() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    write(&from, "new.txt", b"1");
    memory.add("p/old.txt", b"x");
    let plan = Upload {
        delete: true,
        ..upload(&from, &store)
    }
    .plan()
    .await
    .unwrap();
    fs::remove_file(from.join("new.txt")).unwrap();
    let report = plan.run(&NoProgress).await.unwrap();
    assert_eq!((report.failed.len(), report.deleted), (1, 0));
    assert_eq!(memory.names(), ["p/old.txt"]);
}

#[tokio::test]
async fn all_names_that_the_target_refuses_are_told_before_a_byte_is_sent() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    for name in ["good", "dot.", "line\nbreak", "sub./x"] {
        write(&from, name, b"1");
    }
    std::os::unix::fs::symlink("nowhere", from.join("broken")).unwrap();
    std::os::unix::fs::symlink("good", from.join("linked")).unwrap();
    std::os::unix::fs::symlink(".", from.join("loop")).unwrap();
    let plan = upload(&from, &store).plan().await.unwrap();
    let named: BTreeSet<&str> = plan
        .faults()
        .iter()
        .map(|fault| fault.name.as_str())
        .collect();
    assert_eq!(
        named,
        BTreeSet::from(["dot.", "line\nbreak", "sub./x", "broken", "loop"])
    );
    assert!(plan.files().any(|(name, _)| name == "linked"));
    plan.run(&NoProgress).await.unwrap_err();
    assert!(memory.names().is_empty());
}

#[tokio::test]
async fn names_that_can_not_be_here_are_named_and_the_others_come() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("to");
    for name in ["p/ok", "p/../../evil", "p/ok/below", "p//x"] {
        memory.add(name, b"1");
    }
    let plan = download(&store, &to).plan().await.unwrap();
    assert!(plan.faults().is_empty());
    let report = plan.run(&NoProgress).await.unwrap();
    let named: BTreeSet<&str> = report
        .failed
        .iter()
        .map(|(name, error)| {
            assert!(!error.may_pass());
            name.as_str()
        })
        .collect();
    assert_eq!(named, BTreeSet::from(["../../evil", "ok/below", "/x"]));
    assert_eq!((report.files, report.stopped.is_none()), (1, true));
    assert_eq!(tree(&to).len(), 1);
}

#[tokio::test]
async fn links_and_empty_folders_come_and_nothing_is_written_behind_a_link() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("to");
    for name in ["p/run3/a", "p/latest/b"] {
        memory.add(name, b"1");
    }
    let item = |source: &str, name: &str| {
        let (store, source, name) = (&store, source.to_owned(), name.to_owned());
        async move {
            let properties = store.head(&source).await.unwrap().unwrap();
            Item {
                source,
                name,
                properties,
                sha256: None,
            }
        }
    };
    let link = |target: &str| ManifestLink {
        name: "latest".to_owned(),
        target: target.to_owned(),
    };
    let fetch = async |items: Items| {
        let download = Download {
            what: Wanted::Items(items),
            ..download(&store, &to)
        };
        let plan = download.plan().await.unwrap();
        plan.run(&NoProgress).await.unwrap()
    };
    let items = Items {
        files: vec![item("p/run3/a", "run3/a").await],
        links: vec![link("run3")],
        folders: vec!["empty/deep".to_owned()],
        faults: Vec::new(),
    };
    let report = fetch(items.clone()).await;
    assert!(report.is_whole(), "{report:?}");
    assert_eq!((report.files, report.links, report.folders), (1, 1, 1));
    assert_eq!(fs::read(to.join("latest/a")).unwrap(), b"1");
    assert!(to.join("empty/deep").is_dir());
    assert_eq!(fetch(items).await.links, 0, "it is there");
    // The source has a folder now where a link of before is here.
    let report = fetch(Items {
        files: vec![
            item("p/run3/a", "run3/a").await,
            item("p/latest/b", "latest/b").await,
        ],
        ..Items::default()
    })
    .await;
    assert_eq!(report.failed[0].0, "latest/b");
    assert!(!to.join("run3/b").exists());
    // A link that leads out is not made.
    let links = vec![link("../..")];
    let report = fetch(Items {
        links,
        ..Items::default()
    })
    .await;
    assert_eq!(report.failed.len(), 1, "{report:?}");
    assert_eq!(
        fs::read_link(to.join("latest")).unwrap().to_str(),
        Some("run3")
    );
}

#[tokio::test]
async fn a_tree_stops_when_the_store_is_gone_and_goes_on_later() {
    let (memory, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    for index in 0..100 {
        write(&from, &format!("f{index:03}"), &noise(100, index));
    }
    *memory.lives.lock().unwrap() = Some(60);
    let plan = upload(&from, &store).plan().await.unwrap();
    let report = plan.run(&NoProgress).await.unwrap();
    assert_eq!(
        report.stopped.as_ref().map(StorageError::code),
        Some(Code::StorageUnavailable)
    );
    assert_eq!(report.files, 60);
    *memory.lives.lock().unwrap() = None;
    let plan = upload(&from, &store).plan().await.unwrap();
    assert_eq!((plan.unchanged(), plan.files().count()), (60, 40));
    assert!(plan.run(&NoProgress).await.unwrap().is_whole());
}

#[tokio::test]
async fn unfinished_files_of_downloads_are_no_part_of_a_tree() {
    let (_, store) = Memory::new();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &format!("a{PART_ENDING}"), b"1");
    write(folder.path(), "b", b"1");
    let plan = upload(folder.path(), &store).plan().await.unwrap();
    assert_eq!(plan.files().collect::<Vec<_>>(), [("b", 1)]);
}
