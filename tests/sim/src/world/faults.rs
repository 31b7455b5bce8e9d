//! What goes wrong, and when.

use super::{Arrival, World};
use petctl_core::{FromWorker, Input, RequestId};

impl World {
    /// Draws the second's faults.
    pub(super) fn faults(&mut self) -> Result<(), String> {
        if self.happens(self.plan.crash_permille) {
            self.crash()?;
        }
        if self.happens(50) {
            self.disk.compact()?;
        }
        if self.happens(self.plan.scale_permille) && self.submitted {
            let (min, max) = (self.rng.u32(1..=2), self.rng.u32(2..=8));
            let wanted = Some(self.rng.u32(min..=max));
            let (min, max) = (Some(min), Some(max));
            self.ask(Input::Scale {
                request: RequestId(2),
                job: "sim".to_owned(),
                min,
                max,
                wanted,
            });
        }
        for index in 0..self.workers.len() {
            self.worker_faults(index);
        }
        Ok(())
    }

    pub(super) fn worker_faults(&mut self, index: usize) {
        if self.happens(self.plan.kill_permille) && self.workers[index].is_some() {
            self.trace(|| format!("kill -9 of worker {index}"));
            self.end_process(index);
        }
        if self.happens(self.plan.stop_permille) {
            let until = self.now + self.rng.u64(100..20_000);
            self.trace(|| format!("worker {index} is stopped until {until}"));
            if let Some(worker) = &mut self.workers[index] {
                worker.stopped_until = until;
                self.stats.faults += 1;
            }
        }
        if self.happens(self.plan.break_permille) {
            self.stats.faults += 1;
            if self.rng.bool() {
                let until = self.now + self.rng.u64(100..12_000);
                self.trace(|| format!("the network to worker {index} is cut until {until}"));
                self.cut_until[index] = until;
            } else {
                self.break_stream(index);
            }
        }
        if self.happens(self.plan.leave_permille) {
            self.trace(|| format!("worker {index} announces its leave"));
            if let Some(mut worker) = self.workers[index].take() {
                worker.leave(&mut self.surroundings());
                let said = FromWorker::Leaving("eviction".to_owned());
                self.say(index, &worker, said);
                self.workers[index] = Some(worker);
            }
        }
    }

    pub(super) fn end_process(&mut self, index: usize) {
        self.break_stream(index);
        self.workers[index] = None;
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
        let Some(coordinator) = self.coordinator.take() else {
            return Ok(());
        };
        self.trace(|| "kill -9 of the coordinator".to_owned());
        // The commit under way either made it to the disk or did not; what it allowed was not sent.
        if coordinator.commit_at.is_some() && self.rng.bool() {
            self.make_durable(&coordinator)?;
        }
        self.generation += 1;
        self.start_at = self.now + self.rng.u64(20..8_000);
        for (conn, index) in std::mem::take(&mut self.conns) {
            self.post(self.plan.delay_ms, Arrival::Closed(index, conn));
        }
        Ok(())
    }
}
