//! The shards that only the launcher can list, with what each of them reads: files below the input folder, blobs below
//! a prefix, lines of a manifest.

mod blob;
mod folder;
mod found;
mod manifest;
mod named;
mod reach;

use petctl_output::layout::OWN_FOLDER;
use petctl_spec::{
    JobSpec, MAX_SHARDS, Placeholder, ShardDetail, ShardGlob, ShardSource, StageSpec, Template,
};
use petctl_storage::Entry;
use petctl_text::words::shown;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::terminal::{count, printable};
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

/// Most entries below the input that are looked at.
const MAX_ENTRIES: u64 = 20_000_000;

/// Names that an error lists.
const MAX_NAMED: usize = 50;

/// What can't be looked at: its name, and what it is.
type Hidden = (String, String);

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
                // What can't be looked at decides nothing.
                Ok((whole, _hidden)) => whole,
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
    if let Some(root) = spec.storage.input_root()
        && root.is_blob()
        && wanted.fits.is_of_folders()
    {
        let (keys, inputs): (Vec<String>, _) = blob::folders(spec, &root, wanted, say)
            .await?
            .into_iter()
            .unzip();
        check_all(spec, wanted, &keys)?;
        return Ok(Listed {
            keys,
            inputs,
            ..Listed::default()
        });
    }
    let (inputs, hidden) = inputs(spec, wanted, say).await?;
    judge_hidden(spec, wanted, &hidden, say)?;
    let keys: Vec<String> = inputs.iter().map(|input| input.name().to_owned()).collect();
    check_all(spec, wanted, &keys)?;
    let inputs = inputs.into_iter().map(|input| match input {
        Input::File { name, path } if wanted.fits.is_of_folders() => folder::files(&name, &path),
        input @ (Input::File { .. } | Input::Blob { .. }) => Ok(vec![input]),
    });
    Ok(Listed {
        keys,
        details: Vec::new(),
        inputs: inputs.collect::<Result<_>>()?,
        whole: Vec::new(),
    })
}

/// Refuses what hides shards, unless the job file allows that; then it is said.
fn judge_hidden(
    spec: &JobSpec,
    wanted: &Wanted<'_>,
    hidden: &[Hidden],
    say: &(dyn Fn(&str) + Sync),
) -> Result<()> {
    if hidden.is_empty() {
        return Ok(());
    }
    let (stage, pattern) = (wanted.stage, wanted.pattern);
    let names = count(hidden.len() as u64, "name", "names");
    let input = spec.storage.input.as_deref().unwrap_or_default();
    let lines: Vec<String> = hidden
        .iter()
        .map(|(name, is)| format!("{} is {is}", printable(name)))
        .collect();
    if spec.storage.incomplete_input {
        say(&format!(
            "stage `{stage}`: {names} in {input} left out (incomplete_input = true): {}",
            some_of(&lines).join("; ")
        ));
        return Ok(());
    }
    let what = format!(
        "stage `{stage}`: {names} in {input} can't be looked at, and could be or hold shards of `{pattern}`"
    );
    Err(
        listing_all(Error::new(Code::InputUnreadable, what), &lines).fix(
            "put what it leads to in its place, or let yourself read it; narrow the pattern; \
         or say `incomplete_input = true` in [storage] to leave such names out",
        ),
    )
}

/// Refuses keys that can't be folders of outputs: all of them at once.
fn check_all(spec: &JobSpec, wanted: &Wanted<'_>, keys: &[String]) -> Result<()> {
    let input = spec.storage.input.as_deref().unwrap_or_default();
    let of = format!("stage `{}`, files in {input}", wanted.stage);
    let fix = "rename them, or narrow the pattern so that it does not fit";
    let bad: Vec<String> = keys
        .iter()
        .filter_map(|key| {
            let problem = petctl_spec::check_key(key).err()?;
            Some(format!("{}: {problem}", shown(key)))
        })
        .collect();
    if bad.len() > 1 {
        let what = format!(
            "{of}: {} can't be shard keys",
            count(bad.len() as u64, "name", "names")
        );
        return Err(listing_all(Error::new(Code::InvalidShardKey, what), &bad).fix(fix));
    }
    petctl_spec::check_keys(keys).map_err(|error| {
        let message = format!("{of}: {error}");
        Error::foreign(error.code().as_str(), Exit::BadJobFile, message)
            .fix("rename the file, or narrow the pattern so that it does not fit")
    })
}

/// The first of many lines, and how many there are beside them.
fn some_of(lines: &[String]) -> Vec<String> {
    let mut some: Vec<String> = lines.iter().take(MAX_NAMED).cloned().collect();
    if lines.len() > MAX_NAMED {
        some.push(format!("… and {} more", lines.len() - MAX_NAMED));
    }
    some
}

/// An error with a line for each name.
pub(crate) fn listing_all(error: Error, lines: &[String]) -> Error {
    some_of(lines)
        .into_iter()
        .fold(error, |error, line| error.because(&io::Error::other(line)))
}

/// All that fits, in the order of the names, and what can't be looked at.
async fn inputs(
    spec: &JobSpec,
    wanted: &Wanted<'_>,
    say: &(dyn Fn(&str) + Sync),
) -> Result<(Vec<Input>, Vec<Hidden>)> {
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
            let walked = folder::walk(folder, Path::new(&spec.storage.output), wanted, say)?;
            let file = |name: String| Input::File {
                path: folder.join(&name),
                name,
            };
            let files = walked.names.into_iter().map(file).collect();
            Ok((files, walked.hidden))
        }
        None => Ok((blob::list(spec, &root, wanted, say).await?, Vec::new())),
    }
}

impl Input {
    fn of_blob(entry: Entry) -> Self {
        Self::Blob {
            name: entry.name,
            etag: entry.properties.etag.0,
        }
    }

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
