//! `petctl torchrun`: its help, and what it refuses before anything is started.

use crate::harness::{Harness, assert_seen};

fn see(words: &str) -> String {
    Harness::new().see(&format!("torchrun {words}"))
}

#[test]
fn torchruns_flags_are_listed_in_groups() {
    assert_seen!(see("--help"));
}

#[test]
fn no_script() {
    assert_seen!(see("--nproc-per-node 2"));
}

#[test]
fn flags_that_torchrun_does_not_have() {
    assert_seen!(see("--nproc 2 --foo --bar=1 train.py --baz"));
}

#[test]
fn an_abbreviation_of_several_flags() {
    assert_seen!(see("--rdzv c10d train.py"));
}

#[test]
fn a_flag_without_its_value() {
    assert_seen!(see("--rdzv-id --standalone train.py"));
}

#[test]
fn a_switch_with_a_value() {
    assert_seen!(see("--standalone=1 train.py"));
}

#[test]
fn nodes_that_may_change_without_an_endpoint() {
    assert_seen!(see("--nnodes 1:4 train.py"));
}

#[test]
fn an_endpoint_that_is_none() {
    assert_seen!(see(
        "--nnodes 2 --rdzv-backend c10d --rdzv-endpoint head:port train.py"
    ));
}

#[test]
fn an_etcd() {
    assert_seen!(see("--rdzv-backend etcd-v2 train.py"));
}

#[test]
fn streams_that_are_none() {
    assert_seen!(see("--tee stdout train.py"));
}

#[test]
fn a_variable_that_is_wrong() {
    let harness = Harness::new();
    let output = harness
        .command("torchrun train.py")
        .env("PET_MAX_RESTARTS", "many")
        .output()
        .unwrap();
    assert_seen!(harness.show("PET_MAX_RESTARTS=many petctl torchrun train.py", &output));
}

#[test]
fn a_log_folder_that_is_a_file() {
    let harness = Harness::new();
    harness.write("logs", "");
    assert_seen!(harness.see("torchrun --log-dir logs train.py"));
}
