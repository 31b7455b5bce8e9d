//! torchrun, where the tests with PyTorch have installed it.

use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const FORM: &str = include_str!("torch/form.py");
const COLLECTIVE: &str = include_str!("torch/collective.py");
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// What the table says where it is not.
pub(crate) const ABSENT: &str = "torchrun: not installed (tests/torch/install)";

/// The Python with PyTorch.
pub(crate) struct Torch {
    bin: PathBuf,
}

/// A torchrun that was started; it and all of its children die with this value.
pub(crate) struct Agent {
    child: Child,
}

impl Torch {
    /// `None` where it is not installed.
    pub(crate) fn find() -> Option<Self> {
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
        let entries = fs::read_dir(cache.join("petctl")).ok()?;
        let mut found: Vec<PathBuf> = entries
            .flatten()
            .filter(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.starts_with("python-") && !name.ends_with(".part")
            })
            .map(|entry| entry.path().join("bin"))
            .filter(|bin| bin.join("torchrun").is_file())
            .collect();
        found.sort();
        found.pop().map(|bin| Self { bin })
    }

    /// How long so many agents take to get their ranks, with PyTorch loaded before.
    pub(crate) fn form(
        &self,
        folder: &Path,
        agents: u32,
        (low, high): (u32, u32),
        patience: Duration,
    ) -> Result<f64> {
        let script = folder.join("form.py");
        fs::write(&script, FORM).context("write a script")?;
        let mut child = Agent {
            child: Command::new(self.bin.join("python"))
                .arg(&script)
                .args([agents, low, high].map(|number| number.to_string()))
                .process_group(0)
                .stdin(Stdio::null())
                .stdout(File::create(folder.join("form.out")).context("make a file")?)
                .stderr(File::create(folder.join("form.err")).context("make a file")?)
                .spawn()
                .context("start Python")?,
        };
        let status = wait_until(patience, || child.child.try_wait().ok().flatten())
            .with_context(|| format!("wait for torchrun's group of {agents}"))?;
        let text = fs::read_to_string(folder.join("form.out")).unwrap_or_default();
        match text.trim().parse() {
            Ok(seconds) if status.success() => Ok(seconds),
            _ => bail!("torchrun's rendezvous of {agents} ended with {status}: {text}"),
        }
    }

    /// The script whose ranks note their starts, then add numbers; and its notes.
    pub(crate) fn collective(folder: &Path) -> Result<PathBuf> {
        let script = folder.join("collective.py");
        fs::write(&script, COLLECTIVE).context("write a script")?;
        Ok(script)
    }

    /// Starts an agent.
    pub(crate) fn agent(&self, folder: &Path, arguments: &[String]) -> Result<Agent> {
        let log = folder.join("torchrun.err");
        let log = File::options()
            .create(true)
            .append(true)
            .open(log)
            .context("make a log file")?;
        let child = Command::new(self.bin.join("torchrun"))
            .args(arguments)
            .current_dir(folder)
            .env("OMP_NUM_THREADS", "1")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("make a log file")?)
            .stderr(log)
            .spawn()
            .context("start torchrun")?;
        Ok(Agent { child })
    }
}

impl Agent {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> Result<()> {
        self.child.wait().context("wait for torchrun")?;
        Ok(())
    }

    /// kill -9 of it and of its ranks, as of a whole node.
    pub(crate) fn kill(&mut self) {
        // Ranks are sessions of their own.
        for pid in crate::process::descendants(self.child.id()) {
            crate::process::kill(pid);
        }
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the table says of it: how long it took, or that it did not get there, which is no fault of petctl's.
pub(crate) fn said(took: Result<f64>) -> String {
    match took {
        Ok(took) => format!("torchrun: {took:.1} s"),
        Err(error) => format!("torchrun: no result: {error:#}"),
    }
}

/// Looks until there is something.
pub(crate) fn wait_until<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if start.elapsed() > patience {
            bail!("nothing after {} s", patience.as_secs());
        }
        std::thread::sleep(PAUSE);
    }
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    Ok(listener.local_addr().context("find a free port")?.port())
}
