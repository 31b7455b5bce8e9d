//! How training stands: for the status, the verdict line, and why it waits.

use crate::members::preflight::has_checks;
use crate::state::job::Phase;
use crate::training::cause::{is_left_out, used};
use crate::training::forming::{fewest, target};
use crate::training::{Doing, Training};
use crate::view::wording::count;
use crate::view::{GroupView, GroupViewPhase, Reason};
use crate::volatile::worker::{Preflight, Worker};
use crate::{Cause, Code, Core, Group, Job, Master, Millis, ShardId};
use petctl_spec::TrainSpec;

impl Core {
    /// One for each training stage, in the job file's order.
    pub(crate) fn group_views(&self, now: Millis, job: &Job) -> Vec<GroupView> {
        train_stages(job)
            .map(|(stage, train)| self.group_view(now, job, stage, train))
            .collect()
    }

    fn group_view(&self, now: Millis, job: &Job, stage: u32, train: &TrainSpec) -> GroupView {
        let none = Group::default();
        let group = job.groups.get(&stage).unwrap_or(&none);
        let training = self.training(job.id).filter(|t| t.stage == stage);
        let phase = group_phase(job, stage, training);
        let runs = phase == GroupViewPhase::Running;
        let step = newest_step(training, group);
        let newest = group.checkpoints.first();
        GroupView {
            stage,
            stage_name: job.spec.stages[stage as usize].name.clone(),
            phase,
            epoch: group.epoch,
            world_size: group.world_size,
            master: if group.epoch == crate::Epoch(0) {
                Master::default()
            } else {
                group.master.clone()
            },
            running_since: runs.then_some(group.started_at),
            restarts_used: used(group, train, if runs { now } else { Millis(0) }).0,
            max_restarts: train.max_restarts,
            checkpoints: group.checkpoints.clone(),
            at_risk_ms: if runs { at_risk_ms(group, now) } else { 0 },
            at_risk_steps: step
                .filter(|_| runs)
                .map(|step| step.saturating_sub(newest.map_or(0, |c| c.step))),
            step,
            causes: self.causes(job, group),
            stragglers: training
                .filter(|_| runs)
                .map_or_else(Vec::new, |t| stragglers(t, job)),
            left_out: training.map_or_else(Vec::new, |_| self.left_out(job, group, train)),
            joining: training
                .filter(|_| runs)
                .map_or(0, |t| self.joining(job, t, group, train)),
        }
    }

    /// Workers that join a running group at its next checkpoint.
    fn joining(&self, job: &Job, training: &Training, group: &Group, train: &TrainSpec) -> u32 {
        let room = target(self.sizes_now(job)).saturating_sub(training.parts.len());
        if room == 0 || training.succeeded > 0 {
            return 0;
        }
        let good = self
            .volatile
            .candidates(self.now, job)
            .into_iter()
            .filter(|id| {
                self.volatile
                    .workers
                    .get(id)
                    .is_some_and(|w| !is_left_out(group, train, &w.hello.name, &w.hello.host))
            });
        let unit = job.spec.workers.unit.max(1) as usize;
        u32::try_from(good.count().min(room) / unit * unit).unwrap_or(u32::MAX)
    }

    /// Workers that could train and do not, and why.
    fn left_out(&self, job: &Job, group: &Group, train: &TrainSpec) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let free = self
            .volatile
            .free
            .iter()
            .filter_map(|(_, id)| self.volatile.workers.get(id));
        for worker in free.filter(|w| w.serves(&job.spec.name)) {
            let who = Self::name_of(&worker.hello);
            if let Some(failed) = Self::failed_checks(job, worker) {
                reasons.push(failed);
            } else if is_left_out(group, train, &worker.hello.name, &worker.hello.host) {
                let message = format!(
                    "{who} was the first cause {} times (exclude_after = {}): it trains only if the others are too \
                     few",
                    group
                        .blame
                        .get(&crate::state::group::blame_key(
                            &worker.hello.name,
                            &worker.hello.host
                        ))
                        .copied()
                        .unwrap_or_default(),
                    train.exclude_after
                );
                reasons.push(Reason::new(Code::WorkerLeftOut, message));
            } else if worker.busy.is_some() {
                let message = format!("{who} still has processes of an epoch that is over");
                reasons.push(Reason::new(Code::StillStopping, message));
            }
            if reasons.len() >= MOST_LEFT_OUT {
                break;
            }
        }
        reasons
    }

    fn failed_checks(job: &Job, worker: &Worker) -> Option<Reason> {
        let Some(Preflight::Failed { code, message }) = worker.preflights.get(&job.id) else {
            return None;
        };
        let who = Self::name_of(&worker.hello);
        if code == Code::SetupFailed.as_str() {
            let message = format!("{who} could not be set up: {message}");
            return Some(Reason::new(Code::SetupFailed, message));
        }
        let message = format!("{who} did not pass the checks: {code}: {message}");
        Some(Reason::new(Code::PreflightFailed, message))
    }

    /// Workers that did not pass a job's checks, and so did not join it.
    pub(crate) fn failed_preflights(&self, job: &Job) -> Vec<Reason> {
        if !has_checks(&job.spec) {
            return Vec::new();
        }
        let free = self.volatile.free.iter();
        free.filter_map(|(_, id)| Self::failed_checks(job, self.volatile.workers.get(id)?))
            .take(MOST_LEFT_OUT)
            .collect()
    }

    /// Why a job that has training to do does not train, or not with all.
    pub(crate) fn group_waiting(&self, now: Millis, job: &Job) -> Vec<Reason> {
        let training = self.training(job.id);
        let Some((training, train)) = training.and_then(|t| Some((t, t.spec(job)?))) else {
            return Vec::new();
        };
        let none = Group::default();
        let group = training.group(job).unwrap_or(&none);
        let mut reasons = Vec::new();
        match training.doing {
            Doing::Gathering if job.suspended.is_some() => {}
            Doing::Gathering => reasons.extend(self.gathering(now, job, training, group, train)),
            Doing::Preparing(epoch) => {
                let first = job.members.first().map(|m| m.member.name.as_str());
                let message = format!(
                    "epoch {epoch} forms: {} looks for a port and for the newest checkpoint",
                    first.unwrap_or("rank 0")
                );
                reasons.push(Reason::new(Code::Preparing, message));
            }
            Doing::Running(_) => {
                let joining = self.joining(job, training, group, train);
                if joining > 0 {
                    let workers = count(joining as usize, "worker");
                    let wait = if joining == 1 { "waits" } else { "wait" };
                    let message = format!("{workers} {wait} for the next checkpoint, to join");
                    reasons.push(Reason::new(Code::WaitsForCheckpoint, message));
                }
            }
            Doing::Stopping(epoch, _) => {
                let (alive, all) = (training.alive, training.parts.len());
                let message =
                    format!("epoch {epoch} stops: {alive} of {all} workers still have processes");
                reasons.push(Reason::new(Code::Stopping, message));
            }
        }
        reasons.extend(self.left_out(job, group, train));
        reasons
    }

    fn gathering(
        &self,
        now: Millis,
        job: &Job,
        training: &Training,
        group: &Group,
        train: &TrainSpec,
    ) -> Option<Reason> {
        let (sizes, unit) = (self.sizes_now(job), job.spec.workers.unit);
        let (target, fewest) = (target(sizes), fewest(sizes));
        if target < fewest {
            let message = format!(
                "no multiple of {unit} (`unit`) lies from min {} to {} workers",
                sizes.min,
                sizes.wanted.min(sizes.max)
            );
            return Some(Reason::new(Code::Gathering, message));
        }
        let out = |name: &str, host: &str| is_left_out(group, train, name, host);
        let members = job.members.iter().map(|m| &m.member);
        let members = members
            .filter(|m| !training.left.contains_key(&m.worker) && !out(&m.name, &m.host))
            .count();
        let candidates = self.volatile.candidates(self.now, job).into_iter();
        let candidates = candidates
            .filter_map(|id| self.volatile.workers.get(&id))
            .filter(|w| !out(&w.hello.name, &w.hello.host))
            .count();
        let here = members + candidates;
        if here < fewest {
            let message = format!("{here} of at least {fewest} workers are here");
            return Some(Reason::new(Code::BelowMin, message));
        }
        let until = training.since.plus(job.spec.workers.settle_timeout_ms);
        let message = format!(
            "waiting for {} of {target} workers (settles in {} s)",
            target.saturating_sub(here),
            until.since(now).div_ceil(1_000)
        );
        Some(Reason::new(Code::Gathering, message))
    }

    /// Where a training shard stands, as the shard of a stage.
    pub(crate) fn trains_now(&self, job: &Job, shard: ShardId) -> bool {
        self.training(job.id)
            .is_some_and(|t| t.stage == shard.stage && t.doing != Doing::Gathering)
    }

    /// The training part of the verdict line: "training: epoch 3, 8 ranks on 4 workers, step 1200, …".
    pub(crate) fn training_lines(&self, now: Millis, job: &Job) -> Vec<String> {
        let several = train_stages(job).count() > 1;
        train_stages(job)
            .filter_map(|(stage, _)| {
                let name = if several {
                    job.spec.stages[stage as usize].name.as_str()
                } else {
                    "training"
                };
                self.training_line(now, job, stage)
                    .map(|line| format!("{name}: {line}"))
            })
            .collect()
    }

    /// Why its epochs ended. Where a worker was lost, its place may know more of that than could be seen from here.
    fn causes(&self, job: &Job, group: &Group) -> Vec<Cause> {
        let mut causes = group.causes.clone();
        let lost = causes.iter_mut().filter(|cause| cause.rank.is_none());
        for cause in lost {
            if let Some(reason) = self.ended_by_place(job.id, &cause.worker) {
                cause.code.clone_from(&reason.code);
                cause.message = format!("{}: {}", cause.message, reason.message);
            }
        }
        causes
    }

    /// One line that says how a training stage stands; `None` before it begins.
    pub(crate) fn training_line(&self, now: Millis, job: &Job, stage: u32) -> Option<String> {
        let none = Group::default();
        let group = job.groups.get(&stage).unwrap_or(&none);
        let training = self.training(job.id).filter(|t| t.stage == stage);
        let kept = group.checkpoints.first().map_or_else(
            || "no checkpoint yet".to_owned(),
            |c| format!("checkpoint at step {}", c.step),
        );
        let last = self.causes(job, group).into_iter().next();
        let last = last.filter(|c| c.epoch == group.epoch);
        let line = match group_phase(job, stage, training) {
            GroupViewPhase::Blocked => {
                // Nobody coordinates, or other work comes first.
                (group.epoch != crate::Epoch(0)).then(|| format!("not running, {kept}"))?
            }
            GroupViewPhase::Gathering => {
                let waits = self.group_waiting(now, job).into_iter().next();
                let waits = waits.map_or_else(|| "not running".to_owned(), |r| r.message);
                match last {
                    Some(cause) => format!("{waits}; {}", cause.describe()),
                    None => waits,
                }
            }
            GroupViewPhase::Preparing => {
                let workers = count(job.members.len(), "worker");
                format!("epoch {} forms on {workers}, {kept}", job.epoch)
            }
            GroupViewPhase::Running => {
                let ranks = count(group.world_size as usize, "rank");
                let workers = count(training.map_or(0, |t| t.parts.len()), "worker");
                let step = newest_step(training, group);
                let step = step.map_or_else(String::new, |s| format!(", step {s}"));
                let risk_s = at_risk_ms(group, now) / 1_000;
                format!(
                    "epoch {}, {ranks} on {workers}{step}, {kept} ({risk_s} s at risk)",
                    group.epoch
                )
            }
            GroupViewPhase::Stopping => {
                let (alive, all) = training.map_or((0, 0), |t| (t.alive, t.parts.len()));
                format!(
                    "epoch {} stops, {alive} of {all} workers still have processes, {kept}",
                    group.epoch
                )
            }
            GroupViewPhase::Succeeded => {
                let step = group.checkpoints.first();
                let step = step.map_or_else(String::new, |c| format!(", {}", at_step(c.step)));
                format!("done in epoch {}{step}", group.epoch)
            }
            GroupViewPhase::Failed => match (last, failure(job, stage)) {
                (Some(cause), _) => cause.describe(),
                (None, Some(message)) => message,
                (None, None) if group.epoch == crate::Epoch(0) => "did not run".to_owned(),
                (None, None) => format!("stopped in epoch {}, {kept}", group.epoch),
            },
        };
        Some(line)
    }
}

/// Workers that the status lists as left out.
const MOST_LEFT_OUT: usize = 20;

/// The newest step that ranks have reported. They report with heartbeats, and a checkpoint is known at once.
fn newest_step(training: Option<&Training>, group: &Group) -> Option<u64> {
    let saved = group.checkpoints.first().filter(|c| c.epoch == group.epoch);
    let reported = training.and_then(|t| t.step)?;
    Some(reported.max(saved.map_or(0, |c| c.step)))
}

fn at_step(step: u64) -> String {
    format!("last checkpoint at step {step}")
}

fn failure(job: &Job, stage: u32) -> Option<String> {
    let shard = job.stages.get(stage as usize)?.shards.first()?;
    let detail = shard
        .detail
        .as_ref()
        .filter(|_| shard.phase == Phase::Failed)?;
    detail.last_failure.as_ref().map(|f| f.message.clone())
}

/// The training stages of a job.
pub(crate) fn train_stages(job: &Job) -> impl Iterator<Item = (u32, &TrainSpec)> {
    (0..)
        .zip(&job.spec.stages)
        .filter_map(|(index, stage)| Some((index, stage.kind.training()?)))
}

fn group_phase(job: &Job, stage: u32, training: Option<&Training>) -> GroupViewPhase {
    let shard = job
        .stages
        .get(stage as usize)
        .and_then(|s| s.shards.first());
    match (training.map(|t| t.doing), shard.map(|s| s.phase)) {
        (Some(Doing::Stopping(..)), _) => GroupViewPhase::Stopping,
        // Its needs are never shard by shard, so it is not skipped with them.
        (_, Some(Phase::Done | Phase::Skipped)) => GroupViewPhase::Succeeded,
        (_, Some(Phase::Failed | Phase::Cancelled)) => GroupViewPhase::Failed,
        (Some(Doing::Gathering), _) => GroupViewPhase::Gathering,
        (Some(Doing::Preparing(_)), _) => GroupViewPhase::Preparing,
        (Some(Doing::Running(_)), _) => GroupViewPhase::Running,
        (None, _) => GroupViewPhase::Blocked,
    }
}

fn at_risk_ms(group: &Group, now: Millis) -> u64 {
    let newest = group.checkpoints.first().map_or(Millis(0), |c| c.at);
    now.since(group.started_at.max(newest))
}

/// Ranks whose step takes at least twice the (lower) median.
fn stragglers(training: &Training, job: &Job) -> Vec<Reason> {
    let mut times: Vec<(f64, u32, usize)> = training
        .parts
        .values()
        .flat_map(|part| {
            let member = part.group_rank as usize;
            part.steps
                .iter()
                .map(move |(rank, (_, ms))| (*ms, *rank, member))
        })
        .filter(|(ms, ..)| *ms > 0.0)
        .collect();
    times.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let Some((median, ..)) = times.get(times.len().saturating_sub(1) / 2).copied() else {
        return Vec::new();
    };
    let slow = times
        .iter()
        .rev()
        .take_while(|(ms, ..)| *ms >= median * 2.0);
    slow.take(MOST_LEFT_OUT)
        .map(|(ms, rank, member)| {
            let host = job
                .members
                .get(*member)
                .map_or("?", |m| m.member.host.as_str());
            let message = format!(
                "rank {rank} on {host} takes {ms:.1} ms a step, the median is {median:.1} ms"
            );
            Reason::new(Code::Straggler, message)
        })
        .collect()
}

/// Whether a worker waits outside: for this job alone or, while it `trains`, for any that may need it.
pub(crate) fn is_spare(worker: &Worker, job: &Job, trains: bool) -> bool {
    worker.waits() && (worker.hello.job == job.spec.name || trains && worker.hello.job.is_empty())
}
