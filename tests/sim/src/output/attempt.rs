//! An attempt at the output, step by step: it begins, and it publishes. Anything may come between two steps.

use super::blob::{Condition, Register, Says, shuts_out};
use super::maker::{Maker, Standing};
use super::{Name, Output, Why};
use crate::plan::Broken;
use fastrand::Rng;
use petctl_core::Verdict;
use std::fmt;

/// An attempt between two steps.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Whose it is.
    pub maker: Maker,
    step: Step,
    /// It has run, and wants its outputs to stand.
    publishing: bool,
    /// Something waits aside for it to be durable: its place, or whose data it is.
    aside: Option<Name>,
    /// What its commit replaces.
    claim: Condition,
    /// What its `result.json` says.
    verdict: Verdict,
    rounds: u32,
}

#[derive(Clone, Debug)]
enum Step {
    Make,
    List,
    Take(Vec<Name>),
    Look,
    Lock,
    DropAside,
    PutAside,
    MoveDamaged,
    MayRestore,
    LockToRestore,
    Ready,
    Write,
    Publish,
    Read,
    Claim(Condition, Option<(u64, Name)>),
    Restore(u64, (u64, Name)),
    Send,
    Commit(u64, Condition),
    Reread(u64),
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Maker { place, name, .. } = &self.maker;
        write!(f, "{name:?} at {place:?}: {:?}", self.step)
    }
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// There are more.
    On,
    /// It may run.
    Runs,
    /// There is nothing to do: these outputs stand, by whom and with which verdict.
    Adopted(Name, Verdict),
    /// Its own stand.
    Published(Verdict),
    /// A later attempt is here, or somebody of another lineage.
    Overtaken,
    /// Its folder is gone, and nobody is here who could have taken it.
    Gone,
}

/// What an attempt has around it.
pub struct Around<'a> {
    /// Now, in ms.
    pub now: u64,
    /// The output.
    pub output: &'a mut Output,
    /// The run's randomness.
    pub rng: &'a mut Rng,
    /// The lease stands, and the run it belongs to has the output.
    pub rightful: bool,
}

impl Attempt {
    /// One that begins.
    #[must_use]
    pub fn begin(maker: Maker, is_blob: bool) -> Self {
        Self {
            maker,
            step: if is_blob { Step::Read } else { Step::Make },
            publishing: false,
            aside: None,
            claim: None,
            verdict: Verdict::None,
            rounds: 0,
        }
    }

    /// Its command has ended well.
    pub fn publish(&mut self, is_blob: bool, verdict: Verdict) {
        self.publishing = true;
        self.verdict = verdict;
        self.step = if is_blob { Step::Send } else { Step::Write };
    }

    /// Takes one step.
    pub fn step(&mut self, at: &mut Around<'_>) -> Came {
        let came = match std::mem::replace(&mut self.step, Step::Ready) {
            Step::Make => {
                at.output.make_folder(&self.maker);
                if self.maker.first {
                    return self.nothing_stands();
                }
                let next = if self.maker.fence {
                    Step::List
                } else {
                    Step::Look
                };
                self.go(next)
            }
            Step::List => self.list(at),
            Step::Take(mut names) => {
                if let Some(name) = names.pop() {
                    let (place, by) = (&self.maker.place, self.maker.spelled);
                    at.output.take_attempt(place, name, by);
                }
                self.go(if names.is_empty() {
                    Step::Look
                } else {
                    Step::Take(names)
                })
            }
            Step::Look => match at.output.look(&self.maker, self.publishing) {
                None => self.nothing_stands(),
                Some((Standing::Adopted, name, _)) => self.adopt(at, name),
                Some(_) => self.go(Step::Lock),
            },
            Step::Lock => self.look_locked(at),
            Step::DropAside => {
                at.output.drop_aside(&self.maker.place);
                self.go(Step::PutAside)
            }
            Step::PutAside => {
                at.output.put_aside(&self.maker.place, !at.rightful);
                at.output.unlock(self.maker.writer);
                self.nothing_stands()
            }
            Step::MoveDamaged => {
                at.output.move_damaged(&self.maker.place);
                at.output.unlock(self.maker.writer);
                self.nothing_stands()
            }
            Step::MayRestore if at.output.may_restore(&self.maker) => self.go(Step::LockToRestore),
            Step::MayRestore => self.go(Step::Ready),
            Step::LockToRestore => self.restore(at),
            Step::Ready => {
                self.aside = at.output.waits_aside(&self.maker.place);
                Came::Runs
            }
            Step::Write if at.output.write(&self.maker, self.verdict) => self.go(Step::Publish),
            Step::Write => self.gone(at),
            Step::Publish => match at.output.publish(&self.maker, at.now) {
                None => self.gone(at),
                Some(true) => Came::Published(self.verdict),
                Some(false) => self.go(Step::Look),
            },
            Step::Read => self.read(at),
            Step::Claim(condition, earlier) => self.claim(at, condition, earlier),
            Step::Restore(etag, (id, name)) => {
                let says = Says::Commit { id, name };
                if at.output.put(&self.maker.place, says, Some(etag), at.rng) {
                    let restored = (self.maker.place.clone(), name);
                    at.output.restored.insert(restored);
                    self.adopt(at, name)
                } else {
                    // Whoever finds these committed has them from here, too.
                    let restored = (self.maker.place.clone(), name);
                    at.output.restored.insert(restored);
                    self.again()
                }
            }
            Step::Send => {
                let id = at.output.send(&self.maker, self.verdict);
                self.go(Step::Commit(id, self.claim))
            }
            Step::Commit(id, condition) => {
                let name = self.maker.name;
                let says = Says::Commit { id, name };
                let before = at.output.etag(&self.maker.place);
                let done = at.output.put(&self.maker.place, says, condition, at.rng);
                if at.output.etag(&self.maker.place) != before {
                    at.output.committed_now(id, &self.maker, at.now);
                }
                if done {
                    return Came::Published(self.verdict);
                }
                self.go(Step::Reread(id))
            }
            Step::Reread(id) => self.reread(at, id),
        };
        if came != Came::On {
            at.output.unlock(self.maker.writer);
        }
        came
    }

    /// Its process is killed, or it is over.
    pub fn end(&self, output: &mut Output) {
        output.unlock(self.maker.writer);
    }

    /// It did not commit: what it wrote goes.
    pub fn discard(&self, output: &mut Output) {
        output.unlock(self.maker.writer);
        if !output.is_blob {
            return output.discard(&self.maker);
        }
        // An answer may have been lost: then it did commit, and may have been put aside since.
        if !output.keeps(&self.maker.place, self.maker.name) {
            output.remove_data(&self.maker.place, self.maker.spelled, Why::Discarded);
        }
    }

    /// Its outputs are durable: those of before go.
    pub fn settle(&self, output: &mut Output) {
        let Some(aside) = self.aside else { return };
        if output.is_blob {
            output.remove_data(&self.maker.place, aside, Why::Settled);
        } else {
            output.settle(&self.maker.place, aside);
        }
    }

    fn go(&mut self, step: Step) -> Came {
        self.step = step;
        Came::On
    }

    fn again(&mut self) -> Came {
        self.rounds += 1;
        // The real one gives up after 50: two jobs seem to write to one place.
        if self.rounds > 50 {
            return Came::Gone;
        }
        self.go(Step::Read)
    }

    fn adopt(&mut self, at: &mut Around<'_>, name: Name) -> Came {
        let stands = at.output.stands(&self.maker.place);
        let verdict = stands.map_or(Verdict::None, |files| files.verdict);
        self.discard(at.output);
        Came::Adopted(name, verdict)
    }

    fn list(&mut self, at: &mut Around<'_>) -> Came {
        let own = self.maker.spelled;
        let mut earlier = at.output.list_attempts(&self.maker.place);
        let later = |name: &Name| name.lineage == own.lineage && name.lease > own.lease;
        if earlier.iter().any(later) && at.output.broken != Some(Broken::FenceOrder) {
            return Came::Overtaken;
        }
        earlier.retain(|name| *name != own);
        self.go(if earlier.is_empty() {
            Step::Look
        } else {
            Step::Take(earlier)
        })
    }

    fn look_locked(&mut self, at: &mut Around<'_>) -> Came {
        if !at.output.try_lock(self.maker.writer) {
            return self.go(Step::Lock);
        }
        match at.output.look(&self.maker, self.publishing) {
            None => {
                at.output.unlock(self.maker.writer);
                self.nothing_stands()
            }
            Some((Standing::Adopted, name, _)) => self.adopt(at, name),
            Some((Standing::Earlier, ..)) => self.go(Step::DropAside),
            Some((Standing::Later, ..)) => Came::Overtaken,
            Some((Standing::Damaged, ..)) => self.go(Step::MoveDamaged),
        }
    }

    fn nothing_stands(&mut self) -> Came {
        self.go(match (self.publishing, self.maker.fence) {
            (true, _) => Step::Publish,
            (false, true) => Step::MayRestore,
            (false, false) => Step::Ready,
        })
    }

    fn restore(&mut self, at: &mut Around<'_>) -> Came {
        if !at.output.try_lock(self.maker.writer) {
            return self.go(Step::LockToRestore);
        }
        let may = at.output.may_restore(&self.maker);
        match may.then(|| at.output.restore(&self.maker)).flatten() {
            Some(name) => self.adopt(at, name),
            None => {
                at.output.unlock(self.maker.writer);
                self.go(Step::Ready)
            }
        }
    }

    /// Why its folder is gone.
    fn gone(&self, at: &Around<'_>) -> Came {
        let own = self.maker.spelled;
        let attempts = at.output.list_attempts(&self.maker.place).into_iter();
        let mut others = attempts.filter(|name| *name != own);
        if others.any(|name| name.lineage != own.lineage || name.lease > own.lease) {
            Came::Overtaken
        } else {
            Came::Gone
        }
    }

    fn read(&mut self, at: &mut Around<'_>) -> Came {
        let own = self.maker.name;
        if self.maker.first && !self.publishing {
            return self.free(None, None);
        }
        let (condition, earlier) = match at.output.register(&self.maker.place) {
            None if self.maker.fence => (None, None),
            None => return self.free(None, None),
            Some(Register { etag, says }) => match says {
                Says::Commit { id, name } => {
                    let standing = at
                        .output
                        .get(id)
                        .map(|f| self.maker.judge(f, at.output.broken));
                    match standing {
                        Some(Standing::Adopted) => return self.adopt(at, name),
                        Some(Standing::Later) => return Came::Overtaken,
                        Some(Standing::Earlier | Standing::Damaged) | None => {
                            (Some(etag), Some((id, name)))
                        }
                    }
                }
                Says::Claim { by, swept, .. } if shuts_out(by, swept, own) => {
                    return Came::Overtaken;
                }
                Says::Claim { by, earlier, .. } => {
                    let kept = at.output.kept_by_claim(earlier);
                    if let Some(earlier) = earlier
                        && kept.is_some_and(|files| self.maker.may_restore(files))
                    {
                        return self.go(Step::Restore(etag, earlier));
                    }
                    // Without a fence, whoever of the same lineage claimed it may still commit: the first one wins.
                    if by == own || (!self.maker.fence && by.lineage == own.lineage) {
                        return self.free(Some(etag), earlier);
                    }
                    (Some(etag), earlier)
                }
            },
        };
        self.go(Step::Claim(condition, earlier))
    }

    fn free(&mut self, claim: Condition, earlier: Option<(u64, Name)>) -> Came {
        self.claim = claim;
        self.aside = earlier.map(|(_, name)| name);
        Came::Runs
    }

    fn claim(
        &mut self,
        at: &mut Around<'_>,
        condition: Condition,
        earlier: Option<(u64, Name)>,
    ) -> Came {
        let says = Says::Claim {
            by: self.maker.name,
            swept: false,
            earlier,
        };
        let place = &self.maker.place;
        let stood = at.output.committed(place).is_some();
        let done = at.output.put(place, says, condition, at.rng);
        if stood && at.output.committed(place).is_none() && !at.rightful {
            at.output.strayed(place);
        }
        if done {
            let etag = at.output.etag(place);
            return self.free(etag, earlier);
        }
        // Somebody was there first, or our own answer was lost. The register says which.
        self.again()
    }

    fn reread(&mut self, at: &mut Around<'_>, id: u64) -> Came {
        let own = self.maker.name;
        self.rounds += 1;
        if self.rounds > 50 {
            return Came::Gone;
        }
        let condition = match at.output.register(&self.maker.place) {
            // A claim that is gone was swept: the job has ended.
            None if self.claim.is_some() => return Came::Overtaken,
            None => None,
            Some(Register { etag, says }) => match says {
                // Our answer was lost, not the race.
                Says::Commit { name, .. } if name == own => return Came::Published(self.verdict),
                Says::Commit { id, name } => {
                    let Some(files) = at.output.get(id) else {
                        return Came::Gone;
                    };
                    match self.maker.judge(files, at.output.broken) {
                        Standing::Adopted => return self.adopt(at, name),
                        // What made room for us has come back, for a later attempt.
                        Standing::Earlier if self.aside == Some(name) => return Came::Overtaken,
                        // An earlier version's attempt that nobody had fenced.
                        Standing::Earlier if name.lineage == own.lineage => Some(etag),
                        // Whoever came since has taken the output over.
                        Standing::Earlier | Standing::Later | Standing::Damaged => {
                            return Came::Overtaken;
                        }
                    }
                }
                Says::Claim { by, swept, .. }
                    if by.lineage == own.lineage && !shuts_out(by, swept, own) =>
                {
                    Some(etag)
                }
                Says::Claim { .. } => return Came::Overtaken,
            },
        };
        self.go(Step::Commit(id, condition))
    }
}
