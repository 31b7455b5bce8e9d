//! The job that this worker is a member of: made ready, and its leases handed to the slots.

use std::sync::Arc;

use petctl_attempt::outcome;
use petctl_codes::Code;
use petctl_commit::RunPlace;
use petctl_group::{GroupOrder, Stop as GroupEnd};
use petctl_process::StopOrder;
use petctl_process::supervisor::Stop;
use petctl_proto::v1::{Assignment, AttemptResult, Lease, Outcome};
use petctl_spec::parse_spec_json;

use crate::agent::driver::Driver;
use crate::agent::machine::Input;
use crate::agent::tenure::{Member, Tenure};
use crate::options::Execution;
use crate::shard::{Job, Task};

/// Why a job can't run here.
pub(super) struct Broken {
    pub(super) code: Code,
    pub(super) message: String,
    /// What to try again when there is something to do.
    pub(super) again: Option<Box<Assignment>>,
}

impl Driver {
    pub(super) fn assign(&mut self, assignment: &Assignment) {
        if self.execution == Execution::Nothing {
            return;
        }
        if self.groups.has_external_command() {
            return self.assign_external(assignment);
        }
        if let Some(taken) = self.taken_over() {
            self.job = Some(Err(output_busy(taken, assignment.clone())));
            return;
        }
        let reporter = self.local.clone();
        let prepared = Job::prepare(assignment, self.worker.clone(), &self.host, move |result| {
            let _ = reporter.send(Input::Ended(vec![result]));
        });
        self.job = Some(match prepared {
            Ok(job) => {
                self.machine.set_process_grace(job.longest_grace());
                self.groups.assign(Some(Arc::new(job.spec.clone())));
                self.hold_output(&job, assignment);
                tracing::info!(job = %job.spec.name, rank = assignment.rank, of = assignment.world_size, "assigned");
                Ok(Arc::new(job))
            }
            Err(error) => {
                tracing::warn!(
                    job = assignment.job,
                    code = error.code().as_str(),
                    "can't run this job here: {error}"
                );
                Err(Broken {
                    code: error.code(),
                    message: error.to_string(),
                    again: error.may_pass().then(|| Box::new(assignment.clone())),
                })
            }
        });
    }

    /// Only the group's settings of the job count, and none of its folders: they are of another machine.
    fn assign_external(&mut self, assignment: &Assignment) {
        let (spec, message) = match parse_spec_json(&assignment.spec_json) {
            Ok(spec) => (
                Some(Arc::new(spec)),
                "this worker runs a training command of its own".to_owned(),
            ),
            Err(error) => {
                tracing::warn!(
                    job = assignment.job,
                    code = error.code().as_str(),
                    "can't run this job here: {error}"
                );
                (None, error.to_string())
            }
        };
        self.machine.set_process_grace(self.groups.grace());
        self.groups.assign(spec);
        self.job = Some(Err(Broken {
            code: Code::NotAssigned,
            message,
            again: None,
        }));
    }

    /// Looks after the record of the run at its output, from now on.
    fn hold_output(&mut self, job: &Job, assignment: &Assignment) {
        // One that goes on after the output was lost for a while looks after it already.
        if assignment.lineage == 0 || self.tenure.is_some() {
            return;
        }
        match RunPlace::of(&job.spec.storage) {
            Ok(place) => {
                let member = Member {
                    rank: assignment.rank,
                    world_size: assignment.world_size,
                    lineage: assignment.lineage,
                };
                self.tenure = Some((Tenure::start(place, member), assignment.clone()));
            }
            // Its attempts say so.
            Err(error) => tracing::debug!(%error, "can't look who works on the output"),
        }
    }

    /// Which other run has the output, in words.
    fn taken_over(&self) -> Option<String> {
        self.tenure.as_ref().and_then(|(tenure, _)| tenure.lost())
    }

    /// Another run has taken the output over, or has left it again: nothing of this job is begun or committed meanwhile.
    pub(super) fn output_changed_hands(&mut self) {
        let Some((tenure, assignment)) = &self.tenure else {
            return;
        };
        let assignment = assignment.clone();
        let Some(message) = tenure.lost() else {
            tracing::info!("the output is this job's again");
            return self.assign(&assignment);
        };
        tracing::warn!("{message}; nothing more is committed");
        self.groups.refuse(message.clone());
        self.slots.stop(
            None,
            &StopOrder {
                stop: Stop::Revoked,
                code: Code::OutputBusy.as_str().to_owned(),
                message: message.clone(),
            },
        );
        self.groups.stop(GroupOrder {
            stop: GroupEnd::Asked,
            code: Code::OutputBusy.as_str().to_owned(),
            message: message.clone(),
        });
        self.job = Some(Err(output_busy(message, assignment)));
    }

    pub(super) fn enqueue(&mut self, leases: Vec<Lease>) -> Option<Input> {
        if let Some(Err(Broken {
            again: Some(assignment),
            ..
        })) = &self.job
            && self.taken_over().is_none()
        {
            let assignment = assignment.clone();
            self.assign(&assignment);
        }
        let refuse = |code: Code, message: &str| {
            let ended =
                |lease: &Lease| outcome::ended(lease, Outcome::Infrastructure, code, message);
            Some(Input::Ended(leases.iter().map(ended).collect()))
        };
        match &self.job {
            _ if self.execution == Execution::Nothing => {
                Some(Input::Ended(leases.iter().map(committed_nothing).collect()))
            }
            None => refuse(Code::NotAssigned, "the lease came before its job"),
            Some(Err(broken)) => refuse(broken.code, &broken.message),
            Some(Ok(job)) => {
                self.slots.enqueue(leases.into_iter().map(|lease| Task {
                    job: Arc::clone(job),
                    lease,
                }));
                None
            }
        }
    }
}

fn output_busy(message: String, assignment: Assignment) -> Broken {
    Broken {
        code: Code::OutputBusy,
        message,
        again: Some(Box::new(assignment)),
    }
}

fn committed_nothing(lease: &Lease) -> AttemptResult {
    AttemptResult {
        outcome: Outcome::Committed.into(),
        manifest_sha256: vec![0; 32],
        ..outcome::blank(lease)
    }
}
