//! A process that outlives a killed worker by just long enough to kill what the worker had started.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use petctl_process::strays::{Ticks, sweep, sweep_older};

/// Between two looks for what was forked during the last one.
const PAUSE: Duration = Duration::from_millis(50);
/// Looks in all.
const LOOKS: u32 = 20;

/// What the command that [`Guard::start`] starts does: waits until its standard input ends, which the worker holds
/// open as long as it lives, and kills what the worker has left behind.
///
/// # Errors
/// What reading standard input says.
pub fn guard(worker_id: &str) -> io::Result<()> {
    io::stdin().lock().read_to_end(&mut Vec::new())?;
    let died = Ticks::now();
    let mut looks = 0;
    while looks < LOOKS && sweep(worker_id) > 0 {
        looks += 1;
        std::thread::sleep(PAUSE);
    }
    // What was being started just then shows its environment only now. A worker of the same id may be there again:
    // what that one starts is younger.
    for _ in looks..LOOKS {
        std::thread::sleep(PAUSE);
        sweep_older(worker_id, died);
    }
    Ok(())
}

/// The guard of this worker. It ends by itself when this process does, however that ends.
#[derive(Debug)]
pub struct Guard {
    child: Child,
}

impl Guard {
    /// Starts it; the worker's id is its last argument.
    ///
    /// # Errors
    /// What starting a process says.
    pub fn start(command: &[OsString], worker_id: &str) -> io::Result<Self> {
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| io::Error::other("the command is empty"))?;
        let child = Command::new(program)
            .args(arguments)
            .arg(worker_id)
            .env_clear()
            // It must not be taken for something that hides its environment.
            .env("PETCTL_GUARD", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()?;
        Ok(Self { child })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // All is gone by now, so it need not look.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
