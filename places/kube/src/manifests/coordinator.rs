//! What `petctl setup` installs: the coordinator, who it is, and what it may do.

use super::pod;
use super::probes;
use crate::names::{
    CA_CONFIG, CLIENT, COORDINATOR, CREATED, HTTP_PORT, MANAGED, NAMESPACES, PORT, STATE_FORMAT,
    TOKEN_KEY, TOKEN_SECRET, VERSION, labels,
};
use petctl_rendezvous::event_log::FORMAT_VERSION;
use petctl_settings::{KubePlace, StateStorage};
use serde_json::{Value, json};

/// The user of petctl's own image.
const USER: u32 = 65532;
/// Where the coordinator's state is.
const STATE: &str = "/var/lib/petctl";
/// Where its token is.
const TOKEN: &str = "/var/run/petctl";

/// What is to be installed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Install<'a> {
    /// Where, and of what.
    pub(crate) place: &'a KubePlace,
    /// Version of petctl.
    pub(crate) version: &'a str,
    /// The coordinator's token, where a new one is to be made.
    pub(crate) token: Option<&'a str>,
    /// Whether the namespace is to be made, and goes with petctl again.
    pub(crate) namespace: bool,
    /// Others apply the objects, and the namespace is theirs.
    pub(crate) printed: bool,
}

/// The objects, in the order in which they are made.
pub(crate) fn installed(install: &Install<'_>) -> Vec<Value> {
    let place = install.place;
    let meta = |name: &str| {
        json!({
            "name": name,
            "namespace": place.namespace,
            "labels": labels("coordinator"),
            "annotations": { VERSION: install.version },
        })
    };
    let mut objects = Vec::new();
    if install.namespace {
        let mut namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": place.namespace },
        });
        if !install.printed {
            namespace["metadata"]["labels"] = json!({ MANAGED: "true" });
            namespace["metadata"]["annotations"] = json!({ CREATED: "setup" });
        }
        objects.push(namespace);
    }
    let account = |name: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": meta(name),
            "automountServiceAccountToken": false,
        })
    };
    let own = place.keeps_coordinator();
    if own {
        objects.push(account(COORDINATOR));
    }
    if place.service_account == petctl_settings::DEFAULT_SERVICE_ACCOUNT {
        objects.push(account(&place.service_account));
    }
    let role = |name: &str, rules: Value| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": meta(name),
            "rules": rules,
        })
    };
    objects.push(role(COORDINATOR, rules(own)));
    objects.push(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": meta(COORDINATOR),
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": COORDINATOR },
        "subjects": [{
            "kind": "ServiceAccount", "name": COORDINATOR, "namespace": place.coordinator_namespace(),
        }],
    }));
    if !own {
        objects.iter_mut().for_each(pod::without_empty);
        return objects;
    }
    if !place.coordinator.namespaces.is_empty() {
        objects.push(role(CLIENT, client_rules()));
    }
    if let Some(token) = install.token {
        objects.push(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": meta(TOKEN_SECRET),
            "type": "Opaque",
            "stringData": { TOKEN_KEY: token },
        }));
    }
    objects.push(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta(COORDINATOR),
        "spec": {
            "type": "ClusterIP",
            "selector": labels("coordinator"),
            // Workers that look for a coordinator which starts are better refused by it than sent nowhere.
            "publishNotReadyAddresses": true,
            "ports": [{ "name": "grpc", "port": PORT, "targetPort": PORT, "protocol": "TCP" }],
        },
    }));
    objects.push(stateful_set(install, &meta(COORDINATOR)));
    objects.iter_mut().for_each(pod::without_empty);
    objects
}

/// What the coordinator may do: no more than it does. `own`: in its own namespace.
fn rules(own: bool) -> Value {
    let mut rules = json!([
        { "apiGroups": ["batch"], "resources": ["jobs"],
          "verbs": ["get", "list", "watch", "create", "patch", "delete"] },
        { "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "patch", "delete"] },
        { "apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"] },
        { "apiGroups": [""], "resources": ["events"], "verbs": ["list", "watch"] },
        { "apiGroups": [""], "resources": ["configmaps"],
          "verbs": ["get", "list", "watch", "create", "patch", "delete"] },
        // It makes one with a token for the workers of each job, and reads and changes none.
        { "apiGroups": [""], "resources": ["secrets"], "verbs": ["create"] },
    ]);
    let service = json!({
        "apiGroups": [""], "resources": ["services"], "resourceNames": [COORDINATOR], "verbs": ["get"],
    });
    if let Some(rules) = rules.as_array_mut() {
        rules.extend(own.then_some(service));
    }
    rules
}

/// What those must be allowed, where the coordinator is, who run jobs in other namespaces.
fn client_rules() -> Value {
    let pod = format!("{COORDINATOR}-0");
    json!([
        { "apiGroups": [""], "resources": ["pods"], "verbs": ["list"] },
        { "apiGroups": [""], "resources": ["pods"], "resourceNames": [pod], "verbs": ["get"] },
        { "apiGroups": [""], "resources": ["pods/portforward"], "resourceNames": [pod], "verbs": ["get", "create"] },
        { "apiGroups": [""], "resources": ["secrets"], "resourceNames": [TOKEN_SECRET], "verbs": ["get"] },
        { "apiGroups": [""], "resources": ["configmaps"], "resourceNames": [CA_CONFIG], "verbs": ["get"] },
    ])
}

/// What whoever installs must be allowed to do: verb, group and resource. Rights can only be handed on by those who
/// have them.
pub(crate) fn access_needed(
    place: &KubePlace,
    namespace: bool,
) -> Vec<(&'static str, &'static str, &'static str)> {
    let mut needed = Vec::new();
    let for_workers = [
        ("", "serviceaccounts"),
        ("rbac.authorization.k8s.io", "roles"),
        ("rbac.authorization.k8s.io", "rolebindings"),
    ];
    let own = [("", "secrets"), ("", "services"), ("apps", "statefulsets")];
    let own = own.into_iter().filter(|_| place.keeps_coordinator());
    for (group, resource) in for_workers.into_iter().chain(own) {
        for verb in ["get", "create", "patch"] {
            needed.push((verb, group, resource));
        }
    }
    let held = [
        (
            "batch",
            "jobs",
            &["get", "list", "watch", "create", "patch", "delete"][..],
        ),
        ("", "pods", &["get", "list", "watch", "patch", "delete"]),
        ("", "pods/log", &["get"]),
        ("", "secrets", &["create"]),
        // How every command reaches the coordinator; which of both verbs counts depends on the cluster's version.
        ("", "pods/portforward", &["get", "create"]),
        ("", "events", &["list", "watch"]),
        (
            "",
            "configmaps",
            &["get", "list", "watch", "create", "patch", "delete"],
        ),
    ];
    for (group, resource, verbs) in held {
        needed.extend(verbs.iter().map(|verb| (*verb, group, resource)));
    }
    if namespace {
        needed.push(("create", "", "namespaces"));
    }
    needed
}

fn stateful_set(install: &Install<'_>, meta: &Value) -> Value {
    let place = install.place;
    let own = &place.coordinator;
    let mut pod_labels = own.labels.clone();
    pod_labels.extend(labels("coordinator"));
    let mut volumes = vec![json!({
        "name": "token",
        "secret": { "secretName": TOKEN_SECRET, "defaultMode": 0o440 },
    })];
    let mut claims = Vec::new();
    match &own.state {
        StateStorage::New { bytes, class } => {
            let mut claim = json!({
                "metadata": { "name": "state", "labels": labels("coordinator") },
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": { "requests": { "storage": bytes.to_string() } },
                },
            });
            if let Some(class) = class {
                claim["spec"]["storageClassName"] = json!(class);
            }
            claims.push(claim);
        }
        StateStorage::Claim(claim) => volumes.push(json!({
            "name": "state",
            "persistentVolumeClaim": { "claimName": claim },
        })),
        StateStorage::Ephemeral => volumes.push(json!({
            "name": "state",
            // Said in full: an empty source would be none.
            "emptyDir": { "medium": "" },
        })),
    }
    let resources = pod::quantities(own.resources);
    let mut args = vec![
        "rendezvous".to_owned(),
        "--keep-pods".to_owned(),
        "--listen".to_owned(),
        format!("[::]:{PORT}"),
        "--http".to_owned(),
        format!("[::]:{HTTP_PORT}"),
        "--state".to_owned(),
        format!("{STATE}/state"),
        "--token-file".to_owned(),
        format!("{TOKEN}/{TOKEN_KEY}"),
    ];
    if !own.namespaces.is_empty() {
        args.extend(["--namespaces".to_owned(), own.namespaces.join(",")]);
    }
    if let Some(most) = own.max_pods {
        args.extend(["--max-pods".to_owned(), most.to_string()]);
        args.extend(["--sharing".to_owned(), own.sharing.as_str().to_owned()]);
    }
    let mut spec = json!({
        "serviceAccountName": COORDINATOR,
        "automountServiceAccountToken": true,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 10,
        "securityContext": pod::pod_security(USER, true),
        "imagePullSecrets": pod::pull_secrets(place),
        "nodeSelector": own.node_selector,
        "tolerations": own.tolerations.iter().map(pod::toleration).collect::<Vec<_>>(),
        "volumes": volumes,
        "containers": [{
            "name": "coordinator",
            "image": place.petctl_image,
            "imagePullPolicy": place.pull_policy.as_str(),
            "args": args,
            "env": [
                { "name": "POD_NAMESPACE", "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" } } },
                { "name": "HOME", "value": STATE },
            ],
            "ports": [
                { "name": "grpc", "containerPort": PORT, "protocol": "TCP" },
                { "name": "http", "containerPort": HTTP_PORT, "protocol": "TCP" },
            ],
            "readinessProbe": probes::ready(),
            "livenessProbe": probes::alive(),
            "resources": { "requests": resources, "limits": resources },
            "securityContext": pod::container_security(true),
            "volumeMounts": [
                { "name": "state", "mountPath": STATE },
                { "name": "token", "mountPath": TOKEN, "readOnly": true },
            ],
        }],
    });
    if let Some(class) = &own.priority_class {
        spec["priorityClassName"] = json!(class);
    }
    let mut meta = meta.clone();
    meta["annotations"][STATE_FORMAT] = json!(FORMAT_VERSION.to_string());
    if !own.namespaces.is_empty() {
        meta["annotations"][NAMESPACES] = json!(own.namespaces.join(","));
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": meta,
        "spec": {
            "replicas": 1,
            "serviceName": COORDINATOR,
            "podManagementPolicy": "Parallel",
            "selector": { "matchLabels": labels("coordinator") },
            "persistentVolumeClaimRetentionPolicy": { "whenDeleted": "Retain", "whenScaled": "Retain" },
            "volumeClaimTemplates": claims,
            "template": {
                "metadata": { "labels": pod_labels, "annotations": probes::scraped(&own.annotations) },
                "spec": spec,
            },
        },
    })
}
