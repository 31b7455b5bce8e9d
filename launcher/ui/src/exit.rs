//! How a job's state ends a command that shows it, and what `--help` says of exit codes.

pub use petctl_codes::Exit;

use petctl_proto::v1::JobState;

/// How a job in this state ends a command that shows it. A job that goes on is no failure; one that was interrupted can
/// go on, but nobody works on it.
#[must_use]
pub fn of_job(state: JobState) -> Exit {
    match state {
        JobState::Unspecified
        | JobState::Waiting
        | JobState::Running
        | JobState::Suspended
        | JobState::Succeeded => Exit::Success,
        JobState::Failed => Exit::JobFailed,
        JobState::Cancelling | JobState::Cancelled => Exit::Cancelled,
        JobState::Interrupted => Exit::TryAgain,
    }
}

/// Said by `petctl --help`.
pub const TABLE: &str = "\
Exit codes:
  0    succeeded
  1    the job failed
  2    the command line is wrong
  3    the job was cancelled
  65   bad job file, or no shards
  66   no such job
  69   the coordinator can't be reached, or the job is not running
  70   a bug in petctl
  75   not now: the same command may work later
  77   not allowed: token missing or wrong
  78   bad configuration: folders, addresses, settings
  124  --timeout passed
  130  Ctrl-C; 143 SIGTERM";
