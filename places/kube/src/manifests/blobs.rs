//! Blob containers as volumes: a volume and its claim for each, by the Blob CSI driver's static provisioning.
//!
//! What the driver documents of it (`docs/driver-parameters.md`, `docs/workload-identity-static-pv-mount.md`):
//! `volumeHandle` is unique in the cluster, without `/`, and `#` is the driver's own; `volumeAttributes` must have
//! `storageAccount` and `containerName`; `protocol` is `fuse`, its default, `fuse2` or `nfs`; `nodeStageSecretRef` names
//! the Secret with `azurestorageaccountkey` or `azurestorageaccountsastoken`, and its namespace; with `clientID` and
//! `mountWithWorkloadIdentityToken: "true"` no key is needed (driver 1.27). NFS takes neither.

use crate::names::{NAMESPACE, labels};
use petctl_settings::{Blob, BlobProtocol, KubePlace};
use serde_json::{Value, json};

/// The driver, as its volumes name it.
pub(crate) const DRIVER: &str = "blob.csi.azure.com";
/// Options of every mount by blobfuse2: for all users of the node, which are the pods', with what was read kept for two
/// minutes, and without a listing of the whole container at the start, which Azure would bill.
const OPTIONS: [&str; 5] = [
    "-o allow_other",
    "--file-cache-timeout-in-seconds=120",
    "--use-attr-cache=true",
    "--cancel-list-on-mount-seconds=10",
    "--log-level=LOG_WARNING",
];
/// A container has no size; quotas count this.
const SIZE: &str = "1Gi";
/// Label of volumes and claims.
const COMPONENT: &str = "volume";

/// The volume of a container: claims of all namespaces share their names.
pub(crate) fn volume_name(place: &KubePlace, blob: &Blob) -> String {
    let Blob {
        account, container, ..
    } = blob;
    // With dots, which none of them has: no two of them make one name.
    format!("petctl-{}.{account}.{container}", place.namespace)
}

/// The containers for which `petctl setup` makes volumes.
pub(crate) fn made(place: &KubePlace) -> Vec<&Blob> {
    let mut blobs = place.blobs();
    blobs.retain(|blob| blob.claim.is_none());
    blobs
}

/// The claims of a place's containers.
pub(crate) fn claims(place: &KubePlace) -> Vec<Value> {
    made(place)
        .into_iter()
        .map(|blob| claim(place, blob))
        .collect()
}

/// Their volumes, which belong to no namespace.
pub(crate) fn volumes(place: &KubePlace) -> Vec<Value> {
    made(place)
        .into_iter()
        .map(|blob| volume(place, blob))
        .collect()
}

fn volume(place: &KubePlace, blob: &Blob) -> Value {
    let mut labels = labels(COMPONENT);
    labels.insert(NAMESPACE.to_owned(), place.namespace.clone());
    let name = volume_name(place, blob);
    let mut attributes = json!({
        "storageAccount": blob.account,
        "containerName": blob.container,
        "protocol": blob.protocol.as_str(),
    });
    if let Some(identity) = &blob.identity {
        attributes["clientID"] = json!(identity);
        attributes["mountWithWorkloadIdentityToken"] = json!("true");
    }
    // One for each volume and not for each container: two namespaces may open it by two Secrets.
    let handle = format!("{}_{}_{}", place.namespace, blob.account, blob.container);
    let mut csi =
        json!({ "driver": DRIVER, "volumeHandle": handle, "volumeAttributes": attributes });
    if let Some(secret) = &blob.secret {
        csi["nodeStageSecretRef"] = json!({ "name": secret, "namespace": place.namespace });
    }
    let own: &[&str] = match blob.protocol {
        BlobProtocol::Fuse2 => &OPTIONS,
        BlobProtocol::Nfs => &[],
    };
    let options: Vec<&str> = own
        .iter()
        .copied()
        .chain(blob.mount_options.iter().map(String::as_str))
        .collect();
    let mut spec = json!({
        "capacity": { "storage": SIZE },
        "accessModes": ["ReadWriteMany"],
        // The container stays, whatever becomes of the volume.
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": "",
        // Nobody else's claim gets it.
        "claimRef": {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "namespace": place.namespace, "name": blob.claim_name(),
        },
        "csi": csi,
    });
    if !options.is_empty() {
        spec["mountOptions"] = json!(options);
    }
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": { "name": name, "labels": labels },
        "spec": spec,
    })
}

fn claim(place: &KubePlace, blob: &Blob) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": blob.claim_name(),
            "namespace": place.namespace,
            "labels": labels(COMPONENT),
        },
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": { "requests": { "storage": SIZE } },
            // No class: nothing is made for it.
            "storageClassName": "",
            "volumeName": volume_name(place, blob),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use petctl_settings::{Volume, VolumeSource};
    use std::collections::{BTreeMap, BTreeSet};

    /// Parameters of a static volume that the driver documents: name, and the values that it takes; none: any.
    const DOCUMENTED: [(&str, &[&str]); 5] = [
        ("storageAccount", &[]),
        ("containerName", &[]),
        ("protocol", &["fuse", "fuse2", "nfs"]),
        ("clientID", &[]),
        ("mountWithWorkloadIdentityToken", &["true", "false"]),
    ];

    fn place(blobs: Vec<Blob>) -> KubePlace {
        let volumes = blobs.into_iter().enumerate().map(|(n, blob)| Volume {
            path: format!("/data/{n}"),
            source: VolumeSource::Blob(blob),
            read_only: false,
            sub_path: None,
        });
        KubePlace {
            namespace: "ml".to_owned(),
            volumes: volumes.collect(),
            ..KubePlace::default()
        }
    }

    fn blob(container: &str) -> Blob {
        Blob {
            account: "myaccount".to_owned(),
            container: container.to_owned(),
            ..Blob::default()
        }
    }

    fn kinds() -> [Blob; 4] {
        [
            Blob {
                secret: Some("petctl-storage".to_owned()),
                mount_options: vec!["--cache-size-mb=1000".to_owned()],
                ..blob("raw")
            },
            Blob {
                identity: Some("0b5f8d4e-0000-4000-8000-000000000000".to_owned()),
                ..blob("maps")
            },
            Blob {
                protocol: BlobProtocol::Nfs,
                ..blob("fast")
            },
            blob("by-node"),
        ]
    }

    #[test]
    fn volumes_say_what_the_driver_documents_and_nothing_else() {
        let place = place(kinds().to_vec());
        let documented: BTreeMap<&str, &[&str]> = DOCUMENTED.into_iter().collect();
        for volume in volumes(&place) {
            let csi = volume["spec"]["csi"].as_object().unwrap();
            assert_eq!(csi["driver"], "blob.csi.azure.com");
            let known = [
                "driver",
                "volumeHandle",
                "volumeAttributes",
                "nodeStageSecretRef",
            ];
            assert!(
                csi.keys().all(|key| known.contains(&key.as_str())),
                "{csi:?}"
            );
            let attributes = csi["volumeAttributes"].as_object().unwrap();
            for mandatory in ["storageAccount", "containerName"] {
                assert!(attributes.contains_key(mandatory), "{mandatory}");
            }
            for (name, value) in attributes {
                let values = documented.get(name.as_str());
                let values = values.unwrap_or_else(|| panic!("{name} is not documented"));
                let value = value.as_str().expect("attributes are texts");
                assert!(
                    values.is_empty() || values.contains(&value),
                    "{name}: {value}"
                );
            }
            if let Some(secret) = csi.get("nodeStageSecretRef") {
                assert_eq!(
                    secret,
                    &json!({ "name": "petctl-storage", "namespace": "ml" })
                );
            }
            let handle = csi["volumeHandle"].as_str().unwrap();
            assert!(!handle.contains(['#', '/']), "{handle}");
            assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Retain");
        }
    }

    #[test]
    fn each_way_in_is_told_to_the_driver() {
        let place = place(kinds().to_vec());
        let volumes = volumes(&place);
        let csi = |n: usize| &volumes[n]["spec"]["csi"];
        assert_eq!(csi(0)["nodeStageSecretRef"]["name"], "petctl-storage");
        assert_eq!(
            csi(1)["volumeAttributes"]["mountWithWorkloadIdentityToken"],
            "true"
        );
        assert_eq!(csi(1)["nodeStageSecretRef"], Value::Null);
        assert_eq!(csi(2)["volumeAttributes"]["protocol"], "nfs");
        assert_eq!(volumes[2]["spec"]["mountOptions"], Value::Null);
        let options = volumes[0]["spec"]["mountOptions"].as_array().unwrap();
        assert_eq!(options.first().unwrap(), "-o allow_other");
        assert_eq!(options.last().unwrap(), "--cache-size-mb=1000");
    }

    #[test]
    fn a_volume_and_its_claim_are_each_others_and_nobody_elses() {
        let mut other = place(kinds().to_vec());
        other.namespace = "other".to_owned();
        let place = place(kinds().to_vec());
        let claims = claims(&place);
        for (volume, claim) in volumes(&place).iter().zip(&claims) {
            assert_eq!(claim["spec"]["volumeName"], volume["metadata"]["name"]);
            let to = &volume["spec"]["claimRef"];
            assert_eq!(to["name"], claim["metadata"]["name"]);
            assert_eq!(to["namespace"], "ml");
        }
        let of = |place: &KubePlace, path: &str| -> BTreeSet<String> {
            let volumes = volumes(place);
            let texts = volumes
                .iter()
                .filter_map(|volume| volume.pointer(path)?.as_str());
            texts.map(str::to_owned).collect()
        };
        for path in ["/metadata/name", "/spec/csi/volumeHandle"] {
            let (own, others) = (of(&place, path), of(&other, path));
            assert_eq!(own.len(), 4, "{path}: {own:?}");
            assert!(own.is_disjoint(&others), "{path}: {own:?} {others:?}");
        }
    }

    #[test]
    fn a_container_that_is_mounted_twice_has_one_volume_and_one_with_a_claim_none() {
        let there = Blob {
            claim: Some("raw".to_owned()),
            ..blob("there")
        };
        let place = place(vec![blob("raw"), blob("raw"), there]);
        assert_eq!(volumes(&place).len(), 1);
        assert_eq!(claims(&place).len(), 1);
        assert_eq!(place.blobs()[1].claim_name(), "raw");
    }
}
