//! Harness of the process tests: runs the real `petctl`, kills it, and looks at what is left.
//!
//! A test owns a [`World`]: a folder of its own with petctl's state, a job folder and the logs of everything that it
//! starts. Nothing sleeps to let something happen: [`wait_for`] polls for the thing itself, with a deadline.
//! [`World::finish`] then holds the world to what every test promises: no process of it is left, and no log has a
//! warning, an error or a panic that the test did not name.

mod ask;
mod binary;
mod blob;
mod command;
mod coordinator;
mod job;
mod mount;
mod network;
mod outputs;
mod process;
mod training;
mod wait;
mod world;

pub use ask::{Ask, Event};
pub use binary::{petctl, petctl_before};
pub use blob::{
    Azurite, Blobs, Cloud, Fault, Matching, Proxy, Sas, Weather, signature, verify_blobs,
    verify_visible,
};
pub use command::{Background, Petctl, Ran};
pub use coordinator::{Coordinator, WorkerProcess};
pub use job::{Job, Stage};
pub use mount::Mount;
pub use network::{Family, Host, Network};
pub use outputs::{Manifest, verify_commits, verify_outputs};
pub use process::{
    Proc, continue_, is_alive, kill, peak_rss_kib, processes_with, send, signal_group, stop,
};
pub use training::{Rank, RankGroup, Training};
pub use wait::{wait_for, wait_until};
pub use world::{Start, World, copy_tree};
