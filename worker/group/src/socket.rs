//! The agent's socket (`PETCTL_AGENT_SOCKET`): scripts say there what they have reached. One JSON object per line, one
//! answer per line: `{"ok":true}` or `{"error":{"code":"…","message":"…"}}`.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use petctl_codes::Code;
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::checkpoints::durable;

/// Longest line.
const MAX_LINE_BYTES: u64 = 64 * 1024;
/// Longest path of a checkpoint.
const MAX_PATH_BYTES: usize = 4 * 1024;
/// Connections at a time; the next waits until one is closed.
const MAX_CONNECTIONS: usize = 2_048;
/// Longest path of a socket that fits into an address.
const MAX_SOCKET_PATH: usize = 100;

/// Why something was not done: stable code and sentence.
pub type Refusal = (String, String);

/// What a script says.
#[derive(Debug)]
pub struct Ask {
    /// What it says.
    pub kind: AskKind,
    /// Takes the answer.
    pub reply: oneshot::Sender<Result<(), Refusal>>,
}

/// What it is about.
#[derive(Debug, PartialEq)]
pub enum AskKind {
    /// A checkpoint is complete.
    Checkpoint {
        /// Its step.
        step: u64,
        /// Where it is.
        path: PathBuf,
    },
    /// A step is done.
    Progress {
        /// Whose.
        rank: u32,
        /// Which.
        step: u64,
        /// How long it took, where the script knows.
        step_time_ms: Option<f64>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Request {
    Checkpoint {
        step: u64,
        path: PathBuf,
    },
    Progress {
        rank: u32,
        step: u64,
        #[serde(default)]
        step_time_s: Option<f64>,
    },
}

/// A worker's folder for what lives as long as the worker, with the socket in it.
#[derive(Debug)]
pub struct Socket {
    folder: PathBuf,
    path: PathBuf,
    server: JoinHandle<()>,
}

impl Socket {
    /// Listens, in a new folder below `root`, or elsewhere if that is too deep. What scripts say goes to `asks`.
    ///
    /// # Errors
    /// Where no folder or socket can be made.
    pub fn start(root: &Path, worker_id: &str, asks: mpsc::Sender<Ask>) -> io::Result<Self> {
        let folder = make_folder(root, worker_id)?;
        let path = folder.join("agent.sock");
        let listener = UnixListener::bind(&path)?;
        let server = tokio::spawn(serve(listener, asks));
        Ok(Self {
            folder,
            path,
            server,
        })
    }

    /// The folder that it is in, which goes with it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where scripts connect.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.server.abort();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Nobody else may look into it, and what is there already is not used: somebody else could have put it there.
fn make_folder(root: &Path, worker_id: &str) -> io::Result<PathBuf> {
    let short = worker_id.get(..12).unwrap_or(worker_id);
    let fits = root.as_os_str().len() + short.len() + 40 <= MAX_SOCKET_PATH;
    let root = if fits { root } else { Path::new("/tmp") };
    let random = getrandom::u32().map_err(io::Error::other)?;
    let folder = root.join(format!("petctl-{short}-{random:08x}"));
    fs::DirBuilder::new().mode(0o700).create(&folder)?;
    Ok(folder)
}

async fn serve(listener: UnixListener, asks: mpsc::Sender<Ask>) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(permit) = Arc::clone(&connections).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, mostly; it may get better.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let asks = asks.clone();
        tokio::spawn(async move {
            // A script that goes away in the middle of it wants no answer.
            let _gone = talk(stream, asks).await;
            drop(permit);
        });
    }
}

async fn talk(stream: UnixStream, asks: mpsc::Sender<Ask>) -> io::Result<()> {
    let (input, mut output) = stream.into_split();
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut input)
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut line)
            .await?;
        if read == 0 {
            return Ok(());
        }
        let is_whole = line.ends_with(b"\n") || (read as u64) < MAX_LINE_BYTES;
        let answer = if is_whole {
            answer(&line, &asks).await
        } else {
            Err(bad("a line may have 64 KiB"))
        };
        let mut text = match answer {
            Ok(()) => json!({"ok": true}),
            Err((code, message)) => json!({"error": {"code": code, "message": message}}),
        }
        .to_string();
        text.push('\n');
        output.write_all(text.as_bytes()).await?;
        if !is_whole {
            // Where the next line begins is not known.
            return Ok(());
        }
    }
}

async fn answer(line: &[u8], asks: &mpsc::Sender<Ask>) -> Result<(), Refusal> {
    let request: Request = serde_json::from_slice(line).map_err(|error| {
        bad(&format!(
            "{error}; a line is like {{\"checkpoint\":{{\"step\":100,\"path\":\"/x/step-100\"}}}}"
        ))
    })?;
    let kind = match request {
        Request::Checkpoint { step, path } => {
            check_path(&path).await?;
            bring_to_disk(&path).await?;
            AskKind::Checkpoint { step, path }
        }
        Request::Progress {
            rank,
            step,
            step_time_s,
        } => AskKind::Progress {
            rank,
            step,
            step_time_ms: step_time_s.map(|s| s * 1_000.0),
        },
    };
    let ended = || {
        (
            Code::WorkerLeaving.to_string(),
            "the worker has ended".to_owned(),
        )
    };
    let (reply, answered) = oneshot::channel();
    asks.send(Ask { kind, reply }).await.map_err(|_| ended())?;
    answered.await.map_err(|_| ended())?
}

async fn check_path(path: &Path) -> Result<(), Refusal> {
    let text = path
        .to_str()
        .ok_or_else(|| bad("the checkpoint's path is not UTF-8"))?;
    if !path.is_absolute() {
        return Err(bad(&format!(
            "the checkpoint's path {text:?} is not absolute"
        )));
    }
    if text.len() > MAX_PATH_BYTES {
        return Err(bad("the checkpoint's path is longer than 4 KiB"));
    }
    match tokio::fs::metadata(path).await {
        Ok(_) => Ok(()),
        Err(error) => Err(missing(format!(
            "there is no checkpoint at {text}: {error}"
        ))),
    }
}

async fn bring_to_disk(path: &Path) -> Result<(), Refusal> {
    let (shown, path) = (path.display(), path.to_owned());
    let synced = tokio::task::spawn_blocking(move || durable::sync(&path)).await;
    let synced = synced.unwrap_or_else(|panic| Err(io::Error::other(panic)));
    synced.map_err(|error| {
        missing(format!(
            "the checkpoint at {shown} can't be brought to disk: {error}"
        ))
    })
}

fn missing(message: String) -> Refusal {
    (Code::CheckpointMissing.to_string(), message)
}

fn bad(message: &str) -> Refusal {
    (Code::BadMessage.to_string(), message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn say(socket: &Path, text: &[u8]) -> String {
        let stream = UnixStream::connect(socket).await.unwrap();
        let (input, mut output) = stream.into_split();
        output.write_all(text).await.unwrap();
        let mut line = String::new();
        BufReader::new(input).read_line(&mut line).await.unwrap();
        line
    }

    #[tokio::test]
    async fn what_scripts_say_is_checked_and_answered() {
        let (asks, mut asked) = mpsc::channel(1);
        let socket = Socket::start(&std::env::temp_dir(), "0123456789abcdef", asks).unwrap();
        let path = socket.path().to_owned();
        let there = path.to_str().unwrap();
        let checkpoint = format!("{{\"checkpoint\":{{\"step\":5,\"path\":\"{there}\"}}}}\n");
        let answering = tokio::spawn(async move {
            let ask: Ask = asked.recv().await.unwrap();
            let step = matches!(ask.kind, AskKind::Checkpoint { step: 5, .. });
            ask.reply
                .send(if step { Ok(()) } else { Err(bad("no")) })
                .unwrap();
            let ask = asked.recv().await.unwrap();
            ask.reply
                .send(Err(("STALE_EPOCH".into(), "old".into())))
                .unwrap();
        });
        assert_eq!(say(&path, checkpoint.as_bytes()).await, "{\"ok\":true}\n");
        let refused = say(&path, b"{\"progress\":{\"rank\":0,\"step\":1}}\n").await;
        assert!(refused.contains("\"code\":\"STALE_EPOCH\""), "{refused}");
        answering.await.unwrap();

        let cases: [(&[u8], &str); 5] = [
            (
                b"{\"checkpoint\":{\"step\":5,\"path\":\"/none/there\"}}\n",
                "CHECKPOINT_MISSING",
            ),
            (
                b"{\"checkpoint\":{\"step\":5,\"path\":\"here\"}}\n",
                "is not absolute",
            ),
            (
                b"{\"checkpoint\":{\"step\":-5,\"path\":\"/\"}}\n",
                "BAD_MESSAGE",
            ),
            (b"hello\n", "BAD_MESSAGE"),
            (&[b'x'; 70_000], "64 KiB"),
        ];
        for (text, expected) in cases {
            let answer = say(&path, text).await;
            assert!(answer.contains(expected), "{answer}");
        }
        let folder = socket.folder().to_owned();
        drop(socket);
        assert!(!folder.exists());
    }
}
