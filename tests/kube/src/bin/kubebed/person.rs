//! For a person: a bed that stays until it is told to go.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use petctl_test_kube::{control, places};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{Options, say};

/// Where `up` writes what `down` reads.
pub(crate) fn file() -> Result<PathBuf, String> {
    Ok(places::cache()?.join("bed.json"))
}

/// Starts a bed that stays.
pub(crate) fn up(options: &Options) -> Result<(), String> {
    let file = options.file.clone().map_or_else(file, Ok)?;
    if running(&file).is_some() {
        return Err(format!("{} names a bed that runs", file.display()));
    }
    let installed = match &options.installed {
        Some(installed) => installed.clone(),
        None => places::installed()?,
    };
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut serve = Command::new(program);
    serve
        .args(["serve", "--detached", "--nodes", &options.nodes.to_string()])
        .arg("--install")
        .arg(installed)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // Whoever reads what this program says must not have to wait for the end of the bed.
        .stderr(Stdio::piped())
        // The terminal's keys are not for it.
        .process_group(0);
    let mut serve = serve.spawn().map_err(|error| error.to_string())?;
    let complaints = serve.stderr.take();
    let complaints = thread::spawn(move || {
        complaints.map(|mut complaints| std::io::copy(&mut complaints, &mut std::io::stderr()))
    });
    let mut line = String::new();
    if let Some(said) = serve.stdout.take() {
        drop(BufReader::new(said).read_line(&mut line));
    }
    let Ok(ready) = serde_json::from_str::<Value>(&line) else {
        drop(complaints.join());
        return Err("no bed came up".to_owned());
    };
    fs::write(&file, &line).map_err(|error| format!("{}: {error}", file.display()))?;
    let text = |name: &str| ready[name].as_str().unwrap_or_default().to_owned();
    say(&format!("export KUBECONFIG={}", text("kubeconfig")))?;
    say(&format!("export PETCTL_TEST_BED={}", file.display()))?;
    say(&format!("# kubectl: {}", text("kubectl")))
}

/// Ends it, and waits until nothing is left.
pub(crate) fn down(options: &Options) -> Result<(), String> {
    let file = options.file.clone().map_or_else(file, Ok)?;
    let Some((pid, folder)) = running(&file) else {
        return Err(format!("{} names no bed that runs", file.display()));
    };
    kill_process(pid, Signal::TERM).map_err(|error| error.to_string())?;
    let until = Instant::now() + Duration::from_secs(30);
    while folder.exists() {
        if Instant::now() > until {
            return Err(format!("{} is still there", folder.display()));
        }
        thread::sleep(Duration::from_millis(50));
    }
    fs::remove_file(&file).map_err(|error| format!("{}: {error}", file.display()))
}

/// Tells it to do something, and prints its answer.
pub(crate) fn tell(words: &[&str], file: &Path) -> Result<(), String> {
    let ready = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let ready: Value = serde_json::from_str(&ready).map_err(|error| error.to_string())?;
    let mut words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    if let [command, path] = words.as_mut_slice()
        && command == "load-image"
    {
        let whole = std::path::absolute(&*path).map_err(|error| error.to_string())?;
        *path = whole.display().to_string();
    }
    let socket = Path::new(ready["control"].as_str().unwrap_or_default());
    let answer = control::tell(socket, &words.join(" "))?;
    say(&answer.to_string())
}

/// The supervisor and the folder of the bed of this file, if it runs.
fn running(file: &Path) -> Option<(Pid, PathBuf)> {
    let ready: Value = serde_json::from_str(&fs::read_to_string(file).ok()?).ok()?;
    let folder = PathBuf::from(ready["folder"].as_str()?);
    let pid = i32::try_from(ready["pid"].as_i64()?).ok()?;
    // The number may be another process's by now; the folder is there as long as the bed.
    let pid = Pid::from_raw(pid).filter(|_| folder.is_dir())?;
    rustix::process::test_kill_process(pid).ok()?;
    Some((pid, folder))
}
