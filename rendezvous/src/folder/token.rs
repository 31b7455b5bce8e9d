//! The token of a state folder.

use crate::StartError;
use petctl_output::write_whole;
use petctl_text::{Secret, hex};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const MIN_CHARS: usize = 16;
const MAX_CHARS: usize = 1_024;

/// The folder's token; made, readable by its owner alone, if there is none.
pub(crate) fn token_of(dir: &Path) -> Result<Secret, StartError> {
    if let Some(token) = read_token(dir)? {
        return Ok(token);
    }
    let path = token_path(dir);
    let token = random_token().map_err(StartError::Random)?;
    write_whole(&path, format!("{}\n", token.expose()).as_bytes()).map_err(|source| {
        StartError::File {
            verb: "write",
            path,
            source,
        }
    })?;
    Ok(token)
}

/// A new token: 32 random bytes as hex digits.
///
/// # Errors
/// Where the system has no random numbers to give.
pub fn random_token() -> Result<Secret, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(Secret::new(hex(&bytes)))
}

/// The token of the coordinator on this state folder; `None` if it has none.
///
/// # Errors
/// `TOKEN_FILE_OPEN` where others than the owner may read the file, `TOKEN_FILE_BAD` where it holds no token,
/// `STATE_FILE_FAILED` where it can't be read.
pub fn read_token(dir: &Path) -> Result<Option<Secret>, StartError> {
    let path = token_path(dir);
    let failed = |source| StartError::File {
        verb: "read",
        path: path.clone(),
        source,
    };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(StartError::TokenFileOpen { path, mode });
    }
    let mut text = String::new();
    // Over the bound is no token either; a few more bytes tell.
    let read = file.take(MAX_CHARS as u64 + 16).read_to_string(&mut text);
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(StartError::TokenFileBad { path });
        }
        Err(error) => return Err(failed(error)),
    }
    let token = text.trim_end_matches(['\n', '\r']);
    let visible = token.bytes().all(|byte| byte.is_ascii_graphic());
    if !visible || !(MIN_CHARS..=MAX_CHARS).contains(&token.len()) {
        return Err(StartError::TokenFileBad { path });
    }
    Ok(Some(Secret::new(token)))
}

fn token_path(dir: &Path) -> PathBuf {
    dir.join("token")
}

#[cfg(test)]
mod tests {
    use super::{read_token, token_of};
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_is_made_once_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let made = token_of(dir.path()).unwrap();
        assert_eq!(made.expose().len(), 64);
        let mode = fs::metadata(dir.path().join("token"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert!(
            token_of(dir.path())
                .unwrap()
                .matches(made.expose().as_bytes())
        );
        assert!(
            read_token(dir.path())
                .unwrap()
                .unwrap()
                .matches(made.expose().as_bytes())
        );
    }

    #[test]
    fn a_token_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        token_of(dir.path()).unwrap();
        fs::set_permissions(dir.path().join("token"), Permissions::from_mode(0o640)).unwrap();
        let error = token_of(dir.path()).unwrap_err();
        assert_eq!(error.code().as_str(), "TOKEN_FILE_OPEN");
        assert!(error.to_string().contains("0640"), "{error}");
    }

    #[test]
    fn a_file_without_a_token_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        token_of(dir.path()).unwrap();
        for contents in [
            &b""[..],
            b"short\n",
            b"two words are no token at all",
            &[0xff; 64],
            &[b'a'; 5_000],
        ] {
            fs::write(dir.path().join("token"), contents).unwrap();
            assert_eq!(
                token_of(dir.path()).unwrap_err().code().as_str(),
                "TOKEN_FILE_BAD"
            );
        }
    }
}
