//! Commands of the test: every one ends within a bound, and is told with what it said.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    shown: String,
    /// None: a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Ran {
    /// It ended with this code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// It failed with this exit code, and the one message that says why bears this code and has all of these words.
    #[track_caller]
    pub(crate) fn refuses(self, exit: i32, code: &str, words: &[&str]) -> Self {
        let ran = self.exits(exit);
        let errors = ran.stderr.lines().filter(|line| line.starts_with("error"));
        assert_eq!(errors.count(), 1, "one message: {ran}");
        assert!(ran.stderr.contains(code), "no {code}: {ran}");
        let lost = super::missing(&ran.stderr, words);
        assert!(lost.is_empty(), "without {lost:?}: {ran}");
        ran
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} ended with {:?} after {:.1} s\nstdout:\n{}\nstderr:\n{}",
            self.shown,
            self.code,
            self.took.as_secs_f32(),
            self.stdout,
            self.stderr
        )
    }
}

/// A command that runs. It is killed when it is dropped.
pub(crate) struct Background {
    shown: String,
    child: Child,
    start: Instant,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Background {
    /// Starts it; what it says goes to files of this folder.
    pub(crate) fn start(command: &mut Command, folder: &Path) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let [stdout, stderr] = ["out", "err"].map(|name| folder.join(format!("{count}.{name}")));
        let file = |path: &Path| File::create(path).expect("the test's folder can be written");
        let child = command
            .stdin(Stdio::null())
            .stdout(file(&stdout))
            .stderr(file(&stderr))
            .spawn();
        let words = command.get_args().map(|word| word.to_string_lossy());
        Self {
            shown: format!("petctl {}", words.collect::<Vec<_>>().join(" ")),
            child: child.unwrap_or_else(|error| panic!("{command:?}: {error}")),
            start: Instant::now(),
            stdout,
            stderr,
        }
    }

    /// What it has said so far on standard error.
    pub(crate) fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it ends, from now on no longer than this.
    #[track_caller]
    pub(crate) fn ends_within(mut self, limit: Duration) -> Ran {
        let from = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                break status;
            }
            assert!(
                from.elapsed() < limit,
                "{} still runs after {} s\nstdout:\n{}\nstderr:\n{}",
                self.shown,
                limit.as_secs(),
                text(&self.stdout),
                text(&self.stderr)
            );
            sleep(Duration::from_millis(10));
        };
        Ran {
            shown: self.shown.clone(),
            code: status.code(),
            stdout: text(&self.stdout),
            stderr: text(&self.stderr),
            took: self.start.elapsed(),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It has mostly ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn text(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
