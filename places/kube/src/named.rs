//! What a place names in its namespace, such as claims and Secrets: looked for before a job is submitted, whose pods
//! would only wait for it. Who may not look is told nothing here, and hears of it from the pods.

use crate::blobs;
use crate::cluster::{Cluster, found};
use crate::tunnel::Tunnel;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Secret};
use kube::api::Api;
use petctl_settings::{Blob, KubePlace, PullPolicy, Volume, VolumeSource};
use petctl_ui::error::{Code, Error, Result};

/// Types of Secrets by which kubelets pull images, and the key of each.
const LOGINS: [(&str, &str); 2] = [
    ("kubernetes.io/dockerconfigjson", ".dockerconfigjson"),
    ("kubernetes.io/dockercfg", ".dockercfg"),
];

/// Something that a place names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Named<'p> {
    /// A claim that is mounted; the container that it has, where it is one's.
    Claim(String, &'p str, Option<&'p Blob>),
    /// A Secret that is mounted there, and the key that is.
    Secret(&'p str, &'p Volume),
    /// A ConfigMap, likewise.
    Config(&'p str, &'p Volume),
    /// A Secret that opens a container.
    Opener(&'p str, &'p Blob),
    /// A Secret whose keys become environment.
    Environment(&'p str),
    /// A Secret by which images are pulled.
    Login(&'p str),
}

/// Looks for what the workers of a place mount, read and pull by; asks for nothing else, and for all of it at once.
///
/// # Errors
/// The first of it that is not there, or is of no use: [`Code::BadVolume`], [`Code::BadPlace`].
pub async fn check_named(tunnel: &Tunnel, place: &KubePlace) -> Result<()> {
    let all = named(place);
    if all.is_empty() {
        return Ok(());
    }
    let cluster = tunnel.of_workers().await?;
    let looks = all.iter().map(|named| look(&cluster, tunnel.name(), named));
    for looked in futures::future::join_all(looks).await {
        match looked {
            Err(error) if error.is(Code::ClusterDenied) => {}
            looked => looked?,
        }
    }
    Ok(())
}

/// What a place names, in its order, each once.
fn named(place: &KubePlace) -> Vec<Named<'_>> {
    let mut all = Vec::new();
    for volume in &place.volumes {
        match &volume.source {
            VolumeSource::Claim(claim) => all.push(Named::Claim(claim.clone(), &volume.path, None)),
            VolumeSource::Secret(secret) => all.push(Named::Secret(secret, volume)),
            VolumeSource::ConfigMap(config) => all.push(Named::Config(config, volume)),
            VolumeSource::Blob(blob) => {
                all.push(Named::Claim(blob.claim_name(), &volume.path, Some(blob)));
                let own = blob.secret.as_ref().filter(|_| blob.claim.is_none());
                all.extend(own.map(|secret| Named::Opener(secret, blob)));
            }
            VolumeSource::HostPath(_) | VolumeSource::Memory(_) => {}
        }
    }
    all.extend(
        place
            .env_from_secrets
            .iter()
            .map(|name| Named::Environment(name)),
    );
    // Nothing is pulled by them otherwise.
    if place.pull_policy != PullPolicy::Never {
        all.extend(place.pull_secrets.iter().map(|name| Named::Login(name)));
    }
    let mut once: Vec<Named<'_>> = Vec::new();
    for named in all {
        if !once.contains(&named) {
            once.push(named);
        }
    }
    once
}

async fn look(cluster: &Cluster, place: &str, named: &Named<'_>) -> Result<()> {
    let (shown, namespace) = (&cluster.shown, &cluster.namespace);
    let fault = match named {
        Named::Claim(name, path, blob) => {
            let claims = cluster.api::<PersistentVolumeClaim>();
            let claim = found(shown, claims.get(name)).await?;
            let what = format!("the claim {name}, which place `{place}` mounts at {path},");
            let fault = match &claim {
                None => Some(absent(place, *blob)),
                Some(claim) => match of_claim(claim) {
                    Claim::Good => None,
                    Claim::Bad(fault) => Some(fault),
                    Claim::WaitsFor(volume) => of_volume(cluster, claim, &volume).await?,
                },
            };
            fault.map(|(fault, fix)| bad(Code::BadVolume, format!("{what} {fault} ({shown})"), fix))
        }
        Named::Secret(name, volume) => {
            let secrets = cluster.api::<Secret>();
            let secret = found(shown, secrets.get(name)).await?;
            let data = secret.map(|secret| secret.data.unwrap_or_default());
            let keys = data.map(|data| data.into_keys().collect());
            mounted(("Secret", name), volume, keys, (place, cluster))
        }
        Named::Config(name, volume) => {
            let configs = cluster.api::<ConfigMap>();
            let config = found(shown, configs.get(name)).await?;
            let keys = config.map(|config| {
                let text = config.data.unwrap_or_default().into_keys();
                text.chain(config.binary_data.unwrap_or_default().into_keys())
                    .collect()
            });
            mounted(("ConfigMap", name), volume, keys, (place, cluster))
        }
        Named::Opener(name, blob) => {
            // It is not made by this command, so it has to be there.
            blobs::opens(cluster, name, blob, false).await?;
            None
        }
        Named::Environment(name) => {
            // What is in it is nobody's business here.
            let secrets = cluster.api::<Secret>();
            let there = found(shown, secrets.get_metadata(name)).await?;
            let what =
                format!("the Secret {name}, which env_from_secrets of place `{place}` names,");
            let fix = format!(
                "make it: kubectl -n {namespace} create secret generic {name} --from-literal=NAME=VALUE; for blob \
                 storage: petctl storage-secret --on {place} --name {name}; or take it out of the place"
            );
            let absent = format!("{what} is not there ({shown})");
            there.is_none().then(|| bad(Code::BadPlace, absent, fix))
        }
        Named::Login(name) => {
            let secrets = cluster.api::<Secret>();
            let secret = found(shown, secrets.get(name)).await?;
            let fault = of_login(secret.as_ref());
            let fix = format!(
                "make it: petctl docker-secret --on {place} --server SERVER --username NAME --password env:PASSWORD \
                 --name {name}; or take it out of the place"
            );
            fault.map(|fault| {
                let what = format!("the Secret {name}, which pull_secrets of place `{place}` names, {fault} ({shown})");
                bad(Code::BadPlace, what, fix)
            })
        }
    };
    fault.map_or(Ok(()), Err)
}

fn bad(code: Code, what: String, fix: String) -> Error {
    Error::new(code, what).fix(fix)
}

fn absent(place: &str, blob: Option<&Blob>) -> (String, String) {
    let fix = match blob {
        Some(blob) if blob.claim.is_none() => format!("petctl setup --on {place} makes it"),
        Some(_) | None => {
            let what = "make it, or mend `volumes` of the place";
            format!("{what}: kubectl get persistentvolumeclaims shows those that there are")
        }
    };
    ("is not there".to_owned(), fix)
}

/// What a claim is good for.
#[derive(Debug, PartialEq, Eq)]
enum Claim {
    /// It is bound, or will be when a pod asks for it.
    Good,
    /// What is wrong with it, and the fix.
    Bad((String, String)),
    /// It is not bound yet, and takes no volume but this one.
    WaitsFor(String),
}

fn of_claim(claim: &PersistentVolumeClaim) -> Claim {
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let phase = claim.status.as_ref().and_then(|s| s.phase.as_deref());
    let volume = claim.spec.as_ref().and_then(|s| s.volume_name.clone());
    let volume = volume.filter(|volume| !volume.is_empty());
    if claim.metadata.deletion_timestamp.is_some() {
        let fix = "wait until it is gone, and make it anew; pods that still mount it hold it";
        return Claim::Bad(("is being deleted".to_owned(), fix.to_owned()));
    }
    match (phase, volume) {
        (Some("Lost"), volume) => {
            let what = format!(
                "is lost: its volume {} is gone",
                volume.as_deref().unwrap_or_default()
            );
            let fix = format!(
                "make it anew: kubectl delete persistentvolumeclaim {name}, then as it was made"
            );
            Claim::Bad((what, fix))
        }
        (Some("Bound"), _) | (_, None) => Claim::Good,
        (_, Some(volume)) => Claim::WaitsFor(volume),
    }
}

/// Whether the volume for which a claim waits can be bound to it. Volumes belong to no namespace: few people may look.
async fn of_volume(
    cluster: &Cluster,
    claim: &PersistentVolumeClaim,
    name: &str,
) -> Result<Option<(String, String)>> {
    let volumes: Api<PersistentVolume> = Api::all(cluster.client.clone());
    let volume = found(&cluster.shown, volumes.get(name)).await?;
    Ok(elsewhere(volume.as_ref(), claim, name))
}

fn elsewhere(
    volume: Option<&PersistentVolume>,
    claim: &PersistentVolumeClaim,
    name: &str,
) -> Option<(String, String)> {
    let Some(volume) = volume else {
        let fix = format!("make the volume {name}, or the claim anew with another one");
        return Some((
            format!("waits for the volume {name}, which is not there"),
            fix,
        ));
    };
    let to = volume.spec.as_ref()?.claim_ref.as_ref()?;
    let own = &claim.metadata;
    let is_own = to.namespace == own.namespace
        && to.name == own.name
        && (to.uid.is_none() || to.uid == own.uid);
    if is_own {
        return None;
    }
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let what = format!(
        "waits for the volume {name}, which is bound to the claim {}/{}",
        text(&to.namespace),
        text(&to.name)
    );
    let what = match (&to.namespace, &to.name) == (&own.namespace, &own.name) {
        true => {
            format!("waits for the volume {name}, which was bound to an earlier claim of this name")
        }
        false => what,
    };
    let fix = format!(
        "free the volume, or make the claim anew with another one: kubectl describe persistentvolume {name}"
    );
    Some((what, fix))
}

/// What is wrong with a Secret or ConfigMap that is mounted, which has these keys; `None`: it is not there.
fn mounted(
    (kind, name): (&str, &str),
    volume: &Volume,
    keys: Option<Vec<String>>,
    (place, cluster): (&str, &Cluster),
) -> Option<Error> {
    let what = format!(
        "the {kind} {name}, which place `{place}` mounts at {},",
        volume.path
    );
    let (shown, namespace) = (&cluster.shown, &cluster.namespace);
    let fault = of_keys(volume.sub_path.as_deref(), keys.as_deref())?;
    let fix = match (kind, &keys) {
        ("Secret", None) => format!(
            "make it: kubectl -n {namespace} create secret generic {name} --from-file=KEY=PATH"
        ),
        (_, None) => {
            format!("make it: kubectl -n {namespace} create configmap {name} --from-file=KEY=PATH")
        }
        (_, Some(_)) => "mend `sub_path` of the volume, or put that key in".to_owned(),
    };
    let error = bad(Code::BadVolume, format!("{what} {fault} ({shown})"), fix);
    Some(error)
}

fn of_keys(sub_path: Option<&str>, keys: Option<&[String]>) -> Option<String> {
    let Some(keys) = keys else {
        return Some("is not there".to_owned());
    };
    let key = sub_path?.split('/').find(|part| !part.is_empty())?;
    if keys.iter().any(|known| known == key) {
        return None;
    }
    let known = match keys {
        [] => "it has none".to_owned(),
        keys => format!("it has {}", keys.join(", ")),
    };
    Some(format!("has no key `{key}`: {known}"))
}

/// What is wrong with a Secret by which images are to be pulled. Kubelets go on without one that is none, and are
/// refused.
fn of_login(secret: Option<&Secret>) -> Option<String> {
    let Some(secret) = secret else {
        return Some("is not there".to_owned());
    };
    let kind = secret.type_.as_deref().unwrap_or("Opaque");
    let wanted = LOGINS.iter().find(|(known, _)| *known == kind);
    let Some((_, key)) = wanted else {
        return Some(format!("is of the type {kind}, by which nothing is pulled"));
    };
    let there = secret
        .data
        .as_ref()
        .is_some_and(|data| data.contains_key(*key));
    (!there).then(|| format!("has no key `{key}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn volume(path: &str, source: VolumeSource) -> Volume {
        Volume {
            path: path.to_owned(),
            source,
            read_only: true,
            sub_path: None,
        }
    }

    fn claim(more: Value) -> PersistentVolumeClaim {
        let mut claim = json!({
            "metadata": { "name": "data", "namespace": "ml", "uid": "u1" },
            "spec": { "volumeName": "pv-1" },
        });
        for (key, value) in more.as_object().unwrap() {
            claim[key] = value.clone();
        }
        serde_json::from_value(claim).unwrap()
    }

    #[test]
    fn each_thing_that_pods_need_is_looked_for_once_and_nothing_else_is() {
        let blob = |claim: Option<&str>| Blob {
            account: "myaccount".to_owned(),
            container: "raw".to_owned(),
            secret: Some("opens".to_owned()),
            claim: claim.map(str::to_owned),
            ..Blob::default()
        };
        let mut place = KubePlace {
            volumes: vec![
                volume("/data", VolumeSource::Claim("data".to_owned())),
                volume("/data", VolumeSource::Claim("data".to_owned())),
                volume("/mnt/nvme", VolumeSource::HostPath("/nvme".to_owned())),
                volume("/own", VolumeSource::Blob(blob(None))),
                volume("/theirs", VolumeSource::Blob(blob(Some("raw")))),
                volume("/keys", VolumeSource::Secret("keys".to_owned())),
                volume("/maps", VolumeSource::ConfigMap("maps".to_owned())),
            ],
            env_from_secrets: vec!["wandb".to_owned()],
            pull_secrets: vec!["registry".to_owned()],
            ..KubePlace::default()
        };
        let names = |place: &KubePlace| -> Vec<String> {
            let all = named(place);
            let names = all.iter().map(|named| match named {
                Named::Claim(name, _, _) => format!("claim {name}"),
                Named::Secret(name, _) => format!("secret {name}"),
                Named::Config(name, _) => format!("config {name}"),
                Named::Opener(name, _) => format!("opener {name}"),
                Named::Environment(name) => format!("env {name}"),
                Named::Login(name) => format!("login {name}"),
            });
            names.collect()
        };
        let all = [
            "claim data",
            "claim petctl-myaccount-raw",
            "opener opens",
            "claim raw",
            "secret keys",
            "config maps",
            "env wandb",
        ];
        assert_eq!(names(&place), [&all[..], &["login registry"]].concat());
        place.pull_policy = PullPolicy::Never;
        assert_eq!(names(&place), all);
        assert!(names(&KubePlace::default()).is_empty());
    }

    #[test]
    fn a_claim_is_good_when_it_is_bound_or_a_pod_will_have_it_bound() {
        let of = |more: Value| of_claim(&claim(more));
        assert_eq!(of(json!({ "status": { "phase": "Bound" } })), Claim::Good);
        assert_eq!(
            of(json!({ "spec": {}, "status": { "phase": "Pending" } })),
            Claim::Good
        );
        let waits = of(json!({ "status": { "phase": "Pending" } }));
        assert_eq!(waits, Claim::WaitsFor("pv-1".to_owned()));
        for (more, words) in [
            (
                json!({ "status": { "phase": "Lost" } }),
                "its volume pv-1 is gone",
            ),
            (
                json!({ "metadata": { "name": "data", "deletionTimestamp": "2026-01-01T00:00:00Z" } }),
                "is being deleted",
            ),
        ] {
            let Claim::Bad((what, _)) = of(more) else {
                panic!("{words}");
            };
            assert!(what.contains(words), "{what}");
        }
    }

    #[test]
    fn a_volume_that_is_gone_or_anothers_is_not_waited_for() {
        let own = claim(json!({}));
        let of = |to: Value| {
            let volume = json!({ "metadata": { "name": "pv-1" }, "spec": { "claimRef": to } });
            let volume: PersistentVolume = serde_json::from_value(volume).unwrap();
            elsewhere(Some(&volume), &own, "pv-1").map(|(what, _)| what)
        };
        assert_eq!(of(json!(null)), None);
        assert_eq!(of(json!({ "namespace": "ml", "name": "data" })), None);
        assert_eq!(
            of(json!({ "namespace": "ml", "name": "data", "uid": "u1" })),
            None
        );
        let before = of(json!({ "namespace": "ml", "name": "data", "uid": "u0" }));
        assert!(before.is_some_and(|what| what.contains("an earlier claim")));
        let theirs = of(json!({ "namespace": "other", "name": "theirs" }));
        assert!(theirs.is_some_and(|what| what.contains("other/theirs")));
        assert!(elsewhere(None, &own, "pv-1").is_some());
    }

    #[test]
    fn a_key_that_is_mounted_must_be_there() {
        let keys = ["ca.pem".to_owned(), "key.pem".to_owned()];
        assert_eq!(of_keys(None, Some(&keys)), None);
        assert_eq!(of_keys(Some("ca.pem"), Some(&keys)), None);
        let missing = of_keys(Some("cert.pem"), Some(&keys)).unwrap();
        assert_eq!(missing, "has no key `cert.pem`: it has ca.pem, key.pem");
        assert_eq!(of_keys(None, None).as_deref(), Some("is not there"));
    }

    #[test]
    fn images_are_pulled_by_a_secret_of_the_right_type_with_its_key() {
        let secret = |kind: &str, key: &str| -> Secret {
            serde_json::from_value(json!({ "type": kind, "data": { key: "e30=" } })).unwrap()
        };
        for (kind, key, good) in [
            ("kubernetes.io/dockerconfigjson", ".dockerconfigjson", true),
            ("kubernetes.io/dockercfg", ".dockercfg", true),
            ("kubernetes.io/dockerconfigjson", "config.json", false),
            ("Opaque", ".dockerconfigjson", false),
        ] {
            let fault = of_login(Some(&secret(kind, key)));
            assert_eq!(fault.is_none(), good, "{kind} {key}: {fault:?}");
        }
        assert!(of_login(None).is_some());
    }
}
