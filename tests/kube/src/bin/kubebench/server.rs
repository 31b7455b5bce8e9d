//! The control plane from the outside: what it is asked, and what its processes take of the machine.

use crate::kube::done;
use crate::place::Place;
use crate::process;
use anyhow::{Context, Result};
use petctl_test_kube::Bed;
use std::collections::BTreeMap;
use std::fs;

/// The API server.
pub(crate) const API: &str = "kube-apiserver";
/// A place's coordinator.
pub(crate) const COORDINATOR: &str = "coordinator";
/// What takes part in a row, as the kernel calls them: it keeps 15 letters.
const PROGRAMS: [(&str, &str); 4] = [
    (API, API),
    ("etcd", "etcd"),
    ("kube-controller", "controller manager"),
    ("kube-scheduler", "scheduler"),
];

/// How many requests the API server has answered, by verb and resource: its own count.
pub(crate) fn requests(bed: &Bed) -> Result<BTreeMap<String, f64>> {
    let page = done(bed.kubectl(&["get", "--raw", "/metrics"]))?;
    let mut requests = BTreeMap::new();
    for line in page.lines() {
        let Some(rest) = line.strip_prefix("apiserver_request_total{") else {
            continue;
        };
        let Some((labels, count)) = rest.rsplit_once("} ") else {
            continue;
        };
        let label = |name: &str| {
            let start = format!("{name}=\"");
            let mut parts = labels.split("\",");
            let found = parts.find_map(|part| part.strip_prefix(&start));
            found.unwrap_or_default().trim_end_matches('"').to_owned()
        };
        let (resource, part) = (label("resource"), label("subresource"));
        let what = if resource.is_empty() {
            "other".to_owned()
        } else if part.is_empty() {
            resource
        } else {
            format!("{resource}/{part}")
        };
        let count: f64 = count.trim().parse().context("read a count of requests")?;
        *requests
            .entry(format!("{} {what}", label("verb")))
            .or_insert(0.0) += count;
    }
    anyhow::ensure!(!requests.is_empty(), "WRONG: the API server counts nothing");
    Ok(requests)
}

/// How many more there are, the most first.
pub(crate) fn more(
    before: &BTreeMap<String, f64>,
    after: &BTreeMap<String, f64>,
) -> Vec<(String, f64)> {
    let grown = after.iter().map(|(what, count)| {
        let known = before.get(what).copied().unwrap_or(0.0);
        (what.clone(), count - known)
    });
    let mut grown: Vec<(String, f64)> = grown.filter(|(_, count)| *count > 0.0).collect();
    grown.sort_by(|a, b| b.1.total_cmp(&a.1));
    grown
}

/// The processes of a row, by what people call them.
#[derive(Clone, Debug)]
pub(crate) struct Processes(BTreeMap<String, u32>);

impl Processes {
    /// Those of the control plane, a place's coordinator and these others.
    pub(crate) fn find(place: &Place, others: &[(&str, u32)]) -> Result<Self> {
        let mut found = BTreeMap::new();
        let namespace = format!("POD_NAMESPACE={}", place.namespace.name());
        for pid in process::descendants(place.bed.supervisor()) {
            let comm = read(pid, "comm");
            if let Some((_, called)) = PROGRAMS.iter().find(|(comm_of, _)| *comm_of == comm.trim())
            {
                found.insert((*called).to_owned(), pid);
            }
            let own =
                |file: &str, words: &str| read(pid, file).split('\0').any(|part| part == words);
            if comm.trim() == "petctl" && own("cmdline", "rendezvous") && own("environ", &namespace)
            {
                found.insert(COORDINATOR.to_owned(), pid);
            }
        }
        for (called, pid) in others {
            found.insert((*called).to_owned(), *pid);
        }
        for called in [API, COORDINATOR] {
            anyhow::ensure!(found.contains_key(called), "WRONG: there is no {called}");
        }
        Ok(Self(found))
    }

    /// From now on their peaks of memory are those from now on.
    pub(crate) fn forget_peaks(&self) -> Result<()> {
        for pid in self.0.values() {
            let file = format!("/proc/{pid}/clear_refs");
            fs::write(&file, "5").with_context(|| format!("write {file}"))?;
        }
        Ok(())
    }

    /// The most memory that one of them held.
    pub(crate) fn peak(&self, called: &str) -> Result<f64> {
        let pid = self.0.get(called).context("it is known")?;
        process::peak_resident_bytes(*pid)
    }

    /// Processor time of each so far, in seconds.
    pub(crate) fn cpu(&self) -> Result<BTreeMap<String, f64>> {
        let mut all = BTreeMap::new();
        for (called, pid) in &self.0 {
            all.insert(called.clone(), process::cpu_time(*pid)?.as_secs_f64());
        }
        Ok(all)
    }
}

/// A process of the network of a real node, by which pods and Services are reached as from a pod.
pub(crate) fn of_node(bed: &Bed) -> Result<u32> {
    of_comm(bed, "kubelet")
}

/// The API server's process.
pub(crate) fn api(bed: &Bed) -> Result<u32> {
    of_comm(bed, API)
}

fn of_comm(bed: &Bed, comm: &str) -> Result<u32> {
    let mut all = process::descendants(bed.supervisor()).into_iter();
    let found = all.find(|pid| read(*pid, "comm").trim() == comm);
    found.with_context(|| format!("find {comm}"))
}

fn read(pid: u32, file: &str) -> String {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
