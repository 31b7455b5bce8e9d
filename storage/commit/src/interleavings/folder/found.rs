//! What is stored, as a reader would find it.

use super::super::actors::{KEY, Outputs, STAGE};
use crate::write_manifest;
use petctl_output::layout::{Layout, NamedLease, lease_of_attempt_folder};
use petctl_output::manifest::{FILE_NAME, Manifest, ManifestFile, hash_file};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

/// Outputs that were there before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stood {
    pub(super) outputs: Outputs,
    /// What a power cut has left of them.
    pub(super) cut: Option<What>,
}

/// A folder of outputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stands {
    /// As its manifest says; `None` where that can't be read.
    pub(super) outputs: Option<Outputs>,
    /// Its hashes hold.
    pub(super) whole: bool,
}

/// What is stored of a shard.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) place: Option<Stands>,
    pub(super) aside: Option<Stands>,
    pub(super) damaged: Vec<Stands>,
    /// Whose attempts' folders are there.
    attempts: Vec<NamedLease>,
}

impl Stood {
    pub(super) fn make(&self, at: &Path) {
        fs::create_dir_all(at).unwrap();
        fs::write(at.join("out"), self.outputs.text()).unwrap();
        let (bytes, sha256) = hash_file(&at.join("out")).unwrap();
        let mut manifest = self.outputs.manifest();
        manifest.files = vec![ManifestFile {
            name: "out".to_owned(),
            bytes,
            sha256,
        }];
        write_manifest(at, &manifest).unwrap();
        if let Some(what) = self.cut {
            what.cut(at);
        }
    }
}

impl Stands {
    fn find(folder: &Path) -> Option<Self> {
        fs::symlink_metadata(folder).ok()?;
        let read = Manifest::read(folder).ok();
        Some(Self {
            outputs: read.map(|read| Outputs::of(&read.manifest)),
            whole: Manifest::verify(folder).is_ok(),
        })
    }

    pub(super) fn is_whole_of(&self, lease: NamedLease) -> bool {
        self.whole && self.lease() == Some(lease)
    }

    pub(super) fn lease(&self) -> Option<NamedLease> {
        self.outputs.map(|outputs| outputs.lease())
    }
}

impl Tree {
    pub(super) fn find(layout: &Layout) -> Self {
        let damaged = fs::read_dir(layout.damaged()).into_iter().flatten();
        let attempts = fs::read_dir(layout.attempts(STAGE)).into_iter().flatten();
        Self {
            place: Stands::find(&layout.committed(STAGE, KEY)),
            aside: Stands::find(&layout.earlier(STAGE, KEY)),
            attempts: attempts
                .filter_map(|entry| {
                    let name = entry.unwrap().file_name().into_string().unwrap();
                    let is_sign = name.starts_with(&format!("{KEY}.0-"));
                    lease_of_attempt_folder(&name, Some(KEY)).filter(|_| !is_sign)
                })
                .collect(),
            damaged: damaged
                .filter_map(|entry| Stands::find(&entry.unwrap().path()))
                .collect(),
        }
    }

    pub(super) fn has(&self, attempt: NamedLease) -> bool {
        self.attempts.contains(&attempt)
    }

    pub(super) fn keeps(&self, lease: NamedLease) -> bool {
        let mut all = [&self.place, &self.aside].into_iter().flatten();
        all.any(|stands| stands.is_whole_of(lease))
    }

    /// A reader finds whole outputs or none, but for what was damaged before; and only what is damaged was taken for it.
    pub(super) fn is_sound(&self, damaged_before: &[NamedLease]) -> Result<(), String> {
        if let Some(stands) = &self.place
            && !stands.whole
            && stands
                .lease()
                .is_some_and(|lease| !damaged_before.contains(&lease))
        {
            return Err(format!("a reader finds half of {stands:?}"));
        }
        match self.damaged.iter().find(|stands| stands.whole) {
            Some(good) => Err(format!("good outputs were taken for damaged: {good:?}")),
            None => Ok(()),
        }
    }
}

/// What a power cut leaves of files that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// All are empty.
    Nothing,
    /// The manifest is there, the others are empty.
    Manifest,
    /// They have their sizes, and zeros in them.
    Zeros,
}

/// A power cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    what: What,
    place: bool,
    aside: bool,
}

impl What {
    fn cut(self, folder: &Path) {
        let all = fs::read_dir(folder).into_iter().flatten();
        for path in all.map(|entry| entry.unwrap().path()) {
            let is_manifest = path.ends_with(FILE_NAME);
            let length = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
            match self {
                Self::Manifest if is_manifest => {}
                Self::Nothing | Self::Manifest => fs::write(&path, b"").unwrap(),
                Self::Zeros => fs::write(&path, vec![0; length]).unwrap(),
            }
        }
    }
}

impl Cut {
    /// No cut, and each that could be: what is durable stays.
    pub(super) fn all(tree: &Tree, durable: &[NamedLease]) -> Vec<Option<Self>> {
        let may_go = |stands: Option<Stands>| {
            let lease = stands.and_then(|stands| stands.lease());
            lease.is_some_and(|lease| !durable.contains(&lease))
        };
        let (place, aside) = (may_go(tree.place), may_go(tree.aside));
        let mut all = vec![None];
        if place || aside {
            for what in [What::Nothing, What::Manifest, What::Zeros] {
                all.push(Some(Self { what, place, aside }));
            }
        }
        all
    }

    pub(super) fn make(self, layout: &Layout) {
        if self.place {
            self.what.cut(&layout.committed(STAGE, KEY));
        }
        if self.aside {
            self.what.cut(&layout.earlier(STAGE, KEY));
        }
    }
}

/// A fingerprint of all that counts: not what is in the trash, nor when things were made.
pub(super) fn print(root: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    print_below(root, &mut hasher);
    hasher.finish()
}

fn print_below(folder: &Path, hasher: &mut DefaultHasher) {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort_unstable();
    for path in paths {
        let name = path.file_name().unwrap().to_owned();
        name.hash(hasher);
        if !path.is_dir() {
            let bytes = fs::read(&path).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            let (before, after) = text
                .split_once("\"committed_at\":\"")
                .unwrap_or((&text, ""));
            (before, after.split_once('"').map(|(_, after)| after)).hash(hasher);
        } else if name != "trash" {
            print_below(&path, hasher);
            '/'.hash(hasher);
        }
    }
}

/// A copy of all but the trash.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if !path.is_dir() {
            fs::copy(&path, to.join(name)).unwrap();
        } else if name != "trash" {
            copy(&path, &to.join(name));
        }
    }
}
