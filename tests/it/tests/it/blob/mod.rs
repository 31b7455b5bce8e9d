//! Jobs whose data is in blob storage, against Azurite.

mod access;
mod deaths;
mod disk;
mod folders;
mod jobs;
mod odd;
mod outputs;
mod removals;
mod secrets;
mod service;
mod storm;
mod transfers;
mod weather;

use petctl_test_it::{Ask, Blobs, Cloud, Event, Stage, World, verify_blobs, verify_commits};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Copies its input to its outputs, slowly where the shard's gate is not open.
const COPY: &str = r#"echo "$PETCTL_SHARD_KEY $$ $PETCTL_ATTEMPT" >> starts
while [ -e gates/closed ] && [ ! -e "gates/$PETCTL_SHARD_KEY" ]; do sleep 0.02; done
cp "$1" "$PETCTL_OUTPUT/copy"
mkdir "$PETCTL_OUTPUT/more"
echo "of $PETCTL_SHARD_KEY" > "$PETCTL_OUTPUT/more/text"
echo "copied $PETCTL_SHARD_KEY""#;

/// Names of so many inputs.
fn names(count: u32) -> Vec<String> {
    (0..count)
        .map(|number| format!("drive-{number:03}"))
        .collect()
}

/// A stage `work` over the inputs, each copied.
fn copies() -> Stage {
    Stage::script(1, COPY)
        .shards("{ glob = \"**\" }")
        .args(&["{input}"])
        .with("backoff = \"50ms\"")
}

/// Fills the container with so many inputs of so many bytes; their names.
fn fill(cloud: &Cloud<'_>, count: u32, bytes: usize) -> Vec<String> {
    let names = names(count);
    let borrowed: Vec<&str> = names.iter().map(String::as_str).collect();
    cloud.fill(&borrowed, bytes);
    names
}

/// Closes the gate that commands of [`COPY`] wait at, until a shard's own is open.
fn close_gates(world: &World) {
    world.open_gate("closed");
}

/// Opens them all.
fn open_gates(world: &World) {
    std::fs::remove_file(world.job_folder().join("gates/closed")).unwrap();
}

/// Holds events and container to the promise of a job's only stage, whose outputs are below `out`.
#[track_caller]
fn verify(ask: &Ask<'_>, job: &str, blobs: &Blobs, stage: &str, keys: &[String]) {
    verify_stage(&ask.events(job), blobs, stage, keys);
}

/// The same of one stage of several. Leftovers of lost attempts may be swept a moment after the job's end.
#[track_caller]
fn verify_stage(events: &[Event], blobs: &Blobs, stage: &str, keys: &[String]) {
    let patience = Instant::now() + Duration::from_secs(20);
    let found = loop {
        match catch_unwind(AssertUnwindSafe(|| verify_blobs(blobs, "out", stage, keys))) {
            Ok(found) => break found,
            Err(why) if Instant::now() > patience => resume_unwind(why),
            Err(_) => sleep(Duration::from_millis(200)),
        }
    };
    let events: Vec<Event> = events
        .iter()
        .filter(|event| event.text_of("stage") == stage)
        .cloned()
        .collect();
    verify_commits(&events, &found, keys);
}
