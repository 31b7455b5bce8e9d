//! A job file as text: a tree of values with their places, what stands above it, and all that is wrong told at once.

mod overrides;
mod parse;

pub use parse::{MAX_JOB_FILE_BYTES, parse};
