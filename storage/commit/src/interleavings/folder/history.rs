//! What has happened in a run, and what must hold of it.

use super::super::actors::{Actor, Does, Outputs, Told, bits, digest, is_true, last_succeeds};
use super::found::{Stood, Tree};
use crate::steps::Step;
use petctl_output::layout::{Layout, NamedLease};

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
    came: Vec<Outputs>,
    /// Good outputs that no power cut takes, in the order in which they became so.
    pub(super) durable: Vec<Outputs>,
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
            leases(&self.came),
            leases(&self.durable),
            &self.broken,
        ))
    }

    /// Outputs that are there from the beginning.
    pub(super) fn stood(&mut self, stood: &Stood) {
        if stood.cut.is_some() {
            self.damaged.push(stood.outputs.lease());
        } else {
            self.came.push(stood.outputs);
            self.durable.push(stood.outputs);
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
                        && by.shuts_out(&actors[number])
                };
                self.fenced_by[number] = bits(actors, is_fence_of);
            }
            "take" => {
                let later = |actor: &Actor| {
                    actor.lineage == actors[number].lineage
                        && actor.lease_id > actors[number].lease_id
                };
                let taken = actors.iter().find(|actor| {
                    later(actor)
                        && step.paths.first() == Some(&layout.attempt(actor.name()).as_path())
                });
                if let Some(taken) = taken
                    && step.paths[0].exists()
                {
                    let lease = taken.name().lease();
                    self.broken =
                        Some(format!("{number} takes the folder of a later one: {lease}"));
                }
            }
            "put aside" if self.begun[number] => {
                let place = Tree::find(layout).place.and_then(|stands| stands.lease());
                if place.is_some_and(|lease| lease.lineage != actors[number].lineage) {
                    self.broken = Some(format!("{number} puts aside what came since it began"));
                }
            }
            "sync" => {
                let tree = Tree::find(layout);
                for stands in [tree.aside, tree.place].into_iter().flatten() {
                    if let (true, Some(outputs)) = (stands.whole, stands.outputs)
                        && !self.durable_leases().contains(&outputs.lease())
                    {
                        self.durable.push(outputs);
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
        self.noted[number] = aside.and_then(|stands| stands.lease());
    }

    /// Somebody was told that its outputs stand.
    pub(super) fn published(&mut self, number: usize, actor: &Actor) {
        self.came.push(actor.outputs());
        if self.fenced_by[number] != 0 {
            self.broken = Some(format!(
                "{number} has published, though it was fenced by {:b}",
                self.fenced_by[number]
            ));
        }
    }

    pub(super) fn durable_leases(&self) -> Vec<NamedLease> {
        leases(&self.durable)
    }

    /// All that must hold in a state.
    pub(super) fn holds(&self, tree: &Tree, actors: &[Actor], ended: bool) -> Result<(), String> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        tree.is_sound(&self.damaged)?;
        self.is_kept(tree, self.came.last().copied())?;
        self.is_rightly_aside(tree, actors)?;
        let go_on = bits(actors, |number, actor| {
            self.begun[number] && actor.fence && tree.has(actor.name().lease())
        });
        if go_on.count_ones() > 1 {
            return Err(format!("two have fenced and both go on: {go_on:b}"));
        }
        let stands = |lease| tree.place.is_some_and(|stands| stands.is_whole_of(lease));
        is_true(&self.told, actors, stands, &self.came)?;
        if ended {
            last_succeeds(&self.told, actors)?;
        }
        Ok(())
    }

    /// The last good outputs are somewhere.
    pub(super) fn is_kept(&self, tree: &Tree, last: Option<Outputs>) -> Result<(), String> {
        match last {
            Some(last) if !tree.keeps(last.lease()) => Err(format!(
                "the good outputs of {} are lost: {tree:?}",
                last.lease()
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Only who may replace outputs has put them aside.
    fn is_rightly_aside(&self, tree: &Tree, actors: &[Actor]) -> Result<(), String> {
        let Some(aside) = tree.aside.and_then(|stands| stands.outputs) else {
            return Ok(());
        };
        let came_first = self.came.first().map(Outputs::lease) == Some(aside.lease());
        if came_first || aside.may_be_replaced(actors.iter().copied()) {
            Ok(())
        } else {
            Err(format!("nobody may put aside what is there: {tree:?}"))
        }
    }
}

fn leases(all: &[Outputs]) -> Vec<NamedLease> {
    all.iter().map(Outputs::lease).collect()
}
