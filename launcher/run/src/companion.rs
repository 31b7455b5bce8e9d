//! The launcher worker of a job on a coordinator elsewhere: it runs the job's `run_mode = "local"` stages here.

use crate::gain::Gain;
use crate::local_stages::{has_local_work, is_local};
use petctl_client::Target;
use petctl_job::home::JobFolder;
use petctl_local::{Coordinator, Fleet, Launch};
use petctl_places::{Place, Stop, Wanted};
use petctl_proto::v1::JobStatus;
use petctl_spec::JobSpec;
use petctl_ui::error::Result;
use std::time::Duration;
use tokio::time::timeout;

/// How long it may take to leave beyond its commands' grace.
const LEAVE_TIME: Duration = Duration::from_secs(5);

/// A worker of this process, watched and started again.
pub(crate) struct Companion {
    fleet: Fleet,
    gain: Gain,
    spec: JobSpec,
    grace: Duration,
}

impl Companion {
    /// `None`: no stage runs here.
    pub(crate) async fn start(
        folder: &JobFolder,
        target: &Target,
        spec: &JobSpec,
    ) -> Result<Option<Self>> {
        let Target::Remote { address, token } = target else {
            return Ok(None);
        };
        if !spec.stages.iter().any(is_local) {
            return Ok(None);
        }
        folder.make()?;
        let coordinator = Coordinator::Elsewhere {
            address: address.clone(),
            token: token.clone(),
        };
        let mut fleet = Fleet::new(Launch::new(folder, coordinator, spec), None);
        // One that outlived an earlier run goes on.
        fleet.adopt().await?;
        fleet.ensure(wanted(true))?;
        let grace = spec.stages.iter().map(|stage| stage.grace_ms).max();
        Ok(Some(Self {
            fleet,
            gain: Gain::default(),
            spec: spec.clone(),
            grace: Duration::from_millis(grace.unwrap_or(0)),
        }))
    }

    /// What the job's status says about it.
    pub(crate) fn observe(&mut self, status: &JobStatus) -> Result<()> {
        self.fleet.gained(self.gain.observe(status));
        self.fleet
            .ensure(wanted(has_local_work(&self.spec, status)))
    }

    /// Looks after it for ever; answers what there is to say about a death.
    pub(crate) async fn watch(&mut self) -> Result<String> {
        loop {
            if let Some(said) = self.fleet.ended().await?.unexpected {
                return Ok(said);
            }
        }
    }

    /// Ends it: it hands back what it has.
    pub(crate) async fn dismiss(&mut self) {
        // Nothing is started again, so nothing can go wrong.
        let _nothing = self.fleet.ensure(Wanted::NOTHING);
        let steps = [
            (Stop::Leave, self.grace + LEAVE_TIME),
            (Stop::Kill, LEAVE_TIME),
        ];
        for (how, time) in steps {
            self.fleet.stop(how);
            let dead = async {
                while !self.fleet.is_empty() {
                    let _ended = self.fleet.ended().await;
                }
            };
            if timeout(time, dead).await.is_ok() {
                return;
            }
        }
    }
}

/// Only the worker of local stages.
fn wanted(local_stages: bool) -> Wanted {
    Wanted {
        workers: 0,
        local_stages,
    }
}
