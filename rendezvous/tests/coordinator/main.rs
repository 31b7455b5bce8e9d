//! A coordinator in this process, with clients and fake workers on real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers fail as tests do, and look only at the messages they wait for"
)]

mod faults;
mod folder;
mod http;
mod jobs;
mod logs;
mod refusals;
mod support;
mod transport;
