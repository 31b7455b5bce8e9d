//! What an operator sees without petctl: probes, metrics, and jobs by `kubectl`.

use crate::harness::{Installed, Job, MINUTE, beside_others};
use petctl_test_kube::Namespace;
use serde_json::Value;
use std::collections::BTreeSet;

const COORDINATOR: &str = "petctl-coordinator-0";

/// What the coordinator answers over HTTP, asked for through the API server.
fn get(installed: &Installed, path: &str) -> Result<String, String> {
    let namespace = installed.namespace.name();
    let path = format!("/api/v1/namespaces/{namespace}/pods/{COORDINATOR}:7371/proxy{path}");
    installed.bed.kubectl(&["get", "--raw", &path])
}

/// The value of a series.
fn value(page: &str, series: &str) -> Option<f64> {
    let mut lines = page.lines();
    lines.find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

/// Waits until a series has this value.
#[track_caller]
fn until_is(installed: &Installed, series: &str, wanted: f64) -> String {
    installed.wait(&format!("{series} is {wanted}"), || {
        let page = get(installed, "/metrics").ok()?;
        (value(&page, series) == Some(wanted)).then_some(page)
    })
}

/// The Job of a job, and what stands on it: state, stage, the code of its reason, the sentence of that.
fn shown(namespace: &Namespace, job: &str) -> Option<(Value, [String; 4])> {
    let object = namespace.get("job", &format!("petctl-{job}"))?;
    let of = |kind: &str, name: &str| {
        let text = object["metadata"][kind][name].as_str();
        text.unwrap_or_default().to_owned()
    };
    let shown = [
        of("labels", "petctl.io/state"),
        of("labels", "petctl.io/stage"),
        of("labels", "petctl.io/reason"),
        of("annotations", "petctl.io/reason"),
    ];
    Some((object, shown))
}

#[test]
fn probes_answer_and_the_metrics_are_the_documented_ones_with_those_of_pods() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "observed");
    assert_eq!(get(&installed, "/healthz").as_deref(), Ok("ok\n"));
    assert_eq!(get(&installed, "/readyz").as_deref(), Ok("ok\n"));
    let pod = installed
        .namespace
        .get("pod", COORDINATOR)
        .expect("it runs");
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/healthz");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    assert_eq!(pod["metadata"]["annotations"]["prometheus.io/port"], "7371");
    let job = Job::gated(&installed, "seen", 4, "max = 2");
    installed.ok(&["run", &job.path(), "-d"]);
    job.until_started(2);
    let page = until_is(&installed, "petctl_workers{state=\"member\"}", 2.0);
    let page = match value(&page, "petctl_keeper_pods{state=\"running\"}") {
        Some(2.0) => page,
        _ => until_is(&installed, "petctl_keeper_pods{state=\"running\"}", 2.0),
    };
    assert_eq!(value(&page, "petctl_keeper_pods_wanted"), Some(2.0));
    let created = value(&page, "petctl_keeper_requests_total{verb=\"create\"}");
    assert!(created >= Some(1.0), "{created:?}");
    let documented = crate::harness::checkout().join("docs/metrics.md");
    let documented = std::fs::read_to_string(documented).expect("it is documented");
    let rows = documented.lines().filter_map(|line| {
        let name = line.strip_prefix("| `petctl_")?.split('`').next()?;
        let is_name = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        is_name.then(|| format!("petctl_{name}"))
    });
    let types = page.lines().filter_map(|line| {
        let (name, _) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        Some(name.to_owned())
    });
    let (there, rows): (BTreeSet<String>, BTreeSet<String>) = (types.collect(), rows.collect());
    assert_eq!(there, rows, "left: scraped; right: docs/metrics.md");
    // Nobody pays for watching: it goes on being well, and was never started again.
    job.open();
    installed.ok(&["status", "seen", "--wait"]);
    until_is(
        &installed,
        "petctl_jobs_ended_total{state=\"succeeded\"}",
        1.0,
    );
    assert_eq!(installed.coordinator().expect("it runs").restarts, 0);
}

#[test]
fn kubectl_shows_how_a_job_stands_and_a_job_that_waits_costs_no_calls() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "shown");
    let job = Job::gated(&installed, "looks", 4, "max = 1");
    installed.ok(&["run", &job.path(), "-d"]);
    job.until_started(1);
    installed.wait("a job that is said to run", || {
        let (_, shown) = shown(&installed.namespace, "looks")?;
        (shown == ["running", "work", "", ""]).then_some(())
    });
    let listed = installed
        .namespace
        .kubectl(&[
            "get",
            "jobs",
            "-L",
            "petctl.io/state,petctl.io/stage,petctl.io/reason",
        ])
        .expect("they are listed");
    assert!(listed.contains("running   work"), "{listed}");
    installed.ok(&["suspend", "looks"]);
    installed.wait("a job that is said to be suspended", || {
        let (_, [state, _, code, reason]) = shown(&installed.namespace, "looks")?;
        let told = code == "SUSPENDED" && reason.contains("petctl resume looks");
        (state == "suspended" && told).then_some(())
    });
    installed.until_pods("looks", 0);

    // Nothing changes, so nothing is written: not on the Job, and to nobody else.
    let asked = |page: &str| {
        let verbs = ["create", "patch", "delete"];
        let series = verbs.map(|verb| format!("petctl_keeper_requests_total{{verb=\"{verb}\"}}"));
        series.map(|series| value(page, &series).expect("it is counted"))
    };
    std::thread::sleep(std::time::Duration::from_secs(15));
    let before = asked(&get(&installed, "/metrics").expect("it is scraped"));
    std::thread::sleep(std::time::Duration::from_secs(15));
    let after = asked(&get(&installed, "/metrics").expect("it is scraped"));
    assert_eq!(before, after, "calls of a job that is idle");

    installed.ok(&["resume", "looks"]);
    job.open();
    installed.ok(&["status", "looks", "--wait"]);
    installed.until_no_pods("looks");
}

#[test]
fn a_job_deleted_by_kubectl_is_made_again_and_its_workers_are_told_why_they_ended() {
    let cluster = beside_others();
    let installed = Installed::new(cluster.bed, "kdelete");
    let job = Job::gated(&installed, "stays", 6, "max = 2");
    installed.ok(&["run", &job.path(), "-d", "--set", "stage.work.retries=0"]);
    let pods = installed.until_pods("stays", 2);
    job.until_started(2);
    let (first, _) = shown(&installed.namespace, "stays").expect("it is there");
    installed
        .namespace
        .kubectl(&["delete", "job", "petctl-stays", "--wait=false"])
        .expect("it can be deleted");
    installed.wait("another Job", || {
        let (now, _) = shown(&installed.namespace, "stays")?;
        (now["metadata"]["uid"] != first["metadata"]["uid"]).then_some(())
    });
    // It costs no retry, and nothing that was done runs again.
    job.until_started(4);
    job.open();
    let ended = installed.start(&["status", "stays", "--wait"]);
    ended.ends_within(MINUTE + MINUTE).exits(0);
    installed.all_done("stays", 6);
    let told = installed.events("stays", "worker_ended");
    for pod in pods {
        let of_pod = told.iter().any(|event| {
            let text = event.to_string();
            text.contains(&pod.name) && text.contains("deleted the Job to which it belonged")
        });
        assert!(of_pod, "{} is not told of: {told:?}", pod.name);
    }
    installed.until_no_pods("stays");
}

#[test]
fn kubectl_logs_show_what_commands_print_where_the_place_says_so() {
    let cluster = beside_others();
    let installed = Installed::with(cluster.bed, "echoes", "command_logs = true\n");
    let job = Job::gated(&installed, "says", 2, "max = 1").file(
        "work.sh",
        "set -eu\necho \"begins $1\"\necho 'and warns' >&2\necho \"$1\" >> @NOTES@/started\n\
         until [ -e @NOTES@/open ]; do sleep 0.05; done\necho ends > \"$2/out.txt\"\n",
    );
    installed.ok(&["run", &job.path(), "-d"]);
    let pods = installed.until_pods("says", 1);
    job.until_started(1);
    installed.wait("the lines of the shard that runs", || {
        let said = installed.namespace.kubectl(&["logs", &pods[0].name]).ok()?;
        let lines: Vec<&str> = said.lines().collect();
        let has = |line: &str| lines.contains(&line);
        (has("[work/0] begins 0") && has("[work/0] and warns")).then_some(())
    });
    // The job's own log has them all the same.
    let own = installed.ok(&["logs", "says", "0"]);
    assert!(own.stdout.contains("begins 0"), "{own}");
    job.open();
    installed.ok(&["status", "says", "--wait"]);
    installed.until_no_pods("says");
}
