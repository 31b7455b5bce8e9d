//! A blob service to measure against, and azcopy.

use crate::options::Options;
use crate::process;
use anyhow::{Context, Result, bail};
use petctl_azurite::{ACCOUNT, Azurite, AzuriteOptions, emulator_sas};
use petctl_test_blobd::Blobd;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What stands in the table where there is no azcopy.
pub(crate) const ABSENT: &str = "azcopy: not installed (npm and libsecret-1 are needed)";
/// How long its SAS lasts.
const DAY: Duration = Duration::from_secs(86_400);

/// A blob service, a folder, and a container `bench` in it.
pub(crate) struct Service {
    endpoint: String,
    port: u16,
    _running: Running,
    folder: TempDir,
}

/// Ends with its value.
enum Running {
    /// On a folder of its own.
    Azurite(#[expect(dead_code, reason = "it runs")] Azurite),
    /// In this process's memory.
    Own(#[expect(dead_code, reason = "it runs")] Blobd),
}

impl Service {
    /// Installs it where it is not there yet.
    pub(crate) fn start(options: &Options) -> Result<Self> {
        let folder = TempDir::with_prefix_in("blobs-", &options.folder).context("make a folder")?;
        let azurite = Azurite::start(AzuriteOptions {
            folder: Some(folder.path().join("blobs")),
            port: 0,
        })
        .map_err(|error| anyhow::anyhow!("{error} {}", error.fix))
        .context("start Azurite")?;
        let (endpoint, port) = (azurite.endpoint().to_owned(), azurite.port());
        let running = Running::Azurite(azurite);
        Self::with(options, (endpoint, port), running, folder)
    }

    /// The project's own, which leaves the cores to what is measured.
    pub(crate) fn start_own(options: &Options) -> Result<Self> {
        let folder = TempDir::with_prefix_in("blobs-", &options.folder).context("make a folder")?;
        let blobd = Blobd::start().context("start the blob service")?;
        let (endpoint, port) = (blobd.endpoint().to_owned(), blobd.port());
        Self::with(options, (endpoint, port), Running::Own(blobd), folder)
    }

    fn with(
        options: &Options,
        (endpoint, port): (String, u16),
        running: Running,
        folder: TempDir,
    ) -> Result<Self> {
        let service = Self {
            endpoint,
            port,
            _running: running,
            folder,
        };
        service
            .petctl(options, &["storage", "create", "az://bench"])
            .context("make a container")?;
        Ok(service)
    }

    /// A folder that goes away with the service.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `http://127.0.0.1:PORT/ACCOUNT`
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The account's name.
    pub(crate) fn account(&self) -> &'static str {
        ACCOUNT
    }

    /// How long a petctl of this service takes.
    pub(crate) fn petctl(&self, options: &Options, arguments: &[&str]) -> Result<Duration> {
        timed(
            &mut self.command(options, self.endpoint(), arguments),
            self.folder(),
        )
    }

    /// A petctl that goes to the service through this endpoint.
    pub(crate) fn command(&self, options: &Options, endpoint: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&options.petctl);
        command
            .args(arguments)
            .args(["--account", self.account(), "--endpoint", endpoint])
            .env("PETCTL_HOME", self.folder().join("home"))
            .current_dir(self.folder())
            .stdin(Stdio::null());
        command
    }

    /// The address of a name for azcopy; holds the signature of an emulator that is gone with this process.
    pub(crate) fn url(&self, endpoint: &str, name: &str) -> String {
        let sas = emulator_sas("rwdlac", DAY);
        format!("{endpoint}/bench/{name}?{sas}")
    }
}

/// Microsoft's own program.
pub(crate) struct Azcopy {
    program: PathBuf,
}

impl Azcopy {
    /// The one that `benches/run` has installed, where it can run.
    pub(crate) fn find() -> Option<Self> {
        let program = PathBuf::from(std::env::var_os("PETCTL_BENCH_AZCOPY")?);
        let ran = Command::new(&program).arg("--version").output().ok()?;
        ran.status.success().then_some(Self { program })
    }

    /// A command of it.
    pub(crate) fn command(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .args(["--output-level", "essential"])
            .env("AZCOPY_LOG_LOCATION", folder.join("azcopy"))
            .env("AZCOPY_JOB_PLAN_LOCATION", folder.join("azcopy"))
            .env("AZCOPY_DISABLE_SYSLOG", "true")
            .current_dir(folder)
            .stdin(Stdio::null());
        command
    }

    /// How long it takes.
    pub(crate) fn run(&self, folder: &Path, arguments: &[&str]) -> Result<Duration> {
        timed(&mut self.command(folder, arguments), folder)
    }
}

/// Runs a command that must succeed.
pub(crate) fn timed(command: &mut Command, folder: &Path) -> Result<Duration> {
    let said = folder.join("said");
    let file = File::create(&said).context("make a log file")?;
    let errors = file.try_clone().context("share the log file")?;
    let start = Instant::now();
    let status = command.stdout(file).stderr(errors).status();
    let took = start.elapsed();
    let status = status.with_context(|| format!("run {:?}", command.get_program()))?;
    if !status.success() {
        bail!(
            "WRONG: {:?} ended with {status}: {}",
            command.get_program(),
            fs::read_to_string(&said).unwrap_or_default()
        );
    }
    Ok(took)
}

/// Starts a command, ends it with kill -9 when `enough` says so. Whether it was still running.
pub(crate) fn interrupted(
    command: &mut Command,
    folder: &Path,
    mut enough: impl FnMut() -> bool,
) -> Result<bool> {
    let log = File::create(folder.join("said")).context("make a log file")?;
    let errors = log.try_clone().context("share the log file")?;
    let mut child = command
        .stdout(log)
        .stderr(errors)
        .spawn()
        .context("start it")?;
    loop {
        if let Some(_status) = child.try_wait().context("look at it")? {
            return Ok(false);
        }
        if enough() {
            process::kill(child.id());
            let _ended = child.wait();
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Writes a file of so many bytes that nothing compresses.
pub(crate) fn write_noise(path: &Path, bytes: usize, seed: u64) -> Result<()> {
    let mut content = vec![0; bytes];
    fastrand::Rng::with_seed(seed).fill(&mut content);
    fs::write(path, content).with_context(|| format!("write {}", path.display()))
}
