//! What a place on Kubernetes must be, beyond the types of its keys. Files and places that travel are held to the same.

mod blob;
mod coordinator;
mod gpu;

use super::names::{self, Wrong};
use super::{KubePlace, MAX_ITEMS, Operator, Resources, Toleration, VolumeSource};
use petctl_keyed::resolve_path;
use petctl_keyed::{MAX_CPU_MILLI, MAX_DURATION_MS, MAX_MEMORY_MIB, MAX_TEXT_BYTES, RESERVED_ENV};
use petctl_text::words::{is_identifier, shown};
use std::collections::{BTreeMap, BTreeSet};

/// Most faults that are told of.
const MAX_FAULTS: usize = 50;
/// Most bytes that all annotations of a pod may have.
const MAX_ANNOTATION_BYTES: usize = 256 * 1024;
/// Keys below this are petctl's own.
const OWN_DOMAIN: &str = "petctl.io";
/// By these Argo CD knows what it may prune.
const OF_ARGO_CD: [&str; 2] = [
    "app.kubernetes.io/instance",
    "argocd.argoproj.io/tracking-id",
];

/// One step to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Into a table.
    Key(String),
    /// Into a list.
    Index(usize),
}

/// One rule that is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The way to it, as the file has it.
    pub(crate) at: Vec<Part>,
    /// Whether the last key itself is wrong, not its value.
    pub(crate) is_key: bool,
    /// What is wrong: the rest of a sentence that begins with the key.
    pub(crate) what: String,
    /// What to do.
    pub(crate) fix: String,
}

impl Fault {
    /// The way as a person writes it: `volumes[1].path`.
    pub(crate) fn key(&self) -> String {
        let mut out = String::new();
        for part in &self.at {
            match part {
                Part::Index(index) => out.push_str(&format!("[{index}]")),
                Part::Key(key) if out.is_empty() => out.push_str(&shown(key)),
                Part::Key(key) => out.push_str(&format!(".{}", shown(key))),
            }
        }
        out
    }
}

/// All that is wrong, in the order of the keys.
pub(crate) fn faults(kube: &KubePlace) -> Vec<Fault> {
    let mut rules = Rules::default();
    let root = Way::default();
    rules.plain_option(&root.key("context"), kube.context.as_deref());
    rules.kubeconfig(&root.key("kubeconfig"), kube.kubeconfig.as_deref());
    rules.named(&root.key("namespace"), &kube.namespace, names::label);
    if let Some(image) = &kube.image {
        rules.named(&root.key("image"), image, names::image);
    }
    rules.named(&root.key("petctl_image"), &kube.petctl_image, names::image);
    rules.objects(&root.key("pull_secrets"), &kube.pull_secrets);
    rules.resources(&root.key("resources"), kube.resources);
    rules.resources(&root.key("requests"), kube.requests);
    rules.requests(&root.key("requests"), kube);
    rules.gpu_resource(&root.key("gpu_resource"), &kube.gpu_resource);
    rules.words(&root.key("node_selector"), &kube.node_selector);
    rules.tolerations(&root.key("tolerations"), &kube.tolerations);
    rules.volumes(&root.key("volumes"), kube);
    rules.env(&root.key("env"), &kube.env);
    rules.objects(&root.key("env_from_secrets"), &kube.env_from_secrets);
    rules.named(
        &root.key("service_account"),
        &kube.service_account,
        names::object,
    );
    rules.labels(&root.key("labels"), &kube.labels);
    rules.annotations(&root.key("annotations"), &kube.annotations);
    rules.object_option(&root.key("priority_class"), kube.priority_class.as_deref());
    rules.object_option(&root.key("queue"), kube.queue.as_deref());
    rules.object_option(&root.key("runtime_class"), kube.runtime_class.as_deref());
    if let Some(bytes) = kube.shm_bytes {
        rules.bytes(&root.key("shm"), bytes);
    }
    if kube.user == 0 {
        let fix = "use a number from 1 on, such as 65532";
        rules.add(&root.key("user"), "is 0, which is root", fix);
    }
    rules.start_timeout(&root.key("start_timeout"), kube.start_timeout_ms);
    rules.gpu(&root.key("gpu"), kube);
    rules.coordinator(&root.key("coordinator"), kube);
    rules.faults.truncate(MAX_FAULTS);
    rules.faults
}

/// The way to a value.
#[derive(Clone, Default)]
struct Way(Vec<Part>);

impl Way {
    fn key(&self, key: &str) -> Self {
        let mut way = self.clone();
        way.0.push(Part::Key(key.to_owned()));
        way
    }

    fn index(&self, index: usize) -> Self {
        let mut way = self.clone();
        way.0.push(Part::Index(index));
        way
    }
}

/// What is broken so far.
#[derive(Default)]
struct Rules {
    faults: Vec<Fault>,
}

impl Rules {
    fn add(&mut self, at: &Way, what: impl Into<String>, fix: impl Into<String>) {
        self.faults.push(Fault {
            at: at.0.clone(),
            is_key: false,
            what: what.into(),
            fix: fix.into(),
        });
    }

    fn add_key(&mut self, at: &Way, what: impl Into<String>, fix: impl Into<String>) {
        self.add(at, what, fix);
        if let Some(fault) = self.faults.last_mut() {
            fault.is_key = true;
        }
    }

    fn few(&mut self, at: &Way, count: usize) -> bool {
        if count > MAX_ITEMS {
            self.add(
                at,
                format!("has {count} entries"),
                format!("use at most {MAX_ITEMS}"),
            );
        }
        count <= MAX_ITEMS
    }

    fn named(&mut self, at: &Way, text: &str, rule: fn(&str) -> Result<(), Wrong>) {
        if let Err((what, fix)) = rule(text) {
            self.add(at, format!("is `{}`, which {what}", shown(text)), fix);
        }
    }

    fn object_option(&mut self, at: &Way, name: Option<&str>) {
        if let Some(name) = name {
            self.named(at, name, names::object);
        }
    }

    fn plain(&mut self, at: &Way, text: &str) -> bool {
        let good =
            (1..=MAX_TEXT_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
        if !good {
            let fix = format!("use 1 to {MAX_TEXT_BYTES} bytes without control characters");
            self.add(at, "is empty, too long or holds control characters", fix);
        }
        good
    }

    fn plain_option(&mut self, at: &Way, text: Option<&str>) {
        if let Some(text) = text {
            self.plain(at, text);
        }
    }

    fn kubeconfig(&mut self, at: &Way, path: Option<&str>) {
        let Some(path) = path else { return };
        if self.plain(at, path) && !path.starts_with('/') {
            let what = format!("is `{}`, which is no absolute path", shown(path));
            self.add(at, what, "write the whole path");
        }
    }

    fn objects(&mut self, at: &Way, list: &[String]) {
        if !self.few(at, list.len()) {
            return;
        }
        let mut seen = BTreeSet::new();
        for (index, name) in list.iter().enumerate() {
            self.named(&at.index(index), name, names::object);
            if !seen.insert(name) {
                let what = format!("is `{}` once more", shown(name));
                self.add(&at.index(index), what, "take it out");
            }
        }
    }

    fn resources(&mut self, at: &Way, resources: Resources) {
        if let Some(cpu) = resources.cpu_milli
            && !(1..=MAX_CPU_MILLI).contains(&cpu)
        {
            let fix = format!("use a number above 0, at most {}", MAX_CPU_MILLI / 1_000);
            self.add(&at.key("cpu"), "is out of range", fix);
        }
        if let Some(bytes) = resources.memory_bytes {
            self.bytes(&at.key("memory"), bytes);
        }
    }

    fn bytes(&mut self, at: &Way, bytes: u64) {
        if !(1..=MAX_MEMORY_MIB << 20).contains(&bytes) {
            self.add(at, "is out of range", "write it such as `64MiB` or `16GiB`");
        }
    }

    /// Kubernetes refuses pods that ask for more than they may use.
    fn requests(&mut self, at: &Way, kube: &KubePlace) {
        let (asked, limits) = (kube.requests, kube.resources);
        let above = |asked: Option<u64>, limit: Option<u64>| {
            asked.zip(limit).is_some_and(|(asked, limit)| asked > limit)
        };
        let cpu = above(
            asked.cpu_milli.map(u64::from),
            limits.cpu_milli.map(u64::from),
        );
        for (key, above) in [
            ("cpu", cpu),
            ("memory", above(asked.memory_bytes, limits.memory_bytes)),
        ] {
            if above {
                let what = format!("is more than `resources.{key}`");
                let fix = format!("raise `resources.{key}`, or ask for less");
                self.add(&at.key(key), what, fix);
            }
        }
    }

    fn gpu_resource(&mut self, at: &Way, name: &str) {
        if names::key(name).is_err() || !name.contains('/') {
            let what = format!("is `{}`, which is no name of a device", shown(name));
            self.add(
                at,
                what,
                "write it such as \"nvidia.com/gpu\" or \"amd.com/gpu\"",
            );
        }
    }

    /// Texts by keys, both as labels have them.
    fn words(&mut self, at: &Way, words: &BTreeMap<String, String>) {
        if !self.few(at, words.len()) {
            return;
        }
        for (key, value) in words {
            self.word_key(&at.key(key), key);
            self.named(&at.key(key), value, names::value);
        }
    }

    fn word_key(&mut self, at: &Way, key: &str) {
        if let Err((what, fix)) = names::key(key) {
            self.add_key(at, what, fix);
        }
    }

    fn labels(&mut self, at: &Way, labels: &BTreeMap<String, String>) {
        self.words(at, labels);
        self.own_keys(at, labels);
    }

    fn annotations(&mut self, at: &Way, annotations: &BTreeMap<String, String>) {
        if !self.few(at, annotations.len()) {
            return;
        }
        let mut total = 0;
        for (key, value) in annotations {
            self.word_key(&at.key(key), key);
            total += key.len() + value.len();
            if value.len() > MAX_TEXT_BYTES || value.contains('\0') {
                let fix = format!("use at most {MAX_TEXT_BYTES} bytes without NUL");
                self.add(&at.key(key), "is too long or holds a NUL character", fix);
            }
        }
        if total > MAX_ANNOTATION_BYTES {
            let fix = format!("use at most {MAX_ANNOTATION_BYTES}, as Kubernetes wants it");
            self.add(at, format!("has {total} bytes"), fix);
        }
        self.own_keys(at, annotations);
    }

    fn own_keys(&mut self, at: &Way, words: &BTreeMap<String, String>) {
        for key in words.keys() {
            let domain = key.split_once('/').map_or("", |(domain, _)| domain);
            let below = domain.strip_suffix(OWN_DOMAIN);
            if below.is_some_and(|below| below.is_empty() || below.ends_with('.')) {
                let fix = format!("use a key that is not below `{OWN_DOMAIN}/`");
                self.add_key(&at.key(key), "is a key that petctl keeps for itself", fix);
            }
            if OF_ARGO_CD.contains(&key.as_str()) {
                let what = "is what Argo CD knows its own objects by, and prunes those that are in no repository";
                self.add_key(&at.key(key), what, "take it out, or use a key of your own");
            }
        }
    }

    fn tolerations(&mut self, at: &Way, tolerations: &[Toleration]) {
        if !self.few(at, tolerations.len()) {
            return;
        }
        for (index, toleration) in tolerations.iter().enumerate() {
            self.toleration(&at.index(index), toleration);
        }
    }

    fn toleration(&mut self, at: &Way, toleration: &Toleration) {
        if let Some(key) = &toleration.key {
            self.named(&at.key("key"), key, names::key);
        }
        if let Some(value) = &toleration.value {
            self.named(&at.key("value"), value, names::value);
        }
        let exists = toleration.operator == Operator::Exists;
        if toleration.key.is_none() && !exists {
            let fix = "name the taint's `key`, or write `operator = \"Exists\"` for all of them";
            self.add(at, "has no `key`", fix);
        }
        if toleration.value.is_some() && exists {
            let fix = "take `value` out, or write `operator = \"Equal\"`";
            self.add(
                &at.key("value"),
                "stands beside `operator = \"Exists\"`, which looks at none",
                fix,
            );
        }
        let executes = toleration.effect == Some(super::Effect::NoExecute);
        if toleration.seconds.is_some() && !executes {
            let fix = "write `effect = \"NoExecute\"` beside it, or take it out";
            self.add(&at.key("seconds"), "is for taints that take pods away", fix);
        }
        if toleration
            .seconds
            .is_some_and(|seconds| seconds > MAX_DURATION_MS / 1_000)
        {
            self.add(
                &at.key("seconds"),
                "is out of range",
                "use at most a year, or leave it out for ever",
            );
        }
    }

    fn volumes(&mut self, at: &Way, kube: &KubePlace) {
        if !self.few(at, kube.volumes.len()) {
            return;
        }
        let mut seen = BTreeSet::new();
        if kube.shm_bytes.is_some() {
            seen.insert("/dev/shm");
        }
        for (index, volume) in kube.volumes.iter().enumerate() {
            let at = at.index(index);
            let path = &at.key("path");
            if self.plain(path, &volume.path) {
                self.mount_path(path, &volume.path);
                if !seen.insert(&volume.path) {
                    let what = format!("is `{}` once more", shown(&volume.path));
                    self.add(path, what, "mount one thing at each path");
                }
            }
            self.volume_source(&at, &volume.source);
            self.blob_again(&at, kube, index);
            if let Some(sub_path) = &volume.sub_path {
                self.sub_path(&at.key("sub_path"), sub_path);
            }
        }
    }

    fn mount_path(&mut self, at: &Way, path: &str) {
        let plain = resolve_path("/", path);
        if path == "/" || plain == "/" {
            self.add(
                at,
                "is the root of the container",
                "name a folder, such as \"/data\"",
            );
        } else if !path.starts_with('/') {
            let what = format!("is `{}`, which is no absolute path", shown(path));
            self.add(at, what, format!("write \"{}\"", shown(&plain)));
        } else if path != plain || path.contains(':') {
            let what = format!("is `{}`, which is no plain path", shown(path));
            let fix = format!("write \"{}\"", shown(&plain.replace(':', "-")));
            self.add(at, what, fix);
        }
    }

    fn volume_source(&mut self, at: &Way, source: &VolumeSource) {
        match source {
            VolumeSource::Claim(name) => self.named(&at.key("claim"), name, names::object),
            VolumeSource::Secret(name) => self.named(&at.key("secret"), name, names::object),
            VolumeSource::ConfigMap(name) => self.named(&at.key("config_map"), name, names::object),
            VolumeSource::Memory(bytes) => self.bytes(&at.key("memory"), *bytes),
            VolumeSource::Blob(blob) => self.blob(&at.key("blob"), blob),
            VolumeSource::HostPath(path) => {
                let at = &at.key("host_path");
                let up = path.split('/').any(|part| part == "..");
                if self.plain(at, path) && (!path.starts_with('/') || up) {
                    let what = format!("is `{}`, which is no absolute path", shown(path));
                    self.add(
                        at,
                        what,
                        "write the folder's path on the node, without `..`",
                    );
                }
            }
        }
    }

    fn sub_path(&mut self, at: &Way, path: &str) {
        if self.plain(at, path)
            && (path.starts_with('/') || path.split('/').any(|part| part == ".."))
        {
            let what = format!("is `{}`, which leads out of the volume", shown(path));
            self.add(
                at,
                what,
                "write a path below the volume's root, without `..`",
            );
        }
    }

    fn env(&mut self, at: &Way, env: &BTreeMap<String, String>) {
        if !self.few(at, env.len()) {
            return;
        }
        for (name, value) in env {
            let at = &at.key(name);
            if !is_identifier(name) {
                let fix = "use letters, digits and `_`, no digit first, at most 128";
                self.add_key(at, "is no name of an environment variable", fix);
            } else if name.starts_with(RESERVED_ENV) {
                let fix = format!("use a name that does not start with `{RESERVED_ENV}`");
                self.add_key(at, "is a name that petctl keeps for itself", fix);
            }
            if value.len() > MAX_TEXT_BYTES || value.contains('\0') {
                let fix = format!("use at most {MAX_TEXT_BYTES} bytes without NUL");
                self.add(at, "is too long or holds a NUL character", fix);
            }
        }
    }

    fn start_timeout(&mut self, at: &Way, timeout_ms: u64) {
        if !(1_000..=MAX_DURATION_MS).contains(&timeout_ms) {
            self.add(at, "is out of range", "use \"1s\" to \"365d\"");
        }
    }
}
