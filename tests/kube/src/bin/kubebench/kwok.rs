//! Simulated nodes, by KWOK: pods on them run, and end, without any process.

use crate::kube::done;
use crate::server;
use crate::time::{ASK, until_long};
use anyhow::{Context, Result, bail};
use petctl_test_kube::{Bed, places};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// On a simulated node: a label, and a taint that keeps all away that don't ask for it.
const SIMULATED: &str = "petctl.test/simulated";
/// A loaded machine is late with the heartbeats of hundreds.
const GRACE_S: u32 = 120;
/// Of all other rows.
const USUAL_GRACE_S: u32 = 8;
/// By which a node's heartbeat comes every 40 s.
const LEASE_S: u32 = 160;
/// The API server in the control plane's network.
const INSIDE: &str = "https://10.77.0.1:6443";
/// Of a simulated node: as of one with 16 cores.
const OFFERS: (&str, &str, &str) = ("16", "64Gi", "110");

/// A place's lines in `petctl.toml` that let its workers run on simulated nodes, and nowhere else.
pub(crate) fn place() -> String {
    format!(
        "node_selector = {{ \"{SIMULATED}\" = \"true\" }}\n\
         tolerations = [{{ key = \"{SIMULATED}\", operator = \"Exists\", effect = \"NoSchedule\" }}]\n"
    )
}

/// Lets the pods of a bare Job run there.
pub(crate) fn on_simulated(mut job: Value) -> Value {
    let pod = &mut job["spec"]["template"]["spec"];
    pod["nodeSelector"] = json!({ SIMULATED: "true" });
    pod["tolerations"] = json!([{"key": SIMULATED, "operator": "Exists", "effect": "NoSchedule"}]);
    job
}

/// Simulated nodes; they go with this value.
pub(crate) struct Kwok {
    bed: &'static Bed,
    child: Child,
}

impl Kwok {
    /// So many of them, all ready.
    pub(crate) fn start(bed: &'static Bed, nodes: usize) -> Result<Self> {
        let installed = installed()?;
        let stages = fs::read_dir(installed.join("stages")).context("read KWOK's stages")?;
        let mut stages: Vec<PathBuf> = stages.flatten().map(|entry| entry.path()).collect();
        stages.sort();
        // Such a worker runs until it is told to end; by this stage it would end as soon as it runs.
        stages.retain(|stage| !stage.ends_with("pod-complete.yaml"));
        done(bed.node_grace(GRACE_S).map(|()| String::new()))?;
        let log = bed.folder().join("logs/kwok.log");
        let log = File::create(&log).with_context(|| format!("make {}", log.display()))?;
        // It ends with this process, however that ends.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "nsenter"])
            .arg(format!("--net=/proc/{}/ns/net", server::api(bed)?))
            .arg(installed.join("kwok"))
            .arg("--kubeconfig")
            .arg(bed.kubeconfig())
            .args(["--master", INSIDE])
            .arg(format!(
                "--manage-nodes-with-annotation-selector={KWOK}=fake"
            ))
            .arg(format!("--node-lease-duration-seconds={LEASE_S}"))
            .args(["--node-ip=10.90.0.1", "--cidr=10.91.0.0/16"]);
        for stage in &stages {
            command.arg("--config").arg(stage);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("open a log twice")?)
            .stderr(log)
            .spawn()
            .context("start kwok")?;
        let kwok = Self { bed, child };
        let list: Vec<Value> = (0..nodes).map(node).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": list});
        done(bed.kubectl_reading(&["create", "-f", "-"], &list.to_string()))?;
        until_long("the simulated nodes are ready", ASK, || kwok.ready(nodes))?;
        Ok(kwok)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn ready(&self, nodes: usize) -> Result<Option<()>> {
        let ready =
            "jsonpath={range .items[*]}{.status.conditions[?(@.type==\"Ready\")].status} {end}";
        let selector = format!("{SIMULATED}=true");
        let told = done(
            self.bed
                .kubectl(&["get", "nodes", "-l", &selector, "-o", ready]),
        )?;
        let count = told.split(' ').filter(|status| *status == "True").count();
        Ok((count == nodes).then_some(()))
    }
}

impl Drop for Kwok {
    fn drop(&mut self) {
        // What fails here fails because the cluster is stopped, and then the bed is about to go.
        let selector = format!("{SIMULATED}=true");
        drop(
            self.bed
                .kubectl(&["delete", "nodes", "-l", &selector, "--wait=false"]),
        );
        drop(self.child.kill());
        drop(self.child.wait());
        drop(self.bed.node_grace(USUAL_GRACE_S));
    }
}

/// The annotation by which KWOK knows its nodes.
const KWOK: &str = "kwok.x-k8s.io/node";

fn node(number: usize) -> Value {
    let name = format!("simulated-{number:04}");
    let offers = json!({"cpu": OFFERS.0, "memory": OFFERS.1, "pods": OFFERS.2});
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": { KWOK: "fake" },
            "labels": { SIMULATED: "true", "kubernetes.io/hostname": name },
        },
        "spec": {"taints": [{"key": SIMULATED, "value": "true", "effect": "NoSchedule"}]},
        "status": {"allocatable": offers, "capacity": offers},
    })
}

/// KWOK's folder, made if it is not there.
fn installed() -> Result<PathBuf> {
    let build = places::sources().join("kwok/build");
    let output = Command::new(&build)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start {}", build.display()))?;
    if !output.status.success() {
        bail!("{}: {}", build.display(), output.status);
    }
    let path = String::from_utf8_lossy(&output.stdout);
    Ok(Path::new(path.trim()).to_owned())
}
