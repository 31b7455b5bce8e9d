//! Where the processes of a rank hang: stacks by py-spy where it is installed, else what `/proc` says.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long all stacks of a group may take.
const LIMIT: Duration = Duration::from_secs(10);
/// py-spy processes at a time.
const AT_A_TIME: usize = 8;
/// Most bytes of one rank's stacks.
const MAX_BYTES: u64 = 64 * 1024;
/// Most threads of a process that are looked at.
const MAX_THREADS: usize = 64;
const PAUSE: Duration = Duration::from_millis(5);

/// The stacks of these processes, in their order. Blocks, for [`LIMIT`] at most.
pub(super) fn of(pids: &[u32], scratch: &Path, stopped: impl Fn() -> bool) -> Vec<String> {
    let give_up = Instant::now() + LIMIT;
    let Some(py_spy) = find_py_spy() else {
        return pids
            .iter()
            .map(|pid| from_proc(*pid, "py-spy is not on the PATH"))
            .collect();
    };
    let mut stacks = Vec::new();
    for some in pids.chunks(AT_A_TIME) {
        let running: Vec<_> = some
            .iter()
            .map(|pid| start(&py_spy, *pid, scratch))
            .collect();
        for (pid, run) in some.iter().zip(running) {
            let text = run.and_then(|run| run.finish(give_up, &stopped));
            stacks.push(text.unwrap_or_else(|why| from_proc(*pid, &why)));
        }
    }
    stacks
}

fn find_py_spy() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join("py-spy"))
        .find(|path| path.is_file())
}

struct Run {
    child: Child,
    output: PathBuf,
}

fn start(py_spy: &Path, pid: u32, scratch: &Path) -> Result<Run, String> {
    let output = scratch.join(format!("stacks-{pid}"));
    let start = || {
        let file = File::create(&output)?;
        Command::new(py_spy)
            .args(["dump", "--pid", &pid.to_string()])
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
    };
    let child = start().map_err(|error| format!("py-spy can't be started: {error}"))?;
    Ok(Run { child, output })
}

impl Run {
    fn finish(mut self, give_up: Instant, stopped: &impl Fn() -> bool) -> Result<String, String> {
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < give_up && !stopped() => std::thread::sleep(PAUSE),
                Ok(None) | Err(_) => {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    let _ = fs::remove_file(&self.output);
                    return Err("py-spy took too long".to_owned());
                }
            }
        };
        let text = read(&self.output);
        let _ = fs::remove_file(&self.output);
        if status.success() {
            Ok(text)
        } else {
            Err(format!("py-spy failed: {}", text.trim()))
        }
    }
}

/// What the kernel says of a process and its threads.
fn from_proc(pid: u32, why: &str) -> String {
    let root = PathBuf::from(format!("/proc/{pid}"));
    let mut text = format!("process {pid} ({why}):\n");
    for line in read(&root.join("status")).lines() {
        if ["Name:", "State:", "Threads:", "VmRSS:"]
            .iter()
            .any(|key| line.starts_with(key))
        {
            text.push_str(&format!("  {line}\n"));
        }
    }
    let mut threads: Vec<_> = match fs::read_dir(root.join("task")) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => Vec::new(),
    };
    threads.sort();
    for thread in threads.iter().take(MAX_THREADS) {
        let id = thread.file_name().unwrap_or_default().to_string_lossy();
        let (name, place) = (read(&thread.join("comm")), read(&thread.join("wchan")));
        let call = read(&thread.join("syscall"));
        let call = call.split_ascii_whitespace().next().unwrap_or("?");
        text.push_str(&format!(
            "  thread {id} {}: waits in {} (system call {call})\n",
            name.trim(),
            place.trim()
        ));
        for line in read(&thread.join("stack")).lines() {
            text.push_str(&format!("    {line}\n"));
        }
    }
    text
}

fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        let _ = file.take(MAX_BYTES).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_py_spy_the_kernel_says_what_each_thread_does() {
        let text = from_proc(std::process::id(), "py-spy is not on the PATH");
        for expected in ["py-spy is not on the PATH", "State:", "thread "] {
            assert!(text.contains(expected), "{text}");
        }
        assert!(from_proc(u32::MAX, "gone").starts_with("process 4294967295"));
    }
}
