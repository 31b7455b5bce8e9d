//! Whether the containers of a place can be mounted: said at `petctl setup`, before a pod waits for one.

use crate::cluster::{Cluster, answered, found};
use crate::manifests::blobs;
use crate::secrets::{ACCOUNT_KEY, ACCOUNT_NAME, ACCOUNT_SAS};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Secret};
use k8s_openapi::api::storage::v1::CSIDriver;
use kube::api::Api;
use petctl_settings::{Blob, KubePlace};
use petctl_ui::error::{Code, Error, Result};
use serde_json::Value;

/// Keys of a Secret of which the driver wants one.
const OPENERS: [&str; 4] = [
    ACCOUNT_KEY,
    ACCOUNT_SAS,
    "msisecret",
    "azurestoragespnclientsecret",
];

/// What a place's containers come to.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// The objects that are to be made.
    pub(crate) objects: Vec<Value>,
    /// What a person should know.
    pub(crate) notes: Vec<String>,
}

/// The rights that volumes of containers take: verb, group and resource.
pub(crate) fn access_needed(place: &KubePlace) -> Vec<(&'static str, &'static str, &'static str)> {
    if blobs::made(place).is_empty() {
        return Vec::new();
    }
    let verbs = ["get", "create", "patch"].into_iter();
    verbs
        .map(|verb| (verb, "", "persistentvolumeclaims"))
        .collect()
}

/// Looks into the containers of a place. `missing`: rights for volumes that whoever asks lacks.
///
/// # Errors
/// What stands in the way of a mount.
pub(crate) async fn look(
    cluster: &Cluster,
    place: &KubePlace,
    (missing, new_namespace): (&str, bool),
) -> Result<Looked> {
    let mut looked = Looked::default();
    for blob in place.blobs() {
        if let Some(claim) = &blob.claim {
            claim_is_there(cluster, claim, blob).await?;
            continue;
        }
        if let Some(secret) = &blob.secret {
            looked
                .notes
                .extend(opens(cluster, secret, blob, new_namespace).await?);
        }
    }
    let made = blobs::made(place);
    if made.is_empty() {
        return Ok(looked);
    }
    if missing.is_empty() {
        for blob in &made {
            is_free(cluster, place, blob).await?;
        }
        looked.objects.extend(blobs::volumes(place));
        looked.notes.extend(driver_is_missing(cluster).await);
        looked.objects.extend(blobs::claims(place));
        return Ok(looked);
    }
    // Somebody with more rights may have applied what `--print` prints.
    for blob in &made {
        let claim = blob.claim_name();
        if !is_bound(cluster, &claim).await? {
            let what = format!(
                "you may not make the volume of the container {}/{} ({}); missing: {missing}",
                blob.account, blob.container, cluster.shown
            );
            return Err(Error::new(Code::ClusterDenied, what).fix(
                "volumes belong to no namespace: let whoever runs the cluster apply the output of `petctl setup --print`; \
                 or name a claim that has the container: blob = { …, claim = \"NAME\" }",
            ));
        }
        looked.notes.push(format!(
            "PersistentVolume {} stays as it is: you may not change it, and its claim {claim} is bound",
            blobs::volume_name(place, blob)
        ));
    }
    Ok(looked)
}

fn unusable(what: String) -> Error {
    Error::new(Code::BadVolume, what)
}

async fn claim_is_there(cluster: &Cluster, claim: &str, blob: &Blob) -> Result<()> {
    let claims = cluster.api::<PersistentVolumeClaim>();
    if found(&cluster.shown, claims.get(claim)).await?.is_some() {
        return Ok(());
    }
    let what = format!(
        "the claim {claim}, which should have the container {}/{}, is not there ({})",
        blob.account, blob.container, cluster.shown
    );
    Err(unusable(what)
        .fix("make it, or take `claim` out: then `petctl setup` makes a volume and a claim"))
}

async fn is_bound(cluster: &Cluster, claim: &str) -> Result<bool> {
    let claims = cluster.api::<PersistentVolumeClaim>();
    let claim = found(&cluster.shown, claims.get(claim)).await?;
    let phase = claim.and_then(|claim| claim.status?.phase);
    Ok(phase.as_deref() == Some("Bound"))
}

/// Whether a Secret opens a container; a note where it is not known yet.
pub(crate) async fn opens(
    cluster: &Cluster,
    name: &str,
    blob: &Blob,
    new_namespace: bool,
) -> Result<Option<String>> {
    let account = &blob.account;
    let command = format!(
        "petctl storage-secret --on PLACE --account-name {account} --sas-token env:SAS --name {name}"
    );
    let secrets = cluster.api::<Secret>();
    let secret = found(&cluster.shown, secrets.get(name)).await?;
    let Some(secret) = secret else {
        if new_namespace {
            return Ok(Some(format!(
                "the Secret {name} is not there yet; pods that mount {account}/{} wait for it: {command}",
                blob.container
            )));
        }
        let what = format!(
            "the Secret {name}, which should open the container {account}/{}, is not there ({})",
            blob.container, cluster.shown
        );
        return Err(unusable(what).fix(format!("make it: {command}")));
    };
    let data = secret.data.unwrap_or_default();
    if !OPENERS.iter().any(|key| data.contains_key(*key)) {
        let keys: Vec<&str> = data.keys().map(String::as_str).collect();
        let what = format!(
            "the Secret {name} does not open the container {account}/{} ({}): it has the keys {}, and the Blob CSI driver \
             reads {ACCOUNT_KEY} or {ACCOUNT_SAS}",
            blob.container,
            cluster.shown,
            if keys.is_empty() {
                "of nothing".to_owned()
            } else {
                keys.join(", ")
            },
        );
        return Err(unusable(what).fix(format!("make it anew under another name: {command}-csi")));
    }
    let named = data.get(ACCOUNT_NAME);
    let named = named.map(|bytes| String::from_utf8_lossy(&bytes.0).trim().to_owned());
    match named {
        Some(named) if named != *account => {
            let what = format!(
                "the Secret {name} opens the account {named}, and the container is in {account} ({})",
                cluster.shown
            );
            Err(unusable(what)
                .fix("name the Secret of that account, or mend `account` of the volume"))
        }
        Some(_) | None => Ok(None),
    }
}

/// A volume of that name must be ours, and must not be bound, or have been bound, to another claim.
async fn is_free(cluster: &Cluster, place: &KubePlace, blob: &Blob) -> Result<()> {
    let volumes: Api<PersistentVolume> = Api::all(cluster.client.clone());
    let name = blobs::volume_name(place, blob);
    let Some(volume) = found(&cluster.shown, volumes.get(&name)).await? else {
        return Ok(());
    };
    let claim = blob.claim_name();
    let spec = volume.spec.as_ref();
    let to = spec.and_then(|spec| spec.claim_ref.as_ref());
    let elsewhere = to.filter(|to| {
        to.namespace.as_ref() != Some(&place.namespace) || to.name.as_ref() != Some(&claim)
    });
    let shown = &cluster.shown;
    let delete = format!("kubectl delete persistentvolume {name}");
    if let Some(to) = elsewhere {
        let what = format!(
            "the volume {name} is bound to the claim {}/{} ({shown})",
            to.namespace.as_deref().unwrap_or_default(),
            to.name.as_deref().unwrap_or_default(),
        );
        return Err(unusable(what).fix(format!(
            "if that claim is not needed any more: {delete}; the container stays, whatever becomes of its volumes"
        )));
    }
    let phase = volume.status.and_then(|status| status.phase);
    if phase.as_deref() == Some("Released") && !is_bound(cluster, &claim).await? {
        let what = format!(
            "the volume {name} was bound to a claim that was deleted, and binds to no other one ({shown})"
        );
        return Err(unusable(what).fix(format!(
            "{delete}; then give this again: the container stays"
        )));
    }
    Ok(())
}

/// A volume keeps what it was made with.
pub(crate) fn volume_is_fixed(error: Error, object: &Value) -> Error {
    let fixed = error
        .blocks()
        .iter()
        .any(|block| block.text.contains("persistentvolumesource is immutable"));
    let text = |path: &str| object.pointer(path).and_then(Value::as_str);
    let (Some(name), Some(claim)) = (text("/metadata/name"), text("/spec/claimRef/name")) else {
        return error;
    };
    if !fixed {
        return error;
    }
    let namespace = text("/spec/claimRef/namespace").unwrap_or_default();
    let what = format!("the volume {name} can't be changed: it keeps what it was made with");
    unusable(what).fix(format!(
        "when no job uses it: kubectl -n {namespace} delete persistentvolumeclaim {claim}, then kubectl delete \
         persistentvolume {name}, and give this again; the container stays"
    ))
}

/// Where the driver is not there, nothing mounts its volumes; who may not look is told nothing.
async fn driver_is_missing(cluster: &Cluster) -> Option<String> {
    let drivers: Api<CSIDriver> = Api::all(cluster.client.clone());
    match answered(&cluster.shown, drivers.list(&Default::default())).await {
        Ok(listed) => {
            let mut names = listed
                .items
                .iter()
                .filter_map(|driver| driver.metadata.name.as_deref());
            let missing = !names.any(|name| name == blobs::DRIVER);
            missing.then(|| format!(
                "the Blob CSI driver ({}) is not in this cluster, and pods that mount a container wait for it; on AKS: \
                 az aks update --enable-blob-driver",
                blobs::DRIVER
            ))
        }
        Err(_unknown) => None,
    }
}
