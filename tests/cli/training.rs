//! Training jobs on this machine: run, looked at, scaled, drained, suspended, stopped, gone on with.

use crate::harness::{Harness, Running, assert_seen, wait_for};
use serde_json::Value;
use std::process::Output;

/// Every process leaves a mark and waits for a gate; on SIGTERM rank 0 saves what it can.
const SCRIPT: &str = "\
echo \"rank $RANK of $WORLD_SIZE\"
save() {
  if [ \"$RANK\" = 0 ]; then
    touch \"$PETCTL_CHECKPOINT_DIR/step-7\" \"$PETCTL_CHECKPOINT_DIR/step-7.complete\"
  fi
  exit 143
}
trap save TERM
touch \"started-$PETCTL_EPOCH-$RANK-$WORLD_SIZE-${PETCTL_RESUME_STEP:-0}\"
while [ ! -e gate ]; do sleep 0.02; done
";

/// A training called `fit` with two workers of up to four.
fn harness(keys: &str) -> Harness {
    let harness = Harness::new();
    harness.write("train.sh", SCRIPT);
    harness.write(
        "fit.toml",
        &format!(
            "[job]\nname = \"fit\"\n[workers]\nmin = 1\nmax = 4\nwanted = 2\n[storage]\noutput = \"out\"\n\
             [[stage]]\nname = \"fit\"\nkind = \"train\"\ncommand = [\"sh\", \"train.sh\"]\ngrace = \"5s\"\n{keys}\n"
        ),
    );
    harness
}

fn status(harness: &Harness) -> Value {
    serde_json::from_slice(&harness.run("status fit -o json").stdout).unwrap_or_default()
}

/// The epoch of the running group, once it has this many ranks and all have started.
fn running(harness: &Harness, ranks: u64, step: u64) -> u64 {
    let mut epoch = 0;
    wait_for("the group to run", || {
        let group = status(harness)["training"][0].clone();
        epoch = group["epoch"].as_u64().unwrap_or(0);
        group["phase"] == "running"
            && group["world_size"] == ranks
            && (0..ranks).all(|rank| {
                harness
                    .path(&format!("started-{epoch}-{rank}-{ranks}-{step}"))
                    .exists()
            })
    });
    epoch
}

fn ends_well(running: Running) -> Output {
    let output = running.end();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    output
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// Without what some shells say of a `sleep` that was ended under them.
fn printed(output: Output) -> String {
    let lines = text(output.stdout);
    let lines = lines.lines().filter(|line| *line != "Terminated");
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_training_runs_to_its_end() {
    let harness = harness("processes_per_worker = 2");
    harness.open_gate();
    assert_eq!(harness.run("run fit.toml").status.code(), Some(0));
    let group = &status(&harness)["training"][0];
    assert_eq!(
        (&group["phase"], &group["epoch"], &group["world_size"]),
        (&"succeeded".into(), &1.into(), &4.into())
    );
    let logs = text(harness.run("logs fit").stdout);
    let mut lines: Vec<&str> = logs.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "[rank 0] rank 0 of 4",
            "[rank 1] rank 1 of 4",
            "[rank 2] rank 2 of 4",
            "[rank 3] rank 3 of 4"
        ]
    );
    assert_eq!(
        text(harness.run("logs fit --rank 3").stdout),
        "rank 3 of 4\n"
    );
    assert_seen!(harness.see("logs fit --rank 4"));
    assert_seen!(harness.see("logs fit --epoch 9"));
    assert_seen!(harness.see("logs fit --stage other --rank 1"));
    assert_seen!(harness.see("drain fit local-1"));
    assert_seen!(harness.see("suspend fit"));
}

#[test]
fn validate_shows_how_a_stage_trains() {
    let harness =
        harness("processes_per_worker = \"auto\"\ngrow = \"now\"\nprogress_timeout = \"10m\"");
    assert_seen!(harness.see("validate fit.toml --set workers.unit=2 --set workers.spares=1"));
}

#[test]
fn a_unit_that_never_fits_is_refused() {
    assert_seen!(harness("").see("run fit.toml --set workers.unit=3 --set workers.max=2"));
}

#[test]
fn a_training_is_scaled_up_and_down_while_it_runs() {
    let harness = harness("grow = \"now\"");
    let run = harness.start("run fit.toml");
    let first = running(&harness, 2, 0);
    assert!(harness.run("scale fit --workers 4").status.success());
    let second = running(&harness, 4, 7);
    assert!(harness.run("scale fit --workers 3").status.success());
    let third = running(&harness, 3, 7);
    assert!(first < second && second < third);
    harness.open_gate();
    ends_well(run);
    assert_eq!(status(&harness)["training"][0]["restarts_used"], 0);
    let earlier = printed(harness.run(&format!("logs fit --epoch {first} --rank 1")));
    assert_eq!(earlier, "rank 1 of 2\n");
}

#[test]
fn a_drained_worker_leaves_and_costs_no_restart() {
    let harness = harness("grow = \"now\"");
    let run = harness.start("run fit.toml");
    let first = running(&harness, 2, 0);
    assert_seen!(harness.see("drain fit nobody --dry-run"));
    assert_seen!(harness.see("drain fit local-1 --dry-run"));
    assert_seen!(harness.see("drain fit local-1 --reason noisy"));
    wait_for("another epoch", || {
        status(&harness)["training"][0]["epoch"].as_u64() > Some(first)
    });
    running(&harness, 2, 7);
    assert_eq!(status(&harness)["training"][0]["restarts_used"], 0);
    harness.open_gate();
    ends_well(run);
}

#[test]
fn a_suspended_training_saves_and_goes_on_from_there() {
    let harness = harness("");
    let run = harness.start("run fit.toml");
    running(&harness, 2, 0);
    assert_seen!(harness.see("resume fit"));
    assert_seen!(harness.see("suspend fit"));
    wait_for("the processes to stop", || {
        let status = status(&harness);
        status["state"] == "suspended" && status["training"][0]["started_at_ms"].is_null()
    });
    assert_eq!(harness.run("status fit").status.code(), Some(0));
    assert_seen!(harness.see("suspend fit"));
    assert_seen!(harness.see("resume fit --dry-run"));
    assert_seen!(harness.see("resume fit"));
    running(&harness, 2, 7);
    harness.open_gate();
    ends_well(run);
}

#[test]
fn ctrl_c_lets_a_training_save_and_it_goes_on_later() {
    let harness = harness("");
    let run = harness.start("run fit.toml");
    running(&harness, 2, 0);
    run.signal("INT");
    let output = run.end();
    assert_eq!(output.status.code(), Some(130));
    let said = text(output.stderr);
    assert!(
        said.contains("stopping the training: its processes have 5.0 s to save"),
        "{said}"
    );
    assert!(said.contains("To go on: petctl run"), "{said}");
    let again = harness.start("run fit.toml");
    running(&harness, 2, 7);
    harness.open_gate();
    ends_well(again);
}

#[test]
fn a_second_ctrl_c_kills_a_training_that_does_not_stop() {
    let harness = harness("");
    harness.write(
        "train.sh",
        &SCRIPT.replace("trap save TERM", "trap '' TERM"),
    );
    let run = harness.start("run fit.toml --set stage.fit.grace=1h");
    running(&harness, 2, 0);
    run.signal("INT");
    wait_for("the first to be heard", || {
        status(&harness)["training"][0]["phase"] != "running"
    });
    run.signal("INT");
    assert_eq!(run.end().status.code(), Some(130));
}

#[test]
fn a_checkpoint_is_recorded_from_within_a_script() {
    let harness = harness("");
    let petctl = env!("CARGO_BIN_EXE_petctl");
    harness.write(
        "train.sh",
        &format!(
            "set -e\nexec 2>&1\ncd \"$PETCTL_CHECKPOINT_DIR\"\nif [ $RANK = 0 ]; then\n  echo weights > w\n  \
             '{petctl}' checkpoint --step 5 w\n  '{petctl}' checkpoint --step 6 nowhere || echo refused with $?\nfi\n"
        ),
    );
    assert_eq!(harness.run("run fit.toml").status.code(), Some(0));
    let checkpoints = &status(&harness)["training"][0]["checkpoints"];
    assert_eq!(
        checkpoints.as_array().map(Vec::len),
        Some(1),
        "{checkpoints}"
    );
    assert_eq!(checkpoints[0]["step"], 5);
    assert_seen!(harness.see("logs fit --rank 0"));
}

#[test]
fn the_rank_that_failed_first_is_named_with_its_last_lines() {
    let harness = harness("max_restarts = 1");
    harness.write(
        "train.sh",
        "if [ $RANK = 1 ]; then echo 'no such sensor' >&2; exit 3; fi\nwhile :; do sleep 0.02; done\n",
    );
    assert_eq!(harness.run("run fit.toml").status.code(), Some(1));
    let status = status(&harness);
    let causes = &status["training"][0]["causes"];
    assert_eq!(causes.as_array().map(Vec::len), Some(2), "{causes}");
    assert_eq!(
        (
            &causes[0]["rank"],
            &causes[0]["exit_code"],
            &causes[0]["charged"]
        ),
        (&1.into(), &3.into(), &"restart".into())
    );
    for words in ["status fit", "explain fit", "explain fit --stage fit"] {
        let said = text(harness.run(words).stdout);
        assert!(said.contains("| no such sensor"), "{words}: {said}");
        assert!(said.contains("rank 1 on "), "{words}: {said}");
    }
    let failed = text(harness.run("logs fit --failed").stdout);
    assert_eq!(failed, "fit/rank 1: no such sensor\n");
}

#[test]
fn logs_are_followed_over_epochs() {
    let harness = harness("");
    let run = harness.start("run fit.toml");
    running(&harness, 2, 0);
    let follow = harness.start("logs fit --rank 1 -f");
    harness.run("suspend fit");
    wait_for("the suspension", || {
        status(&harness)["state"] == "suspended"
    });
    harness.run("resume fit");
    running(&harness, 2, 7);
    harness.open_gate();
    ends_well(run);
    let followed = ends_well(follow);
    assert_eq!(printed(followed), "rank 1 of 2\nrank 1 of 2\n");
}

#[test]
fn checkpoint_outside_of_a_training() {
    let harness = Harness::new();
    assert_seen!(harness.see("checkpoint --step 1 x"));
    let away = harness
        .command("checkpoint --step 1 x")
        .env("PETCTL_AGENT_SOCKET", "/nowhere/agent")
        .output()
        .unwrap();
    assert_seen!(harness.show("petctl checkpoint --step 1 x", &away));
}

#[test]
fn logs_of_ranks_of_a_job_that_does_not_train() {
    let harness = Harness::new();
    harness.write_gated("gated", 1);
    harness.open_gate();
    assert!(harness.run("run gated.toml").status.success());
    assert_seen!(harness.see("logs gated --rank 0"));
}
