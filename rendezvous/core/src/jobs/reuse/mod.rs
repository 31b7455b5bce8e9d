//! What of an earlier version of a job need not run again: decided by content, shard by shard.

mod keys;
mod takeover;

use self::keys::{Keys, Match};
use self::takeover::End;
use crate::state::job::Phase;
use crate::state::work::{Carried, ShardRun, StageContents, Taken};
use crate::{
    Job, Lineage, MAX_DROPPED, Rerun, RerunCause, RerunReason, Stage, State, Submission,
    SubmittedAs, Verdict,
};
use petctl_spec::{ContentDigest, JobSpec, ShardContent, ShardGlob, StageSpec};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What a submission would run, and what it would not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReusePlan {
    /// How it meets what is there.
    pub how: Option<SubmittedAs>,
    /// Shards that are done and stay so.
    pub reused: u64,
    /// Why the others run, by stage and reason.
    pub reruns: Vec<RerunReason>,
    /// Stage names and keys of done shards that are no part of the job any more, at most [`MAX_DROPPED`].
    pub dropped: Vec<(String, String)>,
    /// For each stage.
    pub stages: Vec<StagePlan>,
}

/// What a submission would do with one stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StagePlan {
    /// Shards that are done and stay so.
    pub carried: Vec<Carried>,
    /// Shards whose outputs somebody else has made of the same, in the order of the shards: they are taken over.
    pub taken: Vec<Taken>,
    /// Shards without outputs of which it is known that they are skipped with what they need, beside those carried.
    pub skipped: u64,
    /// Shards that run again although nothing of them changed.
    pub asked: Vec<ShardRun>,
    /// How long each is expected to run, in ms, 0 where nobody knows; empty: nobody knows of any.
    pub expected_ms: Vec<u32>,
    /// What is remembered of its training group stays.
    pub keeps_group: bool,
}

impl StagePlan {
    /// Shards that need not run because of what somebody else has made.
    pub(crate) fn elsewhere(&self) -> u64 {
        self.taken.len() as u64 + self.skipped
    }
}

impl State {
    /// What a submission would find here: the plan that a coordinator would follow, if nothing of the job runs.
    #[must_use]
    pub fn plan(&self, submission: &Submission) -> ReusePlan {
        let old = self
            .find(&submission.spec.name)
            .and_then(|id| self.jobs.get(&id));
        match old {
            Some(old) => plan_reuse(old, submission, self.lineage),
            None => plan_new(submission),
        }
    }
}

/// The plan of a job that was not there: all of it is new, but for what somebody else has made of the same.
#[must_use]
pub fn plan_new(submission: &Submission) -> ReusePlan {
    let mut plan = Plan::new(None, submission, Lineage(0));
    plan.decide();
    plan.result(SubmittedAs::New)
}

/// Which shards of `old` stay done under a new version of its job file, and why the others run. Costs as much as both
/// have shards. `own`: the log that remembers it.
#[must_use]
pub fn plan_reuse(old: &Job, submission: &Submission, own: Lineage) -> ReusePlan {
    let mut plan = Plan::new(Some(old), submission, own);
    plan.decide();
    let mut stages = plan.stages.iter();
    let elsewhere = stages.any(|stage| !stage.taken.is_empty() || stage.skipped > 0);
    let all = !elsewhere && plan.causes.iter().flatten().all(Option::is_none);
    let how = if submission.rerun == Rerun::All || plan.reused() == 0 && !plan.same {
        SubmittedAs::New
    } else if all {
        SubmittedAs::Finished
    } else if plan.same && old.end.is_none() {
        SubmittedAs::Resumed
    } else {
        SubmittedAs::Retried
    };
    plan.result(how)
}

/// The submission says nothing of what its shards depend on: only the same job may use what is there.
pub(crate) fn says_nothing(submission: &Submission) -> bool {
    let nothing = ContentDigest::default();
    submission
        .contents
        .iter()
        .all(|contents| contents.stage.command == nothing)
}

struct Plan<'a> {
    /// The log that remembers the old job.
    own: Lineage,
    old: Option<&'a Job>,
    new: &'a Submission,
    glob: Option<ShardGlob>,
    /// It is the same job: what is done of it stays, whatever else is asked.
    same: bool,
    /// By stage and shard; `None`: it stays done.
    causes: Vec<Vec<Option<RerunCause>>>,
    stages: Vec<StagePlan>,
    /// By stage: the shards are the same as in the old job, and all stay done.
    whole: Vec<bool>,
    /// By stage and shard, how those ended that stay or are taken over, where somebody else's outputs were found.
    ends: Vec<Vec<Option<End>>>,
    /// By stage, the shards that would run if it were not known by such outputs that they are skipped; ascending.
    skipped: Vec<Vec<usize>>,
    dropped: Vec<(String, String)>,
}

impl<'a> Plan<'a> {
    fn new(old: Option<&'a Job>, new: &'a Submission, own: Lineage) -> Self {
        let stages = new.spec.stages.len();
        Self {
            own,
            old,
            new,
            glob: match &new.rerun {
                Rerun::Keys(glob) => ShardGlob::new(glob).ok(),
                Rerun::Changed | Rerun::Failed | Rerun::All => None,
            },
            same: old.is_some_and(|old| old.fingerprint == new.fingerprint),
            causes: vec![Vec::new(); stages],
            stages: vec![StagePlan::default(); stages],
            whole: vec![false; stages],
            ends: vec![Vec::new(); stages],
            skipped: vec![Vec::new(); stages],
            dropped: Vec::new(),
        }
    }

    fn decide(&mut self) {
        for stage in in_order(&self.new.spec) {
            self.decide_stage(stage);
        }
        for stage in 0..self.old.map_or(0, |old| old.stages.len()) {
            self.drop_stage(stage);
        }
    }

    fn decide_stage(&mut self, index: usize) {
        let new = self.new;
        let spec = &new.spec.stages[index];
        let keys = Keys::of(spec, listed(new, index));
        let count = keys.count();
        let old = self
            .old
            .and_then(|old| Some((old, old_stage(old, &spec.name)?)));
        let Some((old, old_index)) = old else {
            self.causes[index] = vec![Some(RerunCause::New); count];
            self.stages[index].expected_ms = self.expected(index, count, |_| 0);
            self.take_over((index, &keys), |_| None);
            return;
        };
        let (old_spec, old_stage) = (&old.spec.stages[old_index], &old.stages[old_index]);
        let of = if spec.kind == old_spec.kind && listed(new, index) == old_stage.keys {
            Match::same(count)
        } else {
            Match::new(&keys, &Keys::of(old_spec, &old_stage.keys))
        };
        let changed = self.stage_change(index, old_stage);
        let (stays, needs): (Vec<usize>, Vec<usize>) = needs(spec);
        let needs_all = needs.iter().all(|need| self.whole[*need]);
        let causes: Vec<Option<RerunCause>> = (0..count)
            .map(|shard| {
                let Some(was) = of.get(shard) else {
                    return Some(RerunCause::New);
                };
                let content = new
                    .contents
                    .get(index)
                    .map_or_else(ShardContent::default, |c| c.of(shard));
                self.asked((index, &keys), shard, old_stage, was)
                    .or(changed)
                    .or_else(|| self.own_change(content, old_stage.contents.of(was)))
                    .or_else(|| {
                        let met = needs_all && stays.iter().all(|need| self.stayed(*need, shard));
                        (!met).then_some(RerunCause::Needs)
                    })
            })
            .collect();
        let done = causes.iter().all(Option::is_none);
        self.whole[index] = done && count == old_stage.shards.len();
        let train = spec.kind.training().is_some();
        let unfinished = causes.iter().all(|c| {
            matches!(
                c,
                None | Some(RerunCause::New | RerunCause::Failed | RerunCause::Missing)
            )
        });
        self.stages[index] = StagePlan {
            carried: runs(&causes, &of),
            expected_ms: self.expected(index, count, |shard| {
                let was = of.get(shard).filter(|_| causes[shard].is_some());
                was.map_or(0, |was| {
                    old_stage.shards[was]
                        .duration_ms
                        .max(old_stage.expected(was))
                })
            }),
            keeps_group: train && unfinished && changed.is_none() && needs_all,
            ..StagePlan::default()
        };
        self.causes[index] = causes;
        self.take_over((index, &keys), |shard| {
            let shard = old_stage.shards.get(of.get(shard)?)?;
            matches!(shard.phase, Phase::Done | Phase::Skipped).then_some(shard)
        });
    }

    /// Why a shard runs whatever became of its content.
    fn asked(
        &self,
        (stage, keys): (usize, &Keys<'_>),
        shard: usize,
        old: &Stage,
        was: usize,
    ) -> Option<RerunCause> {
        match old.shards[was].phase {
            Phase::Pending => return Some(RerunCause::New),
            Phase::Failed | Phase::Cancelled => return Some(RerunCause::Failed),
            // It is skipped again as long as what it needs stays, unless it may run after that now.
            Phase::Skipped if self.new.spec.stages[stage].dispatch.run_after_skip => {
                return Some(RerunCause::New);
            }
            Phase::Done | Phase::Skipped => {}
        }
        let outputs = self.new.outputs.get(stage);
        let has_some = old.shards[was].phase == Phase::Done;
        if has_some
            && outputs.is_some_and(|outputs| !outputs.hold(shard, &old.shards[was], self.own))
        {
            return Some(RerunCause::Missing);
        }
        self.is_asked(keys, shard, old.shards[was].verdict)
            .then_some(RerunCause::Asked)
    }

    /// Whether a shard whose outputs have this verdict is to run again although nothing of it changed.
    pub(super) fn is_asked(&self, keys: &Keys<'_>, shard: usize, verdict: Verdict) -> bool {
        match &self.new.rerun {
            Rerun::Changed => false,
            Rerun::All => true,
            Rerun::Failed => verdict == Verdict::Fail,
            Rerun::Keys(_) => self
                .glob
                .as_ref()
                .is_some_and(|glob| keys.get(shard).is_some_and(|key| glob.matches(&key))),
        }
    }

    /// What changed for all shards of a stage.
    fn stage_change(&self, index: usize, old: &Stage) -> Option<RerunCause> {
        let nothing = StageContents::default().stage;
        let new = self.new.contents.get(index).map_or(nothing, |c| c.stage);
        let was = old.contents.stage;
        if self.same {
            None
        } else if new.image != was.image {
            Some(RerunCause::Image)
        } else if new.code != was.code {
            Some(RerunCause::Code)
        } else if new.command != was.command || new.command == nothing.command {
            Some(RerunCause::Command)
        } else {
            None
        }
    }

    fn own_change(&self, new: ShardContent, was: ShardContent) -> Option<RerunCause> {
        if self.same {
            None
        } else if new.params != was.params {
            Some(RerunCause::Params)
        } else {
            (new.input != was.input).then_some(RerunCause::Input)
        }
    }

    /// Whether a shard stays done by what is remembered of it.
    fn stayed(&self, stage: usize, shard: usize) -> bool {
        self.causes[stage].get(shard).is_some_and(Option::is_none)
            && !self.is_elsewhere(stage, shard)
    }

    /// By the manifest, or by the last run.
    fn expected(&self, index: usize, count: usize, last: impl Fn(usize) -> u32) -> Vec<u32> {
        let details = self.new.details.get(index).map_or(&[][..], Vec::as_slice);
        let expected = |shard: usize| {
            let said = details.get(shard).and_then(|d| d.expected_ms);
            said.map_or_else(|| last(shard), |ms| u32::try_from(ms).unwrap_or(u32::MAX))
        };
        let all: Vec<u32> = (0..count).map(expected).collect();
        if all.iter().all(|ms| *ms == 0) {
            Vec::new()
        } else {
            all
        }
    }

    /// What was done of an old stage and has no place in the new job.
    fn drop_stage(&mut self, index: usize) {
        let Some(old) = self.old else { return };
        let (spec, state) = (&old.spec.stages[index], &old.stages[index]);
        let room = MAX_DROPPED.saturating_sub(self.dropped.len());
        // Checkpoints are nobody's leftovers.
        if spec.kind.training().is_some() || room == 0 || state.counts.done == 0 {
            return;
        }
        let keys = Keys::of(spec, &state.keys);
        let stays = self
            .new
            .spec
            .stages
            .iter()
            .position(|s| s.name == spec.name);
        let new = stays.map(|new| Keys::of(&self.new.spec.stages[new], listed(self.new, new)));
        let found = new.map(|new| Match::new(&keys, &new));
        let gone = (0..keys.count())
            .filter(|shard| {
                found
                    .as_ref()
                    .is_none_or(|found| found.get(*shard).is_none())
            })
            .filter(|shard| {
                state
                    .shards
                    .get(*shard)
                    .is_some_and(|s| s.phase == Phase::Done)
            });
        let gone =
            gone.filter_map(|shard| Some((spec.name.clone(), keys.get(shard)?.into_owned())));
        self.dropped.extend(gone.take(room));
    }

    fn reused(&self) -> u64 {
        let carried = self.stages.iter().flat_map(|s| &s.carried);
        let carried: u64 = carried.map(|run| u64::from(run.count)).sum();
        let elsewhere = self.stages.iter().map(StagePlan::elsewhere);
        carried + elsewhere.sum::<u64>()
    }

    fn result(self, how: SubmittedAs) -> ReusePlan {
        let mut reruns: BTreeMap<(u32, RerunCause), RerunReason> = BTreeMap::new();
        for (stage, causes) in (0_u32..).zip(&self.causes) {
            let keys = Keys::of(
                &self.new.spec.stages[stage as usize],
                listed(self.new, stage as usize),
            );
            for (shard, cause) in causes.iter().enumerate() {
                let Some(cause) = *cause else { continue };
                let reason = reruns.entry((stage, cause)).or_insert_with(|| RerunReason {
                    stage,
                    cause,
                    shards: 0,
                    keys: Vec::new(),
                });
                reason.shards += 1;
                if reason.keys.len() < KEYS_NAMED {
                    reason.keys.extend(keys.get(shard).map(Cow::into_owned));
                }
            }
        }
        ReusePlan {
            how: Some(how),
            reused: self.reused(),
            reruns: reruns.into_values().collect(),
            dropped: self.dropped,
            stages: self.stages,
        }
    }
}

/// Keys that a reason names.
const KEYS_NAMED: usize = 10;

fn listed(new: &Submission, stage: usize) -> &[String] {
    new.keys.get(stage).map_or(&[], Vec::as_slice)
}

fn old_stage(old: &Job, name: &str) -> Option<usize> {
    old.spec.stages.iter().position(|s| s.name == name)
}

/// The stages that one needs: shard by shard, and as a whole.
fn needs(spec: &StageSpec) -> (Vec<usize>, Vec<usize>) {
    let (shards, whole): (Vec<_>, Vec<_>) = spec.needs.iter().partition(|n| n.per_shard);
    let index = |need: &petctl_spec::Need| need.stage as usize;
    (
        shards.into_iter().map(index).collect(),
        whole.into_iter().map(index).collect(),
    )
}

/// The stages, each behind those that it needs.
fn in_order(spec: &JobSpec) -> Vec<usize> {
    let mut order = Vec::with_capacity(spec.stages.len());
    let mut left: Vec<usize> = (0..spec.stages.len()).collect();
    while !left.is_empty() {
        let before = left.len();
        left.retain(|stage| {
            let needs = &spec.stages[*stage].needs;
            let waits = needs.iter().any(|n| !order.contains(&(n.stage as usize)));
            if !waits {
                order.push(*stage);
            }
            waits
        });
        if left.len() == before {
            // A circle, which no job file has.
            order.append(&mut left);
        }
    }
    order
}

/// Neighbours that stay done and were neighbours before.
fn runs(causes: &[Option<RerunCause>], of: &Match) -> Vec<Carried> {
    let mut runs: Vec<Carried> = Vec::new();
    for (first, (shard, cause)) in (0_u32..).zip(causes.iter().enumerate()) {
        let Some(was) = of.get(shard).filter(|_| cause.is_none()) else {
            continue;
        };
        let was = u32::try_from(was).unwrap_or(u32::MAX);
        match runs.last_mut() {
            Some(run) if run.first + run.count == first && run.of + run.count == was => {
                run.count += 1;
            }
            Some(_) | None => runs.push(Carried {
                first,
                of: was,
                count: 1,
            }),
        }
    }
    runs
}
