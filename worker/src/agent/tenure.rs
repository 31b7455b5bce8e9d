//! The output of a job is its run's alone. The run's launcher says at the output that it lives; where that has left, some
//! workers do. All of them look whether another run has taken the output over, and stop then.

use std::time::Duration;

use petctl_commit::RunPlace;
use petctl_output::run::{RENEWED_EVERY_MS, RunRecord};
use petctl_output::timestamp::now_ms;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Ranks that renew the record.
const KEEPERS: u32 = 3;
/// So many workers make everyone look half as often: the record of a container is one blob.
const MANY: u32 = 1_000;
/// How long it may take to take the record away when the job has ended.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// What one worker does for it, and knows of it.
#[derive(Debug)]
pub(super) struct Tenure {
    place: RunPlace,
    member: Member,
    lost: watch::Receiver<Option<String>>,
    looking: JoinHandle<()>,
}

/// The worker in its job.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) rank: u32,
    pub(super) world_size: u32,
    /// The event log that gives out its leases.
    pub(super) lineage: u64,
}

impl Tenure {
    /// Begins to look.
    pub(super) fn start(place: RunPlace, member: Member) -> Self {
        let (found, lost) = watch::channel(None);
        let looked_at = place.clone();
        let looking = tokio::spawn(async move {
            let every = RENEWED_EVERY_MS * u64::from(1 + member.world_size / MANY);
            let mut apart = fastrand::Rng::new();
            loop {
                if let Some(taken) = look(&looked_at, member).await {
                    found.send_if_modified(|known| {
                        let is_new = *known != taken;
                        *known = taken;
                        is_new
                    });
                }
                let wait = every / 2 + apart.u64(0..every);
                tokio::time::sleep(Duration::from_millis(wait)).await;
            }
        });
        Self {
            place,
            member,
            lost,
            looking,
        }
    }

    /// Which other run has the output, in words; `None`: it is this job's.
    pub(super) fn lost(&self) -> Option<String> {
        self.lost.borrow().clone()
    }

    /// Comes back when that has changed.
    pub(super) async fn changed(&mut self) {
        if self.lost.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// The job has ended: its record goes, where no launcher will take it away.
    pub(super) async fn end(self) {
        self.looking.abort();
        if self.member.rank >= KEEPERS {
            return;
        }
        let (place, member) = (self.place.clone(), self.member);
        let removing = blocking(async move {
            place
                .remove(|found| found.left && found.is_of_lineage(member.lineage))
                .await
        });
        match tokio::time::timeout(END_PATIENCE, removing).await {
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(error))) => {
                tracing::info!(%error, "can't take away the record of a run that has ended")
            }
            Ok(None) | Err(_) => {
                tracing::info!("the record of a run that has ended stays, and grows stale")
            }
        }
    }
}

impl Drop for Tenure {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

/// Which run has the output, if not this one; `None` where that can't be said now.
async fn look(place: &RunPlace, member: Member) -> Option<Option<String>> {
    let seen = place.clone();
    let found = blocking(async move { seen.read().await }).await?;
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            tracing::debug!(%error, "can't read who works on the output");
            return None;
        }
    };
    let now = now_ms();
    let taken = found
        .as_ref()
        .and_then(|found| taken_by(found, member, now));
    let renewed = found
        .filter(|found| is_due(found, member, now))
        .map(|found| RunRecord {
            renewed_ms: now,
            left: true,
            ..found
        });
    if let Some(renewed) = renewed {
        let place = place.clone();
        let lineage = member.lineage;
        let put = blocking(async move {
            // Not one that was given back or taken over meanwhile.
            let is_ours = |found: &RunRecord| found.is_of_lineage(lineage);
            place.put(&renewed, true, is_ours).await
        });
        if let Some(Err(error)) = put.await {
            tracing::debug!(%error, "can't renew the record of this run");
        }
    }
    Some(taken)
}

/// The run that has taken the output over. One without a lineage is about to submit its job, to this coordinator maybe.
fn taken_by(found: &RunRecord, member: Member, now_ms: u64) -> Option<String> {
    let theirs = !found.lineage.is_empty() && !found.is_of_lineage(member.lineage);
    (theirs && found.is_fresh(now_ms)).then(|| {
        format!(
            "the output has been taken over by another run of job `{}`: {}, with its state in {}",
            found.job, found.who, found.keeper
        )
    })
}

/// Whether this worker is to say that the run lives: nobody else has for a while.
fn is_due(found: &RunRecord, member: Member, now_ms: u64) -> bool {
    let old = found.renewed_ms.saturating_add(RENEWED_EVERY_MS * 3 / 2) <= now_ms;
    member.rank < KEEPERS && found.is_of_lineage(member.lineage) && old
}

/// Off the agent's threads: a folder that does not answer must not hold up its heartbeats.
async fn blocking<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let handle = Handle::current();
    tokio::task::spawn_blocking(move || handle.block_on(future))
        .await
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use petctl_commit::Whose;
    use petctl_output::layout::Layout;
    use petctl_output::run::STALE_AFTER_MS;

    const MEMBER: Member = Member {
        rank: 0,
        world_size: 1,
        lineage: 7,
    };

    fn record(lineage: &str, renewed_ms: u64) -> RunRecord {
        RunRecord {
            job: "resim".to_owned(),
            keeper: "the coordinator head:7077".to_owned(),
            lineage: lineage.to_owned(),
            who: "me@head".to_owned(),
            since_ms: 1,
            renewed_ms,
            left: false,
        }
    }

    const OURS: &str = "0000000000000007";
    const THEIRS: &str = "0000000000000008";

    #[test]
    fn an_output_is_lost_to_a_living_run_of_another_lineage_only() {
        let now = 10 * STALE_AFTER_MS;
        let taken = |lineage: &str, age_ms: u64| {
            taken_by(&record(lineage, now - age_ms), MEMBER, now).is_some()
        };
        assert!(taken(THEIRS, 0) && taken(THEIRS, STALE_AFTER_MS - 1));
        assert!(!taken(THEIRS, STALE_AFTER_MS), "a dead run has nothing");
        assert!(!taken(OURS, 0) && !taken("", 0));
    }

    #[test]
    fn the_first_ranks_renew_what_nobody_else_has_for_a_while() {
        let now = 10 * STALE_AFTER_MS;
        let due = |lineage: &str, age_ms: u64, rank: u32| {
            is_due(
                &record(lineage, now - age_ms),
                Member { rank, ..MEMBER },
                now,
            )
        };
        let late = RENEWED_EVERY_MS * 3 / 2;
        assert!(due(OURS, late, 0) && due(OURS, late, KEEPERS - 1));
        assert!(!due(OURS, late, KEEPERS) && !due(OURS, late - 1, 0));
        assert!(!due(THEIRS, late, 0) && !due("", late, 0));
    }

    #[tokio::test]
    async fn a_record_whose_launcher_has_left_is_renewed_and_goes_with_the_job() {
        let folder = tempfile::tempdir().unwrap();
        let place = RunPlace::Folder(Layout::new(folder.path()));
        let old = record(OURS, now_ms() - RENEWED_EVERY_MS * 2);
        assert_eq!(
            place.put(&old, false, |_| false).await.unwrap(),
            Whose::Ours
        );
        assert_eq!(look(&place, MEMBER).await, Some(None));
        let renewed = place.read().await.unwrap().unwrap();
        assert!(
            renewed.left && renewed.renewed_ms > old.renewed_ms,
            "{renewed:?}"
        );
        let tenure = Tenure::start(place.clone(), MEMBER);
        tenure.end().await;
        assert_eq!(place.read().await.unwrap(), None);
        // What is gone is not written again, and a launcher's own record stays.
        assert_eq!(look(&place, MEMBER).await, Some(None));
        assert_eq!(place.read().await.unwrap(), None);
        let launched = record(OURS, now_ms());
        place.put(&launched, false, |_| false).await.unwrap();
        Tenure::start(place.clone(), MEMBER).end().await;
        assert_eq!(place.read().await.unwrap(), Some(launched));
        // Another run's is one that this worker has lost the output to.
        place
            .put(&record(THEIRS, now_ms()), false, |_| true)
            .await
            .unwrap();
        let mut tenure = Tenure::start(place, MEMBER);
        tenure.changed().await;
        assert!(tenure.lost().unwrap().contains("me@head"));
    }
}
