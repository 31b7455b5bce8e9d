//! `petctl torchrun`: torchrun's command line on petctl's groups.
//!
//! A command line and the `PET_*` environment become `arguments`. From them follow
//! where this node belongs (`meeting`), the `job` that all nodes of a run submit, and the processes of this node
//! (`python`). A node alone has the coordinator in its own process; nodes that meet find it at the endpoint, where one
//! of them has started it (`host`, `join`). Then an `agent` runs a worker until the run has ended, and says what
//! its end was (`summary`).

mod agent;
mod arguments;
mod devices;
mod endpoint;
mod host;
mod job;
mod join;
mod meeting;
mod numa;
mod python;
mod run;
mod scratch;
mod signals;
mod summary;

pub use host::run as coordinate;

use arguments::{Arguments, command_line, dump, help};
use petctl_ui::exit::Exit;
use petctl_ui::terminal::Output;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The name under which a link or copy of this program is torchrun.
const NAME: &str = "torchrun";
/// Prints what was understood, for tests, instead of running it.
const DUMP: &str = "--petctl-dump-args";

/// The arguments behind `torchrun`, where this process was called so: by its own name, or as `petctl torchrun`.
pub fn asked_for(mut arguments: impl Iterator<Item = OsString>) -> Option<Vec<OsString>> {
    let called = arguments.next()?;
    if Path::new(&called).file_name() == Some(OsStr::new(NAME)) {
        return Some(arguments.collect());
    }
    (arguments.next()? == NAME).then(|| arguments.collect())
}

/// Runs it to its exit code.
#[must_use]
pub fn main(mut given: Vec<OsString>, version: &'static str) -> u8 {
    let out = Output::new(false, false);
    let dump = given.first().is_some_and(|first| first == DUMP);
    if dump {
        given.remove(0);
    }
    let read = command_line::read(given).and_then(|line| {
        if line.help {
            return Ok(None);
        }
        Arguments::read(line, |name| std::env::var(name).ok()).map(Some)
    });
    let arguments = match read {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            out.data(help::text().as_bytes());
            return Exit::Success.number();
        }
        Err(why) => return usage(&out, why),
    };
    if dump {
        out.json(&dump::json(&arguments));
        return Exit::Success.number();
    }
    match run::run(&out, arguments, version) {
        Ok(code) => code,
        Err(run::Problem::Usage(why)) => usage(&out, why),
        Err(run::Problem::Error(error)) => {
            out.error(&error);
            error.exit().number()
        }
    }
}

fn usage(out: &Output, why: String) -> u8 {
    out.say_always(help::USAGE);
    let error = petctl_ui::error::Error::new(petctl_ui::error::Code::Usage, why)
        .fix("`petctl torchrun --help` lists all flags; docs/torchrun.md says more of them");
    out.error(&error);
    Exit::Usage.number()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torchrun_is_asked_for_by_name_or_as_a_command() {
        let asked = |words: &[&str]| asked_for(words.iter().map(OsString::from));
        assert_eq!(
            asked(&["/opt/venv/bin/torchrun", "-h"]),
            Some(vec!["-h".into()])
        );
        assert_eq!(
            asked(&["petctl", "torchrun", "s", "-q"]),
            Some(vec!["s".into(), "-q".into()])
        );
        assert_eq!(asked(&["petctl", "run", "torchrun"]), None);
        assert_eq!(asked(&["petctl"]), None);
        assert_eq!(asked(&[]), None);
    }
}
