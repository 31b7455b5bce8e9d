//! Persist, then send: shown with a log that can be told to fail or to wait.

use super::{Client, NotAnswered, StopReason, prepare, spawn};
use crate::event_log::{EventLog, EventReader, Loaded, LogError, MemoryLog};
use petctl_core::{ClientRequest, Config, Record, Reply, State, Submission};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tokio::time::timeout;

struct Gated {
    inner: MemoryLog,
    /// One message lets one append through; the first, of the start, needs none.
    gate: Receiver<()>,
    appended: u32,
    full: Arc<AtomicBool>,
}

impl EventLog for Gated {
    fn load(&mut self) -> Result<Loaded, LogError> {
        self.inner.load()
    }

    fn append(&mut self, records: &[Record]) -> Result<(), LogError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(LogError::from_io(
                "write",
                Path::new("/state"),
                io::ErrorKind::StorageFull.into(),
            ));
        }
        if self.appended > 0 {
            // The sender goes with the test, and then nobody looks any more.
            let _gone = self.gate.recv();
        }
        self.appended += 1;
        self.inner.append(records)
    }

    fn snapshot_due(&self) -> bool {
        false
    }

    fn snapshot(&mut self, state: &State) -> Result<(), LogError> {
        self.inner.snapshot(state)
    }

    fn reader(&self) -> Arc<dyn EventReader> {
        self.inner.reader()
    }
}

pub(crate) struct Fixture {
    pub(crate) client: Client,
    pub(crate) open: SyncSender<()>,
    pub(crate) full: Arc<AtomicBool>,
    pub(crate) log: MemoryLog,
}

pub(crate) fn fixture() -> Fixture {
    let log = MemoryLog::default();
    let (open, gate) = sync_channel(8);
    let full = Arc::new(AtomicBool::new(false));
    let gated = Gated {
        inner: log.clone(),
        gate,
        appended: 0,
        full: Arc::clone(&full),
    };
    let prepared = prepare(Box::new(gated), Config::default(), 1).unwrap();
    let client = spawn(prepared, |_| {}).unwrap();
    Fixture {
        client,
        open,
        full,
        log,
    }
}

pub(crate) fn submission() -> Box<Submission> {
    let spec = crate::event_log::tests::spec();
    let keys = vec![vec!["a".to_owned(), "b".to_owned()]];
    Box::new(Submission {
        spec,
        fingerprint: [1; 32],
        keys,
        details: vec![Vec::new()],
        contents: vec![petctl_core::StageContents::default()],
        outputs: Vec::new(),
        seen: petctl_core::Seen::default(),
        new_output: true,
        rerun: petctl_core::Rerun::Changed,
        plan_only: false,
    })
}

#[tokio::test]
async fn an_answer_waits_until_what_it_says_is_durable() {
    let Fixture {
        client, open, log, ..
    } = fixture();
    let submitted = client.call(ClientRequest::Submit(submission()));
    tokio::pin!(submitted);
    // The log is held: neither an answer nor a look gets past it.
    assert!(
        timeout(Duration::from_millis(50), &mut submitted)
            .await
            .is_err()
    );
    assert!(
        timeout(
            Duration::from_millis(50),
            client.query(|view| view.core.jobs().len())
        )
        .await
        .is_err()
    );
    assert_eq!(log.reader().read(1, 10).unwrap().len(), 1);
    open.send(()).unwrap();
    assert!(matches!(submitted.await, Ok(Reply::Submitted(_))));
    assert_eq!(log.reader().read(1, 10).unwrap().len(), 2);
    assert_eq!(
        client.query(|view| view.core.jobs().len()).await.unwrap(),
        1
    );
}

#[tokio::test]
async fn a_log_that_fails_stops_the_coordinator_and_nothing_is_acknowledged() {
    let Fixture {
        client, full, log, ..
    } = fixture();
    client.query(|_| ()).await.unwrap();
    full.store(true, Ordering::SeqCst);
    let refused = client.call(ClientRequest::Submit(submission())).await;
    assert!(matches!(refused, Err(NotAnswered::Stopped)));
    let reason = client.stopped().await;
    assert_eq!(
        reason.code(),
        Some(petctl_codes::Code::StateDiskFull),
        "{reason}"
    );
    assert_eq!(log.reader().read(1, 10).unwrap().len(), 1);
    assert!(matches!(
        client.query(|_| ()).await,
        Err(NotAnswered::Stopped)
    ));
}

#[tokio::test]
async fn a_panic_of_the_thread_is_a_stop_with_a_reason() {
    let Fixture { client, .. } = fixture();
    let panicked = client.query(|_| -> () { panic!("on purpose") }).await;
    assert!(matches!(panicked, Err(NotAnswered::Stopped)));
    assert!(matches!(client.stopped().await, StopReason::Bug(_)));
}
