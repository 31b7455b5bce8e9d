//! `petctl checkpoint`

use clap::Args;
use petctl_job::Context;
use petctl_report::model::{self, Recorded};
use petctl_ui::arguments::{Format, parse_duration_ms};
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use serde::Deserialize;
use serde_json::json;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// Where a training process finds its worker.
const SOCKET_VARIABLE: &str = "PETCTL_AGENT_SOCKET";
/// Longest answer of a worker, in bytes.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// Says that a checkpoint is complete; for use inside a training script.
///
/// It returns when the coordinator has remembered it for good: from then on the training goes on from there, whatever
/// dies. Only one rank need say it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  petctl checkpoint --step 1200 \"$PETCTL_CHECKPOINT_DIR/step-1200\"
  petctl checkpoint --step 1200 last.pt --timeout 10s

Without this program: touch \"$PETCTL_CHECKPOINT_DIR/step-1200.complete\" says the same.")]
pub(crate) struct CheckpointArgs {
    /// The file or folder; it must be complete.
    path: PathBuf,

    /// The step it holds.
    #[arg(long, value_name = "N")]
    step: u64,

    /// Wait no longer than this for the coordinator; then exit with 124.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration_ms)]
    timeout: u64,

    /// Say what would be remembered, and change nothing.
    #[arg(long)]
    dry_run: bool,

    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(crate) async fn run(context: &Context, args: CheckpointArgs) -> Result<Exit> {
    let socket = std::env::var_os(SOCKET_VARIABLE)
        .filter(|socket| !socket.is_empty())
        .map(PathBuf::from)
        .ok_or_else(|| {
            Error::new(
                Code::NotInTraining,
                format!("this is no training process of petctl: {SOCKET_VARIABLE} is not set"),
            )
            .fix("call it in the command of a `kind = \"train\"` stage, and hand the environment on to it")
        })?;
    let path = std::path::absolute(&args.path)
        .ok()
        .and_then(|path| path.to_str().map(str::to_owned))
        .ok_or_else(|| {
            Error::new(
                Code::Usage,
                format!("{:?} can't be the path of a checkpoint", args.path),
            )
            .fix("name a file or folder whose name is valid UTF-8")
        })?;
    if !args.dry_run {
        let told = tell(&socket, args.step, &path);
        tokio::time::timeout(Duration::from_millis(args.timeout), told)
            .await
            .unwrap_or_else(|_elapsed| Err(timed_out(args.timeout)))?;
    }
    match args.output {
        Format::Json => model::print(
            &context.out,
            Recorded {
                step: args.step,
                path,
                dry_run: args.dry_run,
                recorded: !args.dry_run,
            },
        ),
        Format::Text => {
            let what = if args.dry_run {
                "would be recorded"
            } else {
                "recorded"
            };
            context
                .out
                .line(&format!("checkpoint of step {} {what}: {path}", args.step));
        }
    }
    Ok(Exit::Success)
}

/// The worker's word for one line of ours.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    ok: bool,
    error: Option<Refused>,
}

#[derive(Debug, Deserialize)]
struct Refused {
    code: String,
    message: String,
}

async fn tell(socket: &Path, step: u64, path: &str) -> Result<()> {
    let away = |error: &io::Error| {
        Error::new(
            Code::AgentUnreachable,
            format!("no worker answers at {}", socket.display()),
        )
        .because(error)
        .fix("the worker of this process has ended, and this process should too; its next epoch goes on")
    };
    let mut stream = UnixStream::connect(socket)
        .await
        .map_err(|error| away(&error))?;
    let line = format!(
        "{}\n",
        json!({ "checkpoint": { "step": step, "path": path } })
    );
    stream
        .write_all(line.as_bytes())
        .await
        .map_err(|error| away(&error))?;
    let mut answer = String::new();
    BufReader::new(stream.take(MAX_ANSWER_BYTES))
        .read_line(&mut answer)
        .await
        .map_err(|error| away(&error))?;
    if answer.is_empty() {
        return Err(away(&io::ErrorKind::UnexpectedEof.into()));
    }
    let answer: Answer = serde_json::from_str(&answer).map_err(|error| {
        let error = Error::new(
            Code::AgentUnreachable,
            format!("what answers at {} is no worker", socket.display()),
        )
        .because(&error);
        error.fix(format!("leave {SOCKET_VARIABLE} as the worker has set it"))
    })?;
    match answer.error {
        Some(refused) => Err(refusal(&refused)),
        None if answer.ok => Ok(()),
        None => Err(refusal(&Refused {
            code: Code::AgentUnreachable.as_str().to_owned(),
            message: "the worker did not say that it recorded the checkpoint".to_owned(),
        })),
    }
}

fn refusal(refused: &Refused) -> Error {
    let of_the_caller = [Code::CheckpointMissing, Code::BadMessage].map(Code::as_str);
    let exit = if of_the_caller.contains(&refused.code.as_str()) {
        Exit::Usage
    } else {
        Exit::TryAgain
    };
    let (what, fix) = refused
        .message
        .split_once("; ")
        .unwrap_or((&refused.message, ""));
    Error::foreign(refused.code.clone(), exit, what).fix(fix)
}

fn timed_out(timeout_ms: u64) -> Error {
    let waited = petctl_spec::format_duration_ms(timeout_ms);
    Error::new(
        Code::Timeout,
        format!("the checkpoint was not committed within {waited}"),
    )
    .fix("the coordinator may be away; the worker tells it when it is back")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    /// A worker that gives one answer.
    async fn answered(answer: &str) -> (Result<()>, String) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("agent");
        let listener = UnixListener::bind(&socket).unwrap();
        let answer = answer.to_owned();
        let worker = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            line
        });
        let told = tell(&socket, 7, "/data/step-7").await;
        (told, worker.await.unwrap())
    }

    #[tokio::test]
    async fn the_worker_is_told_and_its_word_is_waited_for() {
        let (told, line) = answered("{\"ok\":true}\n").await;
        told.unwrap();
        assert_eq!(
            line,
            "{\"checkpoint\":{\"path\":\"/data/step-7\",\"step\":7}}\n"
        );
    }

    #[tokio::test]
    async fn a_refusal_keeps_its_code() {
        let (told, _) = answered(
            "{\"error\":{\"code\":\"CHECKPOINT_MISSING\",\"message\":\"/data/step-7 is not there; write it first\"}}\n",
        )
        .await;
        let error = told.unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        assert_eq!(
            error.to_string(),
            "error[CHECKPOINT_MISSING]: /data/step-7 is not there\n  fix: write it first"
        );
    }

    #[tokio::test]
    async fn nonsense_and_silence_are_no_word() {
        for answer in ["", "hello\n", "{}\n"] {
            let (told, _) = answered(answer).await;
            assert_eq!(told.unwrap_err().code(), "AGENT_UNREACHABLE", "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_socket_that_is_gone_is_said_to_be() {
        let error = tell(Path::new("/nowhere/agent"), 1, "/x")
            .await
            .unwrap_err();
        assert_eq!(error.exit(), Exit::Unreachable);
    }
}
