//! Shards of a manifest: a local file, or a blob.

use super::{Input, Listed, named};
use petctl_spec::manifest::{Reader, Wants};
use petctl_spec::{JobSpec, ShardSource, StageSpec, StorageRoot};
use petctl_storage::StorageProblem;
use petctl_text::obstacle::Obstacle;
use petctl_ui::error::{Code, Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use tokio_stream::StreamExt;

/// Most bytes of a manifest.
const MAX_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// A line longer than that is refused by its reader.
const MAX_LINE_BYTES: u64 = petctl_spec::manifest::MAX_LINE_BYTES as u64 + 2;
/// Missing inputs that are named.
const MAX_MISSING: usize = 5;

/// Reads a manifest, with every line that is wrong, and looks whether the inputs that it names are there.
pub(super) async fn read(
    spec: &JobSpec,
    stage: &StageSpec,
    source: &ShardSource,
    address: &str,
) -> Result<Listed> {
    let mut reader = Reader::new(address, Wants::of(spec, stage));
    match StorageRoot::read(address) {
        Some(root) if root.is_blob() => {
            read_blob(spec, &root, address, &mut reader).await?;
        }
        Some(_) | None => read_file(stage, Path::new(address), &mut reader)?,
    }
    let shards = reader.finish().map_err(|errors| Error::Manifest {
        name: address.to_owned(),
        errors: Box::new(errors),
    })?;
    let mut listed = Listed::default();
    for (key, detail) in shards {
        listed.keys.push(key);
        listed.details.push(detail);
    }
    let names: Vec<Vec<String>> = listed
        .keys
        .iter()
        .zip(&listed.details)
        .map(|(key, detail)| petctl_spec::shards::inputs_of(source, key, detail))
        .collect();
    listed.inputs = find(spec, stage, &listed.keys, names).await?;
    Ok(listed)
}

fn read_file(stage: &StageSpec, path: &Path, reader: &mut Reader) -> Result<()> {
    let failed = |error: &io::Error| {
        let rights = Obstacle::of(error).fix_reading("name another one");
        let (code, fix) = if error.kind() == io::ErrorKind::NotFound {
            (
                Code::InputNotFound,
                "name a file that is there; relative paths start at the job file's folder",
            )
        } else {
            (Code::InputUnreadable, rights.as_str())
        };
        let what = format!(
            "stage `{}`: can't read the manifest {}",
            stage.name,
            path.display()
        );
        Error::new(code, what).because(error).fix(fix)
    };
    let mut file = BufReader::new(File::open(path).map_err(|error| failed(&error))?);
    let mut line = Vec::new();
    let mut bytes = 0;
    loop {
        line.clear();
        let read = (&mut file)
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut line)
            .map_err(|error| failed(&error))?;
        if read == 0 {
            return Ok(());
        }
        bytes += read as u64;
        if bytes > MAX_BYTES {
            return Err(too_large(stage, &path.display().to_string()));
        }
        reader.line(&line);
        if line.len() as u64 == MAX_LINE_BYTES && line.last() != Some(&b'\n') {
            // The rest of a line that is refused.
            file.skip_until(b'\n').map_err(|error| failed(&error))?;
        }
    }
}

async fn read_blob(
    spec: &JobSpec,
    root: &StorageRoot,
    address: &str,
    reader: &mut Reader,
) -> Result<()> {
    // A whole container is no manifest; the job file was refused.
    let Some((folder, name)) = root.above() else {
        return Ok(());
    };
    let store = petctl_storage::open(&folder, &spec.storage.access)?;
    let mut body = store
        .get(name, None, None)
        .await
        .map_err(|error| match error.problem {
            StorageProblem::NotFound => Error::new(
                Code::InputNotFound,
                format!("the manifest {address} is not there"),
            )
            .fix("name a blob that is there: petctl storage ls shows what is in a container"),
            StorageProblem::Denied
            | StorageProblem::Blocked
            | StorageProblem::Expired
            | StorageProblem::NoCredential
            | StorageProblem::BadName
            | StorageProblem::Changed
            | StorageProblem::Corrupt
            | StorageProblem::Full
            | StorageProblem::Unavailable
            | StorageProblem::Local
            | StorageProblem::Unexpected => error.into(),
        })?;
    let mut rest: Vec<u8> = Vec::new();
    while let Some(piece) = body.bytes.next().await {
        for part in piece?.split_inclusive(|byte| *byte == b'\n') {
            // Of a line that is refused, not all is kept.
            let room = usize::try_from(MAX_LINE_BYTES)
                .unwrap_or(usize::MAX)
                .saturating_sub(rest.len());
            rest.extend_from_slice(part.get(..room.min(part.len())).unwrap_or_default());
            if part.last() == Some(&b'\n') {
                reader.line(&rest);
                rest.clear();
            }
        }
    }
    if !rest.is_empty() {
        reader.line(&rest);
    }
    Ok(())
}

/// The inputs of each shard, which must be there.
async fn find(
    spec: &JobSpec,
    stage: &StageSpec,
    keys: &[String],
    names: Vec<Vec<String>>,
) -> Result<Vec<Vec<Input>>> {
    let Some(root) = spec.storage.input_root() else {
        // Where there is no input, the reader has refused names of inputs.
        return Ok(vec![Vec::new(); names.len()]);
    };
    let all: BTreeSet<&str> = names.iter().flatten().map(String::as_str).collect();
    let found: BTreeMap<String, Vec<Input>> = match root.folder() {
        Some(folder) => {
            let mut found = BTreeMap::new();
            for name in &all {
                let (name, path) = ((*name).to_owned(), folder.join(name));
                // A folder, such as a ROS 2 bag, counts by all files in it.
                let inputs = if path.is_dir() {
                    super::folder::files(&name, &path)?
                } else if path.is_file() {
                    let name = name.clone();
                    vec![Input::File { name, path }]
                } else {
                    continue;
                };
                found.insert(name, inputs);
            }
            found
        }
        None => {
            let store = petctl_storage::open(&root, &spec.storage.access)?;
            named::find(&store, &all).await?
        }
    };
    let missing = |key: &String, names: &Vec<String>| {
        let name = names.iter().find(|name| !found.contains_key(*name))?;
        Some(format!("{name} (of shard {key})"))
    };
    let missing: Vec<String> = keys
        .iter()
        .zip(&names)
        .filter_map(|(key, names)| missing(key, names))
        .collect();
    if !missing.is_empty() {
        let more = missing.len().saturating_sub(MAX_MISSING);
        let more = if more > 0 {
            format!(", and those of {more} more")
        } else {
            String::new()
        };
        let named = missing
            .into_iter()
            .take(MAX_MISSING)
            .collect::<Vec<_>>()
            .join(", ");
        let what = format!(
            "stage `{}`: inputs of its manifest are not in {root}: {named}{more}",
            stage.name
        );
        return Err(Error::new(Code::InputNotFound, what).fix(
            "correct the names, which are relative to [storage] input, or take those lines out",
        ));
    }
    let of_shard = |names: Vec<String>| {
        names
            .iter()
            .filter_map(|name| found.get(name).cloned())
            .flatten()
            .collect()
    };
    Ok(names.into_iter().map(of_shard).collect())
}

fn too_large(stage: &StageSpec, shown: &str) -> Error {
    let what = format!(
        "stage `{}`: the manifest {shown} has more than {MAX_BYTES} bytes",
        stage.name
    );
    Error::new(Code::TooManyShards, what).fix("cut the job in several")
}
