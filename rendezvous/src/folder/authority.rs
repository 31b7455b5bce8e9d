//! The CA of a state folder.

use crate::StartError;
use petctl_output::write_whole;
use petctl_tls::{Authority, NotMade};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

const FOLDER: &str = "tls";
const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca.key";

/// The folder's CA; made, with a key that its owner alone reads, if there is none.
pub(crate) fn authority_of(dir: &Path) -> Result<Authority, StartError> {
    let folder = dir.join(FOLDER);
    let bad = |why: String| StartError::Ca {
        path: folder.clone(),
        why,
    };
    let (Some(key), Some(certificate)) =
        (read(&folder.join(KEY))?, read(&folder.join(CERTIFICATE))?)
    else {
        return make(&folder);
    };
    let mode = fs::metadata(folder.join(KEY)).map_or(0, |file| file.permissions().mode() & 0o7777);
    if mode & 0o077 != 0 {
        return Err(bad(format!(
            "others may read its key (mode {mode:04o}), so it is no secret any more"
        )));
    }
    Authority::read(&certificate, &key).map_err(|error| bad(error.to_string()))
}

/// Where the CA's certificate is, for those who call the coordinator.
#[must_use]
pub fn ca_path(dir: &Path) -> PathBuf {
    dir.join(FOLDER).join(CERTIFICATE)
}

/// One without a certificate, or without a key, was never told to anybody: a crash came between both.
fn make(folder: &Path) -> Result<Authority, StartError> {
    let made = Authority::make();
    let (authority, key) = made.map_err(|error: NotMade| StartError::Ca {
        path: folder.to_owned(),
        why: error.to_string(),
    })?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| StartError::File {
            verb: "write",
            path,
            source,
        }
    };
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    made.map_err(failed(folder))?;
    for (name, text) in [(KEY, key.expose()), (CERTIFICATE, authority.certificate())] {
        let path = folder.join(name);
        write_whole(&path, text.as_bytes()).map_err(failed(&path))?;
    }
    Ok(authority)
}

fn read(path: &Path) -> Result<Option<String>, StartError> {
    match fs::read(path) {
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StartError::File {
            verb: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::{authority_of, ca_path};
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_ca_is_made_once_and_only_its_owner_reads_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let made = authority_of(dir.path()).unwrap();
        let key = dir.path().join("tls/ca.key");
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&key) & 0o7777, 0o600);
        assert_eq!(mode(&dir.path().join("tls")) & 0o7777, 0o700);
        let again = authority_of(dir.path()).unwrap();
        assert_eq!(made.certificate(), again.certificate());
        let kept = fs::read_to_string(ca_path(dir.path())).unwrap();
        assert_eq!(kept, made.certificate());
    }

    #[test]
    fn a_ca_that_is_open_or_broken_is_refused_and_one_that_was_half_made_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let first = authority_of(dir.path()).unwrap().certificate().to_owned();
        let key = dir.path().join("tls/ca.key");
        fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap();
        let error = authority_of(dir.path()).unwrap_err();
        assert_eq!(error.code().as_str(), "CA_BROKEN");
        assert!(error.to_string().contains("0640"), "{error}");
        fs::write(&key, "nonsense").unwrap();
        fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        let error = authority_of(dir.path()).unwrap_err();
        assert_eq!(error.code().as_str(), "CA_BROKEN");
        fs::remove_file(&key).unwrap();
        assert_ne!(authority_of(dir.path()).unwrap().certificate(), first);
    }
}
