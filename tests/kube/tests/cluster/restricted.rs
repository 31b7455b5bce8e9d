//! Where the cluster lets in only what its strictest rules allow.

use crate::harness::{Installed, Job, Storage, beside_others};
use serde_json::Value;

#[test]
fn petctl_and_its_jobs_run_where_pod_security_enforces_the_restricted_rules() {
    let cluster = beside_others();
    let installed = Installed::prepared(cluster.bed, "restricted", Storage::Claim, "");
    installed.ok(&["setup", "--on", "kube", "--yes"]);
    let job = Job::gated(&installed, "strict", 4, "max = 2");
    installed.ok(&["run", &job.path(), "-d"]);
    let pods = installed.until_pods("strict", 2);
    for pod in pods.iter().chain(&installed.coordinator()) {
        let pod = installed.namespace.get("pod", &pod.name).expect("it runs");
        let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
        let mut hosts = volumes.filter(|volume| !volume["hostPath"].is_null());
        assert!(hosts.next().is_none(), "{pod}");
        let own = ["containers", "initContainers"].map(|kind| pod["spec"][kind].clone());
        let containers = own.iter().filter_map(Value::as_array).flatten();
        for container in containers {
            let security = &container["securityContext"];
            assert_eq!(security["readOnlyRootFilesystem"], true, "{container}");
            assert_eq!(security["allowPrivilegeEscalation"], false, "{container}");
        }
    }
    job.open();
    installed.ok(&["status", "strict", "--wait"]);
    installed.all_done_at_once("strict", 4);
    let text = job.text("work/0/out.txt");
    assert!(text.contains("as 65532:65532"), "{text}");
    let refused = installed.namespace.kubectl(&[
        "get",
        "events",
        "-o",
        "name",
        "--field-selector=reason=FailedCreate",
    ]);
    assert_eq!(refused.as_deref(), Ok(""));
}
