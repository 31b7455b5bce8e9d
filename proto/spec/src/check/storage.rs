//! Checks where data is, and how it is reached.

use super::{SpecError, ensure, wrong};
use crate::keys::{MAX_ENTRIES, MAX_MEMORY_MIB, MAX_TEXT_BYTES};
use crate::model::root::{StorageRoot, is_container_name};
use crate::model::{SecretRef, StorageAccess, StorageSpec};
use crate::parts::storage::{TextCheck, check_account, check_client_id, check_endpoint};
use petctl_keyed::resolve_path;
use petctl_text::words::is_identifier;

pub(super) fn check_places(storage: &StorageSpec) -> Result<(), SpecError> {
    let StorageSpec {
        input,
        output,
        dated: _,
        stage_bytes,
        incomplete_input: _,
        mounts,
        access,
    } = storage;
    check_root("storage.output", output)?;
    input
        .as_ref()
        .map_or(Ok(()), |input| check_root("storage.input", input))?;
    ensure(
        *stage_bytes <= MAX_MEMORY_MIB << 20,
        "storage.stage_bytes",
        "is out of range",
    )?;
    let key = "storage.mounts";
    ensure(mounts.len() <= MAX_ENTRIES, key, "has too many entries")?;
    for (container, folder) in mounts {
        ensure(is_container_name(container), key, "has a name that is none")?;
        check_storage(key, folder)?;
    }
    check_access(access)
}

fn check_access(access: &StorageAccess) -> Result<(), SpecError> {
    let StorageAccess {
        account,
        endpoint,
        sas_token,
        account_key,
        client_id,
    } = access;
    // What is wrong with them is not repeated: somebody may have put a secret there.
    let texts: [(&str, &Option<String>, TextCheck); 3] = [
        ("storage.account", account, check_account),
        ("storage.endpoint", endpoint, check_endpoint),
        ("storage.client_id", client_id, check_client_id),
    ];
    for (key, text, check) in texts {
        let good = |text: &String| text.len() <= MAX_TEXT_BYTES && check(text).is_ok();
        ensure(text.as_ref().is_none_or(good), key, "can't be one")?;
    }
    for (key, secret) in [
        ("storage.sas_token", sas_token),
        ("storage.account_key", account_key),
    ] {
        match secret {
            None => {}
            Some(SecretRef::Env(name)) => {
                ensure(is_identifier(name), key, "names no environment variable")?;
            }
            Some(SecretRef::File(path)) => check_path(key, path)?,
        }
    }
    Ok(())
}

/// A local folder, or a place in blob storage, as the parser writes them.
pub(super) fn check_root(key: &str, text: &str) -> Result<(), SpecError> {
    if !text.starts_with("az://") {
        return check_storage(key, text);
    }
    let root = StorageRoot::parse_az(text).map_err(|problem| wrong(key, problem.what))?;
    ensure(
        root.to_string() == text,
        key,
        "has a `/` too many at its end",
    )
}

/// The parser's own paths are resolved; one that is not could lead elsewhere than it seems to.
pub(super) fn check_storage(key: &str, path: &str) -> Result<(), SpecError> {
    check_path(key, path)?;
    ensure(
        resolve_path("/", path) == path,
        key,
        "is not resolved: it has `.`, `..` or a `/` too many",
    )
}

pub(super) fn check_path(key: &str, path: &str) -> Result<(), SpecError> {
    let good = path.starts_with('/') && path.len() <= 2 * MAX_TEXT_BYTES && !path.contains('\0');
    ensure(good, key, "is no absolute path")
}
