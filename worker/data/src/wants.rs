//! Which of the storage a stage's attempts work on, as the job file says: nothing here asks the storage.

use petctl_spec::{
    JobSpec, Placeholder, ShardSource, StageSpec, StorageRoot, StorageSpec, Template,
};

/// What the attempts of one stage want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StageWants {
    pub(super) name: String,
    /// Shards are inputs: their keys are the names.
    pub(super) reads_files: bool,
    /// These inputs are folders.
    pub(super) reads_folders: bool,
    /// The command is given the folder with all inputs.
    pub(super) all_inputs: bool,
    /// Stages whose outputs the command is given, and whether only those of the same shard.
    pub(super) needs: Vec<NeededStage>,
    /// Another stage's command is given its outputs.
    pub(super) is_needed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NeededStage {
    pub(super) name: String,
    pub(super) per_shard: bool,
}

/// Where inputs come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum InputSource {
    None,
    /// They are here, or mounted here.
    Folder(String),
    /// They have to be fetched.
    Staged(StorageRoot),
}

/// What each stage wants, in the order of the job file.
pub(super) fn of_stages(spec: &JobSpec) -> Vec<StageWants> {
    let mut wants: Vec<StageWants> = spec.stages.iter().map(|stage| of(spec, stage)).collect();
    let needed: Vec<String> = wants
        .iter()
        .flat_map(|stage| stage.needs.iter().map(|need| need.name.clone()))
        .collect();
    for stage in &mut wants {
        stage.is_needed = needed.contains(&stage.name);
    }
    wants
}

fn of(spec: &JobSpec, stage: &StageSpec) -> StageWants {
    let template = Template::parse(&stage.command).ok();
    let uses = |placeholder: &Placeholder| {
        template
            .as_ref()
            .is_some_and(|template| template.placeholders().contains(&placeholder))
    };
    let stages = stage.needs.iter().filter_map(|need| {
        let needed = spec.stages.get(usize::try_from(need.stage).ok()?)?;
        Some(NeededStage {
            name: needed.name.clone(),
            per_shard: need.per_shard,
        })
    });
    StageWants {
        name: stage.name.clone(),
        reads_files: stage.kind.reads_files(),
        reads_folders: match stage.kind.source() {
            Some(ShardSource::Glob(pattern)) => pattern.ends_with('/'),
            Some(_) | None => false,
        },
        all_inputs: uses(&Placeholder::InputRoot),
        needs: if uses(&Placeholder::OutputRoot) {
            stages.collect()
        } else {
            Vec::new()
        },
        is_needed: false,
    }
}

impl InputSource {
    pub(super) fn of(storage: &StorageSpec) -> Self {
        let Some(root) = storage.input_root() else {
            return Self::None;
        };
        match root.path(&storage.mounts) {
            Some(path) => Self::Folder(path),
            None => Self::Staged(root),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_mounted_container_is_a_path_and_another_one_is_staged() {
        let mounts = BTreeMap::from([("raw".to_owned(), "/mnt/raw".to_owned())]);
        let source = |input: Option<&str>| {
            InputSource::of(&StorageSpec {
                input: input.map(str::to_owned),
                mounts: mounts.clone(),
                ..StorageSpec::default()
            })
        };
        let folder = |path: &str| InputSource::Folder(path.to_owned());
        assert_eq!(source(None), InputSource::None);
        assert_eq!(source(Some("/data")), folder("/data"));
        assert_eq!(source(Some("az://raw")), folder("/mnt/raw"));
        assert_eq!(source(Some("az://raw/us101")), folder("/mnt/raw/us101"));
        let other = StorageRoot::read("az://other/x").unwrap();
        assert_eq!(source(Some("az://other/x")), InputSource::Staged(other));
    }
}
