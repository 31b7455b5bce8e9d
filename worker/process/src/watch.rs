//! Carries out what the [`Supervisor`] decides, for one process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};

use crate::memory::{Excess, MemoryHold};
use crate::strays;
use crate::supervisor::{Action, Cause, Input, Supervisor};
use crate::switch::StopSwitch;
use petctl_output::logs::{AttemptLog, Stream};

/// How a process ended.
#[derive(Debug)]
pub struct Watched {
    /// Why.
    pub cause: Cause,
    /// Absent where it could not be killed.
    pub status: Option<ExitStatus>,
    /// From its start to its end, without the waiting for outputs.
    pub elapsed: Duration,
    /// Where it used more memory than it may, and that ended it.
    pub excess: Option<Excess>,
    /// Where something that it had started did not end: what that is.
    pub left: Vec<String>,
}

/// Between two looks at what a process has left behind.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// On what terms a process runs.
#[derive(Debug)]
pub struct Terms {
    /// In the environment of all that it starts, by which strays are found.
    pub lease_id: u64,
    /// Decides what is done when.
    pub supervisor: Supervisor,
    /// When it was started.
    pub started: Instant,
    /// The bound on its memory, where there is one.
    pub memory: Option<MemoryHold>,
    /// The folder of its output: what it has started, and still runs in its process group or still has something open
    /// in there, is waited for once it has ended well. `None`: nothing is.
    pub waits_for: Option<PathBuf>,
}

impl Terms {
    /// Without a bound on memory.
    pub fn new(lease_id: u64, supervisor: Supervisor, started: Instant) -> Self {
        Self {
            lease_id,
            supervisor,
            started,
            memory: None,
            waits_for: None,
        }
    }
}

/// Watches a process until its end. Its outputs go to the log.
///
/// # Errors
/// Where the system has no descriptor for it; the process is killed then.
pub fn watch(
    mut child: Child,
    terms: Terms,
    log: &mut AttemptLog,
    switch: &StopSwitch,
    buffer: &mut [u8],
) -> io::Result<Watched> {
    let group = Pid::from_child(&child);
    let pidfd = match pidfd_open(group, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(errno) => {
            let _ = kill_process_group(group, Signal::KILL);
            let _ = child.wait();
            return Err(errno.into());
        }
    };
    let outputs = [
        (Stream::Stdout, child.stdout.take().map(OwnedFd::from)),
        (Stream::Stderr, child.stderr.take().map(OwnedFd::from)),
    ];
    let mut watch = Watch {
        child,
        group,
        terms,
        pidfd: Some(pidfd),
        outputs,
        status: None,
        elapsed: None,
        group_gone: false,
        waited: false,
        left: Vec::new(),
    };
    Ok(watch.run(log, switch, buffer))
}

struct Watch {
    child: Child,
    group: Pid,
    terms: Terms,
    /// `None` once the process has ended.
    pidfd: Option<OwnedFd>,
    outputs: [(Stream, Option<OwnedFd>); 2],
    status: Option<ExitStatus>,
    elapsed: Option<Duration>,
    /// Nobody is left in its process group: the number may be another one's by now.
    group_gone: bool,
    /// It ended well, and what it left was waited for.
    waited: bool,
    left: Vec<String>,
}

/// What a wait found.
struct Ready {
    ended: bool,
    woken: bool,
    outputs: [PollFlags; 2],
}

impl Ready {
    const NOTHING: Self = Self {
        ended: false,
        woken: false,
        outputs: [PollFlags::empty(); 2],
    };
}

impl Watch {
    fn run(&mut self, log: &mut AttemptLog, switch: &StopSwitch, buffer: &mut [u8]) -> Watched {
        // It may have been told to stop before it was started.
        let mut cause = switch
            .stop()
            .and_then(|stop| self.handle(Input::StopRequested(stop)));
        while cause.is_none() {
            let ready = self.wait(log, switch);
            cause = self.read_outputs(&ready, log, buffer);
            if ready.woken && cause.is_none() {
                switch.clear_event();
                cause = switch
                    .stop()
                    .and_then(|stop| self.handle(Input::StopRequested(stop)));
            }
            if ready.ended && cause.is_none() {
                self.pidfd = None;
                self.elapsed = Some(self.terms.started.elapsed());
                cause = self.exited();
            }
            if cause.is_none() && self.terms.supervisor.waits() && !self.leaves() {
                cause = self.handle(Input::NothingLeft);
            }
            if log.flush_at().is_some_and(|at| Instant::now() >= at) {
                log.flush();
            }
            if cause.is_none() && self.is_over_memory() {
                cause = self.handle(Input::MemoryExceeded);
            }
            if cause.is_none()
                && self
                    .terms
                    .supervisor
                    .deadline()
                    .is_some_and(|at| Instant::now() >= at)
            {
                cause = self.handle(Input::Tick);
            }
        }
        let elapsed = self.elapsed;
        let excess = self.terms.memory.take().and_then(MemoryHold::end);
        Watched {
            cause: cause.unwrap_or(Cause::Unkillable),
            status: self.status,
            elapsed: elapsed.unwrap_or_else(|| self.terms.started.elapsed()),
            excess,
            left: std::mem::take(&mut self.left),
        }
    }

    /// The process has ended: what it leaves behind is looked for where it is waited for.
    fn exited(&mut self) -> Option<Cause> {
        if self.terms.waits_for.is_some() && self.ended_well() {
            // Only without its leader, which is a zombie, can it be told whether anybody is in the group.
            self.status = self.child.wait().ok();
            if self.leaves() {
                self.waited = true;
                return self.handle(Input::ExitedLeaving);
            }
        }
        self.handle(Input::Exited)
    }

    fn ended_well(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(self.group), options);
        matches!(status, Ok(Some(status)) if status.exit_status() == Some(0))
    }

    fn names_of_left(&self) -> Vec<String> {
        let folder = self.terms.waits_for.as_deref();
        let holders = folder.map(|folder| strays::holders(self.terms.lease_id, folder));
        strays::names_of(self.group, &holders.unwrap_or_default())
    }

    /// Whether something of the process still runs in its group, or has its output open.
    fn leaves(&mut self) -> bool {
        self.group_gone = self.group_gone || strays::group_is_gone(self.group);
        let folder = self.terms.waits_for.as_deref();
        !self.group_gone
            || folder.is_some_and(|folder| !strays::holders(self.terms.lease_id, folder).is_empty())
    }

    fn is_over_memory(&mut self) -> bool {
        let running = self.pidfd.is_some();
        let memory = self.terms.memory.as_mut().filter(|_| running);
        memory.is_some_and(|memory| memory.is_exceeded(Instant::now()))
    }

    /// Blocks until something happens or is due.
    fn wait(&self, log: &AttemptLog, switch: &StopSwitch) -> Ready {
        let running = self.pidfd.is_some();
        let memory = self.terms.memory.as_ref().filter(|_| running);
        let due = [
            self.terms.supervisor.deadline(),
            log.flush_at(),
            memory.and_then(MemoryHold::next_check),
            // Nothing tells when the last of a group ends.
            self.terms
                .supervisor
                .waits()
                .then(|| Instant::now() + LOOK_AGAIN),
        ];
        let due = due.into_iter().flatten().min();
        let timeout = due.map(|at| timespec(at.saturating_duration_since(Instant::now())));
        let event = switch.event();
        let mut fds = Vec::with_capacity(4);
        fds.push(PollFd::from_borrowed_fd(event, PollFlags::IN));
        let open = self
            .outputs
            .iter()
            .filter_map(|(_, fd)| fd.as_ref())
            .chain(&self.pidfd);
        fds.extend(open.map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)));
        if poll(&mut fds, timeout.as_ref()).is_err() {
            // Interrupted, or short of memory: look again.
            return Ready::NOTHING;
        }
        let mut found = fds.iter().map(PollFd::revents);
        let mut ready = Ready {
            woken: found.next().is_some_and(|flags| !flags.is_empty()),
            ..Ready::NOTHING
        };
        for (index, (_, fd)) in self.outputs.iter().enumerate() {
            if fd.is_some() {
                ready.outputs[index] = found.next().unwrap_or(PollFlags::empty());
            }
        }
        ready.ended = found.next().is_some_and(|flags| !flags.is_empty());
        ready
    }

    fn read_outputs(
        &mut self,
        ready: &Ready,
        log: &mut AttemptLog,
        buffer: &mut [u8],
    ) -> Option<Cause> {
        let mut cause = None;
        for index in 0..self.outputs.len() {
            let flags = ready.outputs[index];
            let (stream, output) = &mut self.outputs[index];
            let Some(fd) = output.as_ref().filter(|_| !flags.is_empty()) else {
                continue;
            };
            // Hung up with nothing to read: no read needed to know that it is closed.
            let count = if flags.contains(PollFlags::IN) {
                rustix::io::read(fd, &mut *buffer)
            } else {
                Ok(0)
            };
            match count {
                Ok(0) => {
                    *output = None;
                    if self.outputs.iter().all(|(_, fd)| fd.is_none()) {
                        cause = cause.or(self.handle(Input::OutputClosed));
                    }
                }
                Ok(count) => {
                    log.push(*stream, &buffer[..count], Instant::now());
                    cause = cause.or(self.handle(Input::OutputRead));
                }
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                Err(_) => *output = None,
            }
        }
        cause
    }

    fn handle(&mut self, input: Input) -> Option<Cause> {
        let mut cause = None;
        for action in self.terms.supervisor.handle(Instant::now(), input) {
            match action {
                // Errors mean that nobody is left in the group.
                Action::Terminate => {
                    let _ = kill_process_group(self.group, Signal::TERM);
                }
                Action::Kill => {
                    if self.waited {
                        self.left = self.names_of_left();
                    }
                    if !self.group_gone {
                        let _ = kill_process_group(self.group, Signal::KILL);
                    }
                }
                Action::Reap => {
                    if self.status.is_none() {
                        self.status = self.child.wait().ok();
                    }
                    if !self.group_gone {
                        strays::reap_group(self.group);
                    }
                    strays::kill_strays(self.terms.lease_id);
                }
                Action::Finish(finished) => cause = Some(finished),
            }
        }
        cause
    }
}

/// A duration as `poll` wants it.
pub fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
