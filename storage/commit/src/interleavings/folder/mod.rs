//! Folders: attempts on threads, in a file system in memory.

mod found;
mod history;
mod table;
mod threads;

use self::found::{Stood, Tree};
use self::history::History;
use self::threads::{Hand, Table};
use super::actors::{Actor, Does, KEY, Outputs, STAGE, Told, digest};
use super::engine::{Move, Run, Way};
use crate::steps::{self, Holder, Protection, Step, Touch, step};
use crate::{Begin, CommitError, Committer};
use petctl_output::layout::{Layout, NamedLease};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// What is there, and who acts.
#[derive(Clone, Copy, Debug)]
struct Situation {
    place: Option<Stood>,
    aside: Option<Stood>,
    actors: &'static [Actor],
}

/// How it is walked.
#[derive(Clone, Copy, Debug)]
struct How {
    /// What is taken out.
    lacks: Option<Protection>,
    /// Steps that change nothing for anybody are no states of their own.
    merges: bool,
    /// Whoever has the lock may end.
    ends: bool,
}

/// What is remembered over all runs of a walk.
#[derive(Default)]
struct Memory {
    trees: BTreeMap<u64, Rc<Tree>>,
    begun_afresh: BTreeSet<u64>,
}

/// One run of a situation.
struct FolderRun {
    root: tempfile::TempDir,
    layout: Layout,
    actors: &'static [Actor],
    how: How,
    table: Arc<Table>,
    history: Arc<Mutex<History>>,
    threads: Vec<JoinHandle<()>>,
    memory: Rc<RefCell<Memory>>,
    /// Outputs that were there from the beginning.
    stood: Vec<Outputs>,
    /// Of the state it is in.
    now: Option<(u64, Rc<Tree>)>,
}

/// A folder in memory, where there is one.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

impl FolderRun {
    fn start(situation: &Situation, how: How, memory: Rc<RefCell<Memory>>) -> Self {
        let lacks = how.lacks;
        let root = folder();
        let layout = Layout::new(root.path());
        drop(Committer::open(root.path()).unwrap());
        let committed = layout.committed(STAGE, KEY);
        fs::create_dir_all(committed.parent().unwrap()).unwrap();
        let mut history = History::new(situation.actors.len());
        for (stood, at) in [
            (situation.aside, layout.earlier(STAGE, KEY)),
            (situation.place, committed),
        ] {
            if let Some(stood) = stood {
                stood.make(&at);
                history.stood(&stood);
            }
        }
        let history = Arc::new(Mutex::new(history));
        let stood = [situation.aside, situation.place].into_iter().flatten();
        let actors = situation.actors;
        let guarded = [layout.committed(STAGE, KEY), layout.earlier(STAGE, KEY)];
        let table = Table::new(
            actors.len(),
            root.path().display().to_string(),
            guarded,
            lacks,
        );
        let threads = actors
            .iter()
            .enumerate()
            .map(|(number, actor)| {
                let watcher = (Arc::clone(&history), layout.clone());
                let script = (Arc::clone(&history), root.path().to_owned());
                table.start(
                    number,
                    move |step| {
                        let (history, layout) = &watcher;
                        let mut history = history.lock().unwrap();
                        history.granted(number, actors, layout, step);
                    },
                    move |hand| {
                        let (history, root) = script;
                        let script = Script {
                            number,
                            actor: *actor,
                            history,
                            committer: open_unheld(&root),
                            lacks,
                        };
                        script.run(hand);
                    },
                )
            })
            .collect();
        Self {
            root,
            layout,
            actors,
            how,
            table,
            history,
            threads,
            memory,
            stood: stood.map(|stood| stood.outputs).collect(),
            now: None,
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap()
    }

    /// What is stored now, looked at once for every run that comes to it.
    fn tree(&mut self) -> (u64, Rc<Tree>) {
        if let Some(now) = &self.now {
            return now.clone();
        }
        let print = found::print(self.root.path());
        let mut memory = self.memory.borrow_mut();
        let tree = memory
            .trees
            .entry(print)
            .or_insert_with(|| Rc::new(Tree::find(&self.layout)));
        let now = (print, Rc::clone(tree));
        self.now = Some(now.clone());
        now
    }

    /// An attempt that fences and that nobody disturbs succeeds, whatever the others have left, and whatever a power cut
    /// has left of that.
    fn begin_afresh(&self, tree: &Tree) -> Result<(), String> {
        let history = self.history();
        for cut in found::Cut::all(tree, &history.durable_leases()) {
            let copy = folder();
            found::copy(self.root.path(), copy.path());
            let layout = Layout::new(copy.path());
            let cut_of = cut.map(|cut| format!(", after a power cut that left {cut:?}"));
            let told = |wrong: String| {
                let cut_of = cut_of.clone().unwrap_or_default();
                format!("an attempt that begins afresh{cut_of}: {wrong}")
            };
            if let Some(cut) = cut {
                cut.make(&layout);
                history
                    .is_kept(&Tree::find(&layout), history.durable.last().copied())
                    .map_err(told)?;
            }
            let actor = Actor::after(self.actors);
            let alone = || alone_in(copy.path(), actor);
            let lease = steps::held_by(Rc::new(Alone(self.how.lacks)), alone).map_err(told)?;
            let after = Tree::find(&layout);
            after.is_sound(&[]).map_err(told)?;
            if !after.place.is_some_and(|stands| stands.is_whole_of(lease)) {
                return Err(told(format!("was told of {lease}, which does not stand")));
            }
        }
        Ok(())
    }
}

impl FolderRun {
    fn is_apart(&self, one: &Move, tree: &Tree) -> bool {
        if one.way != Way::Taken {
            return false;
        }
        let actor = &self.actors[one.actor];
        let others = |fences| {
            let all = self.actors.iter().enumerate();
            all.filter(move |(number, _)| {
                *number != one.actor && self.table.is_under_way(*number, fences)
            })
            .map(|(_, other)| *other)
        };
        let root = self.layout.root();
        let below = |folder: PathBuf| {
            let folder = folder.strip_prefix(root).unwrap().to_owned();
            let is_below = one.paths.iter().all(|path| path.starts_with(&folder));
            is_below.then_some(folder)
        };
        // Within its own folder, when nobody can take that away any more. A fence that has looked still takes.
        if let Some(own) = below(self.layout.attempt(actor.name())) {
            let is_itself = one.touch == Touch::Moves && one.paths.contains(&own);
            return match (tree.has(actor.name().lease()), is_itself) {
                (false, _) => one.name != "make",
                (true, true) => false,
                (true, false) => {
                    let takes = |by: Actor| by.does == Does::Sweep || by.shuts_out(actor);
                    !others(true).any(takes)
                }
            };
        }
        if one.touch != Touch::Reads {
            return false;
        }
        let has_lock = self.table.is_locked_by(one.actor);
        // Reads what nobody moves away.
        if below(self.layout.committed(STAGE, KEY)).is_some()
            && let Some(stands) = tree.place
        {
            let goes = |outputs: Outputs| outputs.may_be_replaced(others(false));
            let stays = stands.whole && !stands.outputs.is_some_and(goes);
            return has_lock || stays;
        }
        if below(self.layout.earlier(STAGE, KEY)).is_none() {
            return false;
        }
        let all = || self.actors.iter().copied();
        let stays = self.stood.is_empty() && !all().any(|one| one.outputs().may_be_replaced(all()));
        stays || (has_lock && tree.aside.is_some()) || others(false).next().is_none()
    }
}

impl Run for FolderRun {
    /// Where somebody's step changes nothing for the others, whatever they do, and they nothing for it: only that one.
    fn moves(&mut self) -> Vec<Move> {
        let mut moves = self.table.moves();
        moves.retain(|one| one.way == Way::Taken || self.how.ends);
        if !self.how.merges {
            return moves;
        }
        let (_, tree) = self.tree();
        match moves.iter().find(|one| self.is_apart(one, &tree)) {
            Some(apart) => vec![apart.clone()],
            None => moves,
        }
    }

    fn take(&mut self, moves: &[Move]) {
        let changes = |one: &Move| !matches!(one.touch, Touch::Reads | Touch::Lists);
        if moves.iter().any(changes) {
            self.now = None;
        }
        self.table.take(moves);
    }

    fn fingerprint(&mut self) -> u64 {
        let (print, tree) = self.tree();
        let mut hasher = std::collections::hash_map::DefaultHasher::new();
        std::hash::Hash::hash(&print, &mut hasher);
        self.table.hash(&mut hasher);
        digest((
            std::hash::Hasher::finish(&hasher),
            self.history.lock().unwrap().digest(&tree, self.actors),
        ))
    }

    fn check(&mut self) -> Result<(), String> {
        let (_, tree) = self.tree();
        let ended = self.moves().is_empty();
        if self.how.lacks.is_none() {
            self.table.is_guarded()?;
        }
        let history = self.history();
        history.holds(&tree, self.actors, ended)?;
        // What is in the folders of attempts is nothing to it.
        let state = digest((format!("{tree:?}"), history.durable_leases()));
        drop(history);
        if self.memory.borrow_mut().begun_afresh.insert(state) {
            self.begin_afresh(&tree)?;
        }
        Ok(())
    }
}

impl Drop for FolderRun {
    fn drop(&mut self) {
        self.table.stop();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// What one actor does, from its beginning to its end.
struct Script {
    number: usize,
    actor: Actor,
    history: Arc<Mutex<History>>,
    committer: Committer,
    lacks: Option<Protection>,
}

impl Script {
    fn run(self, hand: &Hand) {
        hand.begin("begins", ());
        match self.actor.does {
            Does::Run => self.run_shard(hand),
            Does::PutAside => {
                let put = self.committer.put_aside(STAGE, KEY);
                self.tell(put.map_or_else(told, |_| Told::Done));
            }
            Does::Sweep => {
                let keep: Vec<NamedLease> = (self.actor.lease_id..self.actor.lease_id + 9)
                    .map(|lease_id| NamedLease {
                        lineage: self.actor.lineage,
                        lease_id,
                    })
                    .collect();
                let swept = self.committer.sweep_attempts(&keep);
                self.tell(swept.map_or_else(told, |_| Told::Done));
            }
        }
        hand.begin("has ended", ());
    }

    fn run_shard(&self, hand: &Hand) {
        let (maker, name) = (self.actor.maker(), self.actor.name());
        match self.committer.begin(maker, name, self.actor.fence) {
            Ok(Begin::Folder(folder)) => {
                self.history.lock().unwrap().begun(
                    self.number,
                    &self.actor,
                    self.committer.layout(),
                );
                hand.begin("writes", ());
                let _ = write_outputs(&folder, &self.actor);
                hand.begin("commits", ());
                match self.committer.commit(maker, name, Duration::ZERO) {
                    Ok(committed) if committed.lease == name.lease() => {
                        self.history
                            .lock()
                            .unwrap()
                            .published(self.number, &self.actor);
                        if self.lacks == Some(Protection::DurableFirst) {
                            self.committer.settle(name.lease());
                        }
                        self.sync(hand, Told::Own);
                        self.committer.settle(name.lease());
                    }
                    Ok(committed) => self.sync(hand, Told::Adopted(committed.lease)),
                    Err(error) => {
                        self.tell(told(error));
                        self.committer.discard(name);
                    }
                }
            }
            Ok(Begin::Adopted(committed)) => self.sync(hand, Told::Adopted(committed.lease)),
            Err(error) => self.tell(told(error)),
        }
    }

    /// Only what is durable is reported.
    fn sync(&self, hand: &Hand, told: Told) {
        self.tell(told);
        hand.begin("syncs", ());
        let layout = self.committer.layout();
        let (place, aside) = (layout.committed(STAGE, KEY), layout.earlier(STAGE, KEY));
        let sync = Step {
            name: "sync",
            touch: Touch::Reads,
            paths: &[&place, &aside],
        };
        step(sync, || (), |()| String::new());
    }

    fn tell(&self, told: Told) {
        self.history.lock().unwrap().told[self.number] = Some(told);
    }
}

fn told(error: CommitError) -> Told {
    match error {
        CommitError::Overtaken | CommitError::OutputGone => Told::GaveUp,
        CommitError::Key(_)
        | CommitError::DiskFull { .. }
        | CommitError::Folder { .. }
        | CommitError::Occupied { .. }
        | CommitError::Refused(_)
        | CommitError::TooManyFiles { .. }
        | CommitError::Report(_) => Told::Failed(error.to_string()),
    }
}

/// The command of an attempt.
fn write_outputs(folder: &Path, actor: &Actor) -> std::io::Result<()> {
    let path = folder.join("out");
    let write = Step {
        name: "write out",
        touch: Touch::Moves,
        paths: &[&path],
    };
    let text = actor.outputs().text();
    step(
        write,
        || fs::write(&path, text),
        |wrote| wrote.is_ok().to_string(),
    )
}

/// Its making is no part of what is walked.
fn open_unheld(root: &PathBuf) -> Committer {
    steps::unheld(|| Committer::open(root)).unwrap()
}

/// Lets every step be taken at once.
struct Alone(Option<Protection>);

impl Holder for Alone {
    fn before(&self, _: Step<'_>) {}
    fn seen(&self, _: String) {}
    fn unlocked(&self) {}
    fn stands(&self, protection: Protection) -> bool {
        self.0 != Some(protection)
    }
}

/// The lease whose outputs an attempt that is alone is told of.
fn alone_in(root: &Path, actor: Actor) -> Result<NamedLease, String> {
    let failed = |error: CommitError| error.to_string();
    let committer = Committer::open(root).map_err(failed)?;
    let (maker, name) = (actor.maker(), actor.name());
    match committer.begin(maker, name, true).map_err(failed)? {
        Begin::Adopted(committed) => Ok(committed.lease),
        Begin::Folder(folder) => {
            write_outputs(&folder, &actor).map_err(|error| error.to_string())?;
            let committed = committer.commit(maker, name, Duration::ZERO);
            let lease = committed.map_err(failed)?.lease;
            committer.settle(name.lease());
            Ok(lease)
        }
    }
}
