//! What petctl makes is what Kubernetes says its objects are: held to the published OpenAPI of 1.37.2 (its structure:
//! schemas that petctl's objects use, without descriptions and defaults), and no field beside.

use super::workers::{Workers, record, workers};
use super::{Access, Install, blobs, ca, gpu, installed, secret};
use petctl_settings::{
    Blob, Coordinator, Effect, Gpu, GpuPlugin, KubePlace, Operator, PullPolicy, Resources, Sharing,
    Spread, StateStorage, Toleration, Volume, VolumeSource,
};
use petctl_text::Secret;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// UID of a job's record.
const OWNER: &str = "0b5f8d4e-0000-4000-8000-000000000000";

const OPENAPI: &str = include_str!("../../testdata/openapi-1.37.2.json");

/// Nothing that is not named may be there.
fn strict(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.contains_key("properties") && !map.contains_key("additionalProperties") {
                map.insert("additionalProperties".to_owned(), json!(false));
            }
            map.values_mut().for_each(strict);
        }
        Value::Array(list) => list.iter_mut().for_each(strict),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What the schema of its kind says against an object.
fn faults(object: &Value) -> Vec<String> {
    let mut schema: Value = serde_json::from_str(OPENAPI).unwrap();
    strict(&mut schema);
    let kind = object["kind"].as_str().unwrap();
    let group = match object["apiVersion"].as_str().unwrap() {
        "v1" => "core.v1",
        "batch/v1" => "batch.v1",
        "apps/v1" => "apps.v1",
        "rbac.authorization.k8s.io/v1" => "rbac.v1",
        other => panic!("{other} is not in the schemas"),
    };
    schema["$ref"] = json!(format!("#/components/schemas/io.k8s.api.{group}.{kind}"));
    let validator = jsonschema::validator_for(&schema).unwrap();
    let faults = validator.iter_errors(object);
    faults
        .map(|fault| format!("{kind}{}: {fault}", fault.instance_path()))
        .collect()
}

/// A place that says something of everything.
fn full() -> KubePlace {
    let words = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    let volume = |path: &str, source: VolumeSource| Volume {
        path: path.to_owned(),
        source,
        read_only: true,
        sub_path: Some("day/1".to_owned()),
    };
    let tolerations = vec![
        Toleration {
            key: Some("sku".to_owned()),
            value: Some("gpu".to_owned()),
            effect: Some(Effect::NoSchedule),
            ..Toleration::default()
        },
        Toleration {
            operator: Operator::Exists,
            effect: Some(Effect::NoExecute),
            seconds: Some(30),
            ..Toleration::default()
        },
    ];
    let resources = Resources {
        cpu_milli: Some(1_500),
        memory_bytes: Some(1 << 30),
    };
    KubePlace {
        image: Some("registry.example/train:1".to_owned()),
        pull_policy: PullPolicy::Always,
        pull_secrets: vec!["registry".to_owned()],
        resources,
        requests: resources,
        node_selector: words(&[("agentpool", "gpu")]),
        tolerations: tolerations.clone(),
        spot: true,
        spread: Spread::Zones,
        volumes: vec![
            volume("/data/claim", VolumeSource::Claim("raw".to_owned())),
            volume("/data/host", VolumeSource::HostPath("/mnt".to_owned())),
            volume("/data/secret", VolumeSource::Secret("keys".to_owned())),
            volume("/data/map", VolumeSource::ConfigMap("config".to_owned())),
            volume("/data/memory", VolumeSource::Memory(1 << 20)),
            volume(
                "/data/blob",
                VolumeSource::Blob(Blob {
                    account: "acc".to_owned(),
                    container: "raw".to_owned(),
                    secret: Some("blob".to_owned()),
                    mount_options: vec!["--log-level=LOG_WARNING".to_owned()],
                    ..Blob::default()
                }),
            ),
        ],
        env: words(&[("A", "1")]),
        env_from_secrets: vec!["keys".to_owned()],
        labels: words(&[("team", "avs")]),
        annotations: words(&[("example.com/cost-center", "17")]),
        priority_class: Some("batch".to_owned()),
        queue: Some("team-a".to_owned()),
        runtime_class: Some("nvidia".to_owned()),
        shm_bytes: Some(1 << 30),
        writable_root: true,
        gpu: Gpu {
            plugin: Some(GpuPlugin::DevicePlugin),
            sharing: 4,
            node_selector: words(&[("agentpool", "gpu")]),
            ..Gpu::default()
        },
        coordinator: Coordinator {
            state: StateStorage::New {
                bytes: 1 << 30,
                class: Some("managed-csi".to_owned()),
            },
            resources,
            node_selector: words(&[("agentpool", "system")]),
            tolerations,
            labels: words(&[("team", "avs")]),
            annotations: words(&[("example.com/cost-center", "17")]),
            priority_class: Some("system".to_owned()),
            namespace: None,
            namespaces: vec!["team-a".to_owned(), "team-b".to_owned()],
            max_pods: Some(16),
            sharing: Sharing::InOrder,
        },
        ..KubePlace::default()
    }
}

/// Everything that petctl makes for a place.
fn objects(place: &KubePlace, gpus: u32) -> Vec<Value> {
    let how = Workers {
        release: "0.1.0 (1234567890)",
        job: "us101",
        place,
        image: "registry.example/train:1",
        slots: 2,
        gpus,
        grace_ms: 30_000,
        coordinator: "10.0.0.7",
        secret: "petctl-us101-0011223344".to_owned(),
        tls: gpus > 0,
        owner: OWNER,
    };
    let access = Access {
        token: Secret::new("token".to_owned()),
        ca: Some("PEM".to_owned()),
    };
    let mut objects = vec![
        record("us101", &place.namespace, "{}"),
        workers(&how, 64, false),
        workers(&how, 1, true),
        secret("us101", &place.namespace, OWNER, &access),
        ca(&[&place.namespace, "team-a"], "PEM"),
    ];
    objects.extend(blobs::volumes(place));
    objects.extend(blobs::claims(place));
    objects.extend(gpu::device_plugin(place));
    for (token, printed) in [(Some("token"), false), (None, true)] {
        objects.extend(installed(&Install {
            place,
            version: "1.2.3",
            token,
            namespace: true,
            printed,
        }));
    }
    objects
}

#[test]
fn whatever_a_place_says_its_objects_are_those_of_the_published_schema() {
    let mut claimed = KubePlace::default();
    claimed.coordinator.state = StateStorage::Claim("state".to_owned());
    let mut ephemeral = KubePlace::default();
    ephemeral.coordinator.state = StateStorage::Ephemeral;
    let mut guest = full();
    guest.coordinator.namespaces = Vec::new();
    guest.coordinator.namespace = Some("shared".to_owned());
    let mut seen = 0;
    for (place, gpus) in [
        (KubePlace::default(), 0),
        (full(), 4),
        (full(), 0),
        (claimed, 1),
        (ephemeral, 0),
        (guest, 1),
    ] {
        for object in objects(&place, gpus) {
            assert_eq!(faults(&object), [""; 0], "{object:#}");
            seen += 1;
        }
    }
    assert!(seen > 80, "{seen}");
}

#[test]
fn a_field_that_kubernetes_does_not_have_is_found() {
    let place = full();
    for (path, name) in [
        ("/spec", "backofLimit"),
        ("/spec/template/spec", "tolerationz"),
        ("/spec/template/spec/containers/0", "imagePulPolicy"),
        (
            "/spec/template/spec/volumes/3/persistentVolumeClaim",
            "claim",
        ),
        ("/metadata/ownerReferences/0", "owner"),
    ] {
        let mut object = objects(&place, 1).remove(1);
        object.pointer_mut(path).unwrap()[name] = json!(1);
        let faults = faults(&object);
        assert!(
            faults.len() == 1 && faults[0].contains(name),
            "{path}: {faults:?}"
        );
    }
    let mut object = objects(&place, 1).remove(1);
    object["spec"]["completions"] = json!("64");
    assert_eq!(faults(&object).len(), 1);
}

#[test]
fn a_namespace_lets_the_coordinator_of_another_one_in_and_gets_none_of_its_own() {
    let names = |place: &KubePlace| -> Vec<String> {
        let all = installed(&Install {
            place,
            version: "1.2.3",
            token: None,
            namespace: false,
            printed: false,
        });
        let all = all.iter();
        all.map(|o| format!("{} {}", o["kind"], o["metadata"]["name"]).replace('"', ""))
            .collect()
    };
    let mut guest = KubePlace::default();
    guest.coordinator.namespace = Some("shared".to_owned());
    assert_eq!(
        names(&guest),
        [
            "ServiceAccount petctl-worker",
            "Role petctl-coordinator",
            "RoleBinding petctl-coordinator"
        ]
    );
    let alone = names(&KubePlace::default());
    let host = names(&full());
    let more: Vec<&String> = host.iter().filter(|name| !alone.contains(name)).collect();
    assert_eq!(more, ["Role petctl-client"]);
}

#[test]
fn workers_are_spread_as_the_place_says_and_wait_for_no_place_of_their_own() {
    let keys = |spread: Spread, gpus: u32| -> Vec<String> {
        let place = KubePlace {
            spread,
            ..KubePlace::default()
        };
        let job = objects(&place, gpus).remove(1);
        let all = job["spec"]["template"]["spec"]["topologySpreadConstraints"].clone();
        let all = all.as_array().cloned().unwrap_or_default();
        let soft = all
            .iter()
            .all(|one| one["whenUnsatisfiable"] == "ScheduleAnyway");
        assert!(soft, "{all:?}");
        let keys = all.iter().filter_map(|one| one["topologyKey"].as_str());
        keys.map(str::to_owned).collect()
    };
    const NODE: &str = "kubernetes.io/hostname";
    const ZONE: &str = "topology.kubernetes.io/zone";
    assert_eq!(keys(Spread::Auto, 0), [NODE]);
    assert_eq!(keys(Spread::Auto, 1), [""; 0]);
    assert_eq!(keys(Spread::Nodes, 1), [NODE]);
    assert_eq!(keys(Spread::Zones, 1), [ZONE, NODE]);
    assert_eq!(keys(Spread::Never, 0), [""; 0]);
}

#[test]
fn a_queue_is_named_on_the_job_and_another_queue_is_another_job() {
    let job = |queue: Option<&str>| {
        let place = KubePlace {
            queue: queue.map(str::to_owned),
            ..KubePlace::default()
        };
        objects(&place, 0).remove(1)
    };
    let (a, b, none) = (job(Some("a")), job(Some("b")), job(None));
    let template = |job: &Value| job["metadata"]["annotations"]["petctl.io/template"].clone();
    assert_eq!(a["metadata"]["labels"]["kueue.x-k8s.io/queue-name"], "a");
    assert_eq!(
        a["metadata"]["annotations"]["kueue.x-k8s.io/elastic-job"],
        "true"
    );
    assert!(none["metadata"]["labels"]["kueue.x-k8s.io/queue-name"].is_null());
    assert!(none["metadata"]["annotations"]["kueue.x-k8s.io/elastic-job"].is_null());
    assert!(template(&a) != template(&b) && template(&a) != template(&none));
}
