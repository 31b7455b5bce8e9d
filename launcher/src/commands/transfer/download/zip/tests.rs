//! What an archive holds.

use super::*;
use petctl_storage::open_folder;
use petctl_transfer::NoProgress;
use std::io::Read;

async fn items(store: &SharedStore) -> Vec<Member> {
    let page = store.list("", None).await.unwrap();
    let entries = page.entries.into_iter().filter(|entry| !entry.is_folder);
    entries
        .map(|entry| {
            Member::File(Item {
                source: entry.name.clone(),
                name: entry.name,
                properties: entry.properties,
                sha256: None,
            })
        })
        .collect()
}

#[tokio::test]
async fn the_same_files_make_the_same_bytes_whenever_and_in_whatever_order_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut archives = Vec::new();
    for (round, names) in [
        ["b/x.txt", "a.png", "é/large.bin"],
        ["é/large.bin", "a.png", "b/x.txt"],
    ]
    .iter()
    .enumerate()
    {
        let from = folder.path().join(format!("from{round}"));
        for name in names {
            let path = from.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let length = if name.contains("large") {
                3_000_000
            } else {
                1_000
            };
            fs::write(&path, name.as_bytes().repeat(length / name.len())).unwrap();
            let then = std::time::SystemTime::UNIX_EPOCH
                + std::time::Duration::from_secs(1_000_000 * (round as u64 + 1));
            File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(then)
                .unwrap();
        }
        let store = open_folder(&from).unwrap();
        let mut items = items(&store).await;
        items.sort_by(|a, b| a.name().cmp(b.name()));
        let path = folder.path().join(format!("deep/{round}.zip"));
        let size = make(&store, &items, &path, &NoProgress).await.unwrap();
        let archive = fs::read(&path).unwrap();
        assert_eq!(archive.len() as u64, size);
        archives.push(archive);
    }
    assert!(archives[0] == archives[1]);
    let mut read = zip::ZipArchive::new(io::Cursor::new(&archives[0])).unwrap();
    let names: Vec<String> = read
        .file_names()
        .map(|name| name.unwrap().into_owned())
        .collect();
    assert_eq!(names, ["a.png", "b/x.txt", "é/large.bin"]);
    let mut text = Vec::new();
    read.by_name("é/large.bin")
        .unwrap()
        .read_to_end(&mut text)
        .unwrap();
    assert!(text.starts_with("é/large.bin".as_bytes()));
    let left = fs::read_dir(folder.path().join("deep")).unwrap().count();
    assert_eq!(left, 2);
}

#[tokio::test]
async fn files_that_are_not_as_their_manifest_says_make_no_archive_and_are_all_named() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(folder.path().join(name), "1").unwrap();
    }
    let store = open_folder(folder.path()).unwrap();
    let mut items = items(&store).await;
    for bad in [0, 2] {
        let Member::File(item) = &mut items[bad] else {
            panic!("a file")
        };
        item.sha256 = Some([0; 32]);
    }
    let path = folder.path().join("out.zip");
    let made = make(&store, &items, &path, &NoProgress).await;
    let Err(NotMade::Failed(failed)) = made else {
        panic!("{made:?}")
    };
    let failed: Vec<_> = failed
        .iter()
        .map(|(name, error)| (name.as_str(), error.code().as_str()))
        .collect();
    assert_eq!(failed, [("a", "STORAGE_CORRUPT"), ("c", "STORAGE_CORRUPT")]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[tokio::test]
async fn links_and_empty_folders_are_members() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_folder(folder.path()).unwrap();
    let members = [
        Member::Folder("empty".to_owned()),
        Member::Link(ManifestLink {
            name: "latest".to_owned(),
            target: "run3".to_owned(),
        }),
    ];
    let path = folder.path().join("out.zip");
    make(&store, &members, &path, &NoProgress).await.unwrap();
    let file = File::open(&path).unwrap();
    let mut read = zip::ZipArchive::new(file).unwrap();
    assert!(read.by_name("empty/").unwrap().is_dir());
    let mut link = read.by_name("latest").unwrap();
    assert!(link.is_symlink());
    let mut target = String::new();
    link.read_to_string(&mut target).unwrap();
    assert_eq!(target, "run3");
}

#[test]
fn a_full_disk_is_told_to_be_one_and_once() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for pieces in [0, 4] {
        let (sender, receiver) = mpsc::channel(WAITING);
        for number in 0..pieces {
            let name = format!("{number}.png");
            let start = Piece::Start {
                name,
                size: 1 << 20,
            };
            sender.try_send(start).unwrap();
            let bytes = Bytes::from(vec![7; 1 << 20]);
            sender.try_send(Piece::Bytes(bytes)).unwrap();
        }
        drop(sender);
        let error = write_pieces(full(), receiver).unwrap_err();
        let error = unwritable(Path::new("/dev/full"), &error);
        assert_eq!(error.code(), "DISK_FULL");
        assert!(error.blocks()[0].fix.starts_with("make room"), "{error:?}");
    }
    let mut once = Once::new(full());
    assert!(once.write(b"x").is_err());
    assert_eq!(once.write(b"xy").unwrap(), 2, "an error is said once");
}
