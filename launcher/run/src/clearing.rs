//! Checkpoints that go when all of a job runs again: after it was accepted, and before a worker is started. A note in the
//! job's folder has whatever is interrupted between the two finished by the next run.

use crate::admission::clear_stages;
use crate::flow::Run;
use petctl_core::JobId;
use petctl_job::home::Uncleared;
use petctl_places::Place;
use petctl_ui::error::{Error, Result};
use petctl_ui::exit::Exit;

impl<P: Place<Error = Error>> Run<'_, P> {
    /// Notes what is to go once the job is accepted. `before` is its version until then.
    pub(crate) fn note_clearing(&self, before: JobId) -> Result<()> {
        let Some(folder) = self.folder.filter(|_| self.is_host()) else {
            return Ok(());
        };
        let mut stages = self.admission.cleared_stages().to_vec();
        let mut job = before.0;
        if let Some(noted) = folder.uncleared()?
            && noted.job != before.0
        {
            // That version was accepted, and has begun nothing.
            stages.extend(noted.stages);
            stages.sort();
            stages.dedup();
            job = noted.job;
        }
        if stages.is_empty() {
            return folder.remove_uncleared();
        }
        folder.write_uncleared(&Uncleared { job, stages })
    }

    /// Takes away what was noted; an exit where the user has stopped that.
    pub(crate) async fn clear_noted(&self) -> Result<Option<Exit>> {
        let Some(folder) = self.folder.filter(|_| self.is_host()) else {
            return Ok(None);
        };
        let Some(noted) = folder.uncleared()? else {
            return Ok(None);
        };
        // Of stages that this version still has.
        let is_here = |stage: &String| {
            let mut stages = self.job.spec.stages.iter();
            stages.any(|here| here.name == *stage && here.kind.training().is_some())
        };
        let stages: Vec<String> = noted.stages.into_iter().filter(is_here).collect();
        if !stages.is_empty() {
            let stopped = clear_stages(self.context, &self.job, &stages).await?;
            if stopped.is_some() {
                return Ok(stopped);
            }
        }
        folder.remove_uncleared()?;
        Ok(None)
    }
}
