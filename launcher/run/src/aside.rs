//! Shards that are no part of the job any more: what they have left is put aside, so that downloads and later stages see
//! the job's own shards only.

use crate::flow::Run;
use petctl_output::layout::Layout;
use petctl_places::Place;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::terminal::count;

impl<P: Place<Error = Error>> Run<'_, P> {
    /// Whether a coordinator elsewhere has a version of the job that has not ended: what that has made stands until it is
    /// replaced.
    pub(crate) async fn runs_there(&mut self) -> Result<bool> {
        if self.is_host() {
            return Ok(false);
        }
        match self.client.status(&self.job.spec.name).await {
            Ok(status) => Ok(!status.has_ended()),
            Err(error) if error.code() == Code::NoSuchJob.as_str() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Outputs of shards that are no part of the job any more would look like results of it: they are put aside.
    pub(crate) async fn put_aside(&mut self, dropped: &[(String, String)]) -> Result<()> {
        if !dropped.is_empty() {
            let lineage = self.lineage().await;
            self.put_aside += self.job.put_aside(dropped, lineage).await?;
        }
        Ok(())
    }

    pub(crate) fn say_put_aside(&mut self) {
        let shards = std::mem::take(&mut self.put_aside);
        if shards == 0 {
            return;
        }
        let name = &self.job.spec.name;
        let outputs = count(
            shards,
            "shard that is no part of the job any more",
            "shards that are no part of the job any more",
        );
        let place = match self.job.spec.storage.output_root().folder() {
            Some(folder) => format!(" in {}", Layout::new(folder).all_earlier().display()),
            None => String::new(),
        };
        self.context.out.say(&format!(
            "{name}: what {outputs} left is put aside{place}; `petctl prune {name}` removes it for good"
        ));
    }
}
