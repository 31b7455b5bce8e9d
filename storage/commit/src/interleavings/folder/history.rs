//! What has happened in a run, and what must hold of it.

use super::found::{Stands, Stood, Tree};
use super::threads::digest;
use super::{Actor, Does};
use crate::steps::Step;
use crate::{CommitError, Standing};
use petctl_output::layout::{AttemptName, Layout, NamedLease};

/// What somebody was told in the end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Told {
    /// Its own outputs stand.
    Own,
    /// Those of this lease do.
    Adopted(NamedLease),
    /// It is no attempt, and has done its work.
    Done,
    /// A later attempt is here, or was.
    GaveUp,
    /// What should never be.
    Failed(String),
}

impl Told {
    pub(super) fn failed(error: CommitError) -> Self {
        match error {
            CommitError::Overtaken | CommitError::OutputGone => Self::GaveUp,
            CommitError::Key(_)
            | CommitError::DiskFull { .. }
            | CommitError::Folder { .. }
            | CommitError::Occupied { .. }
            | CommitError::Refused(_)
            | CommitError::TooManyFiles { .. }
            | CommitError::Report(_) => Self::Failed(error.to_string()),
        }
    }
}

/// What has happened, by the number of who did it.
#[derive(Debug)]
pub(super) struct History {
    /// Whose folders were there when it fenced.
    saw: Vec<u32>,
    /// It was told to run.
    begun: Vec<bool>,
    /// What it found aside then, and takes away once its own outputs are durable.
    noted: Vec<Option<NamedLease>>,
    /// Who had fenced it by the time it published last.
    fenced_by: Vec<u32>,
    pub(super) told: Vec<Option<Told>>,
    /// Good outputs that came to the place, in this order.
    came: Vec<NamedLease>,
    /// Good outputs that no power cut takes, in the order in which they became so.
    pub(super) durable: Vec<NamedLease>,
    /// Outputs that were damaged from the beginning.
    damaged: Vec<NamedLease>,
    /// What broke on the way.
    broken: Option<String>,
}

impl History {
    pub(super) fn new(actors: usize) -> Self {
        Self {
            saw: vec![0; actors],
            begun: vec![false; actors],
            noted: vec![None; actors],
            fenced_by: vec![0; actors],
            told: vec![None; actors],
            came: Vec::new(),
            durable: Vec::new(),
            damaged: Vec::new(),
            broken: None,
        }
    }

    /// Of what still counts: whoever's folder is gone publishes nothing any more.
    pub(super) fn digest(&self, tree: &Tree, actors: &[Actor]) -> u64 {
        let there = bits(actors, |_, actor| tree.has(actor.name().lease()));
        let saw: Vec<u32> = self.saw.iter().map(|saw| saw & there).collect();
        digest((
            saw,
            (&self.begun, &self.noted, &self.told),
            (&self.came, &self.durable),
            &self.broken,
        ))
    }

    /// Outputs that are there from the beginning.
    pub(super) fn stood(&mut self, stood: &Stood) {
        if stood.cut.is_some() {
            self.damaged.push(stood.lease());
        } else {
            self.came.push(stood.lease());
            self.durable.push(stood.lease());
        }
    }

    /// A step that is about to be taken.
    pub(super) fn granted(
        &mut self,
        number: usize,
        actors: &[Actor],
        layout: &Layout,
        step: Step<'_>,
    ) {
        match step.name {
            "list to fence" => {
                let there = |actor: &Actor| layout.attempt(actor.name()).exists();
                self.saw[number] = bits(actors, |_, actor| there(actor));
            }
            "publish" => {
                let is_fence_of = |other: usize, by: &Actor| {
                    by.fence
                        && by.does == Does::Run
                        && self.begun[other]
                        && self.saw[other] & (1 << number) != 0
                        && shuts_out(by, &actors[number])
                };
                self.fenced_by[number] = bits(actors, is_fence_of);
            }
            "take" => {
                let later = |actor: &Actor| {
                    actor.lineage == actors[number].lineage
                        && actor.lease_id > actors[number].lease_id
                };
                let taken = actors.iter().find(|actor| {
                    later(actor) && step.paths.first() == Some(&layout.attempt(actor.name()).as_path())
                });
                if let Some(taken) = taken
                    && step.paths[0].exists()
                {
                    let lease = taken.name().lease();
                    self.broken = Some(format!("{number} takes the folder of a later one: {lease}"));
                }
            }
            "sync" => {
                let tree = Tree::find(layout);
                for stands in [tree.aside, tree.place].into_iter().flatten() {
                    if let (true, Some(lease)) = (stands.whole, stands.lease)
                        && !self.durable.contains(&lease)
                    {
                        self.durable.push(lease);
                    }
                }
            }
            _ => {}
        }
    }

    /// Somebody was told to run.
    pub(super) fn begun(&mut self, number: usize, actor: &Actor, layout: &Layout) {
        self.begun[number] = true;
        let aside = Tree::find(layout).aside.filter(|_| actor.fence);
        self.noted[number] = aside.and_then(|stands| stands.lease);
    }

    /// Somebody was told that its outputs stand.
    pub(super) fn published(&mut self, number: usize, name: AttemptName<'_>) {
        self.came.push(name.lease());
        if self.fenced_by[number] != 0 {
            self.broken = Some(format!(
                "{number} has published, though it was fenced by {:b}",
                self.fenced_by[number]
            ));
        }
    }

    /// All that must hold in a state.
    pub(super) fn holds(&self, tree: &Tree, actors: &[Actor], ended: bool) -> Result<(), String> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        tree.is_sound(&self.damaged)?;
        self.is_kept(tree, &self.came)?;
        self.is_rightly_aside(tree, actors)?;
        for (number, told) in self.told.iter().enumerate() {
            if let Some(told) = told {
                self.is_true(number, told, tree, actors)?;
            }
        }
        if ended {
            self.somebody_succeeds(actors)?;
        }
        Ok(())
    }

    /// The last good outputs are somewhere.
    pub(super) fn is_kept(&self, tree: &Tree, good: &[NamedLease]) -> Result<(), String> {
        match good.last() {
            Some(last) if !tree.keeps(*last) => {
                Err(format!("the good outputs of {last} are lost: {tree:?}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Only who may replace outputs has put them aside.
    fn is_rightly_aside(&self, tree: &Tree, actors: &[Actor]) -> Result<(), String> {
        let Some(Stands {
            lease: Some(lease),
            content,
            ..
        }) = tree.aside
        else {
            return Ok(());
        };
        let began_there = self.durable.first() == Some(&lease) && self.came.first() == Some(&lease);
        if began_there || may_replace(lease, content, actors) {
            return Ok(());
        }
        Err(format!("{lease} was put aside, and nobody may: {tree:?}"))
    }

    fn is_true(
        &self,
        number: usize,
        told: &Told,
        tree: &Tree,
        actors: &[Actor],
    ) -> Result<(), String> {
        let own = actors[number].name().lease();
        let lease = match told {
            Told::Done => return Ok(()),
            Told::Failed(why) => return Err(format!("{number} has failed: {why}")),
            Told::GaveUp => {
                let later = |by: &Actor| by.does != Does::Run || shuts_out(by, &actors[number]);
                return match actors.iter().any(later) {
                    true => Ok(()),
                    false => Err(format!("{number} gave up, and nobody is later")),
                };
            }
            Told::Own => own,
            Told::Adopted(lease) => *lease,
        };
        let content = actors[number].content;
        let replaced = may_replace(lease, content, actors);
        if !tree.place.is_some_and(|stands| stands.is_whole_of(lease)) && !replaced {
            return Err(format!("{number} was told that {lease} stands: {tree:?}"));
        }
        if !self.came.contains(&lease) {
            return Err(format!("{number} was told of {lease}, which never came"));
        }
        if *told == Told::Own && !replaced {
            let twin = |(other, actor): (usize, &Actor)| {
                other != number
                    && self.told[other] == Some(Told::Own)
                    && actor.content == content
                    && !may_replace(actor.name().lease(), content, actors)
            };
            if actors.iter().enumerate().any(twin) {
                return Err(format!("two were told that their own outputs stand: {told:?}"));
            }
        }
        Ok(())
    }

    /// Of one lineage's attempts the last one that fences succeeds.
    fn somebody_succeeds(&self, actors: &[Actor]) -> Result<(), String> {
        let runs = || actors.iter().filter(|actor| actor.does == Does::Run);
        let one_lineage = runs().all(|actor| actor.lineage == actors[0].lineage);
        let Some(last) = runs().map(|actor| actor.lease_id).max() else {
            return Ok(());
        };
        let number = actors
            .iter()
            .position(|actor| actor.does == Does::Run && actor.lease_id == last)
            .unwrap();
        let swept = actors.iter().any(|actor| actor.does == Does::Sweep);
        match &self.told[number] {
            Some(Told::GaveUp) if one_lineage && actors[number].fence && !swept => {
                Err(format!("{number} is the last one and gave up"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether an attempt that fences shuts another one out.
pub(super) fn shuts_out(by: &Actor, other: &Actor) -> bool {
    by.does == Does::Run
        && (by.lineage != other.lineage || by.lease_id > other.lease_id)
}

/// Whether one of them may replace outputs.
pub(super) fn may_replace(lease: NamedLease, content: u8, actors: &[Actor]) -> bool {
    let manifest = Stood {
        lineage: lease.lineage,
        lease_id: lease.lease_id,
        content,
        cut: None,
    }
    .manifest();
    actors.iter().any(|actor| {
        actor.does == Does::PutAside
            || (actor.name().lease() != lease
                && actor.maker().judge(actor.name(), &manifest) == Standing::Earlier)
    })
}

fn bits(actors: &[Actor], holds: impl Fn(usize, &Actor) -> bool) -> u32 {
    let numbered = actors.iter().enumerate();
    let bits = numbered.filter(|(number, actor)| holds(*number, actor));
    bits.fold(0, |bits, (number, _)| bits | 1 << number)
}
