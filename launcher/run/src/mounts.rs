//! Containers that a place mounts: a job reads them there, and writes to them through the blob service.

use crate::local_stages::is_local;
use petctl_settings::{Blob, KubePlace, Volume, VolumeSource};
use petctl_spec::{JobSpec, StorageRoot};
use petctl_ui::error::{Code, Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

fn blob(volume: &Volume) -> Option<&Blob> {
    if let VolumeSource::Blob(blob) = &volume.source {
        Some(blob)
    } else {
        None
    }
}

/// Notes in a job where the place mounts the container of its input, unless the job says so itself; that folder.
pub(crate) fn fill_in(place: &KubePlace, spec: &mut JobSpec) -> Option<String> {
    // A stage of this machine reads with the same job, and nothing is mounted here.
    if spec.stages.iter().any(is_local) {
        return None;
    }
    let root = spec.storage.input_root().filter(StorageRoot::is_blob)?;
    if root.path(&spec.storage.mounts).is_some() {
        return None;
    }
    // Another account's container may have the same name.
    let account = petctl_storage::account(&spec.storage.access)?;
    let whole = place.volumes.iter().filter(|v| v.sub_path.is_none());
    let mut mounts = whole.filter_map(|volume| Some((blob(volume)?, &volume.path)));
    let (container, path) = mounts.find_map(|(blob, path)| {
        let mount = (blob.container.clone(), path.clone());
        let of_input = root.path(&BTreeMap::from([mount.clone()])).is_some();
        (of_input && blob.account == account).then_some(mount)
    })?;
    spec.storage.mounts.insert(container, path.clone());
    Some(path)
}

/// Refuses an output in a container that is mounted: of two attempts that rename their folder to one name there, both
/// may win.
pub(crate) fn check_output(name: &str, place: &KubePlace, spec: &JobSpec) -> Result<()> {
    let root = spec.storage.output_root();
    let Some(output) = root.folder() else {
        return Ok(());
    };
    let volumes = place.volumes.iter();
    let volume = volumes
        .filter(|volume| output.starts_with(&volume.path))
        .max_by_key(|volume| volume.path.len());
    let Some((volume, blob)) = volume.and_then(|volume| Some((volume, blob(volume)?))) else {
        return Ok(());
    };
    let inside = Path::new(volume.sub_path.as_deref().unwrap_or_default())
        .join(output.strip_prefix(&volume.path).unwrap_or(Path::new("")));
    let what = format!(
        "the output {} lies in the container {}/{}, which place `{name}` mounts: nothing there sees to it that each \
         shard's outputs are committed once",
        output.display(),
        blob.account,
        blob.container
    );
    Err(Error::new(Code::BadVolume, what).fix(format!(
        "write output = \"az://{}/{}\": workers send there through the blob service, which does; `account` in [storage] \
         is {}",
        blob.container,
        inside.display(),
        blob.account
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(sub_path: Option<&str>) -> KubePlace {
        KubePlace {
            volumes: vec![Volume {
                path: "/data/raw".to_owned(),
                source: VolumeSource::Blob(Blob {
                    account: "myaccount".to_owned(),
                    container: "raw".to_owned(),
                    ..Blob::default()
                }),
                read_only: true,
                sub_path: sub_path.map(str::to_owned),
            }],
            ..KubePlace::default()
        }
    }

    fn job(input: &str, output: &str, more: &str) -> JobSpec {
        let text = format!(
            "[job]\nname = \"j\"\n[storage]\ninput = \"{input}\"\noutput = \"{output}\"\n{more}\n[[stage]]\n\
             name = \"s\"\nkind = \"shards\"\nshards = {{ range = [0, 1] }}\ncommand = [\"true\"]\n"
        );
        petctl_spec::parse(&text, "job.toml", "/jobs", &[]).expect("a good job")
    }

    #[test]
    fn a_job_reads_its_input_where_the_place_mounts_that_container_of_that_account() {
        let mine = "account = \"myaccount\"";
        let own = format!("{mine}\nmounts = {{ raw = \"/own\" }}");
        let local = format!(
            "{mine}\n[[stage]]\nname = \"here\"\nkind = \"once\"\nrun_mode = \"local\"\ncommand = [\"true\"]"
        );
        for (input, more, sub_path, path) in [
            ("az://raw/us101", mine, None, Some("/data/raw/us101")),
            ("az://raw", mine, None, Some("/data/raw")),
            // The container's own name does not make it the same one.
            ("az://raw/us101", "account = \"other\"", None, None),
            ("az://maps/us101", mine, None, None),
            // Only a part of it is there.
            ("az://raw/us101", mine, Some("2024"), None),
            ("az://raw/us101", own.as_str(), None, Some("/own/us101")),
            // One of its stages reads on this machine.
            ("az://raw/us101", local.as_str(), None, None),
            ("/data/raw/us101", mine, None, Some("/data/raw/us101")),
        ] {
            let mut spec = job(input, "/out", more);
            fill_in(&place(sub_path), &mut spec);
            let root = spec.storage.input_root().expect("it has an input");
            assert_eq!(
                root.path(&spec.storage.mounts).as_deref(),
                path,
                "{input} {more}"
            );
        }
    }

    #[test]
    fn an_output_in_a_mounted_container_is_refused_with_its_address() {
        for (output, sub_path, address) in [
            ("/data/raw/out", None, "az://raw/out"),
            ("/data/raw/out", Some("2024"), "az://raw/2024/out"),
        ] {
            let spec = job("/in", output, "");
            let error = check_output("gpu", &place(sub_path), &spec).unwrap_err();
            assert_eq!(error.code(), "BAD_VOLUME");
            assert!(
                error.to_string().contains(&format!("\"{address}\"")),
                "{error}"
            );
        }
        for output in ["/data/out", "/data/rawer/out", "az://raw/out"] {
            let spec = job("/in", output, "");
            assert!(check_output("gpu", &place(None), &spec).is_ok(), "{output}");
        }
    }
}
