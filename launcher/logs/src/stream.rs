//! A log that grows elsewhere, as its coordinator hands it on.

use petctl_client::{Client, Target, is_lost, refusal};
use petctl_proto::v1::{ReadLogRequest, ShardRow};
use petctl_ui::error::{Code, Result};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Pieces that wait to be printed.
const WAITING: usize = 16;
/// Distance of two attempts to read it.
const RETRY: Duration = Duration::from_millis(500);
/// How long the end of a log that has ended is waited for.
const LAST_PIECES: Duration = Duration::from_secs(2);

/// What was printed, as it comes.
pub(super) struct Pieces {
    receiver: mpsc::Receiver<Result<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Pieces {
    /// The next piece; empty where there is none now. Of a log that has `ended` the rest is waited for.
    pub(super) async fn next(&mut self, ended: bool) -> Result<Vec<u8>> {
        let piece = if ended {
            let next = tokio::time::timeout(LAST_PIECES, self.receiver.recv());
            next.await.ok().flatten()
        } else {
            self.receiver.try_recv().ok()
        };
        piece.unwrap_or_else(|| Ok(Vec::new()))
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Starts to read.
pub(super) fn open(target: Target, job: &str, row: &ShardRow) -> Pieces {
    let request = ReadLogRequest {
        job: job.to_owned(),
        stage: row.stage,
        key: row.key.clone(),
        lease_id: row.lease_id,
        follow: true,
    };
    let (sender, receiver) = mpsc::channel(WAITING);
    let reader = tokio::spawn(async move {
        let mut received = 0;
        loop {
            match read(&target, &request, &mut received, &sender).await {
                Ok(true) => return,
                Ok(false) => tokio::time::sleep(RETRY).await,
                Err(error) => {
                    // Whoever asked may have gone.
                    let _gone = sender.send(Err(error)).await;
                    return;
                }
            }
        }
    });
    Pieces { receiver, reader }
}

/// Whether the log has come to its end, rather than to that of a connection.
async fn read(
    target: &Target,
    request: &ReadLogRequest,
    received: &mut usize,
    sender: &mpsc::Sender<Result<Vec<u8>>>,
) -> Result<bool> {
    let mut client: Client = target.reconnect().await?;
    let mut stream = match client.read_log(request.clone()).await {
        // The worker does not answer at this moment.
        Err(error) if error.is(Code::LogUnavailable) => return Ok(false),
        stream => stream?,
    };
    // A log is handed out from its start.
    let mut skip = *received;
    loop {
        let part = match stream.message().await {
            Ok(Some(part)) => part.data,
            Ok(None) => return Ok(true),
            Err(status) if is_lost(&status) => return Ok(false),
            Err(status) => return Err(refusal(client.address(), &status)),
        };
        let known = skip.min(part.len());
        skip -= known;
        let new = &part[known..];
        *received += new.len();
        if !new.is_empty() && sender.send(Ok(new.to_vec())).await.is_err() {
            return Ok(true);
        }
    }
}
