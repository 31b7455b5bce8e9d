//! Secrets: where they are read.

use crate::error::{StorageError, StorageProblem};
use petctl_spec::SecretRef;
pub(crate) use petctl_text::Secret;
use std::path::Path;

/// Longest file that is read as a secret, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// Reads what a job file or a flag points at, without the white space around it; `what` it is called.
///
/// # Errors
/// [`StorageProblem::NoCredential`]: it is not there, or can't be read. The message never repeats it.
pub fn read(place: &SecretRef, what: &str) -> Result<Secret, StorageError> {
    match place {
        SecretRef::Env(name) => match variable(name)? {
            Some(secret) => Ok(secret),
            None => Err(
                missing(what, format!("the environment variable {name} is not set")).fix(format!(
                    "set {name}, or name another place: env:NAME or file:PATH"
                )),
            ),
        },
        SecretRef::File(path) => read_file(Path::new(path), what),
    }
}

/// The variable's text; `None` where it is not set or empty.
pub(crate) fn variable(name: &str) -> Result<Option<Secret>, StorageError> {
    match std::env::var(name) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => Ok(Some(Secret::new(text.trim()))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(StorageError::new(
            StorageProblem::NoCredential,
            format!("the environment variable {name} is not UTF-8"),
        )),
    }
}

/// The file's text without the white space around it.
pub(crate) fn read_file(path: &Path, what: &str) -> Result<Secret, StorageError> {
    let shown = path.display();
    let bytes = petctl_output::manifest::read_bounded(path, MAX_BYTES)
        .map_err(|error| missing(what, format!("{shown} can't be read: {error}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| missing(what, format!("{shown} is not UTF-8 text")))?;
    if text.trim().is_empty() {
        return Err(missing(what, format!("{shown} is empty")));
    }
    Ok(Secret::new(text.trim()))
}

fn missing(what: &str, why: String) -> StorageError {
    StorageError::new(
        StorageProblem::NoCredential,
        format!("there is no {what}: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_missing_empty_or_no_text_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let error = |path: &Path| {
            let place = SecretRef::File(path.display().to_string());
            read(&place, "account key").unwrap_err()
        };
        assert!(error(&path).message.contains("can't be read"));
        std::fs::write(&path, "  \n").unwrap();
        assert!(error(&path).message.ends_with("is empty"));
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(error(&path).message.ends_with("is not UTF-8 text"));
        assert_eq!(error(&path).code().as_str(), "STORAGE_NO_CREDENTIAL");
        std::fs::write(&path, "  abc\n").unwrap();
        let place = SecretRef::File(path.display().to_string());
        assert_eq!(read(&place, "account key").unwrap().expose(), "abc");
    }

    #[test]
    fn a_variable_that_is_not_set_is_named() {
        let place = SecretRef::Env("PETCTL_TEST_NO_SUCH_VARIABLE".to_owned());
        let error = read(&place, "SAS").unwrap_err();
        assert!(error.message.contains("PETCTL_TEST_NO_SUCH_VARIABLE"));
    }
}
