//! Where data is: a local folder, or a prefix in a blob container.

use crate::model::StorageSpec;
use std::fmt;

/// A place for data. Names below it have `/` between their parts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StorageRoot {
    /// An absolute local folder.
    Folder(String),
    /// Blobs whose names start with `prefix/`.
    Container {
        /// 3 to 63 characters of a-z, 0-9 and single `-`, as Azure wants it.
        container: String,
        /// Without a `/` at either end; empty: the whole container.
        prefix: String,
    },
}

impl StorageRoot {
    /// Reads `az://container/prefix` or an absolute local path, as a checked job has them.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let Some(rest) = text.strip_prefix("az://") else {
            return text.starts_with('/').then(|| Self::Folder(text.to_owned()));
        };
        let (container, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_matches('/');
        is_container_name(container).then(|| Self::Container {
            container: container.to_owned(),
            prefix: prefix.to_owned(),
        })
    }

    /// Whether workers reach it through the blob service.
    #[must_use]
    pub fn is_blob(&self) -> bool {
        matches!(self, Self::Container { .. })
    }

    /// The place below this one.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let joined = |base: &str| match base {
            "" => name.to_owned(),
            base => format!("{}/{name}", base.trim_end_matches('/')),
        };
        match self {
            Self::Folder(folder) => Self::Folder(joined(folder)),
            Self::Container { container, prefix } => Self::Container {
                container: container.clone(),
                prefix: joined(prefix),
            },
        }
    }
}

impl fmt::Display for StorageRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => f.write_str(folder),
            Self::Container { container, prefix } if prefix.is_empty() => {
                write!(f, "az://{container}")
            }
            Self::Container { container, prefix } => write!(f, "az://{container}/{prefix}"),
        }
    }
}

impl StorageSpec {
    /// Where the inputs are.
    #[must_use]
    pub fn input_root(&self) -> Option<StorageRoot> {
        self.input.as_deref().and_then(StorageRoot::read)
    }

    /// Where the committed outputs go. A folder named nothing where `output` is not of a checked job.
    #[must_use]
    pub fn output_root(&self) -> StorageRoot {
        StorageRoot::read(&self.output).unwrap_or_else(|| StorageRoot::Folder(String::new()))
    }

    /// Whether a worker has to fetch inputs or send outputs: attempts then have more to do than to run.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        let staged = |root: &StorageRoot| match root {
            StorageRoot::Folder(_) => false,
            StorageRoot::Container { container, .. } => !self.mounts.contains_key(container),
        };
        self.output_root().is_blob() || self.input_root().as_ref().is_some_and(staged)
    }
}

/// Whether Azure takes it as the name of a container.
#[must_use]
pub fn is_container_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (3..=63).contains(&name.len())
        && name.bytes().all(good)
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_read_and_written_alike() {
        for text in ["/data/out", "az://raw", "az://raw/us101/a b"] {
            let root = StorageRoot::read(text).unwrap();
            assert_eq!(root.to_string(), text);
            assert_eq!(root.is_blob(), text.starts_with("az"));
        }
        for bad in [
            "out",
            "az://",
            "az://Raw",
            "az://a--b",
            "az://ab",
            "s3://raw",
        ] {
            assert_eq!(StorageRoot::read(bad), None, "{bad}");
        }
        let below = |text: &str| StorageRoot::read(text).unwrap().join("x").to_string();
        assert_eq!(below("az://raw"), "az://raw/x");
        assert_eq!(below("az://raw/a/"), "az://raw/a/x");
        assert_eq!(below("/"), "/x");
    }
}
