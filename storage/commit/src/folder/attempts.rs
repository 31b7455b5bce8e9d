//! Who is at a shard: the folders of attempts, and the signs of those that have adopted outputs.
//!
//! Outputs that were adopted may say nothing of who adopted them: they are another lineage's, or were brought back. So
//! that an earlier attempt that comes late does not put them aside, whoever adopts such outputs leaves a **sign**, an
//! empty folder that is named as its own would be, for attempt 0. It goes as folders of attempts go.

use std::io;
use std::path::{Path, PathBuf};

use super::calls;
use crate::CommitError;
use crate::steps::{self, Protection};
use petctl_output::layout::{AttemptName, Layout, NamedLease, lease_of_attempt_folder};

/// What is there of attempts at a shard: folders, the shard files beside them, and signs. `step` is the listing's name.
pub(super) fn at(
    layout: &Layout,
    step: &'static str,
    name: AttemptName<'_>,
) -> Result<Vec<(NamedLease, PathBuf)>, CommitError> {
    let folder = layout.attempts(name.stage);
    let paths = match calls::list(step, &folder) {
        Ok(paths) => paths,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(CommitError::io("list", &folder, error)),
    };
    let of_shard = |path: PathBuf| Some((lease_of_entry(&path, Some(name.key))?, path));
    Ok(paths.into_iter().filter_map(of_shard).collect())
}

/// The lease that an attempt's folder, or the shard file beside it, belongs to.
pub(super) fn lease_of_entry(path: &Path, key: Option<&str>) -> Option<NamedLease> {
    let name = path.file_name().and_then(|name| name.to_str())?;
    lease_of_attempt_folder(name.strip_suffix(".json").unwrap_or(name), key)
}

/// Leaves a sign that this attempt has adopted what stands.
pub(super) fn leave_sign(layout: &Layout, name: AttemptName<'_>) -> Result<(), CommitError> {
    if !steps::stands(Protection::Sign) {
        return Ok(());
    }
    let sign = sign_of(layout, name);
    match calls::make(&sign) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(CommitError::io("make", &sign, error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether a later attempt of the lineage has adopted what stands.
pub(super) fn is_adopted_later(
    layout: &Layout,
    name: AttemptName<'_>,
) -> Result<bool, CommitError> {
    let is_later_sign = |(lease, path): (NamedLease, PathBuf)| {
        let by = AttemptName {
            lease_id: lease.lease_id,
            ..name
        };
        lease.lineage == name.lineage
            && lease.lease_id > name.lease_id
            && path == sign_of(layout, by)
    };
    Ok(at(layout, "list signs", name)?
        .into_iter()
        .any(is_later_sign))
}

fn sign_of(layout: &Layout, name: AttemptName<'_>) -> PathBuf {
    layout.attempt(AttemptName { attempt: 0, ..name })
}
