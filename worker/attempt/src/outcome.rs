//! What came of an attempt, as the coordinator is told.

use std::fmt::Display;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use petctl_codes::Code;
use petctl_commit::{CommitError, Committed};
use petctl_output::result::{ShardReport, ShardVerdict};
use petctl_process::supervisor::Stop;
use petctl_process::{Excess, StopOrder, killed_by};
use petctl_proto::v1::{AttemptResult, Lease, Number, Outcome, Verdict};
use petctl_spec::format_duration_ms;
use petctl_text::words::last_line;

use crate::identity;

/// A result without an outcome.
pub fn blank(lease: &Lease) -> AttemptResult {
    AttemptResult {
        lease_id: lease.lease_id,
        stage: lease.stage,
        shard: lease.shard,
        ..AttemptResult::default()
    }
}

/// A result that is not a commit. Its code may be text: that of an order came over the wire.
pub fn ended(
    lease: &Lease,
    outcome: Outcome,
    code: impl Display,
    message: impl Into<String>,
) -> AttemptResult {
    AttemptResult {
        outcome: outcome.into(),
        code: code.to_string(),
        message: message.into(),
        ..blank(lease)
    }
}

/// Whose fault it is that outputs could not be committed.
pub fn of_commit(error: &CommitError) -> Outcome {
    if matches!(error, CommitError::Overtaken) {
        Outcome::Revoked
    } else if error.is_infrastructure() {
        Outcome::Infrastructure
    } else {
        Outcome::Failed
    }
}

/// Outputs are published.
pub fn committed(lease: &Lease, committed: Committed) -> AttemptResult {
    let adopted = committed.lease != identity::lease(lease);
    let mut result = AttemptResult {
        outcome: Outcome::Committed.into(),
        output_files: committed.files,
        output_bytes: committed.bytes,
        duration_ms: committed.duration_ms,
        manifest_sha256: committed.manifest_sha256.to_vec(),
        committed_lease_id: if adopted { committed.lease.lease_id } else { 0 },
        committed_lineage: if adopted { committed.lease.lineage } else { 0 },
        ..blank(lease)
    };
    if let Some(report) = committed.report {
        set_report(&mut result, report);
    }
    result
}

/// What a command wrote is good, and is still to be sent and published.
pub fn to_be_sent(lease: &Lease) -> AttemptResult {
    AttemptResult {
        outcome: Outcome::Committed.into(),
        ..blank(lease)
    }
}

/// Whether it is that: what was published has a manifest.
pub fn is_to_be_sent(result: &AttemptResult) -> bool {
    result.outcome() == Outcome::Committed && result.manifest_sha256.is_empty()
}

fn set_report(result: &mut AttemptResult, report: ShardReport) {
    let verdict = match report.verdict {
        ShardVerdict::Pass => Verdict::Pass,
        ShardVerdict::Fail => Verdict::Fail,
        ShardVerdict::Skipped => Verdict::Skipped,
    };
    result.verdict = verdict.into();
    result.reasons = report.reasons;
    result.numbers = report
        .numbers
        .into_iter()
        .map(|(name, value)| Number { name, value })
        .collect();
}

/// The command ended by itself, and not with 0.
pub fn failed_exit(lease: &Lease, status: ExitStatus, elapsed: Duration) -> AttemptResult {
    let after = seconds(elapsed);
    let (code, message) = match (status.code(), status.signal()) {
        (Some(code), _) => (
            Code::ExitNonzero,
            format!("exited with {code} after {after}"),
        ),
        (None, Some(signal)) => (
            Code::KilledBySignal,
            format!("{} after {after}", killed_by(signal)),
        ),
        (None, None) => (
            Code::KilledBySignal,
            format!("ended in an unknown way after {after}"),
        ),
    };
    ended(lease, Outcome::Failed, code, message)
}

/// Of a command that ended by itself, the last line of its log mostly says why.
pub fn add_last_words(result: &mut AttemptResult) {
    if result.code == Code::ExitNonzero.as_str()
        && let Some(line) = last_line(&result.log_tail)
    {
        result.message.push_str(": ");
        result.message.push_str(&line);
    }
}

/// It ran into its timeout.
pub fn timed_out(lease: &Lease, timeout_ms: u64) -> AttemptResult {
    let limit = format_duration_ms(timeout_ms);
    let message = format!("ran longer than timeout = {limit}");
    ended(lease, Outcome::TimedOut, Code::TimedOut, message)
}

/// Its command exited with 0, and something that it had started did not end.
pub fn left_running(lease: &Lease, grace_ms: u64, left: &[String]) -> AttemptResult {
    let what = if left.is_empty() {
        "what it had started".to_owned()
    } else {
        left.join(", ")
    };
    let message = format!(
        "exited with 0, and {what} still ran after grace = {}: outputs may be cut, so nothing is committed",
        format_duration_ms(grace_ms)
    );
    ended(lease, Outcome::Failed, Code::LeftRunning, message)
}

/// It used more memory than its stage asks for.
pub fn memory_exceeded(lease: &Lease, excess: Option<Excess>) -> AttemptResult {
    let how = excess.map_or_else(
        || "more".to_owned(),
        |Excess { used, allowed }| format!("{} of {}", bytes(used), bytes(allowed)),
    );
    let message = format!("used {how} that the stage's `memory` allows");
    ended(lease, Outcome::Failed, Code::MemoryExceeded, message)
}

/// It was told to stop.
pub fn stopped(lease: &Lease, order: &StopOrder) -> AttemptResult {
    let outcome = match order.stop {
        Stop::Revoked | Stop::Discarded => Outcome::Revoked,
        Stop::Preempted => Outcome::Preempted,
    };
    ended(lease, outcome, &order.code, order.message.clone())
}

/// Published, but the file system could not be synced: nothing durable may be said of it.
pub fn not_durable(result: AttemptResult, error: &CommitError) -> AttemptResult {
    AttemptResult {
        lease_id: result.lease_id,
        stage: result.stage,
        shard: result.shard,
        duration_ms: result.duration_ms,
        outcome: Outcome::Infrastructure.into(),
        code: error.code().to_string(),
        message: error.to_string(),
        ..AttemptResult::default()
    }
}

/// How the process itself ended, for any outcome.
pub fn set_exit(result: &mut AttemptResult, status: Option<ExitStatus>, elapsed: Duration) {
    result.duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    if let Some(status) = status {
        result.exit_code = status.code();
        result.signal = status
            .signal()
            .and_then(|signal| u32::try_from(signal).ok())
            .unwrap_or(0);
    }
}

fn seconds(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    if seconds < 0.1 {
        format!("{} ms", elapsed.as_millis())
    } else {
        format!("{seconds:.1} s")
    }
}

/// `2 GiB`, `2.3 GiB`, `512 MiB`.
fn bytes(count: u64) -> String {
    const UNITS: [(&str, u32); 3] = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = UNITS.into_iter().find(|(_, shift)| count >> shift > 0);
    let Some((unit, shift)) = unit else {
        return format!("{count} bytes");
    };
    // Rounded up: what is over a limit never reads like the limit.
    let tenths = (u128::from(count) * 10).div_ceil(1 << shift);
    match tenths % 10 {
        0 => format!("{} {unit}", tenths / 10),
        tenth => format!("{}.{tenth} {unit}", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_a_limit_never_reads_like_it() {
        let cases = [
            (2 << 30, "2 GiB"),
            ((2 << 30) + 1, "2.1 GiB"),
            (512 << 20, "512 MiB"),
            (1_000, "1000 bytes"),
            (1_536, "1.5 KiB"),
        ];
        for (count, text) in cases {
            assert_eq!(bytes(count), text);
        }
        let excess = Excess {
            used: (2 << 30) + (300 << 20),
            allowed: 2 << 30,
        };
        assert_eq!(
            memory_exceeded(&Lease::default(), Some(excess)).message,
            "used 2.3 GiB of 2 GiB that the stage's `memory` allows"
        );
    }

    #[test]
    fn exits_read_as_sentences() {
        let lease = Lease {
            lease_id: 7,
            ..Lease::default()
        };
        let message = |raw: i32, ms| {
            failed_exit(&lease, ExitStatus::from_raw(raw), Duration::from_millis(ms)).message
        };
        assert_eq!(message(3 << 8, 1_234), "exited with 3 after 1.2 s");
        assert_eq!(message(1 << 8, 7), "exited with 1 after 7 ms");
        assert_eq!(message(11, 200), "killed by SIGSEGV (11) after 0.2 s");
        assert!(message(9, 200).contains("for want of memory"));
        assert_eq!(
            timed_out(&lease, 90_500).message,
            "ran longer than timeout = 1m30s500ms"
        );
    }

    #[test]
    fn a_command_that_ended_by_itself_says_why() {
        let with_words = |raw: i32, tail: &str| {
            let took = Duration::from_millis(7);
            let mut result = failed_exit(&Lease::default(), ExitStatus::from_raw(raw), took);
            result.log_tail = tail.to_owned();
            add_last_words(&mut result);
            result.message
        };
        let tail = "Traceback\nKeyError: 'a'\n\n";
        assert_eq!(
            with_words(1 << 8, tail),
            "exited with 1 after 7 ms: KeyError: 'a'"
        );
        assert_eq!(with_words(1 << 8, ""), "exited with 1 after 7 ms");
        // Of a signal nobody could say a last word.
        assert_eq!(with_words(11, tail), "killed by SIGSEGV (11) after 7 ms");
    }
}
