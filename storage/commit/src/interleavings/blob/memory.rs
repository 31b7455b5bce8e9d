//! A store in memory, whose every request waits until it is let through, and whose answers can be lost.

use super::super::actors::digest;
use super::super::engine::{Move, Way};

use crate::steps::Touch;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use petctl_storage::{
    BlockId, Body, Condition, ETag, Entry, Page, Properties, PutOutcome, StorageError,
    StorageProblem, Store,
};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::SystemTime;

/// What is stored under a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Blob {
    pub(super) bytes: Bytes,
    note: Option<String>,
    /// How often this name was written until then.
    version: u64,
}

/// All that is stored.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Blobs {
    pub(super) all: BTreeMap<String, Blob>,
    /// No version comes twice, even of a name that was removed between.
    versions: BTreeMap<String, u64>,
}

/// Where one that acts is.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Seat {
    granted: Option<Way>,
    pub(super) at: Option<(&'static str, String)>,
    /// All it has learnt since it had nothing in mind.
    pub(super) mind: u64,
    /// The request that waits is a write whose answer would say that it was done.
    may_be_lost: bool,
}

/// What all that act share.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) blobs: Blobs,
    pub(super) seats: Vec<Seat>,
    /// How many answers may still be lost.
    pub(super) losses: u32,
    /// Writes whose condition is not asked for.
    pub(super) unconditional: bool,
    /// Names that were written, by whom, in this order; the walk takes them out.
    pub(super) written: Vec<(usize, String)>,
}

/// The store of one that acts; of nobody, nothing waits.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    pub(super) world: Arc<Mutex<World>>,
    pub(super) actor: Option<usize>,
}

impl World {
    pub(super) fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        for (actor, seat) in self.seats.iter().enumerate() {
            let Some((name, path)) = &seat.at else {
                continue;
            };
            let is_write = matches!(*name, "put" | "delete");
            let taken = Move {
                actor,
                way: Way::Taken,
                name,
                touch: if is_write {
                    Touch::Writes
                } else {
                    Touch::Reads
                },
                paths: vec![PathBuf::from(path)],
            };
            if seat.may_be_lost && self.losses > 0 {
                for way in [Way::SentAgain, Way::Failed] {
                    moves.push(Move {
                        way,
                        ..taken.clone()
                    });
                }
            }
            moves.push(taken);
        }
        moves
    }

    pub(super) fn grant(&mut self, one: &Move) {
        self.losses -= u32::from(one.way != Way::Taken);
        let seat = &mut self.seats[one.actor];
        seat.at = None;
        seat.granted = Some(one.way);
    }
}

impl Blobs {
    fn holds(&self, name: &str, condition: &Condition) -> bool {
        match condition {
            Condition::None => true,
            Condition::Absent => !self.all.contains_key(name),
            Condition::Match(etag) => self.etag(name).as_ref() == Some(etag),
        }
    }

    fn etag(&self, name: &str) -> Option<ETag> {
        self.all
            .get(name)
            .map(|blob| ETag(blob.version.to_string()))
    }

    fn put(&mut self, name: &str, bytes: &Bytes, note: Option<&str>) -> ETag {
        let version = self.versions.entry(name.to_owned()).or_default();
        *version += 1;
        let blob = Blob {
            bytes: bytes.clone(),
            note: note.map(str::to_owned),
            version: *version,
        };
        self.all.insert(name.to_owned(), blob);
        ETag(version.to_string())
    }
}

impl Blob {
    fn properties(&self) -> Properties {
        Properties {
            size: self.bytes.len() as u64,
            etag: ETag(self.version.to_string()),
            modified: SystemTime::UNIX_EPOCH,
            md5: None,
        }
    }
}

impl Memory {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Waits until the request is let through.
    async fn wait(&self, name: &'static str, path: &str, write: Option<&Condition>) -> Way {
        let Some(actor) = self.actor else {
            return Way::Taken;
        };
        poll_fn(|context| {
            let mut world = self.world();
            let done = write.is_some_and(|condition| world.blobs.holds(path, condition));
            let seat = &mut world.seats[actor];
            seat.may_be_lost = done;
            match seat.granted.take() {
                Some(way) => Poll::Ready(way),
                None => {
                    seat.at = Some((name, path.trim_end_matches('/').to_owned()));
                    // Streams of requests ask only those again that have said so.
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn learn(&self, what: impl std::hash::Hash) {
        if let Some(actor) = self.actor {
            let mut world = self.world();
            let seat = &mut world.seats[actor];
            seat.mind = digest((seat.mind, what));
        }
    }

    async fn write(
        &self,
        name: &str,
        bytes: Bytes,
        condition: &Condition,
        note: Option<&str>,
    ) -> Result<PutOutcome, StorageError> {
        loop {
            let conditional = (*condition != Condition::None).then_some(condition);
            let way = self.wait("put", name, conditional).await;
            let outcome = {
                let mut world = self.world();
                match world.unconditional || world.blobs.holds(name, condition) {
                    true => {
                        if let Some(actor) = self.actor {
                            world.written.push((actor, name.to_owned()));
                        }
                        PutOutcome::Done(world.blobs.put(name, &bytes, note))
                    }
                    false => PutOutcome::Lost,
                }
            };
            self.learn((name, way, format!("{outcome:?}")));
            match way {
                Way::SentAgain => {}
                Way::Failed => {
                    return Err(StorageError::new(
                        StorageProblem::Unavailable,
                        "the answer was lost",
                    ));
                }
                Way::Taken | Way::Ends => return Ok(outcome),
            }
        }
    }
}

#[async_trait]
impl Store for Memory {
    fn address(&self, name: &str) -> String {
        format!("memory/{name}")
    }

    async fn list(&self, prefix: &str, _: Option<&str>) -> Result<Page, StorageError> {
        self.wait("list", prefix, None).await;
        let entries: Vec<Entry> = {
            let world = self.world();
            let all = world.blobs.all.iter();
            let below = all.filter(|(name, _)| name.starts_with(prefix));
            let entry = |(name, blob): (&String, &Blob)| Entry {
                name: name.clone(),
                properties: blob.properties(),
                is_folder: false,
                note: blob.note.clone(),
            };
            below.map(entry).collect()
        };
        self.learn(("list", format!("{entries:?}")));
        Ok(Page::new(entries, None))
    }

    async fn head(&self, name: &str) -> Result<Option<Properties>, StorageError> {
        self.wait("head", name, None).await;
        let found = self.world().blobs.all.get(name).map(Blob::properties);
        self.learn(("head", found.is_some()));
        Ok(found)
    }

    async fn get(
        &self,
        name: &str,
        _: Option<Range<u64>>,
        _: Option<&ETag>,
    ) -> Result<Body, StorageError> {
        self.wait("get", name, None).await;
        let found = self.world().blobs.all.get(name).cloned();
        self.learn(("get", &found));
        match found {
            None => Err(StorageError::new(StorageProblem::NotFound, "nothing there")),
            Some(blob) => Ok(Body {
                properties: blob.properties(),
                bytes: stream::iter([Ok(blob.bytes)]).boxed(),
            }),
        }
    }

    async fn put(
        &self,
        name: &str,
        bytes: Bytes,
        condition: &Condition,
    ) -> Result<PutOutcome, StorageError> {
        self.write(name, bytes, condition, None).await
    }

    async fn put_noted(
        &self,
        name: &str,
        bytes: Bytes,
        condition: &Condition,
        note: &str,
    ) -> Result<PutOutcome, StorageError> {
        self.write(name, bytes, condition, Some(note)).await
    }

    async fn put_block(&self, _: &str, _: &BlockId, _: Bytes) -> Result<(), StorageError> {
        Err(StorageError::new(StorageProblem::Unexpected, "no blocks"))
    }

    async fn blocks(&self, _: &str) -> Result<Vec<(BlockId, u64)>, StorageError> {
        Ok(Vec::new())
    }

    async fn put_blocks(
        &self,
        _: &str,
        _: &[BlockId],
        _: [u8; 16],
        _: &Condition,
    ) -> Result<PutOutcome, StorageError> {
        Err(StorageError::new(StorageProblem::Unexpected, "no blocks"))
    }

    async fn delete(&self, name: &str, etag: Option<&ETag>) -> Result<bool, StorageError> {
        self.wait("delete", name, None).await;
        let outcome = {
            let mut world = self.world();
            match (world.blobs.etag(name), etag) {
                (Some(found), Some(etag)) if found != *etag => Err(()),
                (found, _) => {
                    world.blobs.all.remove(name);
                    Ok(found.is_some())
                }
            }
        };
        self.learn((name, outcome));
        outcome.map_err(|()| StorageError::new(StorageProblem::Changed, "another version"))
    }

    async fn create(&self) -> Result<bool, StorageError> {
        Ok(false)
    }
}
