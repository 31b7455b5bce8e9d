//! The shards that only the launcher can list, with what each of them reads: files below the input folder, blobs below
//! a prefix, lines of a manifest.

mod blob;
mod folder;
mod found;
mod manifest;

use petctl_output::layout::OWN_FOLDER;
use petctl_spec::{
    JobSpec, MAX_SHARDS, Placeholder, ShardDetail, ShardGlob, ShardSource, StageSpec, Template,
};
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use std::fmt::Display;
use std::path::{Path, PathBuf};

/// Most entries below the input that are looked at.
const MAX_ENTRIES: u64 = 20_000_000;

/// Why the whole input of a stage is not looked at.
const NO_DIGEST: [Code; 3] = [Code::GlobEmpty, Code::TooManyShards, Code::InvalidShardKey];

/// What the launcher has found for a stage. All is empty for stages whose keys are computed from the job file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Keys of the shards, in order.
    pub keys: Vec<String>,
    /// Empty, or one for each key.
    pub details: Vec<ShardDetail>,
    /// What each shard reads: one for each key.
    pub inputs: Vec<Vec<Input>>,
    /// The whole input, where the stage's command names `{input_root}`.
    pub whole: Vec<Input>,
}

/// Something that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A local file: its bytes tell whether it changed.
    File {
        /// Its name below the input.
        name: String,
        /// Where it is.
        path: PathBuf,
    },
    /// A blob: its ETag tells.
    Blob {
        /// Its name below the input.
        name: String,
        /// Its version.
        etag: String,
    },
}

impl Listed {
    /// Local files that are read.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        let all = self.inputs.iter().flatten().chain(&self.whole);
        all.filter_map(|input| match input {
            Input::File { path, .. } => Some(path.clone()),
            Input::Blob { .. } => None,
        })
    }
}

/// Lists each stage. `say` is told how far it is, where that takes long.
pub async fn list(spec: &JobSpec, say: &(dyn Fn(&str) + Sync)) -> Result<Vec<Listed>> {
    let mut all = Vec::with_capacity(spec.stages.len());
    for stage in &spec.stages {
        let mut listed = match stage.kind.source() {
            Some(ShardSource::Glob(pattern)) => {
                let wanted = Wanted::new(&stage.name, pattern)?;
                glob(spec, &wanted, say).await?
            }
            Some(source @ ShardSource::Manifest(path)) => {
                manifest::read(spec, stage, source, path).await?
            }
            Some(_) | None => Listed::default(),
        };
        if names_whole_input(stage) && spec.storage.input.is_some() {
            let wanted = Wanted::new(&stage.name, "**")?;
            listed.whole = match inputs(spec, &wanted, say).await {
                Ok(whole) => whole,
                // Its command knows what it makes of them; then they decide nothing.
                Err(error) if NO_DIGEST.iter().any(|code| code.as_str() == error.code()) => {
                    Vec::new()
                }
                Err(error) => return Err(error),
            };
        }
        all.push(listed);
    }
    Ok(all)
}

/// Files that are wanted, and for which stage.
pub struct Wanted<'a> {
    stage: &'a str,
    pattern: &'a str,
    fits: ShardGlob,
}

impl<'a> Wanted<'a> {
    fn new(stage: &'a str, pattern: &'a str) -> Result<Self> {
        let fits = ShardGlob::new(pattern).map_err(|error| {
            Error::foreign(
                error.code().as_str(),
                Exit::BadJobFile,
                format!("stage `{stage}`: {error}"),
            )
            .fix("write the pattern like **/*.xml")
        })?;
        Ok(Self {
            stage,
            pattern,
            fits,
        })
    }
}

async fn glob(spec: &JobSpec, wanted: &Wanted<'_>, say: &(dyn Fn(&str) + Sync)) -> Result<Listed> {
    let inputs = inputs(spec, wanted, say).await?;
    let keys: Vec<String> = inputs.iter().map(|input| input.name().to_owned()).collect();
    petctl_spec::check_keys(&keys).map_err(|error| {
        let input = spec.storage.input.as_deref().unwrap_or_default();
        let message = format!("stage `{}`, files in {input}: {error}", wanted.stage);
        Error::foreign(error.code().as_str(), Exit::BadJobFile, message)
            .fix("rename the file, or narrow the pattern so that it does not fit")
    })?;
    Ok(Listed {
        keys,
        details: Vec::new(),
        inputs: inputs.into_iter().map(|input| vec![input]).collect(),
        whole: Vec::new(),
    })
}

/// All that fits, in the order of the names.
async fn inputs(
    spec: &JobSpec,
    wanted: &Wanted<'_>,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Input>> {
    let Some(root) = spec.storage.input_root() else {
        return Err(Error::new(
            Code::InputNotFound,
            format!(
                "stage `{}` lists files, but there is no input",
                wanted.stage
            ),
        )
        .fix("set [storage] input to the folder of the files, or to az://CONTAINER/PREFIX"));
    };
    match root.folder() {
        Some(folder) => {
            folder::check_input(folder)?;
            let names = folder::walk(folder, Path::new(&spec.storage.output), wanted, say)?;
            let file = |name: String| Input::File {
                path: folder.join(&name),
                name,
            };
            Ok(names.into_iter().map(file).collect())
        }
        None => blob::list(spec, &root, wanted, say).await,
    }
}

impl Input {
    fn name(&self) -> &str {
        match self {
            Self::File { name, .. } | Self::Blob { name, .. } => name,
        }
    }
}

fn names_whole_input(stage: &StageSpec) -> bool {
    // A training reads what it likes; that it goes on is decided by its checkpoints.
    if stage.kind.training().is_some() {
        return false;
    }
    Template::parse(&stage.command)
        .is_ok_and(|template| template.placeholders().contains(&&Placeholder::InputRoot))
}

fn too_many(wanted: &Wanted<'_>, input: &dyn Display) -> Error {
    let (stage, pattern) = (wanted.stage, wanted.pattern);
    Error::new(
        Code::TooManyShards,
        format!("stage `{stage}` has more than {MAX_SHARDS} shards: that many files in {input} fit `{pattern}`"),
    )
    .fix("cut the job in several, each with a narrower pattern, or let one shard handle several files")
}
