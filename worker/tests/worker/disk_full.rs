//! No space left, on a file system of 2 MiB. Mounting it needs root, which CI has.

use std::path::Path;
use std::process::Command;

use petctl_proto::v1::Outcome;
use tempfile::TempDir;

use crate::fake::Bench;

pub(crate) struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None`, and a loud word, where this process may not mount.
    pub(crate) fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "petctl-test"])
            .arg(folder.path())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(folder));
        }
        assert!(
            std::env::var_os("CI").is_none(),
            "CI must be able to mount a tmpfs: run the tests as root"
        );
        eprintln!("NOT TESTED: disk full; mounting a tmpfs needs root");
        None
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

async fn bench(disk: &SmallDisk, script: &str) -> Bench {
    let output = disk.path().to_str().unwrap().to_owned();
    Bench::with(script, |spec| spec.storage.output = output).await
}

#[tokio::test]
async fn a_command_that_fills_the_disk_is_not_to_blame() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let mut bench = bench(&disk, "head -c 3000000 /dev/zero > $PETCTL_OUTPUT/x").await;
    let result = bench.run_one().await;
    assert_eq!(
        (result.outcome(), result.code.as_str()),
        (Outcome::Infrastructure, "DISK_FULL"),
        "{result:?}"
    );
    assert!(
        result.message.contains(disk.path().to_str().unwrap()),
        "{}",
        result.message
    );
    bench.end().await;
}

#[tokio::test]
async fn no_space_for_the_manifest_is_not_the_shards_fault() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let mut bench = bench(
        &disk,
        "head -c 3000000 /dev/zero > $PETCTL_OUTPUT/x; exit 0",
    )
    .await;
    let result = bench.run_one().await;
    assert_eq!(
        (result.outcome(), result.code.as_str()),
        (Outcome::Infrastructure, "DISK_FULL"),
        "{result:?}"
    );
    assert!(!bench.committed(0).exists());
    bench.end().await;
}

#[tokio::test]
async fn a_log_that_finds_no_space_is_cut_and_the_command_goes_on() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    // A pipe holds 64 KiB, so most of the megabyte is read before space is free again.
    let script = "echo first; head -c 3000000 /dev/zero > $PETCTL_OUTPUT/x 2>/dev/null
        yes | head -c 1000000; rm $PETCTL_OUTPUT/x; echo done > $PETCTL_OUTPUT/y";
    let mut bench = bench(&disk, script).await;
    let result = bench.run_one().await;
    assert_eq!(
        (result.outcome(), result.message.as_str()),
        (Outcome::Committed, "log cut: disk full"),
        "{result:?}"
    );
    assert!(bench.committed(0).join("y").exists());
    bench.end().await;
}
