//! Committed outputs in a container.

use petctl_core::FoundOutputs;
use petctl_output::layout::blob::{Found, find};
use petctl_spec::{JobSpec, StorageRoot};
use petctl_storage::StorageProblem;
use petctl_ui::error::Result;
use std::collections::BTreeMap;

/// The committed outputs of these shards. Which attempt a register names, the listing does not say: every attempt that
/// has data is one that it may be, and so is none.
pub(super) async fn look(
    spec: &JobSpec,
    root: &StorageRoot,
    stage: &str,
    keys: &[String],
) -> Result<Vec<FoundOutputs>> {
    let store = petctl_storage::open(root, &spec.storage.access)?;
    let index: BTreeMap<&str, u32> = keys.iter().map(String::as_str).zip(0..).collect();
    let mut committed = vec![false; keys.len()];
    let mut data: BTreeMap<(u32, u64), (u32, u64)> = BTreeMap::new();
    let prefix = format!("{stage}/");
    let mut mark: Option<String> = None;
    loop {
        let page = match store.list(&prefix, mark.as_deref()).await {
            Ok(page) => page,
            Err(error) if error.problem == StorageProblem::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        for entry in &page.entries {
            match find(&entry.name) {
                Some(Found::Register { key, .. }) => {
                    if let Some(shard) = index.get(key) {
                        committed[*shard as usize] = true;
                    }
                }
                Some(Found::Data { key, lease, .. }) if !entry.is_folder => {
                    if let Some(shard) = index.get(key) {
                        let (files, bytes) = data.entry((*shard, lease)).or_default();
                        *files += 1;
                        *bytes += entry.properties.size;
                    }
                }
                Some(Found::Data { .. }) | None => {}
            }
        }
        mark = page.mark;
        if mark.is_none() {
            break;
        }
    }
    let of_data = data
        .into_iter()
        .map(|((shard, _), (files, bytes))| FoundOutputs {
            shard,
            files,
            bytes,
        });
    let empty = (0..).zip(&committed).map(|(shard, _)| FoundOutputs {
        shard,
        files: 0,
        bytes: 0,
    });
    Ok(of_data
        .chain(empty)
        .filter(|found| committed[found.shard as usize])
        .collect())
}
