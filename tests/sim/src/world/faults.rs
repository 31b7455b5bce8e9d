//! What goes wrong, and when.

use super::{Arrival, World};
use petctl_core::{ClientRequest, FromWorker, Input, RequestId};

/// A hang is found late, and a cut may be felt long after it healed.
const FAR: u64 = 30_000;

impl World {
    /// Draws the second's faults.
    pub(super) fn faults(&mut self) -> Result<(), String> {
        if self.options.town && self.happens(100) {
            self.copy = Some((self.disk.clone(), self.oracle.clone()));
        }
        if self.happens(self.plan.crash_permille) && !self.options.town {
            self.crash()?;
        }
        if self.happens(self.plan.power_permille) {
            self.power_cut()?;
        }
        if self.happens(50) {
            self.disk.compact()?;
        }
        if self.happens(self.plan.scale_permille) && self.submitted {
            let (min, max) = (self.rng.u32(1..=2), self.rng.u32(2..=8));
            let wanted = Some(self.rng.u32(min..=max));
            let (min, max) = (Some(min), Some(max));
            self.ask(Input::Request(
                RequestId(2),
                ClientRequest::Scale {
                    job: "sim".to_owned(),
                    min,
                    max,
                    wanted,
                },
            ));
        }
        self.client_faults();
        for index in 0..self.workers.len() {
            self.worker_faults(index);
            self.training_faults(index);
        }
        Ok(())
    }

    /// Somebody suspends the job, lets it go on, drains a worker.
    fn client_faults(&mut self) {
        let job = "sim".to_owned();
        if self.happens(self.plan.suspend_permille) && self.submitted {
            let reason = "for a while".to_owned();
            let job = job.clone();
            let request = if self.rng.bool() {
                ClientRequest::Suspend { job, reason }
            } else {
                ClientRequest::Resume { job }
            };
            self.ask(Input::Request(RequestId(4), request));
        }
        if self.happens(self.plan.drain_permille) && self.submitted {
            let index = self.rng.usize(0..self.workers.len());
            self.trace(|| format!("worker {index} is to be drained"));
            self.ask(Input::Request(
                RequestId(6),
                ClientRequest::DrainWorker {
                    job,
                    worker: format!("w{index}"),
                    reason: String::new(),
                },
            ));
        }
    }

    /// A training process fails, or all of them hang.
    fn training_faults(&mut self, index: usize) {
        if self.happens(self.plan.rank_permille)
            && let Some(mut worker) = self.workers[index].take()
        {
            if worker.trainer.fail(&mut self.surroundings(index).stage()) {
                self.trace(|| format!("a training process of worker {index} fails"));
                self.oracle.disturbed(self.now);
                self.stats.faults += 1;
            }
            self.workers[index] = Some(worker);
        }
        if self.happens(self.plan.hang_permille) && self.cluster.hang() {
            self.trace(|| "the training hangs".to_owned());
            self.oracle.disturbed(self.now + FAR);
            self.stats.faults += 1;
        }
    }

    pub(super) fn worker_faults(&mut self, index: usize) {
        if self.happens(self.plan.kill_permille) && self.workers[index].is_some() {
            self.trace(|| format!("kill -9 of worker {index}"));
            self.oracle.disturbed(self.now + 2_000);
            self.end_process(index);
        }
        if self.happens(self.plan.stop_permille) {
            let until = self.now + self.rng.u64(100..20_000);
            self.trace(|| format!("worker {index} is stopped until {until}"));
            self.oracle.disturbed(until + FAR);
            if let Some(worker) = &mut self.workers[index] {
                worker.stopped_until = worker.stopped_until.max(until);
                self.stats.faults += 1;
            }
        }
        if self.happens(self.plan.break_permille) {
            self.stats.faults += 1;
            if self.rng.bool() {
                let until = self.now + self.rng.u64(100..12_000);
                self.trace(|| format!("the network to worker {index} is cut until {until}"));
                // What is on its way keeps its order.
                self.cut_until[index] = self.cut_until[index].max(until);
                self.oracle.disturbed(until + FAR);
            } else {
                self.oracle.disturbed(self.now + FAR);
                self.break_stream(index);
            }
        }
        if self.happens(self.plan.leave_permille) {
            self.trace(|| format!("worker {index} announces its leave"));
            if let Some(mut worker) = self.workers[index].take() {
                worker.leave(&mut self.surroundings(index));
                let said = FromWorker::Leaving("eviction".to_owned());
                self.say(index, &worker, said);
                self.workers[index] = Some(worker);
            }
        }
    }

    /// The machine that has it all loses its power.
    pub(super) fn power_cut(&mut self) -> Result<(), String> {
        self.trace(|| "the power is cut".to_owned());
        self.stats.power_cuts += 1;
        self.crash()?;
        for index in 0..self.workers.len() {
            if self.workers[index].is_some() {
                self.end_process(index);
            }
        }
        self.oracle.disturbed(self.now + FAR);
        self.output.power_cut(&mut self.rng)
    }

    pub(super) fn end_process(&mut self, index: usize) {
        self.break_stream(index);
        self.cluster.killed(index);
        if let Some(worker) = self.workers[index].take() {
            worker.killed(&mut self.output);
        }
        self.respawn_at[index] = self.now + self.rng.u64(100..5_000);
        self.stats.faults += 1;
    }

    /// Both ends learn of it, each in its own time; one of them perhaps much later.
    pub(super) fn break_stream(&mut self, index: usize) {
        let Some((conn, _)) = self.workers[index].as_ref().and_then(|w| w.conn) else {
            return;
        };
        self.trace(|| format!("stream {conn} of worker {index} breaks"));
        let late = if self.rng.u32(0..4) == 0 {
            self.rng.u64(0..8_000)
        } else {
            0
        };
        self.post(self.plan.delay_ms + late, Arrival::Closed(index, conn));
        self.post(
            self.plan.delay_ms,
            Arrival::ToCoordinator(conn, self.generation, Input::Disconnected(conn)),
        );
    }

    pub(super) fn crash(&mut self) -> Result<(), String> {
        if self.options.town {
            self.start_at = u64::MAX;
        }
        let Some(coordinator) = self.coordinator.take() else {
            return Ok(());
        };
        self.trace(|| "kill -9 of the coordinator".to_owned());
        self.oracle.disturbed(self.now + FAR);
        // The commit under way either made it to the disk or did not; what it allowed was not sent.
        if coordinator.commit_at.is_some() && self.rng.bool() {
            self.make_durable(&coordinator)?;
        }
        self.generation += 1;
        if !self.options.town {
            self.start_at = self.now + self.rng.u64(20..8_000);
        }
        for (conn, index) in std::mem::take(&mut self.conns) {
            self.post(self.plan.delay_ms, Arrival::Closed(index, conn));
        }
        Ok(())
    }
}
