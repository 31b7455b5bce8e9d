use petctl_core::{
    Charge, EndState, Event, FailureKind, LeaveReason, Phase, Record, State, Verdict,
};
use petctl_spec::{Grow, MinDone, Processes, RunMode, SecretRef, ShardSource, StageKind};
use serde_reflection::{Tracer, TracerConfig};
use std::fmt::Write;
use std::path::Path;

/// Values of the log have no names: one field more, and what was written before is read as something else.
#[test]
fn what_is_stored_has_the_shape_that_its_format_says() {
    let mut tracer = Tracer::new(TracerConfig::default());
    // Of what is within others, one variant is seen.
    macro_rules! trace {
        ($($kind:ty),*) => { $(tracer.trace_simple_type::<$kind>().unwrap();)* };
    }
    trace!(Charge, EndState, FailureKind, LeaveReason, Phase, Verdict);
    trace!(
        Grow,
        MinDone, Processes, RunMode, SecretRef, ShardSource, StageKind
    );
    trace!(Event, Record, State);
    let mut shape = String::new();
    for (name, format) in tracer.registry().unwrap() {
        writeln!(
            shape,
            "{name:?} {}",
            serde_json::to_string(&format).unwrap()
        )
        .unwrap();
    }
    let format = crate::event_log::FORMAT_VERSION;
    let file = format!("testdata/shape-{format}.txt");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("PETCTL_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&file, &shape).unwrap();
    }
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = shape
        .lines()
        .find(|line| !known.lines().any(|k| k == *line));
    assert!(
        known == shape,
        "what the log holds has another shape than {} says, first: {differs:?}\nA log of a release is read by the next \
         one. Raise FORMAT_VERSION (redb_log.rs) if the last release has this format, write what brings the older one \
         to it (upgrade.rs), keep a log of the older one in testdata, and then PETCTL_BLESS=1 writes the shape anew.",
        file.display()
    );
}
