//! From the table of a place to what it is.

use crate::azure::{AzurePlace, read_azure};
use crate::keys::{TOLERATION, VOLUME};
use crate::kube::{
    Blob, BlobProtocol, Coordinator, Effect, Gpu, GpuPlugin, KubePlace, Operator, Part, PullPolicy,
    Resources, Sharing, Spread, StateStorage, Toleration, Volume, VolumeSource,
};
use petctl_codes::Code;
use petctl_keyed::resolve_path;
use petctl_keyed::{Key, Place, Report, Section, Table, Value};
use petctl_text::words::shown;

/// Reads a place on Kubernetes; what is wrong is reported. `folder` is that of the file.
pub(crate) fn read_kube(
    section: &Section<'_>,
    table: &Table,
    folder: &str,
    report: &mut Report<'_>,
) -> Option<KubePlace> {
    let before = report.count();
    let kube = kube(section, folder, report);
    // What has the wrong type was left out, and says nothing about what else is wrong.
    if report.count() > before {
        return None;
    }
    let kube = kube?;
    for fault in kube.faults() {
        let place = locate(table, section.place, &fault.at, fault.is_key);
        let message = format!("`{}` in {} {}", fault.key(), section.title, fault.what);
        report.add(
            Code::BadPlace,
            place,
            section.path_of(&fault.key()),
            message,
            fault.fix,
        );
    }
    (report.count() == before).then_some(kube)
}

fn kube(section: &Section<'_>, folder: &str, report: &mut Report<'_>) -> Option<KubePlace> {
    let standard = KubePlace::default();
    let text = |name: &str| section.text(name).map(str::to_owned);
    Some(KubePlace {
        context: text("context"),
        kubeconfig: kubeconfig(section, folder, report),
        namespace: text("namespace").unwrap_or(standard.namespace),
        image: text("image"),
        petctl_image: text("petctl_image").unwrap_or(standard.petctl_image),
        pull_policy: match section.text("pull_policy") {
            Some("Always") => PullPolicy::Always,
            Some("Never") => PullPolicy::Never,
            Some(_) | None => PullPolicy::IfNotPresent,
        },
        pull_secrets: texts(section, "pull_secrets"),
        resources: resources(section, "resources", report),
        requests: resources(section, "requests", report),
        gpu_resource: text("gpu_resource").unwrap_or(standard.gpu_resource),
        node_selector: section.scalars("node_selector"),
        tolerations: tolerations(section, report),
        spot: section.switch("spot"),
        spread: match section.text("spread") {
            Some("nodes") => Spread::Nodes,
            Some("zones") => Spread::Zones,
            Some("never") => Spread::Never,
            Some(_) | None => Spread::Auto,
        },
        volumes: volumes(section, report),
        env: section.scalars("env"),
        env_from_secrets: texts(section, "env_from_secrets"),
        service_account: text("service_account").unwrap_or(standard.service_account),
        labels: section.scalars("labels"),
        annotations: section.scalars("annotations"),
        priority_class: text("priority_class"),
        queue: text("queue"),
        runtime_class: text("runtime_class"),
        shm_bytes: section.bytes("shm"),
        user: section.integer_u32("user").unwrap_or(standard.user),
        writable_root: section.switch("writable_root"),
        command_logs: section.switch("command_logs"),
        start_timeout_ms: section.duration_ms("start_timeout")?,
        gpu: gpu(section, report),
        coordinator: coordinator(section, report),
    })
}

fn gpu(section: &Section<'_>, report: &mut Report<'_>) -> Gpu {
    let standard = Gpu::default();
    let Some(section) = inner(section, "gpu", report) else {
        return standard;
    };
    let text = |name: &str| section.text(name).map(str::to_owned);
    Gpu {
        plugin: match section.text("plugin") {
            Some("device-plugin") => Some(GpuPlugin::DevicePlugin),
            Some("operator") => Some(GpuPlugin::Operator),
            Some("none") => Some(GpuPlugin::None),
            Some(_) | None => None,
        },
        sharing: section.integer_u32("sharing").unwrap_or(standard.sharing),
        image: text("image").unwrap_or(standard.image),
        node_selector: section.scalars("node_selector"),
        driver: section.switch("driver"),
        operator_version: text("operator_version").unwrap_or(standard.operator_version),
    }
}

pub(crate) fn texts(section: &Section<'_>, name: &str) -> Vec<String> {
    let texts = section.texts(name).into_iter();
    texts.map(|(text, _)| text.to_owned()).collect()
}

fn kubeconfig(section: &Section<'_>, folder: &str, report: &mut Report<'_>) -> Option<String> {
    let path = section.text("kubeconfig")?;
    if path.starts_with('~') {
        let message = format!("`kubeconfig` in {}: `~` is not expanded", section.title);
        let fix = "write the whole path, or one relative to this file";
        let (place, key) = (
            section.place_of("kubeconfig"),
            section.path_of("kubeconfig"),
        );
        report.add(Code::BadPlace, place, key, message, fix);
        return None;
    }
    Some(resolve_path(folder, path))
}

/// What its cluster is made of in Azure, where the place says so.
pub(crate) fn read_azure_of(section: &Section<'_>, report: &mut Report<'_>) -> Option<AzurePlace> {
    let section = inner(section, "azure", report)?;
    read_azure(&section, report)
}

/// A table inside of one: its title says where it is.
fn inner<'a>(section: &Section<'a>, name: &str, report: &mut Report<'_>) -> Option<Section<'a>> {
    section.table(name, format!("`{name}` of {}", section.title), report)
}

/// The tables of a list.
pub(crate) fn items<'a>(
    section: &Section<'a>,
    name: &str,
    keys: &'static [Key],
    report: &mut Report<'_>,
) -> Vec<Section<'a>> {
    let mut sections = Vec::new();
    for (index, node) in section.list(name).iter().enumerate() {
        if let Value::Table(table) = &node.value {
            let path = format!("{}[{index}]", section.path_of(name));
            let title = format!("`{name}[{index}]` of {}", section.title);
            sections.push(Section::open(keys, table, node.place, path, title, report));
        }
    }
    sections
}

fn resources(section: &Section<'_>, name: &str, report: &mut Report<'_>) -> Resources {
    let Some(section) = inner(section, name, report) else {
        return Resources::default();
    };
    Resources {
        cpu_milli: section.node("cpu").map(|_| section.thousandths("cpu")),
        memory_bytes: section.bytes("memory"),
    }
}

fn tolerations(section: &Section<'_>, report: &mut Report<'_>) -> Vec<Toleration> {
    let sections = items(section, "tolerations", TOLERATION, report);
    let read = |section: &Section<'_>| Toleration {
        key: section.text("key").map(str::to_owned),
        operator: match section.text("operator") {
            Some("Exists") => Operator::Exists,
            Some(_) | None => Operator::Equal,
        },
        value: section.text("value").map(str::to_owned),
        effect: match section.text("effect") {
            Some("NoSchedule") => Some(Effect::NoSchedule),
            Some("PreferNoSchedule") => Some(Effect::PreferNoSchedule),
            Some("NoExecute") => Some(Effect::NoExecute),
            Some(_) | None => None,
        },
        seconds: section.integer("seconds"),
    };
    sections.iter().map(read).collect()
}

/// The keys of which a volume has one.
const SOURCES: [&str; 6] = [
    "claim",
    "host_path",
    "secret",
    "config_map",
    "memory",
    "blob",
];

fn volumes(section: &Section<'_>, report: &mut Report<'_>) -> Vec<Volume> {
    let sections = items(section, "volumes", VOLUME, report);
    sections
        .iter()
        .filter_map(|section| volume(section, report))
        .collect()
}

fn volume(section: &Section<'_>, report: &mut Report<'_>) -> Option<Volume> {
    let given = SOURCES.into_iter().filter(|name| section.is_given(name));
    let given = given.collect::<Vec<_>>();
    let [source] = given.as_slice() else {
        let title = &section.title;
        let (place, message) = match given.get(1) {
            None => (section.place, format!("{title} names nothing to mount")),
            Some(second) => (
                section.place_of(second),
                format!("{title} has {}", quoted(&given)),
            ),
        };
        let fix = "write one of `claim`, `host_path`, `secret`, `config_map`, `memory` and `blob`";
        report.add(Code::BadPlace, place, section.path.as_str(), message, fix);
        return None;
    };
    let name = || section.text(source).map(str::to_owned);
    let source = match *source {
        "claim" => VolumeSource::Claim(name()?),
        "host_path" => VolumeSource::HostPath(name()?),
        "secret" => VolumeSource::Secret(name()?),
        "config_map" => VolumeSource::ConfigMap(name()?),
        "blob" => VolumeSource::Blob(blob(section, report)?),
        _ => VolumeSource::Memory(section.bytes("memory")?),
    };
    Some(Volume {
        path: section.text("path")?.to_owned(),
        source,
        read_only: section.switch("read_only"),
        sub_path: section.text("sub_path").map(str::to_owned),
    })
}

fn blob(section: &Section<'_>, report: &mut Report<'_>) -> Option<Blob> {
    let section = inner(section, "blob", report)?;
    let text = |name: &str| section.text(name).map(str::to_owned);
    Some(Blob {
        account: text("account")?,
        container: text("container")?,
        secret: text("secret"),
        identity: text("identity"),
        protocol: match section.text("protocol") {
            Some("nfs") => BlobProtocol::Nfs,
            Some(_) | None => BlobProtocol::Fuse2,
        },
        mount_options: texts(&section, "mount_options"),
        claim: text("claim"),
    })
}

fn coordinator(section: &Section<'_>, report: &mut Report<'_>) -> Coordinator {
    let Some(section) = inner(section, "coordinator", report) else {
        return Coordinator::default();
    };
    Coordinator {
        namespace: section.text("namespace").map(str::to_owned),
        namespaces: texts(&section, "namespaces"),
        max_pods: section.integer_u32("max_pods"),
        sharing: match section.text("sharing") {
            Some("in-order") => Sharing::InOrder,
            Some(_) | None => Sharing::Fair,
        },
        state: state(&section, report),
        resources: resources(&section, "resources", report),
        node_selector: section.scalars("node_selector"),
        tolerations: tolerations(&section, report),
        labels: section.scalars("labels"),
        annotations: section.scalars("annotations"),
        priority_class: section.text("priority_class").map(str::to_owned),
    }
}

fn state(section: &Section<'_>, report: &mut Report<'_>) -> StateStorage {
    let is_ephemeral = section.switch("ephemeral");
    let mut ways = Vec::new();
    let new = ["storage", "storage_class"]
        .into_iter()
        .find(|name| section.is_given(name));
    ways.extend(new);
    ways.extend(section.is_given("claim").then_some("claim"));
    ways.extend(is_ephemeral.then_some("ephemeral"));
    if let Some(second) = ways.get(1) {
        let message = format!("{} has {}", section.title, quoted(&ways));
        let fix = "its state is in one place: a claim that is made (`storage`), one that is there (`claim`), or none \
                   (`ephemeral`)";
        let (place, key) = (section.place_of(second), section.path_of(second));
        report.add(Code::BadPlace, place, key, message, fix);
    }
    if is_ephemeral {
        return StateStorage::Ephemeral;
    }
    if let Some(claim) = section.text("claim") {
        return StateStorage::Claim(claim.to_owned());
    }
    match section.bytes("storage") {
        Some(bytes) => StateStorage::New {
            bytes,
            class: section.text("storage_class").map(str::to_owned),
        },
        None => StateStorage::default(),
    }
}

/// `` `a` and `b` ``.
fn quoted(names: &[&str]) -> String {
    let names = names.iter().map(|name| format!("`{}`", shown(name)));
    names.collect::<Vec<_>>().join(" and ")
}

/// The place of what a fault speaks of: as far as the way to it was written.
fn locate(table: &Table, start: Place, at: &[Part], is_key: bool) -> Place {
    let Some((Part::Key(key), mut rest)) = at.split_first() else {
        return start;
    };
    let Some(entry) = table.get(key) else {
        return start;
    };
    let mut node = &entry.node;
    while let Some((Part::Index(index), after)) = rest.split_first() {
        let Value::List(items) = &node.value else {
            break;
        };
        let Some(item) = items.get(*index) else { break };
        (node, rest) = (item, after);
    }
    if let Value::Table(inner) = &node.value
        && !rest.is_empty()
    {
        return locate(inner, node.place, rest, is_key);
    }
    if is_key && rest.is_empty() {
        entry.key
    } else {
        node.place
    }
}
