//! Links and empty folders are outputs like files; what can't be one is refused by name, all at once.

use petctl_commit::{Begin, CommitError, Committer, Maker};
use petctl_output::layout::AttemptName;
use petctl_output::manifest::{Manifest, ManifestError};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

const MAKER: Maker<'_> = Maker {
    job: "test",
    worker: "w",
    content: None,
    replaces_below: 0,
    fresh: false,
};
const NAME: AttemptName<'_> = AttemptName {
    stage: "work",
    key: "k",
    attempt: 1,
    lineage: 7,
    lease_id: 1,
};

/// Commits what `write` puts into the attempt's folder; answers where it stands.
fn commit(root: &Path, write: impl FnOnce(&Path)) -> Result<PathBuf, CommitError> {
    let committer = Committer::open(root)?;
    let Begin::Folder(folder) = committer.begin(MAKER, NAME, false)? else {
        panic!("adopted")
    };
    write(&folder);
    committer.commit(MAKER, NAME, Duration::ZERO)?;
    Ok(committer.layout().committed("work", "k"))
}

#[test]
fn links_and_empty_folders_stand_in_the_manifest_and_are_verified() {
    let root = tempfile::tempdir().unwrap();
    let committed = commit(root.path(), |folder| {
        fs::create_dir_all(folder.join("run3/frames")).unwrap();
        fs::create_dir_all(folder.join("logs/empty")).unwrap();
        fs::write(folder.join("run3/a.csv"), "1").unwrap();
        symlink("run3", folder.join("latest")).unwrap();
        symlink("../run3/a.csv", folder.join("logs/a.csv")).unwrap();
        // What `ln -s "$PETCTL_OUTPUT/run3" …` makes: it must not lead to where the attempt was.
        symlink(folder.join("run3/a.csv"), folder.join("logs/absolute")).unwrap();
        symlink(folder, folder.join("run3/top")).unwrap();
    })
    .unwrap();
    let manifest = Manifest::verify(&committed).unwrap().manifest;
    let links: Vec<(&str, &str)> = manifest
        .links
        .iter()
        .map(|link| (link.name.as_str(), link.target.as_str()))
        .collect();
    assert_eq!(
        links,
        [
            ("latest", "run3"),
            ("logs/a.csv", "../run3/a.csv"),
            ("logs/absolute", "../run3/a.csv"),
            ("run3/top", ".."),
        ]
    );
    assert_eq!(manifest.empty_folders, ["logs/empty", "run3/frames"]);
    assert_eq!(fs::read(committed.join("logs/absolute")).unwrap(), b"1");
    assert_eq!(
        fs::read(committed.join("run3/top/latest/a.csv")).unwrap(),
        b"1"
    );
    let damages: [(&str, &dyn Fn()); 3] = [
        ("latest", &|| {
            fs::remove_file(committed.join("latest")).unwrap()
        }),
        ("latest", &|| {
            symlink("logs", committed.join("latest")).unwrap()
        }),
        ("logs/empty", &|| {
            fs::remove_file(committed.join("latest")).unwrap();
            symlink("run3", committed.join("latest")).unwrap();
            fs::remove_dir(committed.join("logs/empty")).unwrap();
        }),
    ];
    for (wrong, damage) in damages {
        damage();
        match Manifest::verify(&committed) {
            Err(ManifestError::File { name, .. }) => assert_eq!(name, wrong),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn everything_that_can_not_be_an_output_is_named_at_once() {
    let root = tempfile::tempdir().unwrap();
    let error = commit(root.path(), |folder| {
        fs::create_dir(folder.join("sub")).unwrap();
        symlink("/etc/passwd", folder.join("absolute")).unwrap();
        symlink("../../x", folder.join("sub/out")).unwrap();
        symlink("nowhere", folder.join("dead")).unwrap();
        symlink("circle", folder.join("circle")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, folder.join("sub/pipe"), 0o600.into()).unwrap();
        fs::write(folder.join("manifest.json"), "{}").unwrap();
        fs::write(folder.join("good"), "1").unwrap();
    })
    .unwrap_err();
    assert!(!error.is_infrastructure());
    let message = error.to_string();
    for name in [
        "absolute",
        "sub/out",
        "dead",
        "circle",
        "sub/pipe",
        "manifest.json",
    ] {
        assert!(
            message.contains(&format!("{name} is ")),
            "{name}: {message}"
        );
    }
    assert!(!message.contains("good"), "{message}");
}
