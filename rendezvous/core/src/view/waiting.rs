//! Why a job does not run, or not as fast as it could.

use crate::view::Reason;
use crate::view::wording::count;
use crate::volatile::Queue;
use crate::volatile::worker::Demand;
use crate::{Code, Core, Job, JobId, Millis};

impl Core {
    /// Why nothing, or less than wanted, runs: most important first.
    pub(crate) fn waiting(&self, now: Millis, job: &Job) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let mut say = |code: Code, message: String| reasons.push(Reason::new(code, message));
        let Some(volatile) = self.open_jobs.get(&job.id).filter(|_| !self.offline) else {
            return reasons;
        };
        if self.volatile.draining.is_some() {
            say(
                Code::CoordinatorDraining,
                "the coordinator drains: what runs ends, nothing new starts".to_owned(),
            );
            return reasons;
        }
        if let Some(until) = self.volatile.recovery_ends
            && !volatile.expected.is_empty()
        {
            let (missing, s) = (volatile.expected.len(), until.since(now).div_ceil(1_000));
            say(
                Code::Recovering,
                format!(
                    "{} of before the restart may come back for another {s} s",
                    count(missing, "worker")
                ),
            );
            return reasons;
        }
        if let (Some(why), None) = (&job.suspended, &job.cancelled) {
            let gave_up = why
                .split_once(": ")
                .filter(|(code, _)| *code == Code::GaveUp.as_str());
            let code = gave_up.map_or(Code::Suspended, |_| Code::GaveUp);
            let why = gave_up.map_or(why.as_str(), |(_, why)| why);
            let why = if why.is_empty() {
                String::new()
            } else {
                format!(" ({why})")
            };
            let name = &job.spec.name;
            say(
                code,
                format!("it was suspended{why}; `petctl resume {name}` lets it go on"),
            );
        }
        // What keeps workers away comes before what waits for them.
        if job.cancelled.is_none() {
            reasons.extend(volatile.place.waiting.iter().cloned());
        }
        if volatile.training.is_some() {
            reasons.extend(self.group_waiting(now, job));
            return reasons;
        }
        let mut say = |code: Code, message: String| reasons.push(Reason::new(code, message));
        let sizes = &job.spec.workers;
        let members = job.members.len();
        if !job.formed && job.cancelled.is_none() && job.suspended.is_none() {
            say(
                Code::BelowMin,
                format!("{members} of at least {} workers are here", sizes.min),
            );
        }
        if volatile.ready_local > 0 && !self.has_local_stage_worker(job.id) {
            let shards = count(
                usize::try_from(volatile.ready_local).unwrap_or(usize::MAX),
                "shard",
            );
            let message = format!(
                "{shards} of local stages can run only beside `petctl run`, which is not there; start it again"
            );
            say(Code::LauncherAway, message);
        }
        let filled = volatile.filled.iter().chain(&volatile.filled_local);
        if let Some(queue) = filled
            .map(|q| &volatile.queues[*q])
            .find(|q| !self.anyone_fits(job.id, q))
        {
            let shards = count(queue.shards.len(), "shard");
            let asks = asked(queue.demand);
            let message = format!("no worker is large enough for {shards}; each asks for {asks}");
            say(Code::NoWorkerFits, message);
        }
        if volatile.ready == 0
            && self.volatile.leases.of_job(job.id).next().is_none()
            && !volatile.backoff.is_empty()
        {
            let next = volatile
                .backoff
                .values()
                .min()
                .map_or(0, |at| at.since(now).div_ceil(1_000));
            say(
                Code::BackingOff,
                format!(
                    "{} to be tried again, the next in {next} s",
                    count(volatile.backoff.len(), "shard")
                ),
            );
        }
        reasons.extend(self.failed_preflights(job));
        reasons
    }

    fn anyone_fits(&self, job: JobId, queue: &Queue) -> bool {
        let mut members = self
            .volatile
            .workers
            .values()
            .filter(|w| w.job() == Some(job) && w.runs_local_stages() == queue.local)
            .peekable();
        members.peek().is_none() || members.any(|w| w.could_fit(queue.demand))
    }
}

/// "2.5 CPUs and 4096 MiB of memory and 1.0 GPUs".
fn asked(demand: Demand) -> String {
    let (whole, part) = (demand.cpu_milli / 1_000, demand.cpu_milli % 1_000 / 100);
    let cpus = (demand.cpu_milli > 0).then(|| format!("{whole}.{part} CPUs"));
    let memory = (demand.memory_mib > 0).then(|| format!("{} MiB of memory", demand.memory_mib));
    let (whole, part) = (demand.gpu_milli / 1_000, demand.gpu_milli % 1_000);
    let gpus = (demand.gpu_milli > 0).then(|| match part {
        0 => format!("{whole} GPUs"),
        part => format!("{whole}.{part:03} GPUs"),
    });
    [cpus, memory, gpus]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" and ")
}
