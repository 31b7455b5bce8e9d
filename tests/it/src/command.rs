//! Runs of `petctl`.

use crate::network::Host;
use crate::process::kill;
use crate::wait::wait_within;
use crate::world::World;
use petctl_codes::Code;
use rustix::process::Signal;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// How long one command may take.
const DEADLINE: Duration = Duration::from_secs(120);

/// A command line of petctl, not run yet.
#[derive(Debug)]
pub struct Petctl<'w> {
    world: &'w World,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    host: Option<Host>,
    under: Vec<OsString>,
    deadline: Duration,
}

impl<'w> Petctl<'w> {
    pub(crate) fn new(world: &'w World) -> Self {
        Self {
            world,
            arguments: Vec::new(),
            environment: Vec::new(),
            host: None,
            under: Vec::new(),
            deadline: DEADLINE,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.arguments.extend(
            arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_owned()),
        );
        self
    }

    /// An environment variable for it.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Where it runs, if not on this very host.
    #[must_use]
    pub fn on(mut self, host: Option<&Host>) -> Self {
        self.host = host.cloned();
        self
    }

    /// The program that runs it, with its arguments: a tracer, say.
    #[must_use]
    pub fn under(mut self, words: &[&str]) -> Self {
        self.under = words.iter().map(OsString::from).collect();
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// Where it does not end within two minutes.
    pub fn run(self) -> Ran {
        let deadline = self.deadline;
        self.spawn().wait_within(deadline)
    }

    /// Starts it.
    ///
    /// # Panics
    /// Where the program can't be started.
    pub fn spawn(self) -> Background {
        let title = self
            .arguments
            .first()
            .map_or_else(String::new, |first| first.to_string_lossy().into_owned());
        let stem = self.world.next_log(&title);
        let (out, err) = (stem.with_extension("out"), stem.with_extension("err"));
        let create = |path: &Path| File::create(path).expect("a log of the test can be made");
        let shown = self
            .arguments
            .iter()
            .map(|argument| argument.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ");
        let mut words: Vec<OsString> = Vec::new();
        if let Some(host) = &self.host {
            words.extend(host.prefix().into_iter().map(OsString::from));
        }
        words.extend(self.under.iter().cloned());
        words.push(self.world.program().into());
        words.extend(self.arguments.iter().cloned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        self.world.set_environment(&mut command);
        if let Some(host) = &self.host {
            command.env("IT_HOST", &host.name);
        }
        command
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(create(&out))
            .stderr(create(&err))
            // As a shell does: Ctrl-C reaches the group.
            .process_group(0);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("can't start petctl {shown}: {error}"));
        Background {
            child,
            shown,
            out,
            err,
            ended: None,
        }
    }
}

/// A petctl that was started.
#[derive(Debug)]
pub struct Background {
    child: Child,
    shown: String,
    out: PathBuf,
    err: PathBuf,
    ended: Option<ExitStatus>,
}

impl Background {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to stdout so far.
    pub fn stdout(&self) -> String {
        read(&self.out)
    }

    /// What it has written to stderr so far.
    pub fn stderr(&self) -> String {
        read(&self.err)
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.look().is_none()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// Where it has ended already.
    pub fn signal(&mut self, signal: Signal) {
        assert!(
            self.runs(),
            "petctl {} has ended before signal {signal:?}\n{}",
            self.shown,
            self.stderr()
        );
        crate::process::send(self.pid(), signal);
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(&mut self) {
        if self.look().is_none() {
            kill(self.pid());
            self.ended = self.child.wait().ok();
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// Where it does not end within two minutes.
    pub fn wait(self) -> Ran {
        self.wait_within(DEADLINE)
    }

    fn wait_within(mut self, deadline: Duration) -> Ran {
        let what = format!(
            "end of petctl {}; its logs: {}",
            self.shown,
            self.err.display()
        );
        let status = wait_within(&what, deadline, || self.look());
        let ran = Ran {
            shown: self.shown.clone(),
            exit: status.code(),
            signal: status.signal(),
            stdout: self.stdout(),
            stderr: self.stderr(),
        };
        // A code that is in no catalogue has no page that says what to do.
        for code in ran.codes() {
            assert!(
                Code::parse(code).is_some(),
                "no such code: {code}, of {ran}"
            );
        }
        ran
    }

    fn look(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self
                .child
                .try_wait()
                .expect("a child of the test can be waited for");
        }
        self.ended
    }
}

/// A petctl that has ended.
#[derive(Clone, Debug)]
pub struct Ran {
    shown: String,
    /// Its exit code; `None` where a signal ended it.
    pub exit: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// All that it wrote to stdout.
    pub stdout: String,
    /// All that it wrote to stderr.
    pub stderr: String,
}

impl Ran {
    /// Holds it to an exit code.
    ///
    /// # Panics
    /// Where it ended in another way.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.exit, Some(code), "exit code of {self}");
        self
    }

    /// Holds it to having said something, on whichever stream.
    ///
    /// # Panics
    /// Where it has not.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.stdout.contains(text) || self.stderr.contains(text),
            "{text:?} is not in the output of {self}"
        );
        self
    }

    /// Holds it to one error with this code, that says what happened and what to do, without a panic.
    ///
    /// # Panics
    /// Where it said none, more than one, or one that does not help.
    #[track_caller]
    pub fn fails_with(self, exit: i32, code: &str) -> Self {
        let ran = self.exits(exit);
        assert_eq!(ran.codes().collect::<Vec<_>>(), [code], "errors of {ran}");
        ran
    }

    /// Codes of the errors that it said.
    fn codes(&self) -> impl Iterator<Item = &str> {
        let errors = self.stderr.lines();
        errors.filter_map(|line| Some(line.strip_prefix("error[")?.split_once("]: ")?.0))
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            shown,
            exit,
            signal,
            stdout,
            stderr,
        } = self;
        write!(
            f,
            "petctl {shown} (exit {exit:?}, signal {signal:?})\n-- stdout\n{stdout}\n-- stderr\n{stderr}"
        )
    }
}

fn read(path: &Path) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}
