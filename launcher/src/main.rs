//! The `petctl` program.
use std::process::ExitCode;

fn main() -> ExitCode {
    petctl::main()
}
