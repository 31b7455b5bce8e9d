//! Committed outputs, read again and held against their manifests.

use super::download::Item;
use super::fetch::check_file;
use super::tree::Fault;
use super::tuning::Progress;
use crate::error::StorageError;
use crate::store::SharedStore;
use futures::stream::{self, StreamExt};

/// Files that are read at a time.
const PARALLEL: usize = 16;

/// Reads files whole, and compares each with the hash that it must have. The faults, in the order of the names.
///
/// # Errors
/// [`StorageError`] of what would end every other read alike.
pub async fn verify(
    store: &SharedStore,
    items: &[Item],
    progress: &dyn Progress,
) -> Result<Vec<Fault>, StorageError> {
    let checks = items.iter().map(|item| async move {
        match check_file(store, item, progress).await {
            Ok(()) => Ok(None),
            Err(error) if error.problem.stops_everything() => Err(error),
            Err(error) => Ok(Some(Fault {
                name: item.name.clone(),
                problem: error.problem,
                why: error.message,
            })),
        }
    });
    let mut checks = stream::iter(checks).buffered(PARALLEL);
    let mut faults = Vec::new();
    while let Some(fault) = checks.next().await {
        faults.extend(fault?);
    }
    Ok(faults)
}
