//! The worker against real processes, real folders and a coordinator that the tests play.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::print_stderr,
    reason = "helpers of tests; clippy knows only test functions as tests"
)]

mod agent;
mod agent_ends;
mod checkpoints;
mod cloud;
mod disk_full;
mod external;
mod fake;
mod group;
mod group_ends;
mod group_output;
mod leftovers;
mod logs;
mod processes;
mod serve;
mod setup;
mod shards;
mod staging;
mod uploading;
