//! Names that one side has and the other refuses.

use petctl_output::names::check_blob_name;

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
            Self::Blob => check_blob_name(name),
            Self::Folder => check_local(name),
        }
    }
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
    fn a_name_from_a_store_does_not_lead_out_of_its_folder() {
        for bad in ["../a", "/a", "a/../../b", "a\0", "a//b", &"x".repeat(256)] {
            assert!(NameRules::Folder.check(bad).is_err(), "{bad:?}");
        }
        assert_eq!(NameRules::Folder.check("a./b\\c\n"), Ok(()));
    }
}
