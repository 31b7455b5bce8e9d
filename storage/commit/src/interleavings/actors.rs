//! Those that act in a situation, and what each may do to whose outputs.

use crate::{Maker, Standing};
use petctl_output::layout::{AttemptName, NamedLease};
use petctl_output::manifest::{Manifest, VERSION};
use petctl_text::hex;
use std::hash::{DefaultHasher, Hash, Hasher};

/// One that acts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Actor {
    pub(super) lineage: u64,
    pub(super) lease_id: u64,
    pub(super) content: u8,
    pub(super) replaces_below: u64,
    pub(super) fresh: bool,
    pub(super) fence: bool,
    pub(super) does: Does,
}

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// Runs the shard.
    Run,
    /// Puts the outputs aside, as a launcher whose user wants them gone.
    PutAside,
    /// Sweeps what others have left; its own lease and later ones are kept.
    Sweep,
}

pub(super) const STAGE: &str = "s";
pub(super) const KEY: &str = "k";

/// The first attempt of a version, which has a predecessor.
pub(super) const FIRST: Actor = Actor {
    lineage: 1,
    lease_id: 0x10,
    content: 1,
    replaces_below: 0x10,
    fresh: false,
    fence: true,
    does: Does::Run,
};
/// The next ones at the same version.
pub(super) const SECOND: Actor = Actor {
    lease_id: 0x11,
    ..FIRST
};
pub(super) const THIRD: Actor = Actor {
    lease_id: 0x12,
    ..FIRST
};
/// Begun without a fence: alone, or beside a straggler.
pub(super) const FIRST_BESIDE: Actor = Actor {
    fence: false,
    ..FIRST
};
pub(super) const SECOND_BESIDE: Actor = Actor {
    fence: false,
    ..SECOND
};
/// Of a later version of the shard.
pub(super) const LATER: Actor = Actor {
    lease_id: 0x20,
    content: 2,
    replaces_below: 0x20,
    ..FIRST
};
/// Of a later version that is again what the outputs of before are.
pub(super) const BACK: Actor = Actor {
    content: 9,
    ..LATER
};
/// Of another lineage, made of the same.
pub(super) const STRANGER: Actor = Actor {
    lineage: 2,
    lease_id: 0x5,
    replaces_below: 0,
    ..FIRST
};
/// Of another lineage, made of something else.
pub(super) const OTHER: Actor = Actor {
    content: 3,
    ..STRANGER
};
pub(super) const OTHER_BESIDE: Actor = Actor {
    fence: false,
    ..OTHER
};
/// Asked to run again, whatever there is.
pub(super) const AGAIN: Actor = Actor {
    fresh: true,
    ..STRANGER
};
pub(super) const PUTS_ASIDE: Actor = Actor {
    does: Does::PutAside,
    ..FIRST
};
pub(super) const SWEEPS: Actor = Actor {
    does: Does::Sweep,
    ..SECOND
};

/// All pairs that are walked.
pub(super) const PAIRS: [(&str, &[Actor]); 13] = [
    ("two with fences", &[FIRST, SECOND]),
    ("one without a fence", &[FIRST_BESIDE, SECOND]),
    ("one beside the other", &[FIRST, SECOND_BESIDE]),
    ("two without fences", &[FIRST_BESIDE, SECOND_BESIDE]),
    ("a later version", &[FIRST, LATER]),
    ("a later version of one without", &[FIRST_BESIDE, LATER]),
    ("a version of before", &[FIRST, BACK]),
    ("a stranger", &[FIRST, STRANGER]),
    ("another stranger", &[FIRST, OTHER]),
    ("another stranger of one without", &[FIRST_BESIDE, OTHER]),
    ("a stranger who runs again", &[FIRST, AGAIN]),
    ("one who puts aside", &[FIRST, PUTS_ASIDE]),
    ("one who sweeps", &[FIRST, SWEEPS]),
];

/// Good outputs.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct Outputs {
    pub(super) lineage: u64,
    pub(super) lease_id: u64,
    pub(super) content: u8,
}

/// Of before, and of another version than all but one.
pub(super) const OLD: Outputs = Outputs {
    lineage: 1,
    lease_id: 1,
    content: 9,
};
/// Of before, and what the first ones make again.
pub(super) const SAME: Outputs = Outputs { content: 1, ..OLD };

impl Outputs {
    pub(super) const fn of_lineage(self, lineage: u64) -> Self {
        Self { lineage, ..self }
    }

    pub(super) const fn of_lease(self, lease_id: u64) -> Self {
        Self { lease_id, ..self }
    }

    pub(super) fn of(manifest: &Manifest) -> Self {
        let content = manifest.content.as_ref();
        Self {
            lineage: manifest.lineage,
            lease_id: manifest.lease_id,
            content: content.map_or(0, |text| u8::from_str_radix(&text[..2], 16).unwrap()),
        }
    }

    pub(super) fn lease(&self) -> NamedLease {
        NamedLease {
            lineage: self.lineage,
            lease_id: self.lease_id,
        }
    }

    pub(super) fn manifest(&self) -> Manifest {
        Manifest {
            version: VERSION,
            job: "j".to_owned(),
            stage: STAGE.to_owned(),
            key: KEY.to_owned(),
            attempt: 1,
            lineage: self.lineage,
            lease_id: self.lease_id,
            content: Some(hex(&[self.content; 16])),
            worker: "w".to_owned(),
            committed_at: "2026-01-01T00:00:00Z".to_owned(),
            duration_ms: 0,
            files: Vec::new(),
            links: Vec::new(),
            empty_folders: Vec::new(),
        }
    }

    /// What stands in their one file: who makes the same makes the same bytes.
    pub(super) fn text(&self) -> String {
        format!("made of {:02x}", self.content)
    }

    /// Whether one of these may replace them.
    pub(super) fn may_be_replaced(&self, mut by: impl Iterator<Item = Actor>) -> bool {
        let manifest = self.manifest();
        by.any(|actor| {
            let judged = || actor.maker().judge(actor.name(), &manifest);
            match actor.does {
                Does::PutAside => true,
                Does::Sweep => false,
                Does::Run => {
                    actor.outputs().lease() != self.lease() && judged() == Standing::Earlier
                }
            }
        })
    }
}

impl Actor {
    pub(super) fn name(&self) -> AttemptName<'static> {
        AttemptName {
            stage: STAGE,
            key: KEY,
            attempt: 1,
            lineage: self.lineage,
            lease_id: self.lease_id,
        }
    }

    pub(super) fn maker(&self) -> Maker<'static> {
        Maker {
            job: "j",
            worker: "w",
            content: Some([self.content; 16]),
            replaces_below: self.replaces_below,
            fresh: self.fresh,
        }
    }

    /// What it makes.
    pub(super) fn outputs(&self) -> Outputs {
        Outputs {
            lineage: self.lineage,
            lease_id: self.lease_id,
            content: self.content,
        }
    }

    /// Whether a fence of its own shuts another one out.
    pub(super) fn shuts_out(&self, other: &Self) -> bool {
        self.does == Does::Run && (self.lineage != other.lineage || self.lease_id > other.lease_id)
    }

    /// One that begins afresh, when all of these are gone.
    pub(super) fn after(actors: &[Self]) -> Self {
        let runs = actors.iter().filter(|actor| actor.does == Does::Run);
        let last = runs.max_by_key(|actor| (actor.lineage, actor.lease_id));
        Self {
            lease_id: 0x99,
            fence: true,
            ..*last.unwrap()
        }
    }
}

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
    /// Its requests were not answered: it knows nothing.
    Unanswered,
    /// What should never be.
    Failed(String),
}

/// What each was told, by their numbers, must be so.
///
/// # Errors
/// What is not.
pub(super) fn is_true(
    told: &[Option<Told>],
    actors: &[Actor],
    stands: impl Fn(NamedLease) -> bool,
    came: &[Outputs],
) -> Result<(), String> {
    for (number, (told_it, actor)) in told.iter().zip(actors).enumerate() {
        let lease = match told_it {
            None | Some(Told::Done | Told::Unanswered) => continue,
            Some(Told::Failed(why)) => return Err(format!("{number} has failed: {why}")),
            Some(Told::GaveUp) => {
                let later = |by: &Actor| by.does != Does::Run || by.shuts_out(actor);
                match actors.iter().any(later) {
                    true => continue,
                    false => return Err(format!("{number} gave up, and nobody is later")),
                }
            }
            Some(Told::Own) => actor.outputs().lease(),
            Some(Told::Adopted(lease)) => *lease,
        };
        let Some(outputs) = came.iter().find(|outputs| outputs.lease() == lease) else {
            return Err(format!("{number} was told of {lease}, which never came"));
        };
        // Not by one that it has fenced.
        let is_fenced =
            |by: &Actor| actor.fence && by.lineage == actor.lineage && by.lease_id < actor.lease_id;
        let others = actors
            .iter()
            .filter(|by| by.does != Does::Run || !is_fenced(by));
        let replaced = outputs.may_be_replaced(others.copied());
        if !stands(lease) && !replaced {
            return Err(format!("{number} was told that {lease} stands"));
        }
        let twin = |(other, twin): (usize, &Actor)| {
            other != number
                && told[other] == Some(Told::Own)
                && twin.content == actor.content
                && !twin.outputs().may_be_replaced(actors.iter().copied())
        };
        if *told_it == Some(Told::Own) && !replaced && actors.iter().enumerate().any(twin) {
            return Err("two were told that their own outputs stand".to_owned());
        }
    }
    Ok(())
}

/// Of one lineage's attempts the last one that fences succeeds.
///
/// # Errors
/// It did not.
pub(super) fn last_succeeds(told: &[Option<Told>], actors: &[Actor]) -> Result<(), String> {
    let one_lineage = actors
        .iter()
        .all(|actor| actor.lineage == actors[0].lineage && actor.does != Does::Sweep);
    let runs = actors.iter().zip(told).enumerate();
    let runs = runs.filter(|(_, (actor, _))| actor.does == Does::Run);
    match runs.max_by_key(|(_, (actor, _))| actor.lease_id) {
        Some((number, (actor, Some(Told::GaveUp)))) if one_lineage && actor.fence => {
            Err(format!("{number} is the last one and gave up"))
        }
        Some(_) | None => Ok(()),
    }
}

/// A bit for each for whom it holds.
pub(super) fn bits(actors: &[Actor], holds: impl Fn(usize, &Actor) -> bool) -> u32 {
    let numbered = actors.iter().enumerate();
    let bits = numbered.filter(|(number, actor)| holds(*number, actor));
    bits.fold(0, |bits, (number, _)| bits | 1 << number)
}

pub(super) fn digest(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}
