//! Where an attempt finds what it works on, as paths of this machine.

use std::path::Path;

use petctl_codes::Code;
use petctl_proto::v1::{AttemptResult, Lease, Outcome};
use petctl_spec::{ShardDetail, StorageRoot, StorageSpec};

use crate::outcome;

/// The paths of one attempt.
#[derive(Debug, Default)]
pub struct AttemptPaths {
    /// What is known of the shard beside its key.
    pub detail: ShardDetail,
    /// All input files of the shard.
    pub inputs: Vec<String>,
    /// The folder with all inputs of the job.
    pub input_root: Option<String>,
    /// The folder with the committed outputs of the job, or of the stages that this one needs.
    pub output_root: String,
}

impl AttemptPaths {
    /// Of a job whose inputs and outputs are folders, or whose inputs are mounted as one.
    ///
    /// # Errors
    /// What came of the attempt: its details can't be read.
    pub fn local(
        storage: &StorageSpec,
        lease: &Lease,
        reads_files: bool,
    ) -> Result<Self, Box<AttemptResult>> {
        let detail = detail(lease)?;
        let mounted = |root: StorageRoot| root.path(&storage.mounts);
        let input_root = storage.input_root().and_then(mounted);
        let inputs = below(
            input_root.as_deref(),
            &input_names(&detail, lease, reads_files),
        );
        Ok(Self {
            detail,
            inputs,
            input_root,
            output_root: storage.output.clone(),
        })
    }

    /// The shard's input; the first one where it has several.
    pub fn input(&self) -> Option<&str> {
        self.inputs.first().map(String::as_str)
    }
}

/// What the lease says of its shard beside the key.
///
/// # Errors
/// What came of the attempt: this can't be read.
pub fn detail(lease: &Lease) -> Result<ShardDetail, Box<AttemptResult>> {
    if lease.detail_json.is_empty() {
        return Ok(ShardDetail::default());
    }
    serde_json::from_str(&lease.detail_json).map_err(|error| {
        let message = format!(
            "the coordinator sent details of a shard that this petctl can't read: {error}; run the same petctl on both sides"
        );
        Box::new(outcome::ended(
            lease,
            Outcome::Infrastructure,
            Code::InvalidJobSpec,
            message,
        ))
    })
}

/// Names of the shard's inputs, below the root of the job's inputs.
pub fn input_names(detail: &ShardDetail, lease: &Lease, reads_files: bool) -> Vec<String> {
    if !detail.inputs.is_empty() {
        return detail.inputs.clone();
    }
    if reads_files {
        vec![lease.key.clone()]
    } else {
        Vec::new()
    }
}

/// The same names as paths below a folder.
pub fn below(root: Option<&str>, names: &[String]) -> Vec<String> {
    let Some(root) = root else {
        return Vec::new();
    };
    names
        .iter()
        .map(|name| Path::new(root).join(name).to_string_lossy().into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mounted_input_is_a_folder_like_others() {
        let lease = Lease {
            key: "a.xml".to_owned(),
            ..Lease::default()
        };
        for (input, expected) in [
            ("/in", "/in/a.xml"),
            ("az://raw", "/mnt/raw/a.xml"),
            ("az://raw/us101", "/mnt/raw/us101/a.xml"),
        ] {
            let storage = StorageSpec {
                input: Some(input.to_owned()),
                output: "/out".to_owned(),
                mounts: [("raw".to_owned(), "/mnt/raw".to_owned())].into(),
                ..StorageSpec::default()
            };
            let paths = AttemptPaths::local(&storage, &lease, true);
            let paths = paths.expect("the lease is a good one");
            assert_eq!(paths.input(), Some(expected), "{input}");
        }
    }
}
