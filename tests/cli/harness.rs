//! A place to work: folders of its own, and the program.

use petctl::Code;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take before a test gives up waiting for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with job files, and petctl's own folder beside it.
pub(crate) struct Harness {
    folder: TempDir,
}

impl Harness {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("petctl-cli-")
            .tempdir()
            .unwrap();
        fs::create_dir(folder.path().join("work")).unwrap();
        Self { folder }
    }

    /// Where job files and inputs are.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("work").join(name)
    }

    /// petctl's own folder.
    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// The program with these words; nothing of the tester's own settings reaches it.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_petctl"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PETCTL_") {
                command.env_remove(name);
            }
        }
        command
            .args(words.split_whitespace())
            .current_dir(self.folder.path().join("work"))
            .env("PETCTL_HOME", self.home())
            .env("XDG_CONFIG_HOME", self.folder.path().join("config"))
            .env("COLUMNS", "100")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, words: &str) -> Output {
        self.command(words).output().unwrap()
    }

    /// What a user sees, as a snapshot shows it.
    pub(crate) fn see(&self, words: &str) -> String {
        self.show(&format!("petctl {words}"), &self.run(words))
    }

    pub(crate) fn show(&self, line: &str, output: &Output) -> String {
        let mut text = self.clean(format!("$ {line}\n").as_bytes());
        for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
            if !bytes.is_empty() {
                text.push_str(&format!("--- {name}\n{}", self.clean(bytes)));
                if !text.ends_with('\n') {
                    text.push('\n');
                }
            }
        }
        let code = output
            .status
            .code()
            .map_or_else(|| output.status.to_string(), |code| code.to_string());
        text.push_str(&format!("--- exit {code}\n"));
        // A code that is in no catalogue has no page that says what to do.
        for line in text.lines().filter_map(|line| line.strip_prefix("error[")) {
            let known = line.split(']').next().and_then(Code::parse);
            assert!(known.is_some(), "there is no such code: error[{line}");
        }
        text
    }

    /// Without what differs from machine to machine.
    fn clean(&self, bytes: &[u8]) -> String {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.replace(&self.folder.path().display().to_string(), "[DESK]")
    }

    /// Starts the program and leaves it running.
    pub(crate) fn start(&self, words: &str) -> Running {
        let child = self
            .command(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Running { child }
    }

    /// A job whose shards wait for a file, so that tests say when they end.
    pub(crate) fn write_gated(&self, name: &str, shards: u32) {
        let script =
            "touch started-$0; while [ ! -e gate ]; do sleep 0.02; done; echo $0 > $1/done";
        let text = format!(
            "[job]\nname = \"{name}\"\n[workers]\nmax = 2\n[storage]\noutput = \"out\"\n[[stage]]\nname = \"s\"\n\
             kind = \"shards\"\nshards = {{ range = [0, {shards}] }}\ncommand = [\"sh\", \"-c\", \"{script}\", \
             \"{{key}}\", \"{{output}}\"]\ngrace = \"1s\"\n"
        );
        self.write(&format!("{name}.toml"), &text);
    }

    pub(crate) fn open_gate(&self) {
        self.write("gate", "");
    }
}

/// A program that runs.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits for its end; kills it when that takes too long.
    pub(crate) fn end(mut self) -> Output {
        wait_for("the program's end", || {
            self.child.try_wait().unwrap().is_some()
        });
        self.child.wait_with_output().unwrap()
    }

    /// Reads one line of its stdout.
    pub(crate) fn read_line(&mut self) -> String {
        let stdout = self.child.stdout.as_mut().unwrap();
        let mut line = Vec::new();
        let mut byte = [0];
        while stdout.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }
}

impl Drop for Harness {
    /// What a failed test left running must not outlive it.
    fn drop(&mut self) {
        let own = self.folder.path().display().to_string();
        let Ok(processes) = fs::read_dir("/proc") else {
            return;
        };
        for process in processes.flatten() {
            let name = process.file_name();
            let pid = name.to_string_lossy();
            let ours = |file: &str| {
                let text = fs::read(Path::new("/proc").join(&name).join(file)).unwrap_or_default();
                String::from_utf8_lossy(&text).contains(&own)
            };
            if pid
                .parse::<u32>()
                .is_ok_and(|pid| pid != std::process::id())
                && (ours("cmdline") || ours("environ"))
            {
                let _gone = Command::new("kill")
                    .args(["-9", &pid])
                    .stderr(Stdio::null())
                    .status();
            }
        }
    }
}

/// Waits until something is so.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Compares with a snapshot, without times and other things that differ from run to run.
macro_rules! assert_seen {
    ($seen:expr) => {
        insta::with_settings!({
            omit_expression => true,
            prepend_module_to_snapshot => false,
            filters => vec![
                (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "[CLOCK]"),
                (r"\d+(\.\d+)? (s|min|h|d)( \d+ (s|min|h))? ago|just now", "[AGO]"),
                (r"about \d+(\.\d+)? s left", "about [TIME] left"),
                (r"took \d+(\.\d+)? s", "took [TIME]"),
                (r"\(\d+(\.\d+)? s\)", "([TIME])"),
                (r"after \d+ ms", "after [TIME]"),
                (r"next in \d+ s\b", "next in [TIME]"),
                (r"\bprocess \d+", "process [PID]"),
                (r"127\.0\.0\.1:\d{5}", "127.0.0.1:[PORT]"),
                (r"0\.1\.0 \([0-9a-z-]+\)", "0.1.0 ([COMMIT])"),
                (r" +\d\.\d\d\b", " [S]"),
                (r"on local-\d", "on local-[N]"),
                (r"/out-[A-Za-z0-9]{6}\b", "/[TEMP]"),
            ],
        }, {
            insta::assert_snapshot!($seen);
        });
    };
}
pub(crate) use assert_seen;
