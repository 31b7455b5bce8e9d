//! What a name stands for, where it may be one of a file or of a folder: containers have only names.

use crate::error::StorageError;
use crate::store::{Entry, Properties, SharedStore};

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// A file.
    File(Properties),
    /// A folder: all that is below it, with the markers of folders, its own among them.
    Folder(Vec<Entry>),
}

/// Looks what a name stands for; `None` where there is neither. What has bytes is a file, whatever is below it.
///
/// # Errors
/// [`StorageError`]
pub async fn named(store: &SharedStore, name: &str) -> Result<Option<Named>, StorageError> {
    let known = store.head(name).await?;
    if let Some(properties) = known.as_ref().filter(|known| known.size > 0) {
        return Ok(Some(Named::File(properties.clone())));
    }
    if let Some(below) = below(store, name).await? {
        return Ok(Some(Named::Folder(below)));
    }
    let Some(properties) = known else {
        return Ok(None);
    };
    Ok(Some(match marker(store, name).await? {
        Some(marker) => Named::Folder(vec![marker]),
        None => Named::File(properties),
    }))
}

/// All that is below a folder, with the markers of folders, its own among them; `None` where there is no such folder.
///
/// # Errors
/// [`StorageError`]
pub async fn folder_named(
    store: &SharedStore,
    name: &str,
) -> Result<Option<Vec<Entry>>, StorageError> {
    if let Some(below) = below(store, name).await? {
        return Ok(Some(below));
    }
    Ok(marker(store, name).await?.map(|marker| vec![marker]))
}

async fn below(store: &SharedStore, name: &str) -> Result<Option<Vec<Entry>>, StorageError> {
    let prefix = format!("{name}/");
    let mut entries = Vec::new();
    let mut mark: Option<String> = None;
    loop {
        let page = store.list(&prefix, mark.as_deref()).await?;
        entries.extend(page.entries);
        mark = page.mark;
        if mark.is_none() {
            return Ok((!entries.is_empty()).then_some(entries));
        }
    }
}

/// Of all names that start with this one, it is the first.
async fn marker(store: &SharedStore, name: &str) -> Result<Option<Entry>, StorageError> {
    let page = store.list(name, None).await?;
    let first = page.entries.into_iter().next();
    Ok(first.filter(|entry| entry.is_folder && entry.name == name))
}
