//! Warm processes: one per slot and stage, which takes shard after shard.
//!
//! The protocol is in `docs/serve.md`. A process is started when the first shard of its stage comes to the slot, and
//! stays until the slot turns to something else, the job leaves the worker, or the worker ends. Its death with a shard
//! in hand is that shard's failure; its death before it was ready is nobody's.

mod lines;
mod message;
mod server;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use petctl_attempt::{Request, outcome};
use petctl_codes::Code;
use petctl_process::{StopSwitch, Watched, killed_by, spawn_reader, timespec};
use petctl_proto::v1::{AttemptResult, Outcome};
use petctl_spec::StageSpec;
use rustix::event::{PollFd, PollFlags, poll};

use crate::shard::command::{Command, Prepared};
use crate::shard::serve::message::Message;
use crate::shard::serve::server::{Ears, End, Heard, Server, no_log};
use petctl_output::logs::{AttemptLog, Stream};

/// First wait before a process is started again; doubled each time that no shard was answered in between.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const LAST_BACKOFF: Duration = Duration::from_secs(30);

/// A slot's warm process, where it has one.
#[derive(Debug, Default)]
pub(crate) struct Warm {
    running: Option<Running>,
    /// Starts since the last answer.
    starts: u32,
    last_start: Option<Instant>,
    /// As the slots count the jobs that have left; the process belongs to the job of this one.
    pub(crate) generation: u64,
}

#[derive(Debug)]
struct Running {
    server: Server,
    what: What,
    last_id: u64,
}

/// What decides whether a process can take a shard.
#[derive(Debug, PartialEq, Eq)]
struct What {
    job: String,
    stage: String,
    program: std::path::PathBuf,
    arguments: Vec<String>,
    environment: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    devices: Option<String>,
    memory_mib: u64,
}

/// What a slot lends to an attempt by a warm process.
pub(crate) struct Tools<'a> {
    pub(crate) warm: &'a mut Warm,
    pub(crate) switch: &'a StopSwitch,
    pub(crate) processes: &'a AtomicU32,
    pub(crate) buffer: &'a mut [u8],
}

type Refused = Box<AttemptResult>;

/// Has the warm process do the shard, whose outputs go to `folder`; how long it took.
///
/// # Errors
/// What came of the attempt, where it is not to be committed.
pub(crate) fn run(
    command: &Command<'_>,
    folder: &Path,
    tools: Tools<'_>,
    log: &mut AttemptLog,
) -> Result<Duration, Refused> {
    tools.processes.fetch_add(1, Ordering::Relaxed);
    let ears = Ears {
        log,
        switch: tools.switch,
        buffer: tools.buffer,
    };
    let mut attempt = Attempt {
        command,
        warm: tools.warm,
        ears,
    };
    let ended = attempt.run(folder);
    tools.processes.fetch_sub(1, Ordering::Relaxed);
    ended
}

impl Warm {
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Ends the process between two shards; sooner where the worker ends. Nobody reads its last words.
    pub(crate) fn stop(&mut self, is_closing: bool, switch: &StopSwitch, buffer: &mut [u8]) {
        let Some(running) = self.running.take() else {
            return;
        };
        let ears = Ears {
            log: &mut no_log(),
            switch,
            buffer,
        };
        let how = if is_closing { End::Closing } else { End::Asked };
        if let Err(error) = running.server.end(how, ears) {
            tracing::debug!(%error, "can't watch a warm process on its way out");
        }
        (self.starts, self.last_start) = (0, None);
    }

    /// How long to wait before the next start.
    fn backoff(&self, now: Instant) -> Duration {
        let Some(doublings) = self.starts.checked_sub(1) else {
            return Duration::ZERO;
        };
        let wait = FIRST_BACKOFF.saturating_mul(1 << doublings.min(10));
        let due = self.last_start.map(|last| last + wait.min(LAST_BACKOFF));
        due.map_or(Duration::ZERO, |due| due.saturating_duration_since(now))
    }
}

struct Attempt<'a, 'b> {
    command: &'a Command<'a>,
    warm: &'a mut Warm,
    ears: Ears<'b>,
}

impl Attempt<'_, '_> {
    fn run(&mut self, folder: &Path) -> Result<Duration, Refused> {
        let prepared = self.command.warm()?;
        let what = self.what(&prepared);
        self.keep_if_it_fits(&what);
        if self.warm.running.is_none() {
            self.start(&prepared, what)?;
        }
        self.hand_over(folder)
    }

    fn what(&self, prepared: &Prepared) -> What {
        What {
            job: self.command.job.spec.name.clone(),
            stage: self.command.spec.name.clone(),
            program: prepared.program.clone(),
            arguments: prepared.arguments.clone(),
            environment: self.command.stage.environment.clone(),
            devices: self.command.devices(),
            memory_mib: self.command.spec.memory_mib,
        }
    }

    fn keep_if_it_fits(&mut self, what: &What) {
        let Some(running) = &mut self.warm.running else {
            return;
        };
        if running.what != *what {
            self.warm.stop(false, self.ears.switch, self.ears.buffer);
            return;
        }
        let why = match running.server.look(&mut self.ears) {
            None => return,
            Some(Heard::Exited | Heard::Closed) => "the warm process ended while it had no shard",
            Some(Heard::OverMemory) => {
                "the warm process used more memory than the stage's `memory` allows while it had no shard"
            }
            Some(Heard::Said(_) | Heard::Overdue | Heard::Stopped(_)) => {
                "the warm process answered a shard twice"
            }
        };
        let _ = self.end(End::Killed);
        self.note(&format!("petctl: {why}; it is started again"));
    }

    fn start(&mut self, prepared: &Prepared, what: What) -> Result<(), Refused> {
        self.wait_for_backoff()?;
        let spec = self.command.spec;
        let child = self.command.launch(prepared, spawn_reader)?;
        let now = Instant::now();
        self.warm.starts = self.warm.starts.saturating_add(1);
        self.warm.last_start = Some(now);
        let grace = Duration::from_millis(spec.grace_ms);
        let lease_id = self.command.lease.lease_id;
        let server = Server::new(child, lease_id, spec.memory_mib, grace).map_err(|error| {
            self.ended(
                Outcome::Infrastructure,
                Code::SpawnFailed,
                format!("can't watch a process: {error}"),
            )
        })?;
        self.warm.running = Some(Running {
            server,
            what,
            last_id: 0,
        });
        let timeout_ms = spec
            .dispatch
            .serve
            .map_or(0, |serve| serve.start_timeout_ms);
        match self.hear(timeout_ms) {
            Heard::Said(Ok(Message::Ready)) => {
                let ready_ms = self
                    .warm
                    .running
                    .as_ref()
                    .map(|running| running.server.age());
                tracing::debug!(stage = %spec.name, ?ready_ms, "a warm process is ready");
                Ok(())
            }
            Heard::Said(Ok(Message::Done { .. } | Message::Failed { .. })) => {
                Err(self.nonsense("answered a shard before it was ready"))
            }
            Heard::Said(Err(why)) => Err(self.nonsense(&format!("said a line that {why}"))),
            Heard::Exited => Err(self.died(Outcome::Infrastructure, Code::ServeNotReady, now)),
            Heard::Closed => Err(self.not_ready("closed its stdout", now)),
            Heard::Overdue => {
                let limit = petctl_spec::format_duration_ms(timeout_ms);
                Err(self.not_ready(&format!("took longer than start_timeout = {limit}"), now))
            }
            Heard::Stopped(_) => Err(self.stopped()),
            Heard::OverMemory => Err(self.over_memory(now)),
        }
    }

    fn hand_over(&mut self, folder: &Path) -> Result<Duration, Refused> {
        let started = Instant::now();
        let context = self.command.context();
        let own: Cow<'_, BTreeMap<String, String>> = context.own_params();
        let Some(running) = &mut self.warm.running else {
            return Err(self.nonsense("is gone"));
        };
        running.last_id += 1;
        let asked = running.last_id;
        let request = Request {
            id: asked,
            shard: context.describe(folder.to_string_lossy(), &own),
        };
        let mut line = serde_json::to_vec(&request).unwrap_or_default();
        line.push(b'\n');
        running.server.send(&line);
        let heard = self.hear(self.command.spec.timeout_ms);
        let answer = match heard {
            Heard::Said(Ok(answer)) => answer,
            Heard::Said(Err(why)) => {
                return Err(self.nonsense(&format!("said a line that {why}")));
            }
            Heard::Exited => return Err(self.died(Outcome::Failed, Code::ServeDied, started)),
            Heard::Closed => return Err(self.nonsense("closed its stdout without an answer")),
            Heard::Overdue => return Err(self.timed_out(started)),
            Heard::Stopped(_) => return Err(self.stopped()),
            Heard::OverMemory => return Err(self.over_memory(started)),
        };
        let elapsed = started.elapsed();
        match answer {
            Message::Done { id } if id == asked => {
                self.answered();
                Ok(elapsed)
            }
            Message::Failed { id, message, retry } if id == asked => {
                self.answered();
                let code = if retry {
                    Code::ServeFailed
                } else {
                    Code::ServeRefused
                };
                let message = if message.is_empty() {
                    "the warm process says that the shard has failed".to_owned()
                } else {
                    message
                };
                let mut result = self.ended(Outcome::Failed, code, message);
                outcome::set_exit(&mut result, None, elapsed);
                Err(result)
            }
            Message::Done { id } | Message::Failed { id, .. } => Err(self.nonsense(&format!(
                "answered with the id {id}, and was asked with {asked}"
            ))),
            Message::Ready => Err(self.nonsense("said a second time that it is ready")),
        }
    }

    fn hear(&mut self, timeout_ms: u64) -> Heard {
        let Some(running) = &mut self.warm.running else {
            return Heard::Closed;
        };
        let timeout = Duration::from_millis(timeout_ms);
        let until = Instant::now()
            .checked_add(timeout)
            .filter(|_| timeout_ms > 0);
        running.server.hear(until, &mut self.ears)
    }

    fn answered(&mut self) {
        self.warm.starts = 0;
        if let Some(running) = &mut self.warm.running {
            running.server.read_rest(&mut self.ears);
        }
    }

    /// The next process has to wait where the last ones were of no use.
    fn wait_for_backoff(&self) -> Result<(), Refused> {
        let until = Instant::now() + self.warm.backoff(Instant::now());
        loop {
            if self.ears.switch.stop().is_some() {
                return Err(self.stop_result());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let event = self.ears.switch.event();
            let mut fds = [PollFd::from_borrowed_fd(event, PollFlags::IN)];
            // Interrupted: look again.
            let _ = poll(&mut fds, Some(&timespec(left)));
            if !fds[0].revents().is_empty() {
                self.ears.switch.clear_event();
            }
        }
    }

    fn end(&mut self, how: End) -> Option<Watched> {
        let running = self.warm.running.take()?;
        let ears = Ears {
            log: self.ears.log,
            switch: self.ears.switch,
            buffer: self.ears.buffer,
        };
        running
            .server
            .end(how, ears)
            .inspect_err(|error| tracing::debug!(%error, "can't watch a warm process"))
            .ok()
    }

    fn ended(&self, outcome: Outcome, code: Code, message: String) -> Refused {
        Box::new(outcome::ended(self.command.lease, outcome, code, message))
    }

    fn died(&mut self, outcome: Outcome, code: Code, since: Instant) -> Refused {
        let elapsed = since.elapsed();
        let watched = self.end(End::Ended);
        if let Some(excess) = watched.as_ref().and_then(|watched| watched.excess) {
            return self.memory_result(excess, elapsed);
        }
        let status = watched.and_then(|watched| watched.status);
        let when = if code == Code::ServeDied {
            "while it had this shard"
        } else {
            "before it was ready"
        };
        let message = format!("the warm process {} {when}", how_it_ended(status));
        let mut result = self.ended(outcome, code, message);
        outcome::set_exit(&mut result, status, elapsed);
        result
    }

    fn not_ready(&mut self, why: &str, since: Instant) -> Refused {
        self.end(End::Told);
        let message = format!("the warm process {why} before it said that it is ready");
        let mut result = self.ended(Outcome::Infrastructure, Code::ServeNotReady, message);
        outcome::set_exit(&mut result, None, since.elapsed());
        result
    }

    fn nonsense(&mut self, what: &str) -> Refused {
        self.end(End::Killed);
        let message = format!("the warm process {what}");
        self.ended(Outcome::Failed, Code::ServeProtocol, message)
    }

    fn timed_out(&mut self, since: Instant) -> Refused {
        let elapsed = since.elapsed();
        self.end(End::Told);
        let lease = self.command.lease;
        let mut result = Box::new(outcome::timed_out(lease, self.command.spec.timeout_ms));
        outcome::set_exit(&mut result, None, elapsed);
        result
    }

    fn over_memory(&mut self, since: Instant) -> Refused {
        let elapsed = since.elapsed();
        let excess = self.end(End::Killed).and_then(|watched| watched.excess);
        let mut result = Box::new(outcome::memory_exceeded(self.command.lease, excess));
        outcome::set_exit(&mut result, None, elapsed);
        result
    }

    fn memory_result(&self, excess: petctl_process::Excess, elapsed: Duration) -> Refused {
        let mut result = Box::new(outcome::memory_exceeded(self.command.lease, Some(excess)));
        outcome::set_exit(&mut result, None, elapsed);
        result
    }

    /// A process can't be told to leave a shard, so it goes with it.
    fn stopped(&mut self) -> Refused {
        self.end(End::Told);
        // It is no fault of its own.
        self.warm.starts = 0;
        self.stop_result()
    }

    fn stop_result(&self) -> Refused {
        match self.ears.switch.order() {
            Some(order) => Box::new(outcome::stopped(self.command.lease, &order)),
            None => self.ended(
                Outcome::Revoked,
                Code::LeaseLost,
                "the lease was lost".to_owned(),
            ),
        }
    }

    fn note(&mut self, text: &str) {
        let line = format!("{text}\n");
        self.ears
            .log
            .push(Stream::Stderr, line.as_bytes(), Instant::now());
    }
}

fn how_it_ended(status: Option<ExitStatus>) -> String {
    let code = status.and_then(|status| status.code());
    let signal = status.and_then(|status| status.signal());
    match (code, signal) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was {}", killed_by(signal)),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

/// Whether the stage's shards go to warm processes.
pub(crate) fn serves(spec: &StageSpec) -> bool {
    spec.dispatch.serve.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_of_no_use_is_started_again_ever_more_slowly() {
        let now = Instant::now();
        let mut warm = Warm {
            last_start: Some(now),
            ..Warm::default()
        };
        let mut waits = Vec::new();
        for starts in [0, 1, 2, 3, 7, 8, 1_000] {
            warm.starts = starts;
            waits.push(warm.backoff(now).as_millis());
        }
        assert_eq!(waits, [0, 500, 1_000, 2_000, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn ends_read_as_sentences() {
        assert_eq!(
            how_it_ended(Some(ExitStatus::from_raw(3 << 8))),
            "exited with 3"
        );
        assert_eq!(
            how_it_ended(Some(ExitStatus::from_raw(11))),
            "was killed by SIGSEGV (11)"
        );
    }
}
