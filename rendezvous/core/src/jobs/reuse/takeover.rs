//! Outputs that were found and that nobody here remembers: who runs the same takes them over.

use super::Plan;
use super::keys::Keys;
use crate::shards::content::{NO_COMMIT, Needed, StageCommits, content, of_commit};
use crate::state::job::Phase;
use crate::state::work::{ShardRun, Taken};
use crate::{FoundOutputs, Lineage, Rerun, Shard, Verdict};
use petctl_spec::{ContentDigest, ShardContent};

impl Plan<'_> {
    /// Notes which shards of a stage were asked to run again, and takes over what was found of the others that would
    /// run: where it is made of the same. `remembered` are the shards that are known to be done, or
    /// to be skipped.
    pub(super) fn take_over<'s>(
        &mut self,
        (stage, keys): (usize, &Keys<'_>),
        remembered: impl Fn(usize) -> Option<&'s Shard>,
    ) {
        let count = self.causes[stage].len();
        let mut asked = vec![
            false;
            if self.new.rerun == Rerun::Changed {
                0
            } else {
                count
            }
        ];
        for (shard, asked) in asked.iter_mut().enumerate() {
            let found = || {
                self.found(stage, shard)
                    .find_map(|found| found.made.as_ref())
            };
            let verdict = remembered(shard).map(|shard| shard.verdict);
            let verdict = verdict.or_else(|| found().map(|made| made.verdict));
            *asked = self.is_asked(keys, shard, verdict.unwrap_or(Verdict::None));
        }
        let mut outputs = self.new.outputs.iter().flat_map(|outputs| &outputs.found);
        if outputs.any(|found| found.made.is_some()) {
            let needed = self.needed(stage);
            let mut ends = Vec::with_capacity(count);
            let mut all_taken = Vec::new();
            let mut skipped = Vec::new();
            for shard in 0..count {
                let runs = self.causes[stage][shard].is_some();
                let end = match remembered(shard) {
                    Some(remembered) if !runs => Some(End::of(remembered, self.own)),
                    Some(_) | None if asked.get(shard) == Some(&true) => None,
                    Some(_) | None => match self.taken((stage, shard), &needed) {
                        Some(taken) => {
                            let end = End::of_taken(&taken);
                            all_taken.push(taken);
                            Some(end)
                        }
                        None => self.is_skipped(stage, shard).then(|| {
                            skipped.extend(runs.then_some(shard));
                            End::SKIPPED
                        }),
                    },
                };
                ends.push(end);
            }
            let taken = all_taken.iter().map(|taken| taken.shard as usize);
            for shard in taken.chain(skipped.iter().copied()) {
                self.causes[stage][shard] = None;
            }
            self.ends[stage] = ends;
            self.skipped[stage] = skipped;
            self.stages[stage].taken = all_taken;
            self.stages[stage].skipped = self.skipped[stage].len() as u64;
        }
        // What is there and not whole must not stand for itself: who adopts outputs in a container does not read them.
        let is_broken = |shard: usize| {
            let mut found = self.found(stage, shard);
            self.causes[stage][shard].is_some() && found.any(|found| found.made.is_none())
        };
        let fresh = |shard: usize| asked.get(shard) == Some(&true) || is_broken(shard);
        let fresh: Vec<bool> = (0..count).map(fresh).collect();
        self.stages[stage].asked = runs(&fresh);
    }

    /// Whether a shard is skipped without running: one that it needs was. Whoever made the outputs skipped it just so,
    /// and it has none itself.
    fn is_skipped(&self, stage: usize, shard: usize) -> bool {
        let spec = &self.new.spec.stages[stage];
        let mut needs = spec.needs.iter().filter(|need| need.per_shard);
        let end = |need: &petctl_spec::Need| {
            let ends = &self.ends[need.stage as usize];
            ends.get(shard).copied().flatten()
        };
        !spec.dispatch.run_after_skip && needs.any(|need| end(need).is_some_and(|end| end.skipped))
    }

    /// Whether a shard need not run because of somebody else's outputs: they are its own, or it is skipped with them.
    pub(super) fn is_elsewhere(&self, stage: usize, shard: usize) -> bool {
        let taken = &self.stages[stage].taken;
        taken
            .binary_search_by_key(&shard, |taken| taken.shard as usize)
            .is_ok()
            || self.skipped[stage].binary_search(&shard).is_ok()
    }

    fn found(&self, stage: usize, shard: usize) -> impl Iterator<Item = &FoundOutputs> {
        let outputs = self.new.outputs.get(stage).into_iter();
        outputs.flat_map(move |outputs| outputs.of(shard))
    }

    /// What was found of a shard, where it is made of what the shard is made of now.
    fn taken(&self, (stage, shard): (usize, usize), needed: &StageNeeds) -> Option<Taken> {
        let contents = self.new.contents.get(stage)?;
        let own = if contents.shards.is_empty() {
            ShardContent::default()
        } else {
            contents.of(shard)
        };
        let content = content(&contents.stage, own, &needed.of(self, shard))?;
        let found = self.found(stage, shard).find_map(|found| {
            let made = found.made.as_ref()?;
            (made.content == Some(content)).then_some((found, made))
        });
        let (found, made) = found?;
        Some(Taken {
            shard: found.shard,
            files: found.files,
            bytes: found.bytes,
            made: made.clone(),
        })
    }

    /// What the shards of a stage need.
    fn needed(&self, stage: usize) -> StageNeeds {
        let needs = self.new.spec.stages[stage].needs.iter();
        let need = |need: &petctl_spec::Need| {
            let at = need.stage as usize;
            let spec = &self.new.spec.stages[at];
            if spec.kind.training().is_some() {
                return OneNeed::Unknown;
            }
            if need.per_shard {
                return OneNeed::Shard(at);
            }
            let keys = Keys::of(spec, super::listed(self.new, at));
            let mut digest = StageCommits::default();
            for (shard, end) in self.ends[at].iter().enumerate() {
                let (Some(end), Some(key)) = (end, keys.get(shard)) else {
                    return OneNeed::Unknown;
                };
                if end.is_done {
                    digest.add(&key, end.commit);
                }
            }
            OneNeed::Stage(digest.digest())
        };
        StageNeeds(needs.map(need).collect())
    }
}

/// How a shard has ended that need not run.
#[derive(Clone, Copy)]
pub(super) struct End {
    /// It has outputs.
    is_done: bool,
    /// It said so itself, or what it needs was.
    skipped: bool,
    commit: ContentDigest,
}

impl End {
    /// Skipped with what it needs.
    const SKIPPED: Self = Self {
        is_done: false,
        skipped: true,
        commit: NO_COMMIT,
    };

    fn of(shard: &Shard, own: Lineage) -> Self {
        Self {
            is_done: shard.phase == Phase::Done,
            skipped: shard.verdict == Verdict::Skipped,
            commit: shard.commit(own),
        }
    }

    fn of_taken(taken: &Taken) -> Self {
        Self {
            is_done: true,
            skipped: taken.made.verdict == Verdict::Skipped,
            commit: of_commit(taken.made.lineage, taken.made.lease),
        }
    }
}

/// What every shard of a stage needs.
struct StageNeeds(Vec<OneNeed>);

enum OneNeed {
    /// The shard with the same index in that stage.
    Shard(usize),
    /// A whole stage that has committed this.
    Stage(ContentDigest),
    /// Something runs of it, or nobody can say what it is made of.
    Unknown,
}

impl StageNeeds {
    fn of(&self, plan: &Plan<'_>, shard: usize) -> Needed {
        let needs = self.0.iter().map(|need| match need {
            OneNeed::Shard(stage) => {
                let end = plan.ends[*stage].get(shard).copied().flatten();
                end.map(|end| end.commit)
            }
            OneNeed::Stage(digest) => Some(*digest),
            OneNeed::Unknown => None,
        });
        needs.collect()
    }
}

fn runs(asked: &[bool]) -> Vec<ShardRun> {
    let mut runs: Vec<ShardRun> = Vec::new();
    for (first, _) in (0_u32..).zip(asked).filter(|(_, asked)| **asked) {
        match runs.last_mut() {
            Some(run) if run.first + run.count == first => run.count += 1,
            Some(_) | None => runs.push(ShardRun { first, count: 1 }),
        }
    }
    runs
}
