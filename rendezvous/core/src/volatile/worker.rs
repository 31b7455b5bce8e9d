//! Workers as the coordinator knows them now. Not durable: their memberships are, in the job.

use crate::training::Busy;
use crate::volatile::gpus::Gpus;
use crate::{ConnId, Epoch, GpuShare, Hello, JobId, LeaseId, MemberRecord, Millis, WorkerId};
use petctl_spec::TrainSpec;
use std::collections::{BTreeMap, BTreeSet};

/// A worker that is connected, or may come back soon.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) hello: Hello,
    /// Its stream; `None` while it is broken.
    pub(crate) conn: Option<ConnId>,
    pub(crate) last_heard: Millis,
    /// Since when the stream is broken.
    pub(crate) broken_since: Option<Millis>,
    pub(crate) standing: Standing,
    pub(crate) leases: BTreeSet<LeaseId>,
    /// Among those leases, what they ask for.
    pub(crate) load: Demand,
    pub(crate) gpus: Gpus,
    /// Leases waiting for a slot there, as its last heartbeat said.
    pub(crate) queued: u32,
    /// Shards committed since it connected.
    pub(crate) done: u64,
    /// Workers are admitted in this order.
    pub(crate) arrival: u64,
    /// Training processes that it may have.
    pub(crate) busy: Option<Busy>,
    /// Jobs whose checks it was asked to run.
    pub(crate) preflights: BTreeMap<JobId, Preflight>,
}

/// How a worker stands to a job's preflight checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Preflight {
    Asked,
    Passed,
    Failed { code: String, message: String },
}

/// What a worker is to the jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Waits for a job.
    Free,
    /// Member since that epoch.
    Member(JobId, Epoch),
    /// No member any more; its leases stand until they end.
    Draining(JobId, Epoch),
    /// Runs the local stages of that job, and is no member of its pool.
    LocalStages(JobId),
}

/// What a shard asks of a worker beside a slot; 0 is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Demand {
    pub(crate) cpu_milli: u64,
    pub(crate) memory_mib: u64,
    pub(crate) gpu_milli: u64,
}

impl Worker {
    pub(crate) fn id(&self) -> WorkerId {
        self.hello.worker
    }

    pub(crate) fn job(&self) -> Option<JobId> {
        match self.standing {
            Standing::Free => None,
            Standing::Member(job, _) | Standing::Draining(job, _) | Standing::LocalStages(job) => {
                Some(job)
            }
        }
    }

    /// The epoch in which it was last admitted.
    pub(crate) fn admitted(&self) -> Epoch {
        match self.standing {
            Standing::Free | Standing::LocalStages(_) => Epoch(0),
            Standing::Member(_, epoch) | Standing::Draining(_, epoch) => epoch,
        }
    }

    pub(crate) fn is_member(&self) -> bool {
        matches!(self.standing, Standing::Member(..))
    }

    pub(crate) fn runs_local_stages(&self) -> bool {
        matches!(self.standing, Standing::LocalStages(_))
    }

    /// Whether it could become a member of a pool.
    pub(crate) fn waits(&self) -> bool {
        self.standing == Standing::Free && !self.hello.local_stages
    }

    /// Whether it takes work of a job of that name.
    pub(crate) fn serves(&self, job: &str) -> bool {
        self.hello.job.is_empty() || self.hello.job == job
    }

    /// Processes it starts of a training group.
    pub(crate) fn processes(&self, train: &TrainSpec) -> u32 {
        match self.hello.processes {
            0 => train
                .processes
                .on(self.hello.gpus, self.hello.cpu_milli / 1_000),
            count => count,
        }
    }

    /// Slots that hold no lease.
    pub(crate) fn free_slots(&self) -> usize {
        (self.hello.slots as usize).saturating_sub(self.leases.len())
    }

    /// Slots that hold a lease.
    pub(crate) fn busy_slots(&self) -> u64 {
        self.leases.len().min(self.hello.slots as usize) as u64
    }

    /// Whether one more shard with this demand fits. A worker that does not say what it has takes anything.
    pub(crate) fn fits(&self, demand: Demand) -> bool {
        self.fits_beside_gpus(demand)
            && (demand.gpu_milli == 0 || self.gpus.find(demand.gpu_milli).is_some())
    }

    /// Books one more shard, if it fits; which GPUs are its own.
    pub(crate) fn book(&mut self, demand: Demand) -> Option<Vec<GpuShare>> {
        if !self.fits_beside_gpus(demand) {
            return None;
        }
        let gpus = if demand.gpu_milli == 0 {
            Vec::new()
        } else {
            self.gpus.find(demand.gpu_milli)?
        };
        self.load.add(demand);
        self.gpus.take(&gpus);
        Some(gpus)
    }

    fn fits_beside_gpus(&self, demand: Demand) -> bool {
        let room = |has: u64, used: u64, asks: u64| {
            asks == 0 || has == 0 || used.saturating_add(asks) <= has
        };
        room(
            u64::from(self.hello.cpu_milli),
            self.load.cpu_milli,
            demand.cpu_milli,
        ) && room(
            self.hello.memory_mib,
            self.load.memory_mib,
            demand.memory_mib,
        )
    }

    /// Whether a shard with this demand would fit if nothing else ran there.
    pub(crate) fn could_fit(&self, demand: Demand) -> bool {
        let room = |has: u64, asks: u64| asks == 0 || has == 0 || asks <= has;
        room(u64::from(self.hello.cpu_milli), demand.cpu_milli)
            && room(self.hello.memory_mib, demand.memory_mib)
            && (demand.gpu_milli == 0 || self.gpus.could_hold(demand.gpu_milli))
    }

    pub(crate) fn record(&self, train: Option<&TrainSpec>) -> MemberRecord {
        MemberRecord {
            worker: self.id(),
            name: self.hello.name.clone(),
            host: self.hello.host.clone(),
            address: self.hello.address.clone(),
            processes: train.map_or(self.hello.processes, |t| self.processes(t)),
        }
    }
}

impl Demand {
    pub(crate) fn add(&mut self, other: Self) {
        self.cpu_milli += other.cpu_milli;
        self.memory_mib += other.memory_mib;
    }

    pub(crate) fn sub(&mut self, other: Self) {
        self.cpu_milli = self.cpu_milli.saturating_sub(other.cpu_milli);
        self.memory_mib = self.memory_mib.saturating_sub(other.memory_mib);
    }
}
