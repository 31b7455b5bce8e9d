//! What the cluster says of pods that don't start and of Jobs that get none, kept as it comes: one watch of a namespace,
//! however many of them wait.

use super::watched::Patience;
use crate::cluster::Cluster;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Event;
use kube::runtime::{WatchStreamExt, watcher};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What every pod that starts causes, which says nothing of one that doesn't: the API server leaves it out.
const USUAL: [&str; 10] = [
    "Scheduled",
    "FailedScheduling",
    "Pulling",
    "Pulled",
    "Created",
    "Started",
    "Killing",
    "SuccessfulCreate",
    "SuccessfulDelete",
    "Completed",
];
/// Most that are kept of a namespace, in which others may cause some too; the oldest go.
const MAX_KEPT: usize = 4_096;

/// The events of a namespace that may say why something waits.
#[derive(Clone, Default)]
pub(super) struct Events(Arc<Mutex<Kept>>);

/// By the object that they are about, and their own name.
type ByName = BTreeMap<(String, String), Event>;

#[derive(Default)]
struct Kept {
    all: ByName,
    /// What a list that comes in parts has brought so far.
    listing: ByName,
}

impl Events {
    /// Keeps those of a namespace from now on; every one is told.
    pub(super) fn watch(cluster: &Cluster, changed: &Arc<Notify>) -> Self {
        let without: Vec<String> = USUAL
            .iter()
            .map(|reason| format!("reason!={reason}"))
            .collect();
        let config = watcher::Config::default().fields(&without.join(","));
        let stream = watcher(cluster.api::<Event>(), config).backoff(Patience::default());
        let events = Self::default();
        let (keeps, changed) = (events.clone(), Arc::clone(changed));
        let namespace = cluster.namespace.clone();
        tokio::spawn(async move {
            futures::pin_mut!(stream);
            while let Some(event) = stream.next().await {
                match event {
                    Ok(event) => {
                        if keeps.kept().hear(event) {
                            changed.notify_one();
                        }
                    }
                    // Who may not read events is told less, and nothing else depends on them.
                    Err(error) => {
                        tracing::debug!(namespace, %error, "the watch of events broke; it is begun again");
                    }
                }
            }
        });
        events
    }

    /// Those about an object, in no order.
    pub(super) fn about(&self, object: &str) -> Vec<Event> {
        let kept = self.kept();
        let from = kept.all.range((object.to_owned(), String::new())..);
        let own = from.take_while(|((about, _), _)| about == object);
        own.map(|(_, event)| event.clone()).collect()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Whether there is something new.
    fn hear(&mut self, event: watcher::Event<Event>) -> bool {
        match event {
            watcher::Event::Init => {
                self.listing.clear();
                false
            }
            watcher::Event::InitApply(event) => {
                keep(&mut self.listing, event);
                false
            }
            watcher::Event::InitDone => {
                self.all = std::mem::take(&mut self.listing);
                !self.all.is_empty()
            }
            watcher::Event::Apply(event) => keep(&mut self.all, event),
            watcher::Event::Delete(event) => {
                self.all.remove(&names(&event));
                false
            }
        }
    }
}

/// Whether it was worth it.
fn keep(all: &mut ByName, mut event: Event) -> bool {
    if !petctl_pods::tells(&event) {
        return false;
    }
    event.metadata.managed_fields = None;
    all.insert(names(&event), event);
    if all.len() > MAX_KEPT {
        let oldest = all.iter().min_by_key(|(_, event)| petctl_pods::seen(event));
        if let Some(oldest) = oldest.map(|(names, _)| names.clone()) {
            all.remove(&oldest);
        }
    }
    true
}

/// Of the object that it is about, and its own.
fn names(event: &Event) -> (String, String) {
    let object = event.involved_object.name.clone();
    let own = event.metadata.name.clone();
    (object.unwrap_or_default(), own.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(about: &str, name: &str, reason: &str, second: usize) -> Event {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "ml"},
            "involvedObject": {"kind": "Pod", "name": about},
            "reason": reason,
            "message": format!("{reason} of {about}"),
            "lastTimestamp": format!("2026-11-01T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60),
        }))
        .unwrap()
    }

    fn reasons_about(events: &Events, object: &str) -> Vec<String> {
        let about = events.about(object).into_iter();
        about.filter_map(|event| event.reason).collect()
    }

    #[test]
    fn what_says_why_a_pod_waits_is_kept_as_long_as_the_cluster_keeps_it() {
        let events = Events::default();
        let hear = |event| events.kept().hear(event);
        assert!(!hear(watcher::Event::Init));
        assert!(!hear(watcher::Event::InitApply(event(
            "a",
            "a.1",
            "FailedMount",
            1
        ))));
        assert!(
            reasons_about(&events, "a").is_empty(),
            "the list is not whole"
        );
        assert!(hear(watcher::Event::InitDone));
        assert_eq!(reasons_about(&events, "a"), ["FailedMount"]);
        assert!(!hear(watcher::Event::Apply(event(
            "a", "a.2", "BackOff", 2
        ))));
        assert!(hear(watcher::Event::Apply(event(
            "job",
            "job.1",
            "FailedCreate",
            3
        ))));
        assert_eq!(reasons_about(&events, "a"), ["FailedMount"]);
        hear(watcher::Event::Delete(event("a", "a.1", "FailedMount", 1)));
        assert!(reasons_about(&events, "a").is_empty());
        // A list from anew is the whole truth.
        hear(watcher::Event::Init);
        hear(watcher::Event::InitDone);
        assert!(reasons_about(&events, "job").is_empty());
    }

    #[test]
    fn a_namespace_in_which_much_goes_wrong_is_remembered_within_bounds() {
        let events = Events::default();
        for second in 0..MAX_KEPT + 10 {
            let one = event(&format!("p{second}"), "e", "FailedMount", second);
            events.kept().hear(watcher::Event::Apply(one));
        }
        assert_eq!(events.kept().all.len(), MAX_KEPT);
        assert!(reasons_about(&events, "p9").is_empty());
        assert_eq!(reasons_about(&events, "p10"), ["FailedMount"]);
    }

    #[test]
    fn nothing_that_says_why_is_left_out_by_the_api_server() {
        for usual in USUAL {
            assert!(!petctl_pods::tells(&event("a", "a.1", usual, 1)), "{usual}");
        }
    }
}
