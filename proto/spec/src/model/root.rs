//! Where data is: a local folder, or a prefix in a blob container.

use crate::model::StorageSpec;
use petctl_text::words::shown;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

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

/// Longest prefix below a container, in characters; Azure takes names of 1,024.
pub const MAX_PREFIX_CHARS: usize = 1_024;

/// Why something can't be the address of a place in blob storage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct RootProblem {
    /// What is wrong, as the rest of a sentence about the address; repeats nothing that may be a secret.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

impl StorageRoot {
    /// Reads `az://container/prefix` and says what is wrong with it; slashes at its end do not count.
    ///
    /// # Errors
    /// [`RootProblem`].
    pub fn parse_az(text: &str) -> Result<Self, RootProblem> {
        let Some(rest) = text.strip_prefix("az://") else {
            return Err(problem(
                "is no address in blob storage",
                "write `az://CONTAINER/PREFIX`",
            ));
        };
        let (container, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if rest.contains('?') {
            return Err(problem(
                "has a `?`: a SAS token or a query is no part of it",
                "take off the `?` and what follows; name a SAS token as `sas_token = \"env:NAME\"` or `\"file:PATH\"`",
            ));
        }
        check_container(container)?;
        let prefix = prefix.trim_end_matches('/');
        check_prefix(prefix)?;
        Ok(Self::Container {
            container: container.to_owned(),
            prefix: prefix.to_owned(),
        })
    }

    /// Whether the place is another one, or lies in it.
    #[must_use]
    pub fn is_inside(&self, other: &Self) -> bool {
        let within = |path: &str, folder: &str| {
            folder.is_empty()
                || path
                    .strip_prefix(folder)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || folder == "/")
        };
        match (self, other) {
            (Self::Folder(path), Self::Folder(folder)) => within(path, folder),
            (
                Self::Container { container, prefix },
                Self::Container {
                    container: other,
                    prefix: folder,
                },
            ) => container == other && within(prefix, folder),
            (Self::Folder(_), Self::Container { .. })
            | (Self::Container { .. }, Self::Folder(_)) => false,
        }
    }

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

    /// The local folder, whose files are opened as files; `None`: what is there is reached through a store.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(Path::new(folder)),
            Self::Container { .. } => None,
        }
    }

    /// Where its files are found on a machine that has these containers mounted; `None`: they have to be fetched.
    #[must_use]
    pub fn path(&self, mounts: &BTreeMap<String, String>) -> Option<String> {
        match self {
            Self::Folder(folder) => Some(folder.clone()),
            Self::Container { container, prefix } => {
                let mount = Self::Folder(mounts.get(container)?.clone());
                let root = if prefix.is_empty() {
                    mount
                } else {
                    mount.join(prefix)
                };
                Some(root.to_string())
            }
        }
    }

    /// Whether it is a container as a whole, so that no file or blob can have its name.
    #[must_use]
    pub fn is_whole_container(&self) -> bool {
        matches!(self, Self::Container { prefix, .. } if prefix.is_empty())
    }

    /// The place that it lies in, and its name there; a whole container is in none.
    #[must_use]
    pub fn above(&self) -> Option<(Self, &str)> {
        match self {
            Self::Folder(folder) => {
                let (above, name) = folder.rsplit_once('/')?;
                let above = if above.is_empty() { "/" } else { above };
                (!name.is_empty()).then(|| (Self::Folder(above.to_owned()), name))
            }
            Self::Container { container, prefix } => {
                let (above, name) = prefix.rsplit_once('/').unwrap_or(("", prefix));
                let above = Self::Container {
                    container: container.clone(),
                    prefix: above.to_owned(),
                };
                (!name.is_empty()).then_some((above, name))
            }
        }
    }

    /// The address of the place for one date of a dated job: behind its last name, in the manner that the name allows.
    #[must_use]
    pub fn dated(&self, date: &str) -> String {
        let joint = if self.is_whole_container() { '-' } else { '_' };
        format!("{self}{joint}{date}")
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
        let staged = |root: &StorageRoot| root.path(&self.mounts).is_none();
        self.output_root().is_blob() || self.input_root().as_ref().is_some_and(staged)
    }
}

/// Whether Azure takes it as the name of a container.
#[must_use]
pub fn is_container_name(name: &str) -> bool {
    check_container(name).is_ok()
}

/// Says why Azure would refuse the name of a container, and which one it would take.
///
/// # Errors
/// [`RootProblem`]: the first rule that is broken.
pub fn check_container(name: &str) -> Result<(), RootProblem> {
    const RULE: &str =
        "use 3 to 63 characters of a-z, 0-9 and single `-`, a letter or digit at both ends";
    let of = |why: String| format!("names the container `{}`, {why}", shown(name));
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() {
        return Err(problem(
            "names no container",
            "write `az://CONTAINER/PREFIX`",
        ));
    }
    if name.chars().any(|c| c.is_ascii_uppercase() || c == '_') {
        let why = if name.contains('_') {
            "and Azure allows no `_` in it"
        } else {
            "and Azure allows no upper case in it"
        };
        let better = name.to_ascii_lowercase().replace('_', "-");
        let fix = match check_container(&better) {
            Ok(()) => format!("write `{better}`, if that is its name; {RULE}"),
            Err(_) => RULE.to_owned(),
        };
        return Err(problem(of(why.into()), fix));
    }
    let why = if let Some(strange) = name.chars().find(|c| !good(*c)) {
        format!(
            "and Azure allows no `{}` in it",
            shown(&strange.to_string())
        )
    } else if name.len() < 3 {
        "which is shorter than 3 characters".into()
    } else if name.len() > 63 {
        format!("which has {} characters; 63 are allowed", name.len())
    } else if name.contains("--") {
        "and Azure allows no two `-` in a row".into()
    } else if name.starts_with('-') || name.ends_with('-') {
        "which starts or ends with `-`".into()
    } else {
        return Ok(());
    };
    Err(problem(of(why), RULE))
}

fn check_prefix(prefix: &str) -> Result<(), RootProblem> {
    let problem = |what: &str, fix: &str| Err(problem(what, fix));
    if prefix.chars().count() > MAX_PREFIX_CHARS {
        return problem(
            "has a prefix of more than 1,024 characters, and Azure takes no longer names",
            "use a shorter prefix",
        );
    }
    if prefix.chars().any(char::is_control) {
        return problem("has a control character", "take it out");
    }
    if prefix.contains('\\') {
        return problem("has a `\\`", "separate the parts of a prefix by `/`");
    }
    for part in prefix.split('/').filter(|_| !prefix.is_empty()) {
        if part == "." || part == ".." {
            return problem(
                "has a part `.` or `..`, which means nothing in blob storage",
                "write the whole prefix",
            );
        }
        if part.is_empty() {
            return problem("has an empty part between two `/`", "write one `/`");
        }
        if part.ends_with('.') {
            return problem(
                "has a part that ends with a dot, which Azure takes off",
                "take the dot off",
            );
        }
    }
    Ok(())
}

fn problem(what: impl Into<String>, fix: impl Into<String>) -> RootProblem {
    RootProblem {
        what: what.into(),
        fix: fix.into(),
    }
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
        for (text, what) in [
            ("az://raw//x", "has an empty part between two `/`"),
            (
                "az://raw/a/../b",
                "has a part `.` or `..`, which means nothing in blob storage",
            ),
            ("az://raw/a\\b", "has a `\\`"),
            (
                "az://raw/a./b",
                "has a part that ends with a dot, which Azure takes off",
            ),
            ("az://raw/a\u{7}", "has a control character"),
            (
                "az://my_raw",
                "names the container `my_raw`, and Azure allows no `_` in it",
            ),
            (
                "az://$web",
                "names the container `$web`, and Azure allows no `$` in it",
            ),
            ("az://", "names no container"),
        ] {
            assert_eq!(StorageRoot::parse_az(text).unwrap_err().what, what);
        }
        let token = StorageRoot::parse_az("az://raw/x?sv=1&sig=abc").unwrap_err();
        assert!(!format!("{token:?}").contains("abc"), "{token:?}");
        let raw = StorageRoot::parse_az("az://raw/a b/").unwrap();
        assert_eq!(raw.to_string(), "az://raw/a b");
        let inside = |a: &str, b: &str| {
            StorageRoot::read(a)
                .unwrap()
                .is_inside(&StorageRoot::read(b).unwrap())
        };
        assert!(inside("az://raw/a/b", "az://raw/a") && inside("az://raw/a", "az://raw"));
        assert!(!inside("az://raw/ab", "az://raw/a") && !inside("az://raw", "az://other"));
        assert!(inside("/a/b", "/") && !inside("/a", "az://raw"));
        let below = |text: &str| StorageRoot::read(text).unwrap().join("x").to_string();
        assert_eq!(below("az://raw"), "az://raw/x");
        assert_eq!(below("az://raw/a/"), "az://raw/a/x");
        assert_eq!(below("/"), "/x");
    }

    #[test]
    fn what_is_below_lies_above_what_it_is_in() {
        let root = |text| StorageRoot::read(text).unwrap();
        for (text, above, name) in [
            ("/data/us101/list", "/data/us101", "list"),
            ("/list", "/", "list"),
            ("az://raw/us101/list", "az://raw/us101", "list"),
            ("az://raw/list", "az://raw", "list"),
        ] {
            assert_eq!(root(text).above(), Some((root(above), name)), "{text}");
            assert_eq!(root(above).join(name), root(text), "{text}");
        }
        assert_eq!(root("az://raw").above(), None);
        assert_eq!(root("/").above(), None);
    }

    #[test]
    fn a_date_is_behind_the_last_name() {
        let dated = |text| StorageRoot::read(text).unwrap().dated("2026-11-28");
        assert_eq!(dated("/data/out"), "/data/out_2026-11-28");
        assert_eq!(dated("az://night/out"), "az://night/out_2026-11-28");
        // Azure allows no `_` in the name of a container.
        assert_eq!(dated("az://night"), "az://night-2026-11-28");
    }
}
