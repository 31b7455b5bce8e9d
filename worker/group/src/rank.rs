//! One process of a group: its start, its pipes, its end.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Instant;

use petctl_process::{Launch, Outputs, resolve, spawn, strays};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};

use crate::Failure;
use crate::external::ExternalStream;
use crate::failure::error_file;
use crate::failure::{self, Who};
use crate::output::console::Console;
use crate::output::{Copies, Filter, Output, tail_of};
use crate::plan::{Rank, Sink};
use petctl_output::logs::{AttemptLog, Stream};

/// What all ranks of a group write to.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) consoles: [Option<Console>; 2],
    /// Files of filtered lines.
    pub(super) filtered: [Option<Arc<Filter>>; 2],
}

/// A process that was started, or could not be.
#[derive(Debug)]
pub(super) struct Process {
    who: Who,
    child: Option<Child>,
    /// `None` once it has ended.
    pub(super) pidfd: Option<OwnedFd>,
    pub(super) pipes: [Option<OwnedFd>; 2],
    output: Option<Output>,
    /// Files that it writes to by itself.
    direct: Vec<PathBuf>,
    error_file: Option<PathBuf>,
    ended: Option<(Instant, ExitStatus)>,
    /// It ended before anyone was told to stop.
    by_itself: bool,
    not_started: Option<String>,
    tail: String,
}

impl Process {
    pub(super) fn start(rank: &mut Rank, shared: &Shared) -> Self {
        let mut process = Self::never(rank);
        if let Err(why) = process.try_start(rank, shared) {
            process.not_started = Some(why);
        }
        process
    }

    /// One that is not started, and that is nobody's fault.
    pub(super) fn never(rank: &Rank) -> Self {
        Self {
            who: Who {
                rank: rank.rank,
                local_rank: rank.local_rank,
                pid: 0,
            },
            child: None,
            pidfd: None,
            pipes: [None, None],
            output: None,
            direct: Vec::new(),
            error_file: rank.error_file.clone(),
            ended: None,
            by_itself: false,
            not_started: None,
            tail: String::new(),
        }
    }

    fn try_start(&mut self, rank: &mut Rank, shared: &Shared) -> Result<(), String> {
        if let Some(folder) = rank.error_file.as_ref().and_then(|path| path.parent()) {
            fs::create_dir_all(folder)
                .map_err(|error| format!("can't make {}: {error}", folder.display()))?;
        }
        let outputs = self.outputs(rank, shared)?;
        let environment: Vec<_> = std::mem::take(&mut rank.environment).into_iter().collect();
        let path = environment
            .iter()
            .find(|(name, _)| name == OsStr::new("PATH"));
        let search_path = path.map(|(_, value)| value.as_os_str());
        let program = resolve(&rank.program.to_string_lossy(), &rank.folder, search_path)
            .map_err(|error| error.to_string())?;
        let launch = Launch {
            program: &program,
            arguments: &rank.arguments,
            folder: &rank.folder,
            stage_environment: &environment,
            attempt_environment: &[],
        };
        let mut child = spawn(&launch, outputs).map_err(|error| error.to_string())?;
        self.who.pid = child.id();
        match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(pidfd) => self.pidfd = Some(pidfd),
            Err(errno) => {
                let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
                let _ = child.wait();
                return Err(format!("can't watch a process: {errno}"));
            }
        }
        self.pipes = [
            child.stdout.take().map(OwnedFd::from),
            child.stderr.take().map(OwnedFd::from),
        ];
        self.child = Some(child);
        Ok(())
    }

    /// Opens what its outputs go to.
    fn outputs(&mut self, rank: &Rank, shared: &Shared) -> Result<Outputs, String> {
        let (streams, files, prefix) = match &rank.sink {
            Sink::Log {
                path,
                limit_bytes,
                echo,
                title,
            } => {
                let log = AttemptLog::new(path.clone(), *limit_bytes);
                let log = log.echoing(echo.as_ref(), || title.clone());
                self.output = Some(Output::Log(Box::new(log)));
                return Ok(Outputs::default());
            }
            Sink::External {
                streams,
                files,
                prefix,
            } => (streams, files, prefix),
        };
        let mut copies = [Copies::default(), Copies::default()];
        let mut ends = Vec::new();
        for (index, stream) in streams.iter().enumerate() {
            let path = files.as_ref().map(|files| &files[index]);
            let filtered = shared.filtered[index].clone();
            let end = match (stream, path) {
                (ExternalStream::Inherit, _) => Stdio::inherit(),
                (ExternalStream::Discard, _) | (ExternalStream::File, None) => Stdio::null(),
                // Nobody reads along: the process writes to the file without our help.
                (ExternalStream::File, Some(path)) if filtered.is_none() => {
                    self.direct.push(path.clone());
                    Stdio::from(create(path)?)
                }
                (ExternalStream::File | ExternalStream::FileAndConsole, path) => {
                    let copy = *stream == ExternalStream::FileAndConsole;
                    copies[index].file = path.map(create).transpose()?;
                    copies[index].console = shared.consoles[index].clone().filter(|_| copy);
                    copies[index].filtered = filtered;
                    copies[index].prefix.clone_from(prefix);
                    Stdio::piped()
                }
            };
            ends.push(end);
        }
        self.output = Some(Output::Copies(Box::new(copies)));
        let mut ends = ends.into_iter();
        Ok(Outputs(
            ends.next().unwrap_or_else(Stdio::null),
            ends.next().unwrap_or_else(Stdio::null),
        ))
    }

    pub(super) fn is_started(&self) -> bool {
        self.child.is_some()
    }

    pub(super) fn pid(&self) -> u32 {
        self.who.pid
    }

    pub(super) fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            // Errors mean that nobody is left in the group.
            let _ = kill_process_group(Pid::from_child(child), signal);
        }
    }

    /// Whether a process that has ended exited 0; `by_itself` where nobody was told to stop before. It is left to be
    /// reaped: its id stays its own until then.
    pub(super) fn peek(&mut self, by_itself: bool) -> bool {
        self.by_itself = by_itself;
        let Some(pidfd) = self.pidfd.take() else {
            return false;
        };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let status = waitid(WaitId::PidFd(pidfd.as_fd()), options);
        matches!(status, Ok(Some(status)) if status.exit_status() == Some(0))
    }

    /// Reaps it, and what its group became ours by its end.
    pub(super) fn reap(&mut self, now: Instant) {
        if let Some(mut child) = self.child.take() {
            let group = Pid::from_child(&child);
            if let Ok(status) = child.wait() {
                self.ended = Some((now, status));
            }
            strays::reap_group(group);
        }
    }

    pub(super) fn may_read(&self, stream: Stream) -> bool {
        self.output
            .as_ref()
            .is_none_or(|output| output.has_room(stream))
    }

    pub(super) fn push(&mut self, stream: Stream, bytes: &[u8], now: Instant) {
        if let Some(output) = &mut self.output {
            output.push(stream, bytes, now);
        }
    }

    pub(super) fn flush_at(&self) -> Option<Instant> {
        self.output.as_ref().and_then(Output::flush_at)
    }

    pub(super) fn flush(&mut self) {
        if let Some(output) = &mut self.output {
            output.flush();
        }
    }

    /// For stacks: to its log, to where its stderr is copied, or to a file beside its error file.
    pub(super) fn write_stacks(&mut self, text: &str, now: Instant) {
        let file = self
            .error_file
            .as_ref()
            .map(|path| path.with_file_name("stacks.txt"));
        match (&mut self.output, self.pipes[1].is_some(), file) {
            (Some(output), true, _) | (Some(output @ Output::Log(_)), _, _) => {
                output.push(Stream::Stderr, text.as_bytes(), now);
            }
            (_, _, Some(path)) => {
                let written = fs::write(&path, text);
                tracing::warn!(pid = self.who.pid, stacks = %path.display(), ok = written.is_ok(), "stacks written");
            }
            (_, _, None) => tracing::warn!(pid = self.who.pid, "stacks:\n{text}"),
        }
    }

    /// Closes its log and its pipes; nothing more will come.
    pub(super) fn finish_output(&mut self) {
        self.pipes = [None, None];
        if let Some(output) = self.output.take() {
            self.tail = output.finish().tail;
        }
        if self.tail.is_empty() {
            let tails = self.direct.iter().rev().map(|path| tail_of(path));
            self.tail = tails
                .into_iter()
                .find(|tail| !tail.is_empty())
                .unwrap_or_default();
        }
    }

    /// What to say of it if it failed by itself. One that ended after it was told to stop did so only if its error
    /// file is older than that.
    pub(super) fn failure(&mut self, stopped_at: Option<Instant>) -> Option<Failure> {
        if let Some(why) = self.not_started.clone() {
            return Some(failure::not_started(self.who, why));
        }
        let (at, status) = self.ended?;
        if status.success() {
            return None;
        }
        let file = self.error_file.as_deref().and_then(error_file::read);
        let raised = file.as_ref().and_then(|file| failure::raised_at(file, at));
        let is_late = stopped_at.is_some_and(|stopped| raised.is_none_or(|at| at > stopped));
        if !self.by_itself && is_late {
            return None;
        }
        let tail = self.tail_so_far();
        Some(failure::ended(self.who, status, at, file.as_ref(), tail))
    }

    /// When the exception of its error file was raised.
    pub(super) fn raised_at(&self) -> Option<Instant> {
        let file = self.error_file.as_deref().and_then(error_file::read)?;
        failure::raised_at(&file, Instant::now())
    }

    /// It may not be there.
    pub(super) fn error_file(&self) -> Option<PathBuf> {
        self.error_file.clone()
    }

    fn tail_so_far(&self) -> String {
        match &self.output {
            Some(output) if self.tail.is_empty() => output.tail(),
            Some(_) | None => self.tail.clone(),
        }
    }
}

fn create(path: &PathBuf) -> Result<File, String> {
    let folder = path.parent();
    let created: io::Result<File> = folder
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| File::create(path));
    created.map_err(|error| format!("can't make {}: {error}", path.display()))
}
