//! A launcher sweeps a container: what lost attempts left goes, step by step, beside attempts that still live.

use crate::output::blob::{Condition, Doomed, Says};
use crate::output::{Name, Output, Place, Why};
use fastrand::Rng;

/// A sweep under way.
#[derive(Clone, Debug)]
pub(super) struct Sweep {
    /// Whose leases it knows.
    lineage: u64,
    ended: bool,
    /// It is done at the start of a run.
    pub(super) before: bool,
    listed: bool,
    data: Vec<(Place, Name)>,
    claims: Vec<Place>,
    doing: Doing,
}

#[derive(Clone, Debug)]
enum Doing {
    Nothing,
    Claim((Place, Name), Condition, Option<(u64, Name)>),
    Remove((Place, Name)),
    Drop(Place, Condition),
}

impl Sweep {
    pub(super) fn new(lineage: u64, ended: bool, before: bool) -> Self {
        Self {
            lineage,
            ended,
            before,
            listed: false,
            data: Vec::new(),
            claims: Vec::new(),
            doing: Doing::Nothing,
        }
    }

    /// One request; whether there are more.
    pub(super) fn step(&mut self, output: &mut Output, rng: &mut Rng) -> bool {
        if !self.listed {
            self.listed = true;
            self.data = output.list_data();
            self.claims = output.list_claims();
            return true;
        }
        self.doing = match std::mem::replace(&mut self.doing, Doing::Nothing) {
            Doing::Claim(of, condition, earlier) => {
                let says = Says::Claim {
                    by: of.1,
                    swept: true,
                    earlier,
                };
                let done = output.put(&of.0, says, condition, rng);
                // Somebody moves there; or our own answer was lost.
                let is_ours = output
                    .register(&of.0)
                    .is_some_and(|there| match there.says {
                        Says::Claim { by, swept, .. } => by == of.1 && swept,
                        Says::Commit { name, .. } => name != of.1,
                    });
                if done || is_ours {
                    Doing::Remove(of)
                } else {
                    Doing::Nothing
                }
            }
            Doing::Remove((place, name)) => {
                output.remove_data(&place, name, Why::Swept);
                Doing::Nothing
            }
            Doing::Drop(place, condition) => {
                output.drop_claim(&place, self.lineage, condition);
                Doing::Nothing
            }
            Doing::Nothing => match (self.data.pop(), self.ended) {
                (Some((place, name)), _) => match output.is_doomed(&place, name, self.lineage) {
                    Doomed::No => Doing::Nothing,
                    Doomed::Yes => Doing::Remove((place, name)),
                    Doomed::Once(condition, earlier) => {
                        Doing::Claim((place, name), condition, earlier)
                    }
                },
                (None, false) => return false,
                (None, true) => match self.claims.pop() {
                    Some(place) => {
                        let condition = output.etag(&place);
                        Doing::Drop(place, condition)
                    }
                    None => return false,
                },
            },
        };
        true
    }
}
