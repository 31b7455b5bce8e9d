//! `petctl places`: which there are, which is meant, and who says so.

use crate::harness::{Harness, assert_seen};

const PROJECT: &str = r#"default = "gpu"

[place.gpu]
backend = "kube"
context = "aks-gpu"
image = "registry.example/train:v7"
resources = { cpu = 4, memory = "16GiB" }
spot = true
env = { NCCL_DEBUG = "WARN", URL = "https://a.example/?sig=c2VjcmV0c2VjcmV0" }
tolerations = [{ key = "sku", value = "gpu" }]
volumes = [{ path = "/data", claim = "drives", read_only = true }]
"#;

const USER: &str =
    "default = \"mine\"\n[place.mine]\nbackend = \"kube\"\n[place.gpu]\nbackend = \"kube\"\n";

fn harness() -> Harness {
    let harness = Harness::new();
    harness
        .write("petctl.toml", PROJECT)
        .write("jobs/job.toml", "")
        .write("../config/petctl/petctl.toml", USER);
    harness
}

#[test]
fn places_without_any_file() {
    assert_seen!(Harness::new().see("places"));
    assert_seen!(Harness::new().see("places local"));
}

#[test]
fn places_of_two_files() {
    let harness = harness();
    assert_seen!(harness.see("places"));
    assert_seen!(harness.see("places gpu --set place.gpu.namespace=test --set place.gpu.env.A=1"));
    assert_seen!(harness.see("places --file jobs/job.toml -o json"));
}

#[test]
fn a_place_that_is_not_there() {
    let harness = harness();
    assert_seen!(harness.see("places gpx"));
    let output = harness.command("places").env("PETCTL_ON", "mien").output();
    assert_seen!(harness.show("PETCTL_ON=mien petctl places", &output.unwrap()));
}

#[test]
fn a_bad_file_of_places() {
    let harness = Harness::new();
    harness.write(
        "petctl.toml",
        "[place.gpu]\nbackend = \"kube\"\nimage = \"train\"\nnamespac = \"ml\"\n",
    );
    assert_seen!(harness.see("places"));
    harness.write(
        "petctl.toml",
        "[place.gpu]\nbackend = \"kube\"\nimage = \"train\"\n",
    );
    assert_seen!(harness.see("places -o json"));
}

#[test]
fn sets_that_are_of_no_place() {
    let harness = harness();
    assert_seen!(harness.see("places --set workers.max=4"));
    assert_seen!(harness.see("places --set place.gpu.spot"));
    assert_seen!(harness.see("places --set place.gpu.spot=maybe"));
}
