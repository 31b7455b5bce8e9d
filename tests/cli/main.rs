//! The whole program, as its users meet it: every help text, error message and table, with its exit code.
//!
//! Snapshots are in `snapshots/`. To take new ones: `INSTA_UPDATE=always cargo test -p petctl --test cli`, then read
//! the difference.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod errors;
mod harness;
mod help;
mod inputs;
mod jobs;
mod outputs;
mod pages;
mod places;
mod remote;
mod reuse;
mod secrets;
mod stops;
mod storage;
mod torchrun;
mod training;
mod transport;
mod tree;
