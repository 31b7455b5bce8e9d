//! Worker processes: started, stepped, ended.

use super::launcher::Launcher;
use super::{Arrival, World};
use crate::worker::{Surroundings, Worker};
use petctl_core::{ConnId, WorkerId};
use std::collections::VecDeque;

impl World {
    pub(super) fn workers_act(&mut self) -> Result<(), String> {
        for index in 0..self.workers.len() {
            let Some(mut worker) = self.workers[index].take() else {
                let launcher = self.launcher.as_ref();
                let kept = launcher.is_none_or(Launcher::keeps_workers) && !self.strangers[index];
                if self.respawn_at[index] <= self.now && kept {
                    let id =
                        WorkerId(u128::from(self.rng.u64(..)) << 64 | u128::from(self.rng.u64(..)));
                    let (slots, processes) = (self.plan.slots, self.rng.u32(1..=2));
                    let mut worker = Worker::new(id, format!("w{index}"), slots, processes);
                    worker.local_stages = !self.options.town && index >= self.plan.workers as usize;
                    worker.gpus = 2;
                    self.workers[index] = Some(worker);
                }
                continue;
            };
            if worker.stopped_until > self.now {
                self.workers[index] = Some(worker);
                continue;
            }
            let said = worker.step(&mut self.surroundings(index));
            if let Some(why) = worker.trainer.broken.take() {
                return Err(why);
            }
            if let Some(device) = worker
                .crowded_gpu()
                .filter(|_| self.plan.twice_permille == 0)
            {
                return Err(format!(
                    "attempts on worker {index} share GPU {device}, which is too small"
                ));
            }
            for message in said {
                self.say(index, &worker, message);
            }
            let done = worker.is_done();
            if worker.conn.is_none()
                && !self.strangers[index]
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
        self.cluster.frozen = (0..self.workers.len())
            .filter(|i| {
                self.workers[*i]
                    .as_ref()
                    .is_some_and(|w| w.stopped_until > self.now)
            })
            .collect();
        self.cluster.step(self.now);
        Ok(())
    }

    pub(super) fn surroundings(&mut self, index: usize) -> Surroundings<'_> {
        let calm = self.is_calm();
        let holds_output = self.has_the_output() && !self.strangers[index];
        Surroundings {
            now: self.now,
            output: &mut self.output,
            holds_output,
            attempts: &mut self.attempts,
            rng: &mut self.rng,
            work_ms: self.plan.work_ms,
            fail_permille: if calm { 0 } else { self.plan.fail_permille },
            index,
            cluster: &mut self.cluster,
            habits: self.plan.habits,
            hang_permille: if calm { 0 } else { self.plan.storage_permille },
            trace: self.options.trace,
            broken: self.options.broken,
        }
    }

    /// Room for one more.
    pub(super) fn add_worker(&mut self) {
        self.workers.push(None);
        self.strangers.push(false);
        self.respawn_at.push(self.now);
        self.cut_until.push(0);
        self.unheard.push(VecDeque::new());
        self.ordered_until.push(0);
    }
}
