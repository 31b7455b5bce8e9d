//! What the cluster says of a pod, in a sentence: from its status, its conditions and its events. Pure.

mod scheduling;

use self::scheduling::unschedulable;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Event, Pod, PodCondition};
use petctl_core::{Code, Reason};

/// The container of a pod in which petctl's worker is.
pub const WORKER: &str = "worker";

/// With what a process ends that SIGTERM ended, or that ends as if.
const TOLD_TO_END: i32 = 143;
/// Longest part of a message that is shown.
const MAX_CHARS: usize = 600;

/// Whether a pod takes connections.
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Whether a pod has come to its end.
#[must_use]
pub fn has_ended(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether all its containers run.
#[must_use]
pub fn runs(pod: &Pod) -> bool {
    let containers = containers(pod);
    phase(pod) == "Running"
        && !containers.is_empty()
        && containers.iter().all(|container| {
            container
                .state
                .as_ref()
                .is_some_and(|s| s.running.is_some())
        })
}

/// Whether the control plane has not heard of its node for a while: its kubelet says nothing, and the pod may run or not.
#[must_use]
pub fn node_is_lost(pod: &Pod) -> bool {
    // The node controller takes readiness from the pod and touches nothing else: its containers are said to be ready as
    // their kubelet said last. No kubelet says both.
    let is = |name: &str, status: &str| condition(pod, name).is_some_and(|c| c.status == status);
    let gates = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.readiness_gates.as_ref());
    let silent = phase(pod) == "Running"
        && gates.is_none_or(Vec::is_empty)
        && is("Ready", "False")
        && is("ContainersReady", "True");
    silent || pod.status.as_ref().and_then(|s| s.reason.as_deref()) == Some("NodeLost")
}

/// Whether something from outside ends a pod, or has ended it.
#[must_use]
pub fn is_disrupted(pod: &Pod) -> bool {
    let target = condition(pod, "DisruptionTarget").is_some_and(|c| c.status == "True");
    let evicted = pod.status.as_ref().and_then(|s| s.reason.as_deref()) == Some("Evicted");
    target || evicted || pod.metadata.deletion_timestamp.is_some() || node_is_lost(pod)
}

/// Why a pod does not run yet. `None`: it does, or nothing is wrong with it so far.
#[must_use]
pub fn of_pod(pod: &Pod, events: &[Event]) -> Option<Reason> {
    if has_ended(pod) || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    if let Some(gates) = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.scheduling_gates.as_ref())
        && !gates.is_empty()
    {
        let names: Vec<&str> = gates.iter().map(|gate| gate.name.as_str()).collect();
        let message = format!(
            "a queue of the cluster holds the pod back ({}): it waits for quota",
            names.join(", ")
        );
        return Some(Reason::new(Code::PodGated, message));
    }
    if let Some(reason) = unschedulable(pod, events) {
        return Some(reason);
    }
    let all = init_containers(pod).iter().chain(containers(pod));
    if let Some(reason) = all.filter_map(waiting).next() {
        return Some(reason);
    }
    if runs(pod) {
        return None;
    }
    newest(events, |event| {
        matches!(
            event.reason.as_deref(),
            Some(
                "FailedMount" | "FailedAttachVolume" | "FailedMapVolume" | "FailedCreatePodSandBox"
            )
        )
    })
    .map(|event| {
        let said = event.message.as_deref().unwrap_or_default();
        let said = cut(&with_paths(said, pod));
        match event.reason.as_deref() {
            Some("FailedCreatePodSandBox") => Reason::new(
                Code::PodConfig,
                format!("the node can't make the pod: {said}"),
            ),
            _ => Reason::new(
                Code::PodVolume,
                format!("a volume can't be mounted: {said}"),
            ),
        }
    })
}

/// Since when a pod's worker runs, in seconds of 1970.
#[must_use]
pub fn worker_runs_since(pod: &Pod) -> Option<i64> {
    let worker = containers(pod).iter().find(|all| all.name == WORKER)?;
    let running = worker.state.as_ref()?.running.as_ref()?;
    Some(running.started_at.as_ref()?.0.as_second())
}

/// A pod's worker runs for so many seconds, and has not come to the coordinator; `said`: its last line.
#[must_use]
pub fn silent(seconds: i64, coordinator: &str, said: &str) -> Reason {
    let said = match cut(said) {
        said if said.is_empty() => said,
        said => format!("; its last line: {said}"),
    };
    let message = format!(
        "its worker runs for {seconds} s and has not reached the coordinator at {coordinator}: where NetworkPolicies deny, \
         one must allow that port{said}"
    );
    Reason::new(Code::PodSilent, message)
}

/// Why a container does not start, where that will not pass by itself soon.
fn waiting(container: &ContainerStatus) -> Option<Reason> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    let said = cut(waiting.message.as_deref().unwrap_or_default());
    let image = &container.image;
    Some(match reason {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "ErrImageNeverPull"
        | "InvalidImageName"
        | "RegistryUnavailable"
        | "ImageInspectError" => {
            let denied = [
                "unauthorized",
                "denied",
                "authorization failed",
                "401",
                "403",
            ];
            let away = [
                "dial tcp",
                "i/o timeout",
                "no such host",
                "connection refused",
            ];
            let fix = if away.iter().any(|word| said.contains(word)) {
                "; the node does not reach that registry: check its name, and the cluster's network"
            } else if denied.iter().any(|word| said.contains(word)) {
                "; name a Secret that may pull it: pull_secrets in the place, or let the cluster's identity pull"
            } else if reason == "ErrImageNeverPull" {
                "; pull_policy is Never, and the node does not have it"
            } else {
                "; check the name and the tag"
            };
            // Every layer on the way says the image's name once more.
            let said = said
                .rsplit("failed to resolve reference ")
                .next()
                .unwrap_or(&said);
            let said = said
                .split_once("\": ")
                .filter(|_| said.starts_with('"'))
                .map_or(said, |(_, why)| why);
            Reason::new(
                Code::PodImage,
                format!("the image {image} can't be pulled: {said}{fix}"),
            )
        }
        "CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError"
        | "StartError" => Reason::new(
            Code::PodConfig,
            format!("container {} can't be started: {said}", container.name),
        ),
        "CrashLoopBackOff" => Reason::new(
            Code::PodCrashed,
            format!(
                "container {} ends as soon as it starts: {said}",
                container.name
            ),
        ),
        _ => return None,
    })
}

/// Why a pod ended, or is about to; `None`: it ended well, or goes on.
#[must_use]
pub fn end_of_pod(pod: &Pod) -> Option<Reason> {
    let node = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_deref())
        .unwrap_or("its node");
    if let Some(killed) = containers(pod).iter().find_map(out_of_memory) {
        return Some(killed);
    }
    if let Some(disrupted) = condition(pod, "DisruptionTarget").filter(|c| c.status == "True") {
        let said = cut(disrupted.message.as_deref().unwrap_or_default());
        return Some(match disrupted.reason.as_deref() {
            Some("PreemptionByScheduler") => Reason::new(
                Code::PodPreempted,
                format!("it made room for a pod of a higher priority on {node}"),
            ),
            Some("DeletionByTaintManager") => Reason::new(
                Code::NodeLost,
                format!("node {node} is not ready or is being taken away"),
            ),
            Some("DeletionByPodGC") => Reason::new(Code::NodeLost, format!("node {node} is gone")),
            Some("EvictionByEvictionAPI") => Reason::new(
                Code::PodEvicted,
                format!("it was evicted from {node}: somebody drains the node"),
            ),
            _ => Reason::new(
                Code::PodEvicted,
                format!("it was evicted from {node}: {said}"),
            ),
        });
    }
    let status = pod.status.as_ref();
    if status.and_then(|s| s.reason.as_deref()) == Some("Evicted") {
        let said = status
            .and_then(|s| s.message.as_deref())
            .unwrap_or_default();
        return Some(Reason::new(
            Code::PodEvicted,
            format!("node {node} evicted it: {}", cut(said)),
        ));
    }
    if node_is_lost(pod) {
        return Some(Reason::new(
            Code::NodeLost,
            format!("node {node} does not answer any more"),
        ));
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return Some(Reason::new(
            Code::PodDeleted,
            format!("somebody deleted its pod on {node}"),
        ));
    }
    if phase(pod) != "Failed" {
        return None;
    }
    let all = init_containers(pod).iter().chain(containers(pod));
    let ended = all
        .filter_map(|container| {
            let ended = container.state.as_ref()?.terminated.as_ref()?;
            // A worker that was drained, or told to leave, ends so.
            let left = container.name == WORKER && ended.exit_code == TOLD_TO_END;
            (ended.exit_code != 0 && !left).then_some((container, ended))
        })
        .next();
    let left = |container: &ContainerStatus| {
        let ended = container
            .state
            .as_ref()
            .and_then(|state| state.terminated.as_ref());
        ended.is_some_and(|ended| ended.exit_code == TOLD_TO_END)
    };
    if ended.is_none() && containers(pod).iter().any(left) {
        return None;
    }
    let said = match ended {
        Some((container, ended)) => {
            let how = match ended.reason.as_deref() {
                Some("Error") | None => format!("exited with {}", ended.exit_code),
                Some(reason) => format!("ended with {} ({reason})", ended.exit_code),
            };
            let last = cut(ended.message.as_deref().unwrap_or_default().trim());
            // The program is there; what the system does not find is the loader of its C library.
            let own = last.contains("/petctl/bin/petctl");
            let hint = if own && last.contains("no such file or directory") {
                "; petctl needs an image with glibc 2.28 or later"
            } else {
                ""
            };
            let last = if last.is_empty() {
                String::new()
            } else {
                format!(": {last}")
            };
            format!("container {} {how}{last}{hint}", container.name)
        }
        None => cut(status
            .and_then(|s| s.message.as_deref())
            .unwrap_or("it failed")),
    };
    Some(Reason::new(Code::PodCrashed, said))
}

fn out_of_memory(container: &ContainerStatus) -> Option<Reason> {
    let killed = |state: &ContainerState| {
        let ended = state.terminated.as_ref();
        ended.is_some_and(|ended| ended.reason.as_deref() == Some("OOMKilled"))
    };
    let state = container.state.as_ref().filter(|state| killed(state));
    state.or(container.last_state.as_ref().filter(|state| killed(state)))?;
    Some(Reason::new(
        Code::PodOutOfMemory,
        format!(
            "container {} used more memory than it may; give workers more (resources.memory in the place) or fewer slots",
            container.name
        ),
    ))
}

/// Why a Job that a queue of the cluster has suspended gets no pods.
#[must_use]
pub fn queued(queue: &str) -> Reason {
    let message = format!(
        "the queue `{queue}` does not let the job in yet, or has sent it away: `kubectl get workloads` says what it waits \
         for"
    );
    Reason::new(Code::PodGated, message)
}

/// Why a Job gets no pods: what its own events say.
#[must_use]
pub fn of_job(events: &[Event]) -> Option<Reason> {
    let failed = newest(events, |event| {
        event.reason.as_deref() == Some("FailedCreate")
    })?;
    let said = failed.message.as_deref().unwrap_or_default();
    let said = said
        .split_once(" is forbidden: ")
        .map_or(said, |(_, why)| why);
    let what = if said.contains("exceeded quota") {
        "a quota of the namespace is used up"
    } else if said.contains("violates PodSecurity") {
        "the namespace's pod security refuses them"
    } else if said.contains("serviceaccount") || said.contains("service account") {
        "their service account is missing"
    } else {
        "the cluster refuses them"
    };
    Some(Reason::new(
        Code::PodRefused,
        format!("pods can't be made, {what}: {}", cut(said)),
    ))
}

/// Whether an event may say why something waits: the others need not be kept.
#[must_use]
pub fn tells(event: &Event) -> bool {
    matches!(
        event.reason.as_deref(),
        Some(
            "FailedMount"
                | "FailedAttachVolume"
                | "FailedMapVolume"
                | "FailedCreatePodSandBox"
                | "FailedCreate"
                | "TriggeredScaleUp"
                | "NotTriggerScaleUp"
                | "FailedScaling"
        )
    )
}

fn newest(events: &[Event], wanted: impl Fn(&Event) -> bool) -> Option<&Event> {
    let wanted = events.iter().filter(|event| wanted(event));
    wanted.max_by_key(|event| seen(event))
}

/// Puts beside a volume's name, which petctl gave it, where it is mounted, which the place says.
fn with_paths(said: &str, pod: &Pod) -> String {
    let Some((before, rest)) = said.split_once("volume \"") else {
        return said.to_owned();
    };
    let Some((name, after)) = rest.split_once('"') else {
        return said.to_owned();
    };
    let all = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut mounts = all.flat_map(|container| container.volume_mounts.iter().flatten());
    let path = mounts
        .find(|mount| mount.name == name)
        .map(|mount| format!(" ({})", mount.mount_path))
        .unwrap_or_default();
    format!("{before}volume \"{name}\"{path}{after}")
}

/// When an event was last seen.
#[must_use]
pub fn seen(event: &Event) -> Option<k8s_openapi::jiff::Timestamp> {
    let series = event.series.as_ref();
    let series = series.and_then(|series| series.last_observed_time.as_ref().map(|at| at.0));
    let last = event.last_timestamp.as_ref().map(|at| at.0);
    let first = event.event_time.as_ref().map(|at| at.0);
    series.or(last).or(first)
}

fn condition<'p>(pod: &'p Pod, name: &str) -> Option<&'p PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == name)
}

fn phase(pod: &Pod) -> &str {
    let status = pod.status.as_ref();
    status.and_then(|s| s.phase.as_deref()).unwrap_or("Pending")
}

fn containers(pod: &Pod) -> &[ContainerStatus] {
    let status = pod.status.as_ref();
    status
        .and_then(|s| s.container_statuses.as_deref())
        .unwrap_or_default()
}

fn init_containers(pod: &Pod) -> &[ContainerStatus] {
    let status = pod.status.as_ref();
    status
        .and_then(|s| s.init_container_statuses.as_deref())
        .unwrap_or_default()
}

/// In one line, and not longer than a line may be.
fn cut(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MAX_CHARS {
        return line;
    }
    let mut short: String = line.chars().take(MAX_CHARS).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests;
