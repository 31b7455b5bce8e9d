//! What is durable is what the disk has, not what memory still holds of it. A file system in a file shows the difference:
//! the disk changes under it. Mounting it needs root and a loop device.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use petctl_commit::{Begin, Committer};
use petctl_output::manifest::Manifest;
use tempfile::TempDir;

use super::{begin, begin_and_write, commit};

const SIZE: u64 = 16 * 1024 * 1024;

/// An ext4 in a file; gone when it is dropped.
struct Disk {
    folder: TempDir,
}

impl Disk {
    /// `None`, and a loud word, where this process may not mount one.
    fn mount() -> Option<Self> {
        let disk = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(disk.path()).unwrap();
        fs::File::create(disk.image())
            .unwrap()
            .set_len(SIZE)
            .unwrap();
        let ran = |program: &str, arguments: &[&str]| {
            let ran = Command::new(program).args(arguments).output();
            ran.is_ok_and(|ran| ran.status.success())
        };
        let (image, path) = (disk.image(), disk.path());
        let (image, path) = (image.to_str()?, path.to_str()?);
        if ran("mkfs.ext4", &["-q", image]) && ran("mount", &["-o", "loop", image, path]) {
            return Some(disk);
        }
        eprintln!(
            "NOT TESTED: what only the page cache holds; mounting a file needs root, a loop device and mkfs.ext4"
        );
        None
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Changes bytes on the disk, behind the back of its file system.
    fn replace(&self, found: &[u8], by: &[u8]) {
        let image = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.image())
            .unwrap();
        let bytes = fs::read(self.image()).unwrap();
        let places = bytes
            .windows(found.len())
            .enumerate()
            .filter(|(_, window)| *window == found);
        let places: Vec<usize> = places.map(|(place, _)| place).collect();
        assert!(!places.is_empty(), "it is on the disk");
        for place in places {
            image.write_all_at(by, place as u64).unwrap();
        }
        image.sync_all().unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg(self.path()).status();
    }
}

const WRITTEN: &[u8] = b"what the command has written, in memory and on the disk";
const LOST: &[u8] = b"what was on the disk before, and is there still: no zero";

#[test]
fn outputs_that_only_the_page_cache_holds_are_not_adopted() {
    let Some(disk) = Disk::mount() else {
        return;
    };
    let committer = Committer::open(disk.path()).unwrap();
    begin_and_write(&committer, 1, false);
    let own = committer.layout().attempt(super::name(1));
    fs::write(own.join("data"), WRITTEN).unwrap();
    commit(&committer, 1).unwrap();
    let folder = fs::File::open(disk.path()).unwrap();
    rustix::fs::syncfs(&folder).unwrap();
    // Whole, in memory and on the disk: a second attempt adopts it.
    let committed = committer.layout().committed("work", "a/k.1");
    assert!(matches!(begin(&committer, 2, true), Begin::Adopted(_)));
    assert_eq!(read(&committed), WRITTEN, "it is in memory again");
    disk.replace(WRITTEN, &LOST[..WRITTEN.len()]);
    assert_eq!(read(&committed), WRITTEN, "memory does not know it");
    Manifest::verify(&committed).unwrap();
    let Begin::Folder(again) = begin(&committer, 3, true) else {
        panic!("outputs were adopted that no disk has");
    };
    assert!(!committed.exists() && again.is_dir());
    assert_eq!(
        fs::read_dir(committer.layout().damaged()).unwrap().count(),
        1
    );
}

fn read(committed: &Path) -> Vec<u8> {
    fs::read(committed.join("data")).unwrap()
}
