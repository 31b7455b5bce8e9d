//! A launcher's run of the job, step by step, as `petctl run` goes: it looks, takes the output, starts its coordinator,
//! looks for results, submits, puts aside what is no part of the job any more, watches, sweeps, and gives the output
//! back. It can be killed or stand still between any two of them.

use super::World;
use super::sweep::Sweep;
use crate::output::run::{RENEWED_EVERY_MS, RunRecord, WATCHED_MS};
use crate::output::{Name, Place};
use crate::plan::Broken;
use crate::versions;
use crate::worker::{BYTES, FILES};
use petctl_core::{
    ClientRequest, Code, EndState, FoundOutputs, Input, LeaseId, Lineage, Made, Refusal, Reply,
    RequestId, Rerun, Seen, StageOutputs, Submission, Submitted,
};

/// Requests of launchers are numbered from here on.
const FIRST_REQUEST: u64 = 100;
/// How long workers may take to leave by themselves.
const RELEASE_MS: u64 = 1_000;

/// One home's `petctl run`, again and again.
#[derive(Clone, Debug)]
pub(super) struct Launcher {
    step: Step,
    at: u64,
    /// It stands still, and its coordinator with it.
    pub(super) paused_until: u64,
    renew_at: u64,
    /// Runs that it still makes.
    pub(super) runs_left: u32,
    runs: u64,
    /// What is to be run.
    submission: Submission,
    /// The home has run it before.
    has_card: bool,
    /// It is not what the home has run before.
    changed: bool,
    /// When it looked, the output had an owner's record.
    marked: bool,
    /// Nobody swept after the run before.
    unswept: bool,
    /// What was found counted for nothing, because workers of before were at it: somebody looks again at the end.
    looks_again: bool,
}

/// Where it stands.
#[derive(Clone, Debug)]
enum Step {
    /// Nothing runs.
    Away,
    Look,
    Take(Option<RunRecord>),
    CarryOut,
    Mark,
    Start,
    SweepBefore,
    Seen,
    List(Seen, Vec<StageOutputs>),
    Asked,
    PutAside(Vec<Place>),
    Watch,
    Dismiss,
    Sweep(Sweep),
    Release,
}

impl Launcher {
    pub(super) fn new(submission: Submission, at: u64, runs_left: u32) -> Self {
        Self {
            step: Step::Away,
            at,
            paused_until: 0,
            renew_at: 0,
            runs_left,
            runs: 0,
            submission,
            has_card: false,
            changed: false,
            marked: false,
            unswept: false,
            looks_again: false,
        }
    }

    /// Nothing of it runs, and nobody starts it again.
    pub(super) fn is_done(&self) -> bool {
        self.is_away() && self.runs_left == 0
    }

    pub(super) fn is_away(&self) -> bool {
        matches!(self.step, Step::Away)
    }

    /// It looks after workers.
    pub(super) fn keeps_workers(&self) -> bool {
        matches!(self.step, Step::Watch)
    }

    /// It has taken the output.
    fn holds(&self) -> bool {
        !matches!(self.step, Step::Away | Step::Look | Step::Take(_))
    }

    /// It is gone, and what it knew with it; somebody runs it again later.
    pub(super) fn gone(&mut self, until: u64) {
        self.step = Step::Away;
        self.at = until;
        self.paused_until = 0;
    }

    /// All that the home kept of the job is lost.
    pub(super) fn forget(&mut self) {
        self.has_card = false;
        self.changed = false;
        self.unswept = false;
    }
}

impl World {
    /// The launcher takes its next step, if it is due.
    pub(super) fn launch(&mut self) -> Result<(), String> {
        let Some(mut launcher) = self.launcher.take() else {
            return Ok(());
        };
        let result = self.launch_it(&mut launcher);
        self.launcher = Some(launcher);
        result
    }

    fn launch_it(&mut self, run: &mut Launcher) -> Result<(), String> {
        if run.paused_until > self.now {
            return Ok(());
        }
        if run.holds() && run.renew_at <= self.now {
            run.renew_at = self.now + RENEWED_EVERY_MS;
            if !self.output.renew(self.keeper, self.now) {
                return self.lost_the_output(run);
            }
        }
        if run.at > self.now {
            return Ok(());
        }
        run.at = self.now + self.launcher_pause();
        let step = std::mem::replace(&mut run.step, Step::Release);
        run.step = self.next_step(run, step)?;
        Ok(())
    }

    fn next_step(&mut self, run: &mut Launcher, step: Step) -> Result<Step, String> {
        Ok(match step {
            Step::Away if run.runs_left == 0 => Step::Away,
            Step::Away => self.begin_run(run),
            Step::Look => {
                run.marked = self.output.marked;
                Step::Take(None)
            }
            Step::Take(seen) => self.take(run, seen),
            Step::CarryOut => {
                // What still runs is of the version before, or must not commit any more.
                if run.changed || run.submission.rerun == Rerun::All {
                    self.end_all();
                }
                if self.options.broken == Some(Broken::ClearFirst)
                    && run.submission.rerun == Rerun::All
                {
                    self.output.clear();
                }
                Step::Mark
            }
            Step::Mark => {
                self.output.marked = true;
                Step::Start
            }
            Step::Start => {
                self.start_at = self.now;
                run.at = self.now + 20;
                Step::SweepBefore
            }
            Step::SweepBefore if run.unswept && self.output.is_blob && !self.has_workers() => {
                run.at = self.now;
                Step::Sweep(Sweep::new(self.oracle.lineage, false, true))
            }
            Step::SweepBefore => {
                run.unswept = true;
                Step::Seen
            }
            Step::Seen => match self.coordinator.as_ref() {
                Some(coordinator) => {
                    let seen = coordinator.core.state().seen("sim");
                    Step::List(seen, Vec::new())
                }
                None => Step::Seen,
            },
            Step::List(seen, found) if found.len() < run.submission.spec.stages.len() => {
                let mut found = found;
                found.push(self.list(&run.submission, found.len()));
                Step::List(seen, found)
            }
            Step::List(seen, found) => {
                let outputs = if run.marked {
                    found
                } else if run.has_card {
                    Vec::new()
                } else {
                    vec![StageOutputs::default(); found.len()]
                };
                let submission = Submission {
                    seen,
                    outputs,
                    new_output: !run.marked && !run.has_card,
                    ..run.submission.clone()
                };
                run.has_card = true;
                run.changed = false;
                let request = RequestId(FIRST_REQUEST + run.runs);
                let submit = ClientRequest::Submit(Box::new(submission));
                self.ask(Input::Request(request, submit));
                Step::Asked
            }
            Step::Asked => Step::Asked,
            Step::PutAside(mut doomed) => match doomed.pop() {
                Some(place) if !self.put_aside(&place) => {
                    doomed.push(place);
                    Step::PutAside(doomed)
                }
                Some(_) => Step::PutAside(doomed),
                None => Step::Watch,
            },
            // One that failed is not said to be done.
            Step::Watch if self.oracle.end == Some(EndState::Succeeded) && run.looks_again => {
                run.submission.rerun = Rerun::Changed;
                run.runs += 1;
                Step::Seen
            }
            Step::Watch if self.oracle.end.is_some() => {
                self.told()?;
                run.runs_left = run.runs_left.saturating_sub(1);
                run.at = self.now + RELEASE_MS;
                Step::Dismiss
            }
            Step::Watch => Step::Watch,
            Step::Dismiss => {
                self.end_all();
                if self.output.is_blob {
                    let ended = self.oracle.end.is_some();
                    Step::Sweep(Sweep::new(self.oracle.lineage, ended, false))
                } else {
                    Step::Release
                }
            }
            Step::Sweep(mut sweep) => {
                match (sweep.step(&mut self.output, &mut self.rng), sweep.before) {
                    (true, _) => Step::Sweep(sweep),
                    (false, true) => Step::Seen,
                    (false, false) => {
                        run.unswept = false;
                        Step::Release
                    }
                }
            }
            Step::Release => {
                self.oracle.has_output = false;
                self.crash()?;
                self.output.release(self.keeper);
                run.at = self.now + self.rng.u64(1_200..15_000);
                Step::Away
            }
        })
    }

    /// Somebody types `petctl run`.
    fn begin_run(&mut self, run: &mut Launcher) -> Step {
        run.runs += 1;
        self.stats.runs += 1;
        if run.runs > 1 && self.rng.bool() {
            let fingerprint = run.submission.fingerprint;
            run.submission = versions::next(&run.submission, &mut self.rng);
            run.changed |= run.submission.fingerprint != fingerprint;
        } else {
            run.submission.rerun = Rerun::Changed;
        }
        Step::Look
    }

    fn take(&mut self, run: &mut Launcher, seen: Option<RunRecord>) -> Step {
        let Some(theirs) = self.output.hold(self.keeper, self.now, seen) else {
            self.stats.takeovers += u64::from(seen.is_some());
            self.stats.second_homes += u64::from(self.outputs.last_keeper != Some(self.keeper));
            self.outputs.last_keeper = Some(self.keeper);
            run.renew_at = self.now + RENEWED_EVERY_MS;
            return Step::CarryOut;
        };
        if theirs.is_fresh(self.now) || seen.is_some_and(|seen| seen != theirs) {
            self.stats.refused += 1;
            run.at = self.now + self.rng.u64(1_000..30_000);
            return Step::Away;
        }
        run.at = self.now + WATCHED_MS;
        Step::Take(Some(theirs))
    }

    /// Another run has taken the output over: nothing of this one may write there any more.
    fn lost_the_output(&mut self, run: &mut Launcher) -> Result<(), String> {
        self.trace(|| "the output is lost to another run".to_owned());
        self.stats.lost_outputs += 1;
        self.oracle.has_output = false;
        self.crash()?;
        self.end_all();
        run.gone(self.now + self.rng.u64(1_200..30_000));
        Ok(())
    }

    /// The committed outputs of one stage, as a listing finds them.
    fn list(&self, submission: &Submission, stage: usize) -> StageOutputs {
        if self.options.broken == Some(Broken::Look) {
            return StageOutputs {
                unknown: true,
                found: Vec::new(),
            };
        }
        let once = ["once".to_owned()];
        let keys = match submission.keys[stage].as_slice() {
            [] => &once,
            keys => keys,
        };
        let stage = u32::try_from(stage).unwrap_or(0);
        let found = (0_u32..).zip(keys).filter_map(|(shard, key)| {
            let files = self.output.stands(&(stage, key.clone()))?;
            let made = Made {
                lineage: Lineage(files.name.lineage),
                lease: LeaseId(files.name.lease),
                content: files.content,
                worker: "somebody".to_owned(),
                verdict: files.verdict,
                ..Made::default()
            };
            Some(FoundOutputs {
                shard,
                files: FILES,
                bytes: if files.whole { BYTES } else { 0 },
                made: files.whole.then(|| Box::new(made)),
            })
        });
        StageOutputs {
            unknown: false,
            found: found.collect(),
        }
    }

    /// The coordinator answers the submission.
    pub(super) fn answered(
        &mut self,
        request: RequestId,
        answer: Result<Reply, Refusal>,
    ) -> Result<(), String> {
        let Some(run) = &self.launcher else {
            return Ok(());
        };
        if request != RequestId(FIRST_REQUEST + run.runs) || !matches!(run.step, Step::Asked) {
            return Ok(());
        }
        match answer {
            Ok(Reply::Submitted(submitted)) => {
                if submitted.reused > 0 && !run.marked {
                    // The outputs are not there any more: whoever wants them runs all of it again.
                    self.gives_up(Rerun::All);
                    return Ok(());
                }
                self.trace(|| format!("accepted: {submitted:?}"));
                self.accepted(&submitted);
                Ok(())
            }
            // What outlived the run before works on another version: it is cancelled first.
            Err(refusal) if refusal.code == Code::JobRunning => {
                self.gives_up(Rerun::Changed);
                Ok(())
            }
            other => Err(format!("a submission was refused: {other:?}")),
        }
    }

    fn gives_up(&mut self, rerun: Rerun) {
        if let Some(run) = &mut self.launcher {
            run.submission.rerun = rerun;
            run.step = Step::Dismiss;
        }
    }

    fn accepted(&mut self, submitted: &Submitted) {
        let holds = self.has_the_output();
        let Some(run) = &mut self.launcher else {
            return;
        };
        run.looks_again = submitted.look_again;
        self.oracle.excused.clear();
        self.oracle.has_output = holds && !run.looks_again;
        let stages = &run.submission.spec.stages;
        let doomed = submitted.dropped.iter().filter_map(|(name, key)| {
            let stage = stages.iter().position(|stage| stage.name == *name)?;
            let is_one = run.submission.keys[stage].contains(key);
            (!is_one).then(|| (u32::try_from(stage).unwrap_or(0), key.clone()))
        });
        run.step = Step::PutAside(doomed.collect());
    }

    /// The launcher says how the job ended.
    fn told(&mut self) -> Result<(), String> {
        self.trace(|| format!("the job has ended: {:?}", self.oracle.end));
        self.oracle.at_the_end()?;
        self.stats.told += 1;
        self.oracle
            .all_made_of_the_same(&self.output, &self.outputs.truths)
    }

    /// The run of this home has the output, as far as anybody can say.
    pub(super) fn has_the_output(&self) -> bool {
        !self.options.town
            || self.output.is_held_by(self.keeper)
            || self.options.broken == Some(Broken::RunRecord)
    }

    /// What the outputs of a shard are put aside by that is no part of the job any more; whether that is done.
    fn put_aside(&mut self, place: &Place) -> bool {
        let by = Name {
            lineage: self.oracle.lineage,
            lease: 0,
        };
        self.output
            .put_dropped_aside(place, by, LAUNCHERS + self.keeper as u64, &mut self.rng)
    }

    fn has_workers(&self) -> bool {
        let all = self.workers.iter().zip(&self.strangers);
        all.into_iter()
            .any(|(worker, strange)| worker.is_some() && !strange)
    }

    /// All workers of this home that it knows of are killed.
    pub(super) fn end_all(&mut self) {
        for index in 0..self.workers.len() {
            if self.workers[index].is_some() && !self.strangers[index] {
                self.end_process(index);
            }
        }
    }

    /// Most steps take a moment, and some much longer.
    fn launcher_pause(&mut self) -> u64 {
        if self.is_calm() {
            return self.rng.u64(0..100);
        }
        match self.rng.u32(0..100) {
            0..4 => self.rng.u64(0..6_000),
            4..40 => self.rng.u64(0..300),
            40.. => 0,
        }
    }
}

/// Whoever holds a lock has a number: attempts theirs, and launchers one from here on.
const LAUNCHERS: u64 = 1 << 60;
