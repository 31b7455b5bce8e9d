//! What outputs hold beside files: links within them, and folders in which nothing is. They stand in the manifest
//! alone, so a container keeps them as well as a folder does.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Component, Path};

use crate::folders::make_folders;
use crate::layout::check_relative;
use crate::manifest::{Manifest, ManifestLink};

impl Manifest {
    /// Links and empty folders that a committed folder lacks or has otherwise: their names, and why.
    #[must_use]
    pub fn changed_shape(&self, folder: &Path) -> Vec<(String, String)> {
        let links = self.links.iter().filter_map(|link| {
            let why = match fs::read_link(folder.join(&link.name)) {
                Ok(target) if target == Path::new(&link.target) => return None,
                Ok(target) => format!("it leads to {}, not {}", target.display(), link.target),
                Err(error) if error.kind() == io::ErrorKind::NotFound => "it is gone".to_owned(),
                Err(_) => "it is no link any more".to_owned(),
            };
            Some((link.name.clone(), why))
        });
        let folders = self.empty_folders.iter().filter_map(|name| {
            let is_folder =
                |path: &Path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
            let why = "the folder is gone".to_owned();
            (!is_folder(&folder.join(name))).then_some((name.clone(), why))
        });
        links.chain(folders).collect()
    }

    /// Refuses links and folders that a reader must not make: a manifest comes from where others can write.
    ///
    /// # Errors
    /// The name that is wrong, and why.
    pub fn check_shape(&self) -> Result<(), (String, &'static str)> {
        let links: BTreeSet<&str> = self.links.iter().map(|link| link.name.as_str()).collect();
        for link in &self.links {
            link.check().map_err(|why| (link.name.clone(), why))?;
        }
        let files = self.files.iter().map(|file| file.name.as_str());
        let folders = self.empty_folders.iter().map(String::as_str);
        for name in files.chain(folders.clone()).chain(links.iter().copied()) {
            let above = name.match_indices('/').map(|(at, _)| &name[..at]);
            if above.into_iter().any(|folder| links.contains(folder)) {
                return Err((name.to_owned(), "it lies behind a link of the same outputs"));
            }
        }
        for name in folders {
            check_relative(name).map_err(|why| (name.to_owned(), why))?;
        }
        Ok(())
    }
}

impl ManifestLink {
    /// Refuses a link that leads out of the outputs.
    ///
    /// # Errors
    /// Why.
    pub fn check(&self) -> Result<(), &'static str> {
        check_relative(&self.name)?;
        if !stays_below(&self.name, Path::new(&self.target)) {
            return Err("it is a link that leads out of the outputs");
        }
        Ok(())
    }

    /// Whether it is there.
    #[must_use]
    pub fn is_made(&self, folder: &Path) -> bool {
        fs::read_link(folder.join(&self.name)).is_ok_and(|is| is == Path::new(&self.target))
    }

    /// Makes the link below a folder, in the place of a file or of another link. A folder that is there stays, and is
    /// an error. Whether anything was to do.
    ///
    /// # Errors
    /// Those of the system; [`io::ErrorKind::InvalidInput`] for a link that leads out.
    pub fn make(&self, folder: &Path) -> io::Result<bool> {
        self.check()
            .map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
        let path = folder.join(&self.name);
        if let Some(parent) = path.parent() {
            make_folders(parent)?;
        }
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(there) if there.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(_) if self.is_made(folder) => return Ok(false),
            Ok(_) => fs::remove_file(&path)?,
        }
        symlink(&self.target, &path)?;
        Ok(true)
    }
}

/// Whether a link at `name` with this text never climbs above the root.
#[must_use]
pub fn stays_below(name: &str, target: &Path) -> bool {
    let mut depth = name.matches('/').count();
    for part in target.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(_) => depth += 1,
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str, target: &str) -> ManifestLink {
        ManifestLink {
            name: name.to_owned(),
            target: target.to_owned(),
        }
    }

    #[test]
    fn links_stay_within_the_outputs() {
        for (name, target) in [("latest", "run3"), ("a/b", "../c"), ("a/b", "./x/../y")] {
            assert_eq!(link(name, target).check(), Ok(()), "{name} -> {target}");
        }
        for (name, target) in [
            ("a", ".."),
            ("a", "../x"),
            ("a/b", "../../x"),
            ("a", "/etc/passwd"),
            ("../a", "x"),
            ("", "x"),
        ] {
            assert!(link(name, target).check().is_err(), "{name} -> {target}");
        }
    }

    #[test]
    fn a_link_is_made_once_and_replaces_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert!(link("sub/latest", "run3").make(folder.path()).unwrap());
        assert!(!link("sub/latest", "run3").make(folder.path()).unwrap());
        assert!(link("sub/latest", "run4").make(folder.path()).unwrap());
        let target = fs::read_link(folder.path().join("sub/latest")).unwrap();
        assert_eq!(target, Path::new("run4"));
        fs::create_dir(folder.path().join("precious")).unwrap();
        link("precious", "run3").make(folder.path()).unwrap_err();
        assert!(folder.path().join("precious").is_dir());
    }

    #[test]
    fn nothing_lies_behind_a_link() {
        let text = |files: &str| {
            format!(
                r#"{{"version": 2, "lineage": "0000000000000001", "duration_ms": 0, "job": "j", "stage": "s", "key": "k", "attempt": 1, "lease_id": "0000000000000001", "worker": "w",
                "committed_at": "", "files": [{{"name": "{files}", "bytes": 0, "sha256": ""}}],
                "links": [{{"name": "a", "target": "b"}}]}}"#
            )
        };
        let check = |name: &str| {
            let manifest: Manifest = serde_json::from_str(&text(name)).unwrap();
            manifest.check_shape().is_ok()
        };
        assert!(check("b/x"));
        assert!(check("ab"));
        assert!(!check("a/x"));
        assert!(!check("a/b/c"));
    }
}
