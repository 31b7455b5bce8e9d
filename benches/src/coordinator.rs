//! The coordinator that is measured: the real program, on a state folder of its own.

use crate::client::Client;
use crate::options::Options;
use anyhow::{Context, Result, bail};
use petctl_tls::Trust;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A running `petctl rendezvous`; dies with this value.
pub(crate) struct Coordinator {
    child: Child,
    address: String,
    folder: TempDir,
    /// Its stdout; it must not be closed.
    _stdout: BufReader<std::process::ChildStdout>,
}

impl Coordinator {
    /// Starts one on a fresh folder.
    pub(crate) fn start(options: &Options) -> Result<Self> {
        Self::start_with(options, &[])
    }

    /// The same with more options of `petctl rendezvous`.
    pub(crate) fn start_with(options: &Options, more: &[&str]) -> Result<Self> {
        let folder = TempDir::with_prefix_in("coordinator-", &options.folder)
            .context("make a state folder")?;
        let log = File::create(folder.path().join("stderr.log")).context("make a log file")?;
        let mut child = Command::new(&options.petctl)
            .args(["rendezvous", "--listen", "127.0.0.1:0", "--state"])
            .arg(folder.path().join("state"))
            .args(more)
            .env("PETCTL_HOME", folder.path().join("home"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", options.petctl.display()))?;
        let mut stdout = BufReader::new(child.stdout.take().context("take its stdout")?);
        let mut line = String::new();
        stdout
            .read_line(&mut line)
            .context("read where it listens")?;
        let address = line.trim().to_owned();
        let coordinator = Self {
            child,
            address,
            folder,
            _stdout: stdout,
        };
        if coordinator.address.is_empty() {
            bail!(
                "the coordinator did not start: {}",
                coordinator.diagnostics()
            );
        }
        Ok(coordinator)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `http://127.0.0.1:PORT`, `https://…` with TLS
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        self.folder.path().join("state").join("token")
    }

    /// Its CA, where it speaks TLS.
    pub(crate) fn ca_file(&self) -> Option<PathBuf> {
        let file = self.folder.path().join("state/tls/ca.pem");
        self.address.starts_with("https:").then_some(file)
    }

    pub(crate) fn token(&self) -> Result<String> {
        let text = fs::read_to_string(self.token_file()).context("read its token")?;
        Ok(text.trim().to_owned())
    }

    /// Where its jobs may put outputs.
    pub(crate) fn output(&self, job: &str) -> PathBuf {
        self.folder.path().join("output").join(job)
    }

    pub(crate) async fn client(&self) -> Result<Client> {
        let trust = self.ca_file().map(Trust::file).transpose()?;
        Client::connect(&self.address, &self.token()?, trust.as_ref()).await
    }

    /// The end of what it said.
    pub(crate) fn diagnostics(&self) -> String {
        let text = fs::read(self.folder.path().join("stderr.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join(" / ")
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
