//! The example that people meet first, on pods.

use crate::harness::{Installed, beside_others, checkout};
use serde_json::Value;
use std::process::Command;

/// A report without what differs from run to run.
fn comparable(report: &Value) -> Vec<Value> {
    let rows = report["rows"].as_array().expect("a report has rows");
    let mut rows = rows.clone();
    for row in &mut rows {
        let row = row.as_object_mut().expect("a row is an object");
        for name in ["duration_ms", "worker", "detail"] {
            row.remove(name);
        }
    }
    rows
}

#[test]
fn the_resim_example_has_the_same_results_on_pods_as_on_this_machine() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "resim");
    // Its drives are data, which pods see in a volume; its scripts travel.
    let folder = installed.data().join("resim");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(checkout().join("examples/resim"))
        .arg(&folder)
        .status();
    assert!(copied.is_ok_and(|status| status.success()));
    let job = folder.join("job.toml").display().to_string();
    let run = installed.start(&["run", &job]);
    let near = [
        "run",
        &job,
        "--on",
        "local",
        "--set",
        "job.name=near",
        "--set",
        "storage.output=near",
    ];
    installed.ok(&near);
    run.ends_within(crate::harness::MINUTE * 2).exits(0);
    let (far, near) = (
        installed.json(&["report", "resim"]),
        installed.json(&["report", "near"]),
    );
    let (far, near) = (comparable(&far), comparable(&near));
    assert!(far.len() > 5, "{far:?}");
    assert_eq!(far, near);
    installed.until_no_pods("resim");
}
