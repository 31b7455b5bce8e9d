//! Outputs that were found and that nobody here remembers: who runs the same takes them over.

use super::Plan;
use super::keys::Keys;
use crate::shards::content::{Needed, StageCommits, content, of_commit};
use crate::state::work::{ShardRun, Taken};
use crate::{FoundOutputs, Rerun, Shard, Verdict};
use petctl_spec::{ContentDigest, ShardContent};

impl Plan<'_> {
    /// Notes which shards of a stage were asked to run again, and takes over what was found of the others that would
    /// run: where it is made of the same. `remembered` are the shards that are known to be done.
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
            let mut commits = Vec::with_capacity(count);
            let mut all_taken = Vec::new();
            for shard in 0..count {
                let runs = self.causes[stage][shard].is_some();
                let commit = match remembered(shard) {
                    Some(remembered) if !runs => Some(remembered.commit(self.own)),
                    // It is skipped again, as it was.
                    None if !runs => None,
                    Some(_) | None if asked.get(shard) == Some(&true) => None,
                    Some(_) | None => self.taken((stage, shard), &needed).map(|taken| {
                        let commit = of_commit(taken.made.lineage, taken.made.lease);
                        all_taken.push(taken);
                        commit
                    }),
                };
                commits.push(commit);
            }
            for taken in &all_taken {
                self.causes[stage][taken.shard as usize] = None;
            }
            self.commits[stage] = commits;
            self.stages[stage].taken = all_taken;
        }
        self.stages[stage].asked = runs(&asked);
    }

    /// Whether a shard is done by somebody else's outputs.
    pub(super) fn is_taken(&self, stage: usize, shard: usize) -> bool {
        let taken = &self.stages[stage].taken;
        taken
            .binary_search_by_key(&shard, |taken| taken.shard as usize)
            .is_ok()
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
            for (shard, commit) in self.commits[at].iter().enumerate() {
                let (Some(commit), Some(key)) = (commit, keys.get(shard)) else {
                    return OneNeed::Unknown;
                };
                digest.add(&key, *commit);
            }
            OneNeed::Stage(digest.digest())
        };
        StageNeeds(needs.map(need).collect())
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
            OneNeed::Shard(stage) => plan.commits[*stage].get(shard).copied().flatten(),
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
