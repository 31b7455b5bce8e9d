//! Committed outputs in a container: one listing. What is committed stands beside the registers in it, as notes.

use super::OfStage;
use futures::{StreamExt as _, TryStreamExt as _};
use petctl_commit::BlobCommitter;
use petctl_core::FoundOutputs;
use petctl_output::layout::blob::{Found, find};
use petctl_output::note::Note;
use petctl_output::result::{self, ShardReport, parse_result};
use petctl_spec::{JobSpec, StorageRoot};
use petctl_storage::{SharedStore, StorageError, StorageProblem};
use petctl_ui::error::Result;
use std::collections::BTreeMap;

/// Reads at a time, of what no note says.
const PARALLEL: usize = 32;

/// What the listing shows of one stage.
#[derive(Default)]
struct Listing {
    /// Registers by shard, with their notes.
    registers: BTreeMap<u32, Option<Note>>,
    /// Files and bytes of attempts, by shard and name.
    data: BTreeMap<(u32, String), (u32, u64)>,
    /// Keys of registers of other shards, where something is committed.
    left: Vec<String>,
}

/// The committed outputs of these shards, and the keys of others.
pub(super) async fn look(
    spec: &JobSpec,
    root: &StorageRoot,
    stage: &str,
    keys: &[String],
) -> Result<OfStage> {
    let store = petctl_storage::open(root, &spec.storage.access)?;
    let listing = match list(&store, stage, keys).await {
        Ok(listing) => listing,
        Err(error) if error.problem == StorageProblem::NotFound => return Ok(OfStage::default()),
        Err(error) => return Err(error.into()),
    };
    let Listing {
        registers,
        data,
        left,
    } = listing;
    let reads: Vec<_> = registers
        .into_iter()
        .filter_map(|(shard, note)| Some((shard, note, keys.get(shard as usize)?)))
        .map(|(shard, note, key)| {
            let place = Place {
                store: &store,
                stage,
                key,
                shard,
            };
            place.found(note, &data)
        })
        .collect();
    let found: Vec<Option<FoundOutputs>> = futures::stream::iter(reads)
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    Ok(OfStage {
        found: found.into_iter().flatten().collect(),
        left,
    })
}

async fn list(
    store: &SharedStore,
    stage: &str,
    keys: &[String],
) -> std::result::Result<Listing, StorageError> {
    let index: BTreeMap<&str, u32> = keys.iter().map(String::as_str).zip(0..).collect();
    let mut listing = Listing::default();
    let prefix = format!("{stage}/");
    let mut mark: Option<String> = None;
    loop {
        let page = store.list(&prefix, mark.as_deref()).await?;
        for entry in page.entries {
            match find(&entry.name) {
                Some(Found::Register { key, .. }) => {
                    let note = entry.note.as_deref().and_then(Note::parse);
                    match index.get(key) {
                        Some(shard) => {
                            listing.registers.insert(*shard, note);
                        }
                        None if note.is_some() => listing.left.push(key.to_owned()),
                        None => {}
                    }
                }
                Some(Found::Data { key, attempt, .. }) if !entry.is_folder => {
                    if let Some(shard) = index.get(key) {
                        let of_it = listing.data.entry((*shard, attempt.to_owned()));
                        let (files, bytes) = of_it.or_default();
                        *files += 1;
                        *bytes += entry.properties.size;
                    }
                }
                Some(Found::Data { .. }) | None => {}
            }
        }
        mark = page.mark;
        if mark.is_none() {
            return Ok(listing);
        }
    }
}

/// One shard's.
#[derive(Clone, Copy)]
struct Place<'a> {
    store: &'a SharedStore,
    stage: &'a str,
    key: &'a str,
    shard: u32,
}

impl Place<'_> {
    /// What is committed, with what is there of it; `None` where nothing is.
    async fn found(
        self,
        note: Option<Note>,
        data: &BTreeMap<(u32, String), (u32, u64)>,
    ) -> std::result::Result<Option<FoundOutputs>, StorageError> {
        // A claim has no note; nor has a register that another tool has brought here.
        let Some(note) = (match note {
            Some(note) => Some(note),
            None => self.read_register().await?,
        }) else {
            return Ok(None);
        };
        let there = data.get(&(self.shard, note.attempt.clone()));
        let (files, bytes) = there.copied().unwrap_or_default();
        let is_whole = (files, bytes) == (note.files, note.bytes);
        let report = match &note.report {
            None if note.has_report && is_whole => self.read_report(&note).await?,
            report => report.clone(),
        };
        let is_told = !note.has_report || report.is_some();
        let made = super::made_by(&note, report).filter(|_| is_whole && is_told);
        Ok(Some(FoundOutputs {
            shard: self.shard,
            files,
            bytes,
            made: made.map(Box::new),
        }))
    }

    async fn read_register(self) -> std::result::Result<Option<Note>, StorageError> {
        let committer = BlobCommitter::new(self.store.clone());
        let commit = committer.committed(self.stage, self.key).await?;
        Ok(commit.map(|commit| {
            let attempt = super::attempt_of(&commit.manifest);
            Note::new(&commit.manifest, &attempt, None)
        }))
    }

    async fn read_report(
        self,
        note: &Note,
    ) -> std::result::Result<Option<ShardReport>, StorageError> {
        let (stage, key, attempt) = (self.stage, self.key, &note.attempt);
        let name = format!("{stage}/{key}/{attempt}/{}", result::FILE_NAME);
        let body = self.store.get(&name, None, None).await?;
        if body.properties.size > result::MAX_RESULT_BYTES as u64 {
            return Ok(None);
        }
        let pieces: Vec<_> = body.bytes.try_collect().await?;
        Ok(parse_result(&pieces.concat()).ok())
    }
}
