//! A user with a folder, a place in it, and a subscription.

use petctl_test_azure::{Azure, CLIENT, SECRET, Seen, TENANT, World};
use petctl_test_it::petctl;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;
use tempfile::TempDir;

/// What the place is made of, the group and the system pool included.
pub(crate) const RESOURCES: usize = 12;

pub(crate) struct User {
    pub(crate) azure: Azure,
    folder: TempDir,
}

/// How a command ended.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "exit {:?}\n--- stdout\n{}--- stderr\n{}",
            self.code, self.stdout, self.stderr
        )
    }
}

impl Ran {
    #[track_caller]
    pub(crate) fn good(self) -> Self {
        assert_eq!(self.code, Some(0), "{self}");
        self
    }

    /// It ended with this number, this code, and these words.
    #[track_caller]
    pub(crate) fn refused(self, exit: i32, code: &str, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(exit), "{self}");
        let mark = format!("error[{code}]: ");
        assert!(self.stderr.contains(&mark), "{code}: {self}");
        for word in words {
            assert!(self.stderr.contains(word), "{word}: {self}");
        }
        self
    }
}

impl User {
    pub(crate) fn new() -> Self {
        Self::with(|_| ())
    }

    /// In a world that is otherwise.
    pub(crate) fn with(change: impl FnOnce(&mut World)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut world = World::default();
        change(&mut world);
        let azure = Azure::with(&folder.path().join("azure"), world);
        let user = Self { azure, folder };
        fs::create_dir(user.path("work")).expect("a folder");
        user.write_place(|text| text);
        user
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `petctl.toml`, with something in it otherwise.
    pub(crate) fn write_place(&self, change: impl FnOnce(String) -> String) {
        let text = self.azure.place_file();
        fs::write(self.path("work/petctl.toml"), change(text)).expect("a place");
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(petctl());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("PETCTL_")
                || name.starts_with("AZURE_")
                || name.ends_with("_proxy")
                || name.ends_with("_PROXY")
            {
                command.env_remove(&*name);
            }
        }
        command
            .args(line.split_whitespace())
            .current_dir(self.path("work"))
            .env("PETCTL_HOME", self.path("home"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("HOME", self.path("work"))
            .env("SSL_CERT_FILE", self.azure.ca_file())
            .env("AZURE_TENANT_ID", TENANT)
            .env("AZURE_CLIENT_ID", CLIENT)
            .env("AZURE_CLIENT_SECRET", SECRET)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command, for a minute at most: one that waits for something that never comes is killed, and says so.
    pub(crate) fn run(&self, line: &str) -> Ran {
        let mut command = self.command(line);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("petctl starts");
        let pid = child.id().to_string();
        let (ended, wait) = std::sync::mpsc::channel::<()>();
        let watch = std::thread::spawn(move || {
            if wait.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout) {
                drop(Command::new("kill").args(["-9", &pid]).status());
            }
        });
        let output = child.wait_with_output().expect("petctl ends");
        drop(ended);
        watch.join().expect("nobody panics");
        ran(output)
    }

    pub(crate) fn spawn(&self, line: &str) -> Child {
        let mut command = self.command(line);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("petctl starts")
    }

    /// What is there, without what the service itself makes up.
    pub(crate) fn resources(&self) -> BTreeMap<String, Value> {
        self.azure.resources()
    }

    #[track_caller]
    pub(crate) fn set_up(&self) -> Ran {
        self.run("setup --only azure --yes").good()
    }
}

pub(crate) fn ran(output: Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// Requests that change something.
pub(crate) fn changing(requests: &[Seen]) -> Vec<String> {
    let reads = |seen: &Seen| {
        seen.method == "GET"
            || seen.path.ends_with("/token")
            || seen
                .path
                .to_ascii_lowercase()
                .ends_with("/listclusterusercredential")
    };
    requests
        .iter()
        .filter(|seen| !reads(seen))
        .map(|seen| format!("{} {}", seen.method, seen.path))
        .collect()
}

/// A file's text.
pub(crate) fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
