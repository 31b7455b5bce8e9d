//! A worker that does as it is told.

use petctl_core::{
    ConnId, FromWorker, GroupPhase, GroupReport, GroupStart, Hello, MasterOffer, ToWorker,
};

/// A worker. It does at once what it is told, unless it is told to be stubborn.
pub(crate) struct FakeWorker {
    pub(super) conn: Option<ConnId>,
    pub(super) hello: Hello,
    pub(crate) heard: Vec<ToWorker>,
    /// What it runs or ran last.
    pub(crate) start: Option<GroupStart>,
    pub(super) report: Option<GroupReport>,
    /// It does not answer to GroupPrepare and GroupStop.
    pub(super) stubborn: bool,
    /// It hears nothing.
    pub(super) deaf: bool,
}

impl FakeWorker {
    pub(crate) fn has_heard(&self, what: fn(&ToWorker) -> bool) -> bool {
        self.heard.iter().any(what)
    }

    /// What it says to what it is told.
    pub(super) fn obey(&mut self, message: ToWorker) -> Option<FromWorker> {
        if let ToWorker::GroupStart(start) = message {
            let report = GroupReport {
                job: start.job,
                stage: start.stage,
                epoch: start.epoch,
                phase: GroupPhase::Running,
                failures: Vec::new(),
                exited: 0,
                processes: start.processes,
            };
            self.start = Some(*start);
            self.report = Some(report.clone());
            return Some(FromWorker::Group(Box::new(report)));
        }
        if self.stubborn {
            return None;
        }
        if let ToWorker::GroupPrepare {
            job,
            epoch,
            checkpoints,
            ..
        } = message
        {
            return Some(FromWorker::Master(MasterOffer {
                job,
                epoch,
                port: 29_000,
                resume_step: checkpoints.first().map(|c| c.step),
            }));
        }
        let ToWorker::GroupStop { epoch, .. } = message else {
            return None;
        };
        let report = self.report.as_mut().filter(|r| r.epoch == epoch)?;
        if report.phase != GroupPhase::Succeeded {
            report.phase = GroupPhase::Stopped;
        }
        Some(FromWorker::Group(Box::new(report.clone())))
    }
}
