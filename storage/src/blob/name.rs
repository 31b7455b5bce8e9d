//! Names of blobs: what Azure, or an address, would not take as it stands.

use crate::error::{StorageError, StorageProblem};

/// Longest name of a blob, in characters, prefix included.
const MAX_CHARS: usize = 1_024;
/// Most parts of a path.
const MAX_PARTS: usize = 254;

/// Refuses names that would lead to another blob, or to none. `whole` is the name with the store's prefix before it.
pub(crate) fn check(name: &str, whole: &str, address: &str) -> Result<(), StorageError> {
    let Some(why) = fault(name).or_else(|| fault(whole)) else {
        return Ok(());
    };
    let shown: String = address.chars().take(200).collect();
    Err(StorageError::new(
        StorageProblem::BadName,
        format!("{shown:?} can't be the name of a blob: {why}"),
    )
    .fix("rename it"))
}

fn fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it is empty");
    }
    if name.chars().count() > MAX_CHARS {
        return Some("it has more than 1,024 characters");
    }
    if name.chars().any(char::is_control) || name.contains(['\u{fffe}', '\u{ffff}']) {
        return Some("it has control characters");
    }
    if name.contains('\\') {
        return Some(r"it has a \, which Azure takes for a /");
    }
    if name.split('/').count() > MAX_PARTS {
        return Some("it has more than 254 parts");
    }
    for part in name.split('/') {
        if part == "." || part == ".." {
            return Some("it has a part . or ..");
        }
        if part.ends_with('.') {
            return Some("a part of it ends with a dot, which Azure drops");
        }
    }
    name.starts_with('/').then_some("it starts with a /")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_not_arrive_as_they_are_get_refused() {
        for bad in [
            "",
            "/a",
            "a/..",
            ".",
            "..",
            "a./b",
            "b.",
            "a\\b",
            "a\nb",
            &"x".repeat(1_025),
            &"a/".repeat(300),
        ] {
            let error = check(bad, bad, bad).unwrap_err();
            assert_eq!(error.code().as_str(), "STORAGE_BAD_NAME", "{bad:?}");
        }
        for good in [
            "a",
            "a b/%41?#.txt",
            "日本語/é",
            ".petctl/x",
            "a//b",
            "dir/",
        ] {
            check(good, good, good).unwrap();
        }
    }
}
