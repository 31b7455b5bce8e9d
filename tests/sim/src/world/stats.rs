//! What runs did, so that a test sees that what is to happen does.

use crate::oracle::outputs::OutputOracle;
use crate::output::Output;

/// What a run did, if nothing was wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Simulated time, in ms.
    pub ms: u64,
    /// Messages delivered.
    pub messages: u64,
    /// Starts of the coordinator.
    pub starts: u64,
    /// Workers killed, stopped or cut off.
    pub faults: u64,
    /// Shards committed.
    pub committed: u64,
    /// Training epochs started.
    pub epochs: u64,
    /// Causes found and charged.
    pub causes: u64,
    /// Checkpoints kept.
    pub checkpoints: u64,
    /// Later versions of the job.
    pub versions: u64,
    /// Shards that were carried over.
    pub reused: u64,
    /// Second attempts, and those that were faster.
    pub second: (u64, u64),
    /// Power cuts.
    pub power_cuts: u64,
    /// Outputs that were found damaged, and moved away.
    pub damaged: u64,
    /// Writes whose answers were lost.
    pub lost_answers: u64,
    /// Outputs of before that came back.
    pub restored: u64,
    /// Attempts that waited for a lock.
    pub lock_waits: u64,
    /// Outputs that were put aside by attempts that had no right to any more.
    pub strays: u64,
    /// Runs of launchers that began.
    pub runs: u64,
    /// Runs that told how their job had ended.
    pub told: u64,
    /// Runs that were refused, because another one had the output.
    pub refused: u64,
    /// Outputs that were taken from a run that seemed dead.
    pub takeovers: u64,
    /// Outputs that came from one home to another.
    pub second_homes: u64,
    /// Runs that lost the output to another one.
    pub lost_outputs: u64,
    /// Launchers that stood still for a while.
    pub pauses: u64,
    /// Logs that were lost.
    pub lost_logs: u64,
    /// Logs of which an older copy was put back.
    pub restored_logs: u64,
    /// Outputs that were removed by hand.
    pub by_hand: u64,
    /// Shards that were taken over from others' outputs.
    pub taken: u64,
}

impl Stats {
    /// Adds what another run did.
    pub fn add(&mut self, other: &Self) {
        self.ms += other.ms;
        self.messages += other.messages;
        self.starts += other.starts;
        self.faults += other.faults;
        self.committed += other.committed;
        self.epochs += other.epochs;
        self.causes += other.causes;
        self.checkpoints += other.checkpoints;
        self.versions += other.versions;
        self.reused += other.reused;
        self.second.0 += other.second.0;
        self.second.1 += other.second.1;
        self.power_cuts += other.power_cuts;
        self.damaged += other.damaged;
        self.lost_answers += other.lost_answers;
        self.restored += other.restored;
        self.lock_waits += other.lock_waits;
        self.strays += other.strays;
        self.runs += other.runs;
        self.told += other.told;
        self.refused += other.refused;
        self.takeovers += other.takeovers;
        self.second_homes += other.second_homes;
        self.lost_outputs += other.lost_outputs;
        self.pauses += other.pauses;
        self.lost_logs += other.lost_logs;
        self.restored_logs += other.restored_logs;
        self.by_hand += other.by_hand;
        self.taken += other.taken;
    }

    /// What happened at the output.
    pub(super) fn of_the_output(&mut self, output: &Output, seen: &OutputOracle) {
        self.damaged = output.damaged;
        self.lost_answers = output.lost_answers;
        self.restored = output.restored.len() as u64;
        self.lock_waits = output.lock_waits;
        self.strays = seen.strays;
    }
}
