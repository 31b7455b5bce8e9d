//! Runs the simulation for a while, or replays one seed.
//!
//! ```text
//! cargo run -p petctl-test-sim -- --seeds 100000 --from 1
//! cargo run -p petctl-test-sim -- --seed 4711 --trace
//! ```

use petctl_test_sim::{Broken, Options, run_many};
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok((from, seeds, options)) => match run_many(from, seeds, options) {
            Ok(stats) => {
                let _ = writeln!(std::io::stdout(), "{seeds} seeds from {from}: {stats:?}");
                ExitCode::SUCCESS
            }
            Err(failure) => {
                let _ = writeln!(std::io::stderr(), "{failure}");
                ExitCode::FAILURE
            }
        },
        Err(message) => {
            let _ = writeln!(
                std::io::stderr(),
                "{message}\nusage: --seed N | --from N --seeds N [--town] [--trace] [--break WHAT]"
            );
            ExitCode::from(2)
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<(u64, u64, Options), String> {
    let (mut from, mut seeds, mut options) = (1, 2_000, Options::default());
    while let Some(arg) = args.next() {
        let mut number = || {
            args.next()
                .and_then(|v| v.parse().ok())
                .ok_or(format!("{arg} wants a number"))
        };
        match arg.as_str() {
            "--seed" => (from, seeds) = (number()?, 1),
            "--from" => from = number()?,
            "--seeds" => seeds = number()?,
            "--trace" => options.trace = true,
            "--town" => options.town = true,
            "--break" => {
                let name = args.next().unwrap_or_default();
                let found = Broken::ALL.into_iter().find(|(called, _)| *called == name);
                let Some((_, broken)) = found else {
                    let all = Broken::ALL.map(|(called, _)| called);
                    return Err(format!("--break wants one of {}", all.join(", ")));
                };
                options.broken = Some(broken);
            }
            _ => return Err(format!("unknown argument {arg}")),
        }
    }
    Ok((from, seeds, options))
}
