//! Worker processes: started, stepped, ended.

use super::{Arrival, World};
use crate::plan::Broken;
use crate::worker::{Surroundings, Worker};
use petctl_core::{ConnId, WorkerId};

impl World {
    pub(super) fn workers_act(&mut self) {
        for index in 0..self.workers.len() {
            let Some(mut worker) = self.workers[index].take() else {
                if self.respawn_at[index] <= self.now {
                    let id =
                        WorkerId(u128::from(self.rng.u64(..)) << 64 | u128::from(self.rng.u64(..)));
                    self.workers[index] =
                        Some(Worker::new(id, format!("w{index}"), self.plan.slots));
                }
                continue;
            };
            if worker.stopped_until > self.now {
                self.workers[index] = Some(worker);
                continue;
            }
            let said = worker.step(&mut self.surroundings());
            for message in said {
                self.say(index, &worker, message);
            }
            let done = worker.is_done();
            if worker.conn.is_none()
                && self.cut_until[index] <= self.now
                && self.rng.u32(0..10) == 0
            {
                self.last_conn += 1;
                let conn = ConnId(self.last_conn);
                worker.conn = Some((conn, false));
                let delay = self.plan.delay_ms;
                self.post(delay, Arrival::Opened(index, conn));
            }
            self.workers[index] = Some(worker);
            if done {
                self.trace(|| format!("worker {index} exits"));
                self.end_process(index);
            }
        }
    }

    pub(super) fn surroundings(&mut self) -> Surroundings<'_> {
        let calm = self.is_calm();
        Surroundings {
            now: self.now,
            storage: &mut self.storage,
            rng: &mut self.rng,
            work_ms: self.plan.work_ms,
            fail_permille: if calm { 0 } else { self.plan.fail_permille },
            forgets: self.options.broken == Some(Broken::Resend),
        }
    }
}
