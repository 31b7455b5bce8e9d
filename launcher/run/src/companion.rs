//! The launcher worker of a job on a coordinator elsewhere: it runs the job's `run_mode = "local"` stages here.

use petctl_client::Target;
use petctl_job::home::JobFolder;
use petctl_local::{Coordinator, Fleet, Launch, has_local_work, is_local};
use petctl_proto::v1::JobStatus;
use petctl_spec::JobSpec;
use petctl_ui::error::Result;
use rustix::process::Signal;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// How long it may take to leave beyond its commands' grace.
const LEAVE_TIME: Duration = Duration::from_secs(5);

/// A worker of this process, watched and started again.
pub(crate) struct Companion {
    fleet: Fleet,
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
        fleet.want_launcher(true)?;
        let grace = spec.stages.iter().map(|stage| stage.grace_ms).max();
        Ok(Some(Self {
            fleet,
            spec: spec.clone(),
            grace: Duration::from_millis(grace.unwrap_or(0)),
        }))
    }

    /// What the job's status says about it.
    pub(crate) fn observe(&mut self, status: &JobStatus) -> Result<()> {
        self.fleet.observe(status);
        self.fleet.want_launcher(has_local_work(&self.spec, status))
    }

    /// Looks after it for ever; answers what there is to say about a death.
    pub(crate) async fn watch(&mut self) -> Result<String> {
        loop {
            let wake = self.fleet.wake_at();
            tokio::select! {
                death = self.fleet.next_death() => {
                    if let Some(said) = self.fleet.bury(death, true)? {
                        return Ok(said);
                    }
                }
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => self.fleet.fill()?,
            }
        }
    }

    /// Ends it: it hands back what it has.
    pub(crate) async fn dismiss(&mut self) {
        let steps = [
            (Signal::TERM, self.grace + LEAVE_TIME),
            (Signal::KILL, LEAVE_TIME),
        ];
        for (signal, time) in steps {
            self.fleet.signal(signal);
            let dead = async {
                while !self.fleet.is_empty() {
                    let death = self.fleet.next_death().await;
                    // Nothing is started again, so nothing can go wrong.
                    let _said = self.fleet.bury(death, false);
                }
            };
            if timeout(time, dead).await.is_ok() {
                return;
            }
        }
    }
}
