//! `kubebed`: brings up a real Kubernetes with real nodes on this machine, for tests, and takes it down again.
//!
//! ```text
//! kubebed serve [--nodes N] [--install DIR] [--detached]
//!     A bed that lives as long as its standard input is open. Prints one line of JSON when it is ready; then answers
//!     each line that it reads with one of JSON. `--detached`: it lives until it is told to end by SIGTERM.
//! kubebed up [--nodes N] [--install DIR] [FILE]
//!     A bed that stays. Writes what `serve` prints to FILE, and prints what a shell is to set.
//! kubebed down [FILE]
//!     Ends the bed that `up` has started, and waits until nothing is left of it.
//! kubebed do COMMAND... [--file FILE]
//!     Has the bed that `up` has started do something: power-off NODE, power-on NODE, cut NODE, plug NODE, stop-api,
//!     start-api, freeze-api, thaw-api, compact, node-grace SECONDS, load-image FILE, expose PORT, describe.
//! ```
//!
//! FILE is `bed.json` in the folder of petctl's caches where none is named.

mod bed;
mod commands;
mod forward;
mod instance;
mod machine;
mod person;
mod pki;
mod plane;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["serve", options @ ..] => {
            Options::parse(options).and_then(|options| commands::serve(&options))
        }
        ["sweep", folder] => instance::sweep(Path::new(folder)),
        ["up", options @ ..] => Options::parse(options).and_then(|options| person::up(&options)),
        ["down", options @ ..] => {
            Options::parse(options).and_then(|options| person::down(&options))
        }
        ["do", words @ .., "--file", file] => person::tell(words, Path::new(file)),
        ["do", words @ ..] => person::file().and_then(|file| person::tell(words, &file)),
        _ => Err("kubebed serve | up | down | do COMMAND...".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(io::stderr(), "kubebed: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// What is named on the command line.
pub(crate) struct Options {
    /// How many nodes.
    pub(crate) nodes: usize,
    /// The folder that `install` has made; it is run if none is named.
    pub(crate) installed: Option<PathBuf>,
    /// Whether the bed lives on when its standard input ends.
    pub(crate) detached: bool,
    /// The file of a bed that stays.
    pub(crate) file: Option<PathBuf>,
}

impl Options {
    fn parse(words: &[&str]) -> Result<Self, String> {
        let mut options = Self {
            nodes: 3,
            installed: None,
            detached: false,
            file: None,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
            match *word {
                "--nodes" => {
                    let nodes = value()?
                        .parse()
                        .ok()
                        .filter(|nodes| (1..=9).contains(nodes));
                    options.nodes = nodes.ok_or("--nodes wants a number from 1 to 9")?;
                }
                "--install" => options.installed = Some(PathBuf::from(value()?)),
                "--detached" => options.detached = true,
                file if !file.starts_with('-') => options.file = Some(PathBuf::from(file)),
                other => return Err(format!("no option {other}")),
            }
        }
        Ok(options)
    }
}

/// Prints one line, at once.
pub(crate) fn say(line: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| error.to_string())
}
