//! How far a job has come, as one number that only grows when something is gained.

use petctl_proto::v1::JobStatus;

/// A training group that has run for this long has come further, even if it does not say how far.
const HEALTHY_MS: u64 = 60_000;

/// What a job has gained so far.
#[derive(Debug, Default)]
pub(crate) struct Gain {
    training: Training,
}

impl Gain {
    /// What the job's status says: commits, failures and retries, and what its trainings have gained.
    pub(crate) fn observe(&mut self, status: &JobStatus) -> u64 {
        let shards: u64 = status
            .stages
            .iter()
            .map(|stage| stage.done + stage.failed + stage.retries)
            .sum();
        shards.saturating_add(self.training.observe(status))
    }
}

/// How far trainings have come, as one number that only grows when something is gained.
#[derive(Debug, Default)]
struct Training {
    /// The newest step that was reported or is in a checkpoint.
    step: u64,
    /// Groups that ran for a while, and the last of them.
    healthy: u64,
    last_healthy: u64,
}

impl Training {
    fn observe(&mut self, status: &JobStatus) -> u64 {
        for group in &status.groups {
            let saved = group.checkpoints.first().map_or(0, |newest| newest.step);
            self.step = self.step.max(group.step.unwrap_or(0)).max(saved);
            let ran_ms = status.at_ms.saturating_sub(group.running_since_ms);
            let healthy = group.running_since_ms > 0 && ran_ms >= HEALTHY_MS;
            if healthy && group.epoch > self.last_healthy {
                self.last_healthy = group.epoch;
                self.healthy += 1;
            }
        }
        self.step.saturating_add(self.healthy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use petctl_proto::v1::GroupStatus;

    #[test]
    fn a_training_comes_further_by_steps_and_by_groups_that_hold() {
        let mut training = Training::default();
        let mut seen = |epoch: u64, step: Option<u64>, ran_ms: u64| {
            training.observe(&JobStatus {
                at_ms: 1_000 + ran_ms,
                groups: vec![GroupStatus {
                    epoch,
                    step,
                    running_since_ms: 1_000,
                    ..GroupStatus::default()
                }],
                ..JobStatus::default()
            })
        };
        assert_eq!(seen(1, None, 5_000), 0);
        assert_eq!(seen(2, None, 0), 0, "another epoch is no progress");
        assert_eq!(seen(2, Some(40), 1_000), 40);
        assert_eq!(seen(3, Some(30), 1_000), 40, "steps that are done again");
        assert_eq!(seen(3, Some(30), HEALTHY_MS), 41);
        assert_eq!(seen(3, Some(35), 2 * HEALTHY_MS), 41, "counted once");
    }
}
