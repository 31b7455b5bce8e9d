//! What is stored, what has happened in a run, and what must hold of both.

use super::super::actors::{Actor, KEY, Outputs, STAGE, Told, bits, is_true, last_succeeds};
use super::memory::Blobs;
use super::{alone, manifest};
use crate::Commit;
use petctl_output::layout::NamedLease;

/// What is stored of a shard, as a reader would find it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) register: Option<Outputs>,
    aside: Option<Outputs>,
    /// Outputs that the register names, and whose data is not whole.
    broken: Option<Outputs>,
}

impl Found {
    pub(super) fn find(blobs: &Blobs) -> Self {
        let (mut commit, mut aside) = (None, Vec::new());
        alone(blobs, |committer| {
            let (commit, aside) = (&mut commit, &mut aside);
            async move {
                *commit = committer.committed(STAGE, KEY).await.unwrap();
                *aside = committer.aside().await.unwrap();
            }
        });
        let aside = aside.into_iter().map(|aside| aside.commit).next();
        let is_broken = |commit: &&Commit| {
            let data = blobs.all.get(&format!("{}out", commit.data));
            let outputs = Outputs::of(&commit.manifest);
            data.is_none_or(|blob| blob.bytes != outputs.text())
                || commit.manifest != manifest(outputs)
        };
        let outputs = |commit: &Commit| Outputs::of(&commit.manifest);
        let broken = [&commit, &aside].into_iter().flatten().find(is_broken);
        Self {
            broken: broken.map(outputs),
            register: commit.as_ref().map(outputs),
            aside: aside.as_ref().map(outputs),
        }
    }

    pub(super) fn is_sound(&self) -> Result<(), String> {
        match &self.broken {
            Some(broken) => Err(format!("a reader finds half of {broken:?}")),
            None => Ok(()),
        }
    }

    fn keeps(&self, lease: NamedLease) -> bool {
        let mut all = [self.register, self.aside].into_iter().flatten();
        all.any(|outputs| outputs.lease() == lease)
    }
}

/// What has happened, by the number of who did it.
#[derive(Debug, Hash)]
pub(super) struct History {
    /// Who had begun, and not ended, when it claimed the shard.
    saw: Vec<u32>,
    /// Its claim counts.
    in_force: Vec<bool>,
    /// It was told to run.
    pub(super) begun: Vec<bool>,
    pub(super) told: Vec<Option<Told>>,
    /// Outputs that came to the register, in this order.
    pub(super) came: Vec<Outputs>,
    /// What the register holds.
    stands: Option<NamedLease>,
    /// What broke on the way.
    broken: Option<String>,
}

impl History {
    pub(super) fn new(actors: usize) -> Self {
        Self {
            saw: vec![0; actors],
            in_force: vec![false; actors],
            begun: vec![false; actors],
            told: vec![None; actors],
            came: Vec::new(),
            stands: None,
            broken: None,
        }
    }

    /// Outputs that are there from the beginning.
    pub(super) fn stood(&mut self, outputs: Outputs, is_aside: bool) {
        self.came.push(outputs);
        self.stands = (!is_aside).then(|| outputs.lease());
    }

    /// Somebody has written the register.
    pub(super) fn written(&mut self, number: usize, actors: &[Actor], found: &Found) {
        let before = std::mem::replace(
            &mut self.stands,
            found.register.map(|outputs| outputs.lease()),
        );
        let Some(outputs) = found.register else {
            let runs = |other: usize, _: &Actor| self.begun[other] && self.told[other].is_none();
            self.saw[number] = bits(actors, runs);
            // Whoever claims after another lineage has taken the output over from it.
            for (holds, actor) in self.in_force.iter_mut().zip(actors) {
                *holds &= actor.lineage == actors[number].lineage;
            }
            self.in_force[number] = true;
            return;
        };
        // It was only signed.
        if before == self.stands {
            return;
        }
        self.came.push(outputs);
        let one_lineage = actors
            .iter()
            .all(|actor| actor.lineage == actors[0].lineage);
        let fenced = |other: usize, by: &Actor| {
            let saw = one_lineage || self.saw[other] & (1 << number) != 0;
            by.fence
                && self.begun[other]
                && self.in_force[other]
                && saw
                && by.shuts_out(&actors[number])
        };
        let fenced = bits(actors, fenced);
        if fenced != 0 {
            self.broken = Some(format!(
                "{number} has published, though fenced by {fenced:b}"
            ));
        }
    }

    /// All that must hold in a state.
    pub(super) fn holds(&self, found: &Found, actors: &[Actor], ended: bool) -> Result<(), String> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        found.is_sound()?;
        if let Some(last) = self.came.last()
            && !found.keeps(last.lease())
        {
            return Err(format!(
                "the outputs of {} are lost: {found:?}",
                last.lease()
            ));
        }
        if let Some(aside) = found.aside
            && self.came[0].lease() != aside.lease()
            && !aside.may_be_replaced(actors.iter().copied())
        {
            return Err(format!("nobody may put aside what is there: {found:?}"));
        }
        let stands = |lease| {
            found
                .register
                .is_some_and(|outputs| outputs.lease() == lease)
        };
        is_true(&self.told, actors, stands, &self.came)?;
        if ended {
            last_succeeds(&self.told, actors)?;
        }
        Ok(())
    }
}
