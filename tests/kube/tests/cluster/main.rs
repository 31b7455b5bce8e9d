//! petctl on a real Kubernetes with real nodes: `cargo test -p petctl-test-kube --test cluster`.
//!
//! Each test installs petctl into a namespace of its own, with the program's real image. Jobs of tests wait at gates
//! that the test opens, so that nothing depends on how fast a machine is.

mod azure;
mod bad_input;
mod code;
mod commands;
mod coordinator;
mod data;
mod examples;
mod gpu;
mod harness;
mod leaving;
mod lifecycle;
mod nodes;
mod observed;
mod pressure;
mod reasons;
mod restricted;
mod scale;
mod setup;
mod sharing;
mod training;
mod transport;
mod upgrade;
