//! Measures petctl on a real Kubernetes against its aims, and against a bare Job. Started by `benches/run kube`.

mod audit;
mod crowd;
mod image;
mod kube;
mod kwok;
mod options;
mod place;
mod rows;
mod running;
mod server;
mod time;
mod work;

// One table, one way to round: these are of the other rows of benches/run.
#[expect(dead_code, reason = "rows of other units use the rest")]
#[path = "../../../../../benches/src/figure.rs"]
mod figure;
#[path = "../../../../../benches/src/machine.rs"]
mod machine;
#[expect(dead_code, reason = "rows of other units use the rest")]
#[path = "../../../../../benches/src/process.rs"]
mod process;
#[path = "../../../../../benches/src/table.rs"]
mod table;

use options::Command;
use std::process::ExitCode;

fn main() -> ExitCode {
    let ended = match Command::parse(std::env::args().skip(1)) {
        Ok(Command::Help) => {
            table::print(&rows::help());
            return ExitCode::SUCCESS;
        }
        Ok(Command::Measure(options)) => rows::measure(&options),
        Err(error) => Err(error),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            table::say(&format!("benches: {error:#}"));
            ExitCode::from(2)
        }
    }
}
