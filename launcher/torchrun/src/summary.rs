//! What is said when a run has failed: as torchrun does, the root cause first and whole, the others folded.

use super::signals;
use petctl_proto::v1::{FirstCause, RankFailure};
use petctl_ui::terminal::printable;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Most bytes of an error file that are read.
const MAX_FILE_BYTES: u64 = 256 * 1024;
/// Most lines of a traceback that are shown: the last ones, where the exception is.
const MAX_LINES: usize = 60;
/// Most of the others that are named.
const MAX_OTHERS: usize = 16;
const WIDTH: usize = 60;

/// A process of this node that failed by itself.
#[derive(Clone, Debug)]
pub(super) struct LocalFailure {
    pub(super) at: SystemTime,
    pub(super) what: RankFailure,
    pub(super) error_file: Option<PathBuf>,
}

/// Of this node, for the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'a> {
    pub(super) script: &'a str,
    pub(super) host: &'a str,
    /// The worker's name.
    pub(super) name: &'a str,
}

/// The text. `cause` is what the coordinator saw first of all nodes, if it could be asked.
pub(super) fn text(node: Node<'_>, cause: Option<&FirstCause>, local: &[LocalFailure]) -> String {
    let root = root(node, cause, local);
    let mut text = format!(
        "{0}\n{1} FAILED\n",
        "=".repeat(WIDTH),
        printable(node.script)
    );
    let others = others(cause, local, root);
    if !others.is_empty() {
        // Writing to a string can't fail.
        let _written = write!(text, "{}\nFailed after it:\n{others}", "-".repeat(WIDTH));
    }
    let _written = writeln!(
        text,
        "{}\nRoot Cause (first observed failure):",
        "-".repeat(WIDTH)
    );
    match (root, cause) {
        (Some(root), _) => local_root(&mut text, node, root),
        (None, Some(cause)) => remote_root(&mut text, cause),
        (None, None) => text
            .push_str("  not known: the coordinator is gone, and no process of this node failed\n"),
    }
    text.push_str(&"=".repeat(WIDTH));
    text
}

/// The root cause, where it is this node's.
pub(super) fn root<'a>(
    node: Node<'_>,
    cause: Option<&FirstCause>,
    local: &'a [LocalFailure],
) -> Option<&'a LocalFailure> {
    let Some(cause) = cause else {
        return local.iter().min_by_key(|failure| failure.at);
    };
    local
        .iter()
        .find(|failure| cause.worker == node.name && cause.rank == Some(failure.what.rank))
}

fn local_root(text: &mut String, node: Node<'_>, root: &LocalFailure) {
    let failure = &root.what;
    let file = root.error_file.as_deref().filter(|file| file.is_file());
    let traceback = match file.and_then(read) {
        Some(Recorded { traceback, .. }) => traceback,
        None if failure.signal != 0 => format!(
            "Signal {} ({}) received by PID {}",
            failure.signal,
            signal_name(failure.signal),
            failure.pid
        ),
        None if !failure.log_tail.is_empty() => failure.log_tail.clone(),
        // Never started, or its error file says nothing that can be understood.
        None if failure.exit_code.is_none() || file.is_some() => failure.message.clone(),
        None => "none was recorded; decorate the script's main function with \
                 torch.distributed.elastic.multiprocessing.errors.record to see its exception here"
            .to_owned(),
    };
    let file = file.map_or_else(|| "<N/A>".to_owned(), |file| file.display().to_string());
    let _written = write!(
        text,
        "[0]:\n  time      : {}\n  host      : {}\n  rank      : {} (local_rank: {})\n  exitcode  : {} (pid: {}){}\n  \
         error_file: {}\n  traceback : {}\n",
        moment(root.at),
        printable(node.host),
        failure.rank,
        failure.local_rank,
        exit_code(failure.exit_code, failure.signal),
        failure.pid,
        in_brackets(failure.signal),
        printable(&file),
        indented(&traceback)
    );
}

fn remote_root(text: &mut String, cause: &FirstCause) {
    let rank = match (cause.rank, cause.local_rank) {
        (Some(rank), Some(local)) => format!("{rank} (local_rank: {local})"),
        (Some(rank), None) => rank.to_string(),
        (None, _) => "none: the node as a whole".to_owned(),
    };
    let code = if cause.rank.is_some() {
        format!(
            "{}{}",
            exit_code(cause.exit_code, cause.signal),
            in_brackets(cause.signal)
        )
    } else {
        "<N/A>".to_owned()
    };
    let at = UNIX_EPOCH + Duration::from_millis(cause.at_ms);
    let mut message = format!("{} [{}]", cause.message, cause.code);
    if !cause.log_tail.is_empty() {
        message = format!("{message}\n{}", cause.log_tail);
    }
    let _written = write!(
        text,
        "[0]:\n  time      : {}\n  host      : {} (node {})\n  rank      : {rank}\n  exitcode  : {code}\n  error_file: on \
         that node\n  traceback : {}\n",
        moment(at),
        printable(&cause.host),
        printable(&cause.worker),
        indented(&message)
    );
}

/// One line each for what failed later: of this node with what is known, of others by rank.
fn others(
    cause: Option<&FirstCause>,
    local: &[LocalFailure],
    root: Option<&LocalFailure>,
) -> String {
    let root_rank = root.map(|root| root.what.rank);
    let mut text = String::new();
    let mut shown = 0;
    for failure in local.iter().map(|failure| &failure.what) {
        if Some(failure.rank) == root_rank {
            continue;
        }
        shown += 1;
        if shown > MAX_OTHERS {
            continue;
        }
        let _written = writeln!(
            text,
            "  rank {} (local_rank: {}), exitcode {} (pid: {}){}",
            failure.rank,
            failure.local_rank,
            exit_code(failure.exit_code, failure.signal),
            failure.pid,
            in_brackets(failure.signal)
        );
    }
    if shown > MAX_OTHERS {
        let _written = writeln!(text, "  and {} more of this node", shown - MAX_OTHERS);
    }
    let is_local = |rank: &u32| local.iter().any(|failure| failure.what.rank == *rank);
    let remote: Vec<String> = cause
        .into_iter()
        .flat_map(|cause| &cause.others)
        .filter(|rank| !is_local(rank) && Some(**rank) != root_rank)
        .map(u32::to_string)
        .collect();
    if !remote.is_empty() {
        let some = remote
            .iter()
            .take(MAX_OTHERS)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        let more = if remote.len() > MAX_OTHERS {
            ", …"
        } else {
            ""
        };
        let _written = writeln!(text, "  ranks {some}{more} of other nodes");
    }
    text
}

/// What an error file holds.
#[derive(Debug)]
struct Recorded {
    whole: Value,
    traceback: String,
}

fn read(path: &Path) -> Option<Recorded> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).ok()?;
    let whole: Value = serde_json::from_slice(&bytes).ok()?;
    let message = whole.get("message")?;
    let traceback = message
        .pointer("/extraInfo/py_callstack")
        .or_else(|| message.get("message"))
        .unwrap_or(message)
        .as_str()?
        .to_owned();
    Some(Recorded { whole, traceback })
}

/// Hands the root cause's error file on to whoever started this node, as torchrun does: whole, with its exit code.
pub(super) fn pass_on(root: &LocalFailure, own: &Path) -> std::io::Result<()> {
    let Some(mut recorded) = root.error_file.as_deref().and_then(read) else {
        return Ok(());
    };
    if let Some(Value::Object(message)) = recorded.whole.get_mut("message") {
        let code = exit_number(root.what.exit_code, root.what.signal);
        message.insert("errorCode".to_owned(), code.into());
    }
    std::fs::write(own, recorded.whole.to_string())
}

/// Python's way: the negative of the signal that ended it.
fn exit_number(exit_code: Option<i32>, signal: u32) -> i32 {
    match exit_code {
        Some(code) => code,
        None => i32::try_from(signal).map_or(1, |signal| -signal),
    }
}

fn exit_code(exit_code: Option<i32>, signal: u32) -> String {
    if exit_code.is_none() && signal == 0 {
        return "<N/A>".to_owned();
    }
    exit_number(exit_code, signal).to_string()
}

fn signal_name(signal: u32) -> &'static str {
    i32::try_from(signal)
        .ok()
        .and_then(signals::name)
        .unwrap_or("unknown")
}

fn in_brackets(signal: u32) -> String {
    if signal == 0 {
        String::new()
    } else {
        format!(" ({})", signal_name(signal))
    }
}

fn moment(at: SystemTime) -> String {
    let text = petctl_output::timestamp::rfc3339(at);
    let seconds = text.get(..19).unwrap_or(&text);
    format!("{}Z", seconds.replace('T', "_"))
}

fn indented(text: &str) -> String {
    let lines: Vec<String> = text.trim_end().lines().map(printable).collect();
    let left_out = lines.len().saturating_sub(MAX_LINES);
    let mut kept = lines.get(left_out..).unwrap_or_default().join("\n  ");
    if left_out > 0 {
        kept = format!("({left_out} lines left out)\n  {kept}");
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(rank: u32, at_s: u64, error_file: Option<PathBuf>) -> LocalFailure {
        LocalFailure {
            at: UNIX_EPOCH + Duration::from_secs(at_s),
            what: RankFailure {
                rank,
                local_rank: rank,
                pid: 100 + rank,
                exit_code: Some(1),
                ..RankFailure::default()
            },
            error_file,
        }
    }

    fn node() -> Node<'static> {
        Node {
            script: "train.py",
            host: "here",
            name: "here-1",
        }
    }

    #[test]
    fn the_root_cause_of_this_node_is_shown_with_its_traceback() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("error.json");
        let recorded = r#"{"message":{"message":"ValueError: bad","extraInfo":{"py_callstack":"Traceback\n  File\nValueError: bad\n","timestamp":"1"}}}"#;
        std::fs::write(&file, recorded).unwrap();
        let local = [
            failure(1, 1_795_244_400, Some(file.clone())),
            failure(0, 1_795_244_401, None),
        ];
        let cause = FirstCause {
            rank: Some(1),
            worker: "here-1".to_owned(),
            others: vec![0, 5, 6],
            ..FirstCause::default()
        };
        let text = text(node(), Some(&cause), &local);
        let wanted = format!(
            "train.py FAILED\n{0}\nFailed after it:\n  rank 0 (local_rank: 0), exitcode 1 (pid: 100)\n  ranks 5, 6 of other \
             nodes\n{0}\nRoot Cause (first observed failure):\n[0]:\n  time      : 2026-11-21_07:00:00Z\n  host      : here\n  \
             rank      : 1 (local_rank: 1)\n  exitcode  : 1 (pid: 101)\n  error_file: {1}\n  traceback : Traceback\n    \
             File\n  ValueError: bad\n",
            "-".repeat(60),
            file.display()
        );
        assert!(text.contains(&wanted), "{text}");
        let own = folder.path().join("own.json");
        pass_on(&local[0], &own).unwrap();
        let passed: Value = serde_json::from_slice(&std::fs::read(own).unwrap()).unwrap();
        assert_eq!(passed.pointer("/message/errorCode"), Some(&Value::from(1)));
    }

    #[test]
    fn a_root_cause_elsewhere_is_named_with_its_host() {
        let cause = FirstCause {
            at_ms: 1_795_244_400_000,
            rank: Some(7),
            local_rank: Some(3),
            worker: "far-9".to_owned(),
            host: "far".to_owned(),
            code: "RANK_SIGNALLED".to_owned(),
            message: "killed".to_owned(),
            signal: 9,
            ..FirstCause::default()
        };
        let text = text(node(), Some(&cause), &[failure(0, 1, None)]);
        for part in [
            "far (node far-9)",
            "7 (local_rank: 3)",
            "-9 (SIGKILL)",
            "killed [RANK_SIGNALLED]",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn without_a_coordinator_the_earliest_of_this_node_is_the_cause() {
        let local = [failure(1, 5, None), failure(0, 4, None)];
        let root = root(node(), None, &local).unwrap();
        assert_eq!(root.what.rank, 0);
        assert!(text(node(), None, &local).contains("errors.record"));
        assert!(text(node(), None, &[]).contains("not known"));
    }
}
