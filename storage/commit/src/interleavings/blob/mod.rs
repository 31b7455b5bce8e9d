//! Registers: attempts on one thread, over a store in memory.

mod history;
mod memory;
mod table;

use self::history::{Found, History};
use self::memory::{Blobs, Memory, World};
use super::actors::{Actor, Does, KEY, Outputs, STAGE, Told, digest};
use super::engine::{Move, Run};
use crate::steps::{self, Holder, Protection, Step};
use crate::{BlobBegin, BlobCommitter, Published, SweepOptions, Ticket};
use futures::FutureExt as _;
use petctl_output::layout::NamedLease;
use petctl_output::layout::blob as layout;
use petctl_output::manifest::{Manifest, ManifestFile};
use petctl_storage::{Condition, StorageError};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Waker};

/// What is there, and who acts.
#[derive(Clone, Copy, Debug)]
struct Situation {
    register: Option<Outputs>,
    aside: Option<Outputs>,
    actors: &'static [Actor],
    /// How many answers may be lost.
    losses: u32,
}

/// What is taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lacks {
    protection: Option<Protection>,
    /// The store asks for no condition.
    conditions: bool,
}

/// One run of a situation.
struct BlobRun {
    world: Arc<Mutex<World>>,
    history: Rc<RefCell<History>>,
    scripts: Vec<Option<Pin<Box<dyn Future<Output = ()>>>>>,
    actors: &'static [Actor],
    begun_afresh: Rc<RefCell<BTreeSet<u64>>>,
}

impl BlobRun {
    fn start(
        situation: &Situation,
        lacks: Lacks,
        begun_afresh: Rc<RefCell<BTreeSet<u64>>>,
    ) -> Self {
        steps::hold(Rc::new(Lacking(lacks.protection)));
        let actors = situation.actors;
        let mut history = History::new(actors.len());
        let mut world = World {
            seats: actors.iter().map(|_| memory::Seat::default()).collect(),
            losses: situation.losses,
            unconditional: lacks.conditions,
            ..World::default()
        };
        for (outputs, is_aside) in [(situation.aside, true), (situation.register, false)] {
            if let Some(outputs) = outputs {
                world.blobs = alone(&world.blobs, |committer| {
                    stood(committer, outputs, is_aside)
                });
                history.stood(outputs, is_aside);
            }
        }
        let world = Arc::new(Mutex::new(world));
        let history = Rc::new(RefCell::new(history));
        let scripts = actors.iter().enumerate().map(|(number, actor)| {
            let store = Memory {
                world: Arc::clone(&world),
                actor: Some(number),
            };
            let script = Script {
                number,
                actor: *actor,
                committer: BlobCommitter::new(Arc::new(store)),
                world: Arc::clone(&world),
                history: Rc::clone(&history),
                lacks,
            };
            let script: Pin<Box<dyn Future<Output = ()>>> = Box::pin(script.run());
            Some(script)
        });
        let mut run = Self {
            scripts: scripts.collect(),
            world,
            history,
            actors,
            begun_afresh,
        };
        for number in 0..actors.len() {
            run.poll(number);
        }
        run
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn poll(&mut self, number: usize) {
        if let Some(script) = &mut self.scripts[number] {
            let mut context = Context::from_waker(Waker::noop());
            if script.as_mut().poll(&mut context).is_ready() {
                self.scripts[number] = None;
            }
        }
        let mut world = self.world.lock().unwrap();
        let written = std::mem::take(&mut world.written);
        let register = layout::register(STAGE, KEY);
        if written.iter().any(|(_, name)| *name == register) {
            let found = Found::find(&world.blobs);
            let mut history = self.history.borrow_mut();
            history.written(number, self.actors, &found);
        }
    }

    /// An attempt that fences and that nobody disturbs succeeds, whatever the others have left.
    fn begin_afresh(&self, blobs: &Blobs) -> Result<(), String> {
        let actor = Actor::after(self.actors);
        let mut lease = Err(String::new());
        let after = alone(blobs, |committer| {
            let lease = &mut lease;
            async move { *lease = begin_alone(committer, actor).await }
        });
        let told = |wrong| format!("an attempt that begins afresh: {wrong}");
        let lease = lease.map_err(told)?;
        let found = Found::find(&after);
        found.is_sound().map_err(told)?;
        match found.register.map(|outputs| outputs.lease()) == Some(lease) {
            true => Ok(()),
            false => Err(told(format!("was told of {lease}: {found:?}"))),
        }
    }
}

impl Run for BlobRun {
    fn moves(&mut self) -> Vec<Move> {
        self.world.lock().unwrap().moves()
    }

    fn take(&mut self, moves: &[Move]) {
        for one in moves {
            self.world.lock().unwrap().grant(one);
            self.poll(one.actor);
        }
    }

    fn fingerprint(&mut self) -> u64 {
        let world = self.world.lock().unwrap();
        let history = self.history.borrow();
        digest((&world.blobs, &world.seats, world.losses, &*history))
    }

    fn check(&mut self) -> Result<(), String> {
        let ended = self.moves().is_empty();
        if ended && self.scripts.iter().any(Option::is_some) {
            return Err("somebody waits for nothing".to_owned());
        }
        let world = self.world();
        let found = Found::find(&world.blobs);
        self.history.borrow().holds(&found, self.actors, ended)?;
        if self.begun_afresh.borrow_mut().insert(digest(&world.blobs)) {
            self.begin_afresh(&world.blobs)?;
        }
        Ok(())
    }
}

/// What one actor does, from its beginning to its end.
struct Script {
    number: usize,
    actor: Actor,
    committer: BlobCommitter,
    world: Arc<Mutex<World>>,
    history: Rc<RefCell<History>>,
    lacks: Lacks,
}

impl Script {
    async fn run(self) {
        let told = match self.actor.does {
            Does::Run => self.run_shard().await.unwrap_or(Told::Unanswered),
            Does::PutAside => {
                let put = self.committer.put_aside(STAGE, KEY, self.actor.lineage);
                put.await.map_or(Told::Unanswered, |_| Told::Done)
            }
            Does::Sweep => {
                let lease_id = self.actor.lease_id;
                let options = SweepOptions {
                    lineage: self.actor.lineage,
                    keep: (lease_id..lease_id + 9).collect(),
                    ended: false,
                };
                let swept = self.committer.sweep(&options);
                swept.await.map_or(Told::Unanswered, |_| Told::Done)
            }
        };
        self.tell(told);
        self.knows(());
    }

    async fn run_shard(&self) -> Result<Told, StorageError> {
        let (maker, name) = (self.actor.maker(), self.actor.name());
        let begun = self.committer.begin(maker, name, self.actor.fence).await?;
        let ticket = match begun {
            BlobBegin::Committed(commit) => return Ok(Told::Adopted(commit.manifest.lease())),
            BlobBegin::LeaseLost { .. } => return Ok(Told::GaveUp),
            BlobBegin::Free(ticket) => ticket,
        };
        self.history.borrow_mut().begun[self.number] = true;
        self.knows(format!("{ticket:?}"));
        write_outputs(&self.committer, self.actor).await?;
        self.knows(format!("{ticket:?}"));
        if self.lacks.protection == Some(Protection::DurableFirst) {
            self.committer.settle(&ticket).await?;
        }
        // Once more, where it was not answered.
        let published = match self.publish(&ticket).await {
            Err(_) => {
                self.knows((format!("{ticket:?}"), "again"));
                self.publish(&ticket).await?
            }
            published => published?,
        };
        let told = match published {
            Published::Ours(_) => Told::Own,
            Published::Theirs(commit) => Told::Adopted(commit.manifest.lease()),
            Published::LeaseLost { .. } => Told::GaveUp,
        };
        self.tell(told.clone());
        self.knows(format!("{ticket:?}"));
        match told {
            Told::Own => self.committer.settle(&ticket).await?,
            Told::Adopted(_) | Told::GaveUp | Told::Done | Told::Unanswered | Told::Failed(_) => {
                self.committer.discard(name).await?
            }
        }
        Ok(told)
    }

    async fn publish(&self, ticket: &Ticket) -> Result<Published, StorageError> {
        let manifest = manifest(self.actor.outputs());
        let (maker, name) = (self.actor.maker(), self.actor.name());
        let published = self
            .committer
            .publish(ticket, maker, name, (&manifest, None));
        published.await
    }

    /// From here on it has nothing else in mind.
    fn knows(&self, what: impl std::hash::Hash) {
        self.world.lock().unwrap().seats[self.number].mind = digest(what);
    }

    fn tell(&self, told: Told) {
        let mut history = self.history.borrow_mut();
        history.told[self.number].get_or_insert(told);
    }
}

/// Only takes protections out.
struct Lacking(Option<Protection>);

impl Holder for Lacking {
    fn before(&self, _: Step<'_>) {}
    fn seen(&self, _: String) {}
    fn unlocked(&self) {}
    fn stands(&self, protection: Protection) -> bool {
        self.0 != Some(protection)
    }
}

fn manifest(outputs: Outputs) -> Manifest {
    let mut manifest = outputs.manifest();
    manifest.files = vec![ManifestFile {
        name: "out".to_owned(),
        bytes: outputs.text().len() as u64,
        sha256: String::new(),
    }];
    manifest
}

async fn write_outputs(committer: &BlobCommitter, actor: Actor) -> Result<(), StorageError> {
    let name = format!("{}out", committer.data_prefix(actor.name()));
    let text = actor.outputs().text();
    let written = committer.store().put(&name, text.into(), &Condition::None);
    written.await.map(|_| ())
}

/// What is stored after somebody whom nobody disturbs.
fn alone<F: Future<Output = ()>>(blobs: &Blobs, does: impl FnOnce(BlobCommitter) -> F) -> Blobs {
    let world = Arc::new(Mutex::new(World {
        blobs: blobs.clone(),
        ..World::default()
    }));
    let store = Memory {
        world: Arc::clone(&world),
        actor: None,
    };
    does(BlobCommitter::new(Arc::new(store)))
        .now_or_never()
        .unwrap();
    world.lock().unwrap().blobs.clone()
}

/// Outputs that are there from the beginning.
async fn stood(committer: BlobCommitter, outputs: Outputs, is_aside: bool) {
    let actor = Actor {
        lineage: outputs.lineage,
        lease_id: outputs.lease_id,
        content: outputs.content,
        replaces_below: 0,
        fresh: true,
        fence: true,
        does: Does::Run,
    };
    let lease = begin_alone(committer.clone(), actor).await.unwrap();
    assert_eq!(lease, outputs.lease(), "nobody else was there");
    if is_aside {
        assert!(
            committer.put_aside(STAGE, KEY, 1).await.unwrap(),
            "it was there"
        );
    }
}

/// The lease whose outputs an attempt that is alone is told of.
async fn begin_alone(committer: BlobCommitter, actor: Actor) -> Result<NamedLease, String> {
    let failed = |error: StorageError| error.to_string();
    let (maker, name) = (actor.maker(), actor.name());
    let begun = committer.begin(maker, name, true).await.map_err(failed)?;
    let ticket = match begun {
        BlobBegin::Committed(commit) => return Ok(commit.manifest.lease()),
        BlobBegin::LeaseLost { by } => return Err(format!("lost its lease to {by:?}")),
        BlobBegin::Free(ticket) => ticket,
    };
    write_outputs(&committer, actor).await.map_err(failed)?;
    let manifest = manifest(actor.outputs());
    let published = committer.publish(&ticket, maker, name, (&manifest, None));
    match published.await.map_err(failed)? {
        Published::Ours(commit) => {
            committer.settle(&ticket).await.map_err(failed)?;
            Ok(commit.manifest.lease())
        }
        other @ (Published::Theirs(_) | Published::LeaseLost { .. }) => Err(format!("{other:?}")),
    }
}
