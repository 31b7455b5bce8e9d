//! A job that is ready to be submitted: job file read, shards listed, what decides about them digested.

use crate::content::{self, HashCache};
use crate::dated;
use crate::demands;
use crate::listing::{self, Listed};
use crate::names;
use crate::owner::{self, ShardName};
use petctl_core::StageContents;
use petctl_spec::{JobSpec, MAX_WORKERS, StageSpec};
use petctl_text::obstacle::Obstacle;
use petctl_text::words::nearest;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::terminal::{Output, count};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A job file and what the command line changes in it.
#[derive(Clone, Debug)]
pub struct JobFile {
    /// As it was typed.
    pub shown: String,
    /// Absolute.
    pub path: PathBuf,
    /// `--set`, as they were typed.
    pub set: Vec<String>,
}

/// A job with its shards.
#[derive(Clone, Debug)]
pub struct PreparedJob {
    /// Where it came from.
    pub file: JobFile,
    /// What it is.
    pub spec: JobSpec,
    /// Per stage; empty where keys are computed.
    pub listed: Vec<Listed>,
    /// Per stage: what decides whether its shards must run again.
    pub contents: Vec<StageContents>,
    /// SHA-256 that tells the same job from another.
    pub fingerprint: [u8; 32],
    /// The date behind its output, where it is dated.
    pub date: Option<String>,
}

/// What is done with a job file on its way to a job.
#[derive(Debug)]
pub struct Preparation<'a> {
    /// Where warnings go.
    pub out: &'a Output,
    /// `--workers`.
    pub workers: Option<u32>,
    /// Behind the output of a dated job.
    pub date: Option<String>,
    /// What is remembered of inputs that were read before.
    pub cache: HashCache,
}

impl JobFile {
    /// `path` as it was typed, with its `--set`.
    ///
    /// # Errors
    /// Where the current folder is gone.
    pub fn find(path: &Path, set: &[String]) -> Result<Self> {
        let shown = path.display().to_string();
        let absolute = std::path::absolute(path).map_err(|error| unreadable(&shown, &error))?;
        Ok(Self {
            shown,
            path: absolute,
            set: set.to_vec(),
        })
    }

    /// Reads and checks it, with its overrides.
    pub fn parse(&self) -> Result<JobSpec> {
        let overrides = self
            .set
            .iter()
            .map(|set| split_override(set))
            .collect::<Result<Vec<_>>>()?;
        let text = self.read()?;
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let folder = folder.to_str().ok_or_else(|| {
            Error::new(
                Code::JobFileUnreadable,
                format!("the folder {folder:?} has a name that is not valid UTF-8"),
            )
            .fix("move the job to a folder with another name")
        })?;
        Ok(petctl_spec::parse(&text, &self.shown, folder, &overrides)?)
    }

    fn read(&self) -> Result<String> {
        if self.shown.contains("://") && !self.path.exists() {
            let what = format!(
                "a job file is a file on this machine, and {} is an address",
                self.shown
            );
            return Err(Error::new(Code::JobFileUnreadable, what).fix(format!(
                "fetch it first: petctl storage cat {} > job.toml; its inputs and outputs may be addresses",
                petctl_ui::shell::quote(&self.shown)
            )));
        }
        let metadata = fs::metadata(&self.path).map_err(|error| unreadable(&self.shown, &error))?;
        if metadata.is_dir() {
            let inside = self.path.join("job.toml");
            let fix = if inside.is_file() {
                format!("did you mean {}?", inside.display())
            } else {
                name_one()
            };
            return Err(Error::new(
                Code::JobFileUnreadable,
                format!("{} is a folder", self.shown),
            )
            .fix(fix));
        }
        if metadata.len() > petctl_spec::MAX_JOB_FILE_BYTES as u64 {
            let what = format!(
                "{} has {} bytes, which no job file has",
                self.shown,
                metadata.len()
            );
            return Err(Error::new(Code::JobFileUnreadable, what).fix(name_one()));
        }
        let bytes = fs::read(&self.path).map_err(|error| unreadable(&self.shown, &error))?;
        String::from_utf8(bytes).map_err(|error| {
            Error::new(
                Code::JobFileUnreadable,
                format!("{} is not UTF-8 text", self.shown),
            )
            .because(&error)
            .fix("save it as UTF-8")
        })
    }
}

impl PreparedJob {
    /// Lists the job's shards and digests what decides about them.
    pub async fn prepare(
        file: JobFile,
        mut spec: JobSpec,
        mut how: Preparation<'_>,
    ) -> Result<Self> {
        if let Some(workers) = how.workers {
            want_workers(&mut spec, workers)?;
        }
        if let Some(date) = &how.date {
            dated::put(&mut spec, date)?;
        }
        let out = how.out;
        let say = |text: &str| out.say(text);
        let listed = listing::list(&spec, &say).await?;
        demands::check(&spec, &listed)?;
        let contents = content::contents(&spec, &listed, &mut how.cache, &say)?;
        if let Err(error) = how.cache.save() {
            tracing::info!(%error, "can't remember the digests of the inputs");
        }
        let fingerprint = fingerprint(&spec, &listed, &contents)?;
        let prepared = Self {
            file,
            spec,
            listed,
            contents,
            fingerprint,
            date: how.date,
        };
        let root = prepared.spec.storage.output_root();
        for (index, stage) in prepared.spec.stages.iter().enumerate() {
            names::check(&root, &stage.name, &prepared.keys(index))?;
        }
        Ok(prepared)
    }

    /// Its fingerprint as text.
    pub fn fingerprint_hex(&self) -> String {
        petctl_text::hex(&self.fingerprint)
    }

    /// Shards of a stage.
    pub fn shard_count(&self, stage: usize) -> u64 {
        let listed = self
            .listed
            .get(stage)
            .map_or(0, |listed| listed.keys.len() as u64);
        let computed = self
            .spec
            .stages
            .get(stage)
            .and_then(|stage| petctl_spec::shards::stage_count(&stage.kind));
        computed.unwrap_or(listed)
    }

    /// The keys of a stage, by the indexes of its shards.
    pub fn keys(&self, stage: usize) -> Cow<'_, [String]> {
        let listed = self
            .listed
            .get(stage)
            .map_or(&[][..], |listed| &listed.keys);
        let Some(spec) = self.spec.stages.get(stage).filter(|_| listed.is_empty()) else {
            return Cow::Borrowed(listed);
        };
        if let Some(key) = spec.kind.single_key() {
            return Cow::Owned(vec![key.to_owned()]);
        }
        let computed = spec.kind.source().map(petctl_spec::shards::keys);
        Cow::Owned(match computed {
            Some(Ok(keys)) => keys.collect(),
            Some(Err(_)) | None => Vec::new(),
        })
    }

    /// Shards of all stages.
    pub fn all_shards(&self) -> u64 {
        (0..self.spec.stages.len())
            .map(|stage| self.shard_count(stage))
            .sum()
    }

    /// Whether a stage of it trains.
    pub fn trains(&self) -> bool {
        let mut stages = self.spec.stages.iter();
        stages.any(|stage| stage.kind.training().is_some())
    }

    /// How much it is, in words: "64 shards and 1 training in 2 stages".
    pub fn describe_work(&self) -> String {
        let is_training = |stage: &&StageSpec| stage.kind.training().is_some();
        let trainings = self.spec.stages.iter().filter(is_training).count() as u64;
        let stages = count(self.spec.stages.len() as u64, "stage", "stages");
        let shards = self.all_shards() - trainings;
        let work = match (shards, trainings) {
            (_, 0) => petctl_ui::terminal::shards(shards),
            (0, _) => count(trainings, "training", "trainings"),
            (_, _) => format!(
                "{} and {}",
                petctl_ui::terminal::shards(shards),
                count(trainings, "training", "trainings")
            ),
        };
        format!("{work} in {stages}")
    }

    /// Puts aside the outputs of shards that are no part of it any more; how many there were. `lineage` is that of the
    /// coordinator's leases.
    pub async fn put_aside(&self, dropped: &[(String, String)], lineage: u64) -> Result<u64> {
        let places: Vec<ShardName<'_>> = dropped
            .iter()
            .map(|(stage, key)| (stage.as_str(), key.as_str()))
            .collect();
        // Where a shard of now lies in the folder of one of before, that folder stays.
        let mut now: BTreeSet<(&str, String)> = BTreeSet::new();
        for (index, stage) in self.spec.stages.iter().enumerate() {
            let keys = self.keys(index).into_owned();
            now.extend(keys.into_iter().map(|key| (stage.name.as_str(), key)));
        }
        let stands = |(stage, key): ShardName<'_>| {
            let below = format!("{key}/");
            let is_one = now.contains(&(stage, key.to_owned()));
            is_one
                || now
                    .range((stage, below.clone())..)
                    .next()
                    .is_some_and(|(of, next)| *of == stage && next.starts_with(&below))
        };
        owner::put_aside(&self.spec, &places, &stands, lineage).await
    }

    /// Listed shards of each stage.
    pub fn listed(&self) -> Vec<u64> {
        self.listed
            .iter()
            .map(|listed| listed.keys.len() as u64)
            .collect()
    }
}

/// The part of a job that makes it this job, to be compared with another.
pub fn canonical(spec: &JobSpec) -> Result<serde_json::Value> {
    let text = petctl_spec::canonical_json(spec).map_err(|error| bug(&error))?;
    serde_json::from_str(&text).map_err(|error| bug(&error))
}

/// `--workers N` takes the place of the job file's sizes.
fn want_workers(spec: &mut JobSpec, workers: u32) -> Result<()> {
    let unit = spec.workers.unit.max(1);
    if workers == 0 || workers > MAX_WORKERS || !workers.is_multiple_of(unit) {
        let why = if workers > 0 && workers <= MAX_WORKERS {
            format!("[workers] unit is {unit}, and {workers} is no multiple of it")
        } else {
            format!("a job has 1 to {MAX_WORKERS} workers")
        };
        return Err(
            Error::new(Code::Usage, format!("--workers {workers}: {why}"))
                .fix("choose another number"),
        );
    }
    spec.workers.wanted = workers;
    spec.workers.max = spec.workers.max.max(workers);
    spec.workers.min = spec.workers.min.min(workers);
    Ok(())
}

/// SHA-256 over the canonical job, the listed shards and what decides about them.
fn fingerprint(spec: &JobSpec, listed: &[Listed], contents: &[StageContents]) -> Result<[u8; 32]> {
    let mut hash = Sha256::new();
    hash.update(petctl_spec::canonical_json(spec).map_err(|error| bug(&error))?);
    for (listed, contents) in listed.iter().zip(contents) {
        hash.update([0]);
        hash.update(contents.stage.command);
        hash.update(contents.stage.code);
        hash.update(contents.stage.image);
        for (index, key) in listed.keys.iter().enumerate() {
            hash.update(key);
            // Keys hold no control characters, so this can't be part of one.
            hash.update([b'\n']);
            if let Some(content) = contents.shards.get(index) {
                hash.update(content.input);
                hash.update(content.params);
            }
        }
    }
    Ok(hash.finalize().into())
}

fn split_override(set: &str) -> Result<(String, String)> {
    match set.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        Some(_) | None => Err(Error::new(
            Code::Usage,
            format!("--set {set}: there is no KEY=VALUE in it"),
        )
        .fix("write it like --set workers.max=4 or --set stage.resim.retries=0")),
    }
}

fn unreadable(shown: &str, error: &std::io::Error) -> Error {
    let instead = near_file(shown).map_or_else(name_one, |near| format!("did you mean {near}?"));
    Error::new(
        Code::JobFileUnreadable,
        format!("can't read the job file {shown}"),
    )
    .because(error)
    .fix(Obstacle::of(error).fix_reading(&instead))
}

/// A job file beside the one that is not there, by a name that is near.
fn near_file(shown: &str) -> Option<String> {
    let path = Path::new(shown);
    let (name, folder) = (path.file_name()?.to_str()?, path.parent()?);
    if path.exists() {
        return None;
    }
    let here = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let entries = fs::read_dir(here).ok()?.take(MOST_LOOKED_AT);
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let files: Vec<String> = names.filter(|name| name.ends_with(".toml")).collect();
    let whole = nearest(name, files.iter().map(String::as_str));
    let near = whole.or_else(|| {
        let stem = |file: &&str| file.trim_end_matches(".toml") == name;
        files.iter().map(String::as_str).find(stem)
    });
    Some(folder.join(near?).display().to_string())
}

/// Files of a folder among which the one that was meant is looked for.
const MOST_LOOKED_AT: usize = 10_000;

fn name_one() -> String {
    "name the job's TOML file; examples/resim/job.toml is one".to_owned()
}

fn bug(error: &serde_json::Error) -> Error {
    Error::foreign(Code::Bug.as_str(), Exit::Bug, "can't write the job as JSON").because(error)
}
