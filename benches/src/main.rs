//! Measures petctl against its aims and against what a user would run instead. Started by `benches/run`.

mod agents;
mod blobs;
mod client;
mod coordinator;
mod crowd;
mod figure;
mod fleet;
mod jobs;
mod machine;
mod member;
mod meter;
mod options;
mod process;
mod rows;
mod table;
mod torch;

use options::Command;
use std::process::ExitCode;

fn main() -> ExitCode {
    let ended = match Command::parse(std::env::args().skip(1)) {
        Ok(Command::Measure(options)) => rows::measure(&options),
        Ok(Command::AnswerNothing(fleet)) => fleet.serve().map(|()| true),
        Ok(Command::JoinNamed(crowd)) => crowd.serve().map(|()| true),
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
