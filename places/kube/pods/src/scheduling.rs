//! Why no node takes a pod: what the scheduler and the autoscaler say.

use super::{condition, cut, newest};
use k8s_openapi::api::core::v1::{Event, Pod};
use petctl_core::{Code, Reason};

/// Why no node takes a pod. `None`: one has, or nobody has looked yet.
pub(super) fn unschedulable(pod: &Pod, events: &[Event]) -> Option<Reason> {
    let scheduled = condition(pod, "PodScheduled")?;
    if scheduled.status == "True" || scheduled.reason.as_deref() != Some("Unschedulable") {
        return None;
    }
    let said = scheduled.message.as_deref().unwrap_or_default();
    if let Some((_, claim)) = said.split_once("persistentvolumeclaim \"")
        && let Some((claim, _)) = claim.split_once("\" not found")
    {
        let message = format!("the claim `{claim}` that it mounts is not there");
        return Some(Reason::new(Code::PodVolume, message));
    }
    if said.contains("bound to non-existent") {
        let message = format!("the volume behind {} is gone", claims(pod));
        return Some(Reason::new(Code::PodVolume, message));
    }
    let mut message = format!("no node takes it: {}", nodes(said));
    let elsewhere = [
        "volume node affinity conflict",
        "PersistentVolume's node affinity",
    ];
    if elsewhere.iter().any(|words| said.contains(words)) {
        let where_ = format!(
            "; the volume behind {} is at hand elsewhere only",
            claims(pod)
        );
        message.push_str(&where_);
    }
    if let Some(autoscaler) = autoscaler(events) {
        message.push_str("; ");
        message.push_str(&autoscaler);
    }
    Some(Reason::new(Code::PodUnschedulable, message))
}

/// The claims that a pod mounts.
fn claims(pod: &Pod) -> String {
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    let claims = volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref());
    let names: Vec<String> = claims
        .map(|claim| format!("`{}`", claim.claim_name))
        .collect();
    match names.as_slice() {
        [one] => format!("the claim {one}"),
        _ => format!("one of the claims {}", names.join(", ")),
    }
}

/// "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {sku: gpu}. preemption: …" in words.
fn nodes(said: &str) -> String {
    // What preempting others would do is the scheduler's own business.
    let said = said.split(" preemption:").next().unwrap_or(said);
    let Some((counts, reasons)) = said.split_once(" nodes are available: ") else {
        return cut(said);
    };
    let all = counts.rsplit('/').next().unwrap_or("");
    let reasons = reasons.trim_end_matches(['.', ' ']);
    let parts: Vec<String> = reasons
        .split(", ")
        .map(|reason| {
            let counted = reason.split_once(' ');
            let counted = counted.filter(|(n, _)| n.bytes().all(|byte| byte.is_ascii_digit()));
            let Some((count, what)) = counted else {
                return reason.to_owned();
            };
            match what.strip_prefix("Insufficient ") {
                // A resource of a device: nodes offer none of it where its plugin does not run.
                Some(device) if device.contains('/') => {
                    format!("{count} of {all} have too little {device} left (does its device plugin run there?)")
                }
                Some(resource) => format!("{count} of {all} have too little {resource} left"),
                None => format!(
                    "{count} of {all}: {}",
                    what.trim_start_matches("node(s) ").trim_end_matches('.')
                ),
            }
        })
        .collect();
    cut(&parts.join(", "))
}

/// What an autoscaler says of the pod.
fn autoscaler(events: &[Event]) -> Option<String> {
    let of_autoscaler = newest(events, |event| {
        matches!(
            event.reason.as_deref(),
            Some("TriggeredScaleUp" | "NotTriggerScaleUp" | "FailedScaling")
        )
    })?;
    let said = of_autoscaler.message.as_deref().unwrap_or_default();
    Some(match of_autoscaler.reason.as_deref() {
        Some("TriggeredScaleUp") => format!("the autoscaler adds nodes ({})", cut(said)),
        _ if said.contains("max node group size reached") => {
            "the autoscaler adds none: its pools are at their maximum".to_owned()
        }
        _ => format!("the autoscaler adds none ({})", cut(said)),
    })
}
