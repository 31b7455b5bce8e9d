//! Where data is, as it is typed: `az://container/prefix` or a local path.

use petctl_spec::{StorageAccess, StorageRoot};
use petctl_storage::{SharedStore, open};
use petctl_transfer::NameRules;
use petctl_ui::error::{Code, Error, Result};
use std::path::PathBuf;

/// A container with a prefix, or a local folder or file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    /// A whole container, or a folder.
    root: StorageRoot,
    /// Below it, without a `/` at its ends.
    pub(crate) prefix: String,
    /// A `/` stands at its end: it is no single name.
    pub(crate) is_folder: bool,
}

impl Location {
    /// Whether somebody means a location, not the name of a job.
    pub(crate) fn looks_like_one(text: &str) -> bool {
        text.contains("://") || text.starts_with(['/', '.']) || text.contains('/')
    }

    /// Whether it can be nothing but an address.
    pub(crate) fn is_address(text: &str) -> bool {
        text.contains("://")
    }

    pub(crate) fn read(text: &str) -> Result<Self> {
        if let Some(rest) = text.strip_prefix("az://") {
            return Self::read_container(rest);
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(Error::new(
                Code::Usage,
                format!("petctl has no storage behind `{scheme}://`"),
            )
            .fix("write az://CONTAINER/PREFIX with --account NAME, or a local path"));
        }
        let path = std::path::absolute(text).map_err(|error| {
            Error::new(Code::Usage, format!("can't use {text:?} as a path")).because(&error)
        })?;
        let is_folder = text.ends_with('/');
        if path.is_file()
            && !is_folder
            && let (Some(parent), Some(name)) = (path.parent(), path.file_name())
        {
            return Ok(Self {
                root: StorageRoot::Folder(text_of(parent.to_owned())?),
                prefix: text_of(name.into())?,
                is_folder,
            });
        }
        Ok(Self {
            root: StorageRoot::Folder(text_of(path)?),
            prefix: String::new(),
            is_folder: true,
        })
    }

    fn read_container(rest: &str) -> Result<Self> {
        let (container, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let Some(root) = StorageRoot::read(&format!("az://{container}")) else {
            return Err(Error::foreign(
                Code::StorageBadName.as_str(),
                petctl_ui::exit::Exit::BadConfiguration,
                format!("Azure takes no container named {container:?}"),
            )
            .fix("3 to 63 characters of a-z, 0-9 and single -, neither first nor last"));
        };
        Ok(Self {
            root,
            prefix: prefix.trim_matches('/').to_owned(),
            is_folder: prefix.is_empty() || prefix.ends_with('/'),
        })
    }

    /// The store at the location's root: names in it start with the prefix.
    pub(crate) fn open(&self, access: &StorageAccess) -> Result<SharedStore> {
        Ok(open(&self.root, access)?)
    }

    pub(crate) fn is_blob(&self) -> bool {
        self.root.is_blob()
    }

    /// What names may be there.
    pub(crate) fn rules(&self) -> NameRules {
        if self.is_blob() {
            NameRules::Blob
        } else {
            NameRules::Folder
        }
    }

    /// As it is typed.
    pub(crate) fn shown(&self) -> String {
        if self.prefix.is_empty() {
            self.root.to_string()
        } else {
            self.root.join(&self.prefix).to_string()
        }
    }

    /// The whole container, or the folder in which it would be.
    pub(crate) fn above(&self) -> String {
        let root = self.root.to_string();
        if self.is_blob() || !self.prefix.is_empty() {
            return root;
        }
        let parent = std::path::Path::new(&root).parent();
        parent.map_or(root.clone(), |parent| parent.display().to_string())
    }

    /// With `/` at its end, unless it is everything.
    pub(crate) fn folder_prefix(&self) -> String {
        if self.prefix.is_empty() {
            String::new()
        } else {
            format!("{}/", self.prefix)
        }
    }
}

fn text_of(path: PathBuf) -> Result<String> {
    path.into_os_string().into_string().map_err(|path| {
        Error::new(
            Code::Usage,
            format!("the path {} is not UTF-8", path.display()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_read_and_shown_alike() {
        for (text, prefix, is_folder) in [
            ("az://raw", "", true),
            ("az://raw/a b/c", "a b/c", false),
            ("az://raw/a/", "a", true),
        ] {
            let location = Location::read(text).unwrap();
            assert_eq!(
                (location.prefix.as_str(), location.is_folder),
                (prefix, is_folder)
            );
            assert_eq!(location.shown(), text.trim_end_matches('/'));
        }
        let location = Location::read("/no/such/folder").unwrap();
        assert_eq!(location.shown(), "/no/such/folder");
        assert_eq!(
            Location::read("az://Raw/x").unwrap_err().code(),
            "STORAGE_BAD_NAME"
        );
        assert_eq!(Location::read("s3://raw/x").unwrap_err().code(), "USAGE");
    }

    #[test]
    fn a_local_file_is_a_name_in_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.txt");
        std::fs::write(&path, "1").unwrap();
        let location = Location::read(path.to_str().unwrap()).unwrap();
        assert_eq!(location.prefix, "x.txt");
        assert_eq!(location.shown(), path.display().to_string());
    }
}
