//! Messages on their way: late, twice, out of order, or never.

use super::{Arrival, World};
use crate::worker::Worker;
use petctl_core::{ConnId, Epoch, FromWorker, Input, Outcome, ToWorker};

impl World {
    pub(super) fn deliver(&mut self) -> Result<(), String> {
        while let Some(entry) = self.queue.first_entry().filter(|e| e.key().0 <= self.now) {
            let arrival = entry.remove();
            self.stats.messages += 1;
            match arrival {
                Arrival::ToCoordinator(conn, generation, input) => {
                    let open =
                        matches!(input, Input::Disconnected(_)) || self.conns.contains_key(&conn);
                    if generation == self.generation && open {
                        if matches!(input, Input::Disconnected(_)) {
                            self.conns.remove(&conn);
                        }
                        self.ask(input);
                    }
                }
                Arrival::ToWorker(index, conn, epoch, message) => {
                    self.hear(index, conn, epoch, message)?
                }
                Arrival::Closed(index, conn) => {
                    if let Some(worker) = self.workers[index]
                        .as_mut()
                        .filter(|w| w.conn.is_some_and(|(c, _)| c == conn))
                    {
                        worker.conn = None;
                    }
                }
                Arrival::Opened(index, conn) => self.opened(index, conn),
            }
        }
        Ok(())
    }

    pub(super) fn opened(&mut self, index: usize, conn: ConnId) {
        let Some(worker) = self.workers[index]
            .as_ref()
            .filter(|w| w.conn.is_some_and(|(c, _)| c == conn))
        else {
            return;
        };
        let hello = worker.hello();
        if self.coordinator.is_some() {
            self.conns.insert(conn, index);
            self.ask(Input::Hello(conn, Box::new(hello)));
        } else {
            self.post(self.plan.delay_ms, Arrival::Closed(index, conn));
        }
    }

    pub(super) fn hear(
        &mut self,
        index: usize,
        conn: ConnId,
        epoch: Epoch,
        message: ToWorker,
    ) -> Result<(), String> {
        if let ToWorker::ResultAck(leases) = &message {
            for lease in leases {
                if let Some(shard) = self.reported.remove(lease) {
                    self.oracle.acknowledged(shard, *lease)?;
                }
            }
        }
        let Some(mut worker) = self.workers[index].take() else {
            return Ok(());
        };
        if worker.stopped_until > self.now || self.cut_until[index] > self.now {
            let later = worker.stopped_until.max(self.cut_until[index]) - self.now;
            self.workers[index] = Some(worker);
            self.post(later, Arrival::ToWorker(index, conn, epoch, message));
            return Ok(());
        }
        if worker.conn.is_some_and(|(c, _)| c == conn) {
            self.trace(|| format!("worker {index} hears {message:?}"));
            worker.hear(epoch, message, &mut self.surroundings());
        }
        self.workers[index] = Some(worker);
        Ok(())
    }

    /// Streams keep their order towards a worker; a message may come twice.
    pub(super) fn send(&mut self, conn: ConnId, epoch: Epoch, message: ToWorker) {
        let Some(index) = self.conns.get(&conn).copied() else {
            return;
        };
        let delay = self.plan.delay_ms;
        if self.happens(self.plan.twice_permille) {
            self.post(
                delay,
                Arrival::ToWorker(index, conn, epoch, message.clone()),
            );
        }
        self.post(delay, Arrival::ToWorker(index, conn, epoch, message));
    }

    /// Towards the coordinator messages may overtake one another and come twice.
    pub(super) fn say(&mut self, index: usize, worker: &Worker, said: FromWorker) {
        let Some((conn, _)) = worker.conn else { return };
        if let FromWorker::Results(reports) = &said {
            for report in reports.iter().filter(|r| r.outcome == Outcome::Committed) {
                self.reported.insert(report.lease, report.shard);
            }
        }
        self.trace(|| format!("worker {index} says {said:?}"));
        let times = if self.happens(self.plan.twice_permille) {
            2
        } else {
            1
        };
        for _ in 0..times {
            let mut delay = self.rng.u64(0..=self.plan.delay_ms);
            delay += self.cut_until[index].saturating_sub(self.now);
            let input = Input::Worker(conn, worker.epoch(), said.clone());
            self.post(delay, Arrival::ToCoordinator(conn, self.generation, input));
        }
    }
}
