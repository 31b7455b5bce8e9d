//! Whether the coordinator is well, and whether it takes calls.

use crate::driver::{At, Client, StopReason};
use std::sync::OnceLock;
use std::time::Duration;

/// Nothing that the core decides takes as long.
const STUCK: Duration = Duration::from_secs(60);
/// Whoever calls a coordinator that has been at one thing for this long waits.
const BUSY: Duration = Duration::from_secs(5);

/// What probes look at: never the core itself, which may be what is stuck.
#[derive(Debug)]
pub(crate) struct Health {
    /// Of a coordinator that has read its log.
    client: OnceLock<Client>,
    stuck: Duration,
    busy: Duration,
}

impl Health {
    /// Of a coordinator that starts.
    pub(crate) fn new() -> Self {
        Self::within(STUCK, BUSY)
    }

    pub(super) fn within(stuck: Duration, busy: Duration) -> Self {
        let client = OnceLock::new();
        Self {
            client,
            stuck,
            busy,
        }
    }

    /// It has read its log, and runs.
    pub(crate) fn runs(&self, client: Client) {
        // It starts once.
        let _again = self.client.set(client);
    }

    /// The way to the core, once there is one.
    pub(super) fn client(&self) -> Option<&Client> {
        self.client.get()
    }

    /// Whether the process is worth keeping; `Err`: why not. One that waits for its disk is, and one that reads its log:
    /// a new one would wait for the same.
    pub(super) fn alive(&self) -> Result<(), String> {
        let Some(client) = self.client.get() else {
            return Ok(());
        };
        if let Some(reason) = client.has_stopped() {
            return match reason {
                StopReason::Requested => Ok(()),
                StopReason::EventLog(_) | StopReason::Bug(_) => {
                    Err(format!("it has stopped ({})", code_of(&reason)))
                }
            };
        }
        match client.pulse().look() {
            (At::Work, since) if since >= self.stuck => Err(format!(
                "its core has not come back for {} s from what it decides",
                since.as_secs()
            )),
            (At::Work | At::Disk | At::Rest, _) => Ok(()),
        }
    }

    /// Whether it takes calls; `Err`: why not.
    pub(super) fn ready(&self) -> Result<(), String> {
        let Some(client) = self.client.get() else {
            return Err("it reads its log".to_owned());
        };
        self.alive()?;
        if client.is_stopping() {
            return Err("it stops".to_owned());
        }
        if client.is_draining() {
            return Err("it drains".to_owned());
        }
        match client.pulse().look() {
            (At::Disk, since) if since >= self.busy => Err(format!(
                "it has waited for its disk for {} s",
                since.as_secs()
            )),
            (At::Work, since) if since >= self.busy => {
                Err(format!("it has been busy for {} s", since.as_secs()))
            }
            (At::Disk | At::Work | At::Rest, _) => Ok(()),
        }
    }
}

/// The sentence of a reason may name paths.
fn code_of(reason: &StopReason) -> &'static str {
    reason.code().map_or("", petctl_core::Code::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::tests::{Fixture, fixture};
    use std::sync::mpsc::sync_channel;
    use std::time::Instant;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(3_600);

    /// Waits until it is as it should be.
    fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(seen) = look() {
                return seen;
            }
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "it takes too long"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_core_that_is_stuck_is_not_well_and_one_that_comes_back_is() {
        let Fixture { client, .. } = fixture();
        let health = Health::within(SHORT, LONG);
        assert_eq!(health.alive(), Ok(()), "one that starts is well");
        assert_eq!(health.ready(), Err("it reads its log".to_owned()));
        health.runs(client.clone());
        let (release, held) = sync_channel::<()>(0);
        let stuck = tokio::spawn(async move {
            client
                .query(move |_| {
                    let _gone = held.recv();
                })
                .await
        });
        let why = until(|| health.alive().err());
        assert!(why.contains("has not come back for"), "{why}");
        assert_eq!(health.ready(), Err(why), "nor does it take calls");
        drop(release);
        stuck.await.expect("it ends").expect("it is answered");
        until(|| health.alive().ok());
        assert_eq!(health.ready(), Ok(()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_slow_disk_keeps_calls_waiting_and_is_no_reason_for_a_restart() {
        let Fixture {
            client, open, log, ..
        } = fixture();
        let health = Health::within(SHORT, SHORT);
        health.runs(client.clone());
        let waits = tokio::spawn(async move {
            let submission = crate::driver::tests::submission();
            client
                .call(petctl_core::ClientRequest::Submit(submission))
                .await
        });
        let why = until(|| health.ready().err());
        assert!(why.contains("has waited for its disk"), "{why}");
        assert_eq!(health.alive(), Ok(()));
        open.send(()).expect("it waits");
        waits.await.expect("it ends").expect("it is accepted");
        until(|| health.ready().ok());
        drop(log);
    }

    #[tokio::test]
    async fn a_core_that_has_died_is_not_well_and_no_path_is_told() {
        let Fixture { client, full, .. } = fixture();
        let health = Health::new();
        health.runs(client.clone());
        client.query(|_| ()).await.expect("it runs");
        full.store(true, std::sync::atomic::Ordering::SeqCst);
        let submission = crate::driver::tests::submission();
        let refused = client.call(petctl_core::ClientRequest::Submit(submission));
        refused.await.expect_err("its disk is full");
        client.stopped().await;
        let why = "it has stopped (STATE_DISK_FULL)".to_owned();
        assert_eq!(health.alive(), Err(why.clone()));
        assert_eq!(health.ready(), Err(why));
    }

    #[tokio::test]
    async fn one_that_drains_or_stops_takes_no_calls_and_is_well() {
        let Fixture { client, open, .. } = fixture();
        let health = Health::new();
        health.runs(client.clone());
        assert_eq!(health.ready(), Ok(()));
        drop(open);
        client.drain("the test ends").await.expect("nothing runs");
        assert_eq!(health.ready(), Err("it drains".to_owned()));
        client.stop();
        assert_eq!(health.ready(), Err("it stops".to_owned()));
        client.stopped().await;
        assert_eq!(health.alive(), Ok(()));
    }
}
