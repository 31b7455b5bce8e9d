//! What the launcher keeps of a job.

use crate::owner::Owner;
use petctl_spec::JobSpec;
use serde::{Deserialize, Serialize};

/// What the launcher keeps of a job, in `job.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobCard {
    /// Of this file.
    pub version: u32,
    /// Name of the job.
    pub name: String,
    /// Absolute path of the job file.
    pub job_file: String,
    /// Overrides of the last run, as they were typed.
    pub set: Vec<String>,
    /// Absolute folder of the outputs.
    pub output: String,
    /// Hex of the SHA-256 that tells the same job from another.
    pub fingerprint: String,
    /// The job itself: to say what changed, and to run one shard of it again.
    pub spec: JobSpec,
    /// Listed shards of each stage: how many.
    pub listed: Vec<u64>,
    /// When it was first accepted, ms since 1970.
    pub accepted_at_ms: u64,
    /// When `petctl run` last worked on it, ms since 1970.
    pub started_at_ms: u64,
    /// Process id of that `petctl run`.
    pub pid: u32,
    /// The fingerprint of the version before this one: its output may still be marked with it.
    #[serde(default)]
    pub before: Option<String>,
    /// The date behind the output, where the job is dated.
    #[serde(default)]
    pub date: Option<String>,
}

impl JobCard {
    /// The version that this petctl writes.
    pub const VERSION: u32 = 1;

    /// Whether an output that is not marked with this job's fingerprint is its own all the same: what was known of it
    /// when it was last run says so.
    pub fn knows(&self, owner: &Owner, output: &str) -> bool {
        if self.output != output {
            return false;
        }
        match owner {
            Owner::EarlierJob(record) => {
                record.fingerprint == self.fingerprint
                    || Some(&record.fingerprint) == self.before.as_ref()
            }
            // Only the record is gone.
            Owner::Nobody | Owner::ThisJob | Owner::Strange(_) => true,
            Owner::OtherJob(_) => false,
        }
    }

    /// The command that goes on with this job.
    pub fn resume_command(&self) -> String {
        let mut words = vec![
            "petctl".to_owned(),
            "run".to_owned(),
            petctl_ui::shell::quote(&self.job_file),
        ];
        for set in &self.set {
            words.push("--set".to_owned());
            words.push(petctl_ui::shell::quote(set));
        }
        words.join(" ")
    }
}
