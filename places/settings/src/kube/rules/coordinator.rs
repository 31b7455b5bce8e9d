//! The coordinator's pod, and the namespaces in which it keeps others.

use super::{Rules, Way, names};
use crate::kube::{KubePlace, Sharing, StateStorage};

impl Rules {
    pub(super) fn coordinator(&mut self, at: &Way, kube: &KubePlace) {
        let coordinator = &kube.coordinator;
        if let Some(namespace) = &coordinator.namespace {
            self.named(&at.key("namespace"), namespace, names::label);
        }
        let namespaces = &at.key("namespaces");
        if !coordinator.namespaces.is_empty() && !kube.keeps_coordinator() {
            let fix = "name them in the place whose namespace the coordinator is in";
            self.add(namespaces, "is not for this place to say", fix);
        }
        if self.few(namespaces, coordinator.namespaces.len()) {
            for (index, namespace) in coordinator.namespaces.iter().enumerate() {
                let at = &namespaces.index(index);
                self.named(at, namespace, names::label);
                if coordinator
                    .namespaces
                    .iter()
                    .take(index)
                    .any(|n| n == namespace)
                {
                    self.add(at, "is there twice", "name each once");
                } else if *namespace == kube.namespace {
                    let fix = "leave it out: it keeps pods there anyway";
                    self.add(at, "is the coordinator's own", fix);
                }
            }
        }
        if let Some(most) = coordinator.max_pods {
            let at = &at.key("max_pods");
            if most == 0 {
                self.add(at, "is out of range", "use at least 1");
            } else if !kube.keeps_coordinator() {
                let fix = "say it in the place whose namespace the coordinator is in";
                self.add(at, "is not for this place to say", fix);
            }
        } else if coordinator.sharing != Sharing::default() {
            let fix = "say how many there are: `coordinator.max_pods`";
            self.add(&at.key("sharing"), "shares pods without a bound", fix);
        }
        match &coordinator.state {
            StateStorage::New { bytes, class } => {
                self.bytes(&at.key("storage"), *bytes);
                self.object_option(&at.key("storage_class"), class.as_deref());
            }
            StateStorage::Claim(name) => self.named(&at.key("claim"), name, names::object),
            StateStorage::Ephemeral => {}
        }
        self.resources(&at.key("resources"), coordinator.resources);
        self.words(&at.key("node_selector"), &coordinator.node_selector);
        self.tolerations(&at.key("tolerations"), &coordinator.tolerations);
        self.labels(&at.key("labels"), &coordinator.labels);
        self.annotations(&at.key("annotations"), &coordinator.annotations);
        self.object_option(
            &at.key("priority_class"),
            coordinator.priority_class.as_deref(),
        );
    }
}
