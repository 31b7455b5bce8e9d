//! Names that one side has and the other refuses.

/// Longest name of a blob, in characters.
const MAX_BLOB_CHARS: usize = 1_024;
/// Most parts between the slashes of a blob's name.
const MAX_BLOB_PARTS: usize = 254;

/// What a name in the store may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NameRules {
    /// What Azure takes, and gives back unchanged.
    Blob,
    /// What a local folder takes.
    Folder,
}

impl NameRules {
    /// Says why a whole name, prefix included, is refused.
    ///
    /// # Errors
    /// The reason, as the end of a sentence.
    pub fn check(self, name: &str) -> Result<(), &'static str> {
        match self {
            Self::Blob => check_blob(name),
            Self::Folder => check_local(name),
        }
    }
}

fn check_blob(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("the name is empty");
    }
    if name.encode_utf16().count() > MAX_BLOB_CHARS {
        return Err("with its prefix the name has more than 1,024 characters");
    }
    if name
        .chars()
        .any(|c| c.is_control() || c == '\u{fffe}' || c == '\u{ffff}')
    {
        return Err("the name has control characters");
    }
    if name.contains('\\') {
        return Err(r"the name has a \, which Azure takes for a /");
    }
    if name.ends_with('/') {
        return Err("the name ends with a slash");
    }
    let mut parts = 0;
    for part in name.split('/') {
        parts += 1;
        match part {
            "" => return Err("a part of the name is empty"),
            "." | ".." => return Err("the name has a part . or .."),
            part if part.ends_with('.') => {
                return Err("a part of the name ends with a dot, which Azure takes away");
            }
            _ => {}
        }
    }
    if parts > MAX_BLOB_PARTS {
        return Err("the name has more than 254 parts");
    }
    Ok(())
}

/// Refuses names that would lead out of a folder, or that a file system can't have.
fn check_local(name: &str) -> Result<(), &'static str> {
    if name.contains('\0') {
        return Err("the name has a zero byte");
    }
    petctl_output::layout::check_relative(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_azure_refuses_or_changes_is_told_before() {
        for good in [
            "a",
            "a b/100%/é.txt",
            "路径/ファイル",
            ".hidden/x",
            "a..b",
            "a?b#c&d+e",
        ] {
            assert_eq!(NameRules::Blob.check(good), Ok(()), "{good}");
        }
        let long = "x".repeat(1_025);
        let deep = vec!["a"; 255].join("/");
        for bad in [
            "", "a/", "a.", "a./b", "a//b", "../a", "a\nb", "a\u{7f}", "a\\", &long, &deep,
        ] {
            assert!(NameRules::Blob.check(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_from_a_store_does_not_lead_out_of_its_folder() {
        for bad in ["../a", "/a", "a/../../b", "a\0", "a//b", &"x".repeat(256)] {
            assert!(NameRules::Folder.check(bad).is_err(), "{bad:?}");
        }
        assert_eq!(NameRules::Folder.check("a./b\\c\n"), Ok(()));
    }
}
