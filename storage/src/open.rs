//! From a place and the way to it, a store.

use crate::access::Account;
use crate::blob::{BlobStore, Patience};
use crate::error::{StorageError, StorageProblem};
use crate::folder::FolderStore;
use crate::store::SharedStore;
use petctl_spec::{StorageAccess, StorageRoot};
use std::path::Path;
use std::sync::Arc;

/// The store at `root`. Reads the secrets that `access` names, or those of the environment; nothing is sent yet.
///
/// # Errors
/// [`StorageProblem::NoCredential`] and [`StorageProblem::BadName`] say what is missing, and
/// [`StorageProblem::Expired`] that the SAS is over already.
pub fn open(root: &StorageRoot, access: &StorageAccess) -> Result<SharedStore, StorageError> {
    open_with(root, access, &Patience::default())
}

/// As [`open`], with bounds of one's own for retries.
///
/// # Errors
/// As [`open`].
pub fn open_with(
    root: &StorageRoot,
    access: &StorageAccess,
    patience: &Patience,
) -> Result<SharedStore, StorageError> {
    match root {
        StorageRoot::Folder(path) => open_folder(path),
        StorageRoot::Container { container, prefix } => {
            if !petctl_spec::is_container_name(container) {
                return Err(StorageError::new(
                    StorageProblem::BadName,
                    format!("{container:?} can't be the name of a container"),
                )
                .fix("names of containers have 3 to 63 of a-z, 0-9 and single -, and start and end with a letter or digit"));
            }
            let account = Account::find(access)?;
            Ok(Arc::new(BlobStore::new(
                &account, container, prefix, patience,
            )?))
        }
    }
}

/// A local folder as a store. The folder itself is made by [`Store::create`](crate::Store::create), not here.
///
/// # Errors
/// [`StorageProblem::BadName`]: the path is not absolute.
pub fn open_folder(path: impl AsRef<Path>) -> Result<SharedStore, StorageError> {
    let path = path.as_ref();
    if !path.is_absolute() {
        return Err(StorageError::new(
            StorageProblem::BadName,
            format!("{} is not an absolute path", path.display()),
        ));
    }
    Ok(Arc::new(FolderStore::new(path)))
}
