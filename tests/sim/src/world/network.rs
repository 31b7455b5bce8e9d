//! Messages on their way: late, twice, out of order, or never.

use super::{Arrival, World};
use crate::worker::Worker;
use petctl_core::{Checkpoint, ConnId, Epoch, FromWorker, Input, Outcome, ToWorker};

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

    /// What could not be heard at its time is heard now, in its order.
    pub(super) fn hear_late(&mut self) -> Result<(), String> {
        for index in 0..self.workers.len() {
            let stopped = self.workers[index]
                .as_ref()
                .is_some_and(|w| w.stopped_until > self.now);
            if stopped || self.cut_until[index] > self.now {
                continue;
            }
            for (conn, epoch, message) in std::mem::take(&mut self.unheard[index]) {
                self.hear(index, conn, epoch, message)?;
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
        let hello = worker.hello(self.now);
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
        let deaf = worker.stopped_until > self.now || self.cut_until[index] > self.now;
        if deaf || !self.unheard[index].is_empty() {
            self.workers[index] = Some(worker);
            self.unheard[index].push_back((conn, epoch, message));
            return Ok(());
        }
        if worker.conn.is_some_and(|(c, _)| c == conn) {
            self.trace(|| format!("worker {index} hears {message:?}"));
            if let ToWorker::CheckpointAnswer {
                request,
                refusal,
                drop,
            } = &message
                && let Some(report) = worker.trainer.said_of(*request)
            {
                self.oracle
                    .checkpoint_answered(report, refusal.is_none(), drop)?;
            }
            let answer = worker.hear(epoch, message, &mut self.surroundings(index));
            if let Some(why) = worker.trainer.broken.take() {
                return Err(why);
            }
            if let Some(answer) = answer {
                self.say(index, &worker, answer);
            }
        }
        self.workers[index] = Some(worker);
        Ok(())
    }

    /// Streams keep their order towards a worker; a message may come twice.
    pub(super) fn send(
        &mut self,
        conn: ConnId,
        epoch: Epoch,
        message: ToWorker,
    ) -> Result<(), String> {
        let Some(index) = self.conns.get(&conn).copied() else {
            return Ok(());
        };
        if let ToWorker::Leases(grants) = &message {
            let local = !self.options.town && index >= self.plan.workers as usize;
            self.oracle.granted(grants, local)?;
            self.oracle.grants(grants, &mut self.outputs)?;
        }
        if let ToWorker::GroupStart(start) = &message {
            self.oracle.start_sent(start)?;
            start.resume.iter().try_for_each(|c| self.whole(c))?;
        }
        if let ToWorker::GroupPrepare { checkpoints, .. } = &message {
            checkpoints.iter().try_for_each(|c| self.whole(c))?;
        }
        let delay = self.plan.delay_ms;
        if self.happens(self.plan.twice_permille) {
            self.post(
                delay,
                Arrival::ToWorker(index, conn, epoch, message.clone()),
            );
        }
        self.post(delay, Arrival::ToWorker(index, conn, epoch, message));
        Ok(())
    }

    /// A checkpoint that is handed out must be whole.
    fn whole(&self, checkpoint: &Checkpoint) -> Result<(), String> {
        let Checkpoint { step, path, .. } = checkpoint;
        if self.cluster.is_complete(path) {
            return Ok(());
        }
        Err(format!(
            "the checkpoint of step {step} is handed out, and {path} is not complete"
        ))
    }

    /// Towards the coordinator messages may come twice, and those about shards overtake one another.
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
            if keeps_order(&said) {
                let after = self.ordered_until[index].saturating_sub(self.now);
                delay = delay.max(after);
                self.ordered_until[index] = self.now + delay;
            }
            let input = Input::Worker(conn, worker.epoch(), said.clone());
            self.post(delay, Arrival::ToCoordinator(conn, self.generation, input));
        }
    }
}

/// What a worker says of itself and of its training is told in its order, as on a real stream.
fn keeps_order(said: &FromWorker) -> bool {
    match said {
        FromWorker::Leaving(_)
        | FromWorker::Group(_)
        | FromWorker::Master(_)
        | FromWorker::Checkpoint(_)
        | FromWorker::Progress(_)
        | FromWorker::Preflight { .. } => true,
        FromWorker::Heartbeat { .. } | FromWorker::Results(_) => false,
    }
}
