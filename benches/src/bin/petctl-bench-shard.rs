//! A shard of the staging row: computes for 50 ms, which leaves the cores to whoever moves data, and copies its input.
//! A program of its own, as a script would spend more on starting its commands than petctl on the shard.
//!
//! Usage: `petctl-bench-shard INPUT [FOLDER]`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs, io, thread};

const COMPUTE: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    match work(env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn work(mut arguments: impl Iterator<Item = String>) -> io::Result<()> {
    let input = arguments.next().ok_or(io::ErrorKind::InvalidInput)?;
    let name = Path::new(&input).file_name().unwrap_or_default();
    let folder = arguments.next().map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| Path::new("local").join(name));
    thread::sleep(COMPUTE);
    fs::create_dir_all(&folder)?;
    fs::copy(&input, folder.join("out"))?;
    Ok(())
}
