//! The shards a source names: how many they are, and the key of each, without keeping a list of them.

pub(crate) mod key;
pub mod manifest;
mod matrix;
pub(crate) mod source;

use crate::model::{Axis, MAX_SHARDS, ShardDetail, ShardSource, StageKind};
use crate::shards::key::{MAX_COMPONENT_BYTES, MAX_KEY_BYTES};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use jiff::civil::Date;
use petctl_codes::Code;
use petctl_text::dates::{self, Step};
use petctl_text::words::{shown, thousands};
use std::collections::BTreeMap;

/// The key of a `once` stage's only shard.
pub const ONCE_KEY: &str = "once";
/// The key of a `train` stage's only shard: its group.
pub const TRAIN_KEY: &str = "train";

/// Most axes of a matrix.
pub const MAX_AXES: usize = 8;

/// Why a source's shards can't be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardSourceError {
    /// `glob` and `manifest`: the launcher lists their keys.
    #[error("the shards of this stage are listed by the launcher; they can't be computed")]
    Listed,
    /// A date, a step or a pattern that can't be read.
    #[error("`{value}`: {why}")]
    Invalid {
        /// What can't be read.
        value: String,
        /// Why.
        why: String,
    },
    /// Not a single shard.
    #[error("the stage has no shards")]
    Empty,
    /// More than [`MAX_SHARDS`].
    #[error("{} shards are more than the {} a job may have; split the job", thousands(u128::from(*.0)), thousands(u128::from(MAX_SHARDS)))]
    TooMany(u64),
}

impl ShardSourceError {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Listed | Self::Invalid { .. } => Code::InvalidShardSource,
            Self::Empty => Code::NoShards,
            Self::TooMany(_) => Code::TooManyShards,
        }
    }
}

/// How many shards a source names; `None` where the launcher must list them, or where its dates can't be read.
#[must_use]
pub fn count(source: &ShardSource) -> Option<u64> {
    match source {
        ShardSource::Glob(_) | ShardSource::Manifest(_) => None,
        ShardSource::Range { start, end } => Some(end.saturating_sub(*start)),
        ShardSource::Dates { .. } | ShardSource::Matrix(_) => {
            Computed::read(source).ok().map(|computed| computed.count())
        }
        ShardSource::Values(values) => u64::try_from(values.len()).ok(),
    }
}

/// How many shards a stage has, as far as [`count`] can tell; a `once` stage has one.
#[must_use]
pub fn stage_count(kind: &StageKind) -> Option<u64> {
    kind.source().map_or(Some(1), count)
}

/// The key of one shard, in constant time; `None` for listed sources and past the end.
#[must_use]
pub fn key_at(source: &ShardSource, index: u64) -> Option<String> {
    Computed::read(source).ok()?.key_at(index)
}

/// The parameters that a source gives to one shard, in constant time: of a matrix, the key of each axis by its name.
/// Empty for other sources (those of a manifest are in the shard's [`ShardDetail`]) and past the end.
#[must_use]
pub fn params_at(source: &ShardSource, index: u64) -> BTreeMap<String, String> {
    let Ok(Computed::Matrix(axes)) = Computed::read(source) else {
        return BTreeMap::new();
    };
    if key_at(source, index).is_none() {
        return BTreeMap::new();
    }
    let coordinates = coordinates(&axes, index);
    let param = |(name, axis): (&str, Computed<'_>), at| Some((name.to_owned(), axis.key_at(at)?));
    let params = axes.into_iter().zip(coordinates);
    params.filter_map(|(axis, at)| param(axis, at)).collect()
}

/// All parameters that one shard has of its own: those of its source, and above them those of its detail.
#[must_use]
pub fn own_params(
    source: &ShardSource,
    index: u64,
    detail: &ShardDetail,
) -> BTreeMap<String, String> {
    let mut params = params_at(source, index);
    params.extend(
        detail
            .params
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    params
}

/// The names of a shard's inputs, below the input root. Files that a glob lists are their own input.
#[must_use]
pub fn inputs_of(source: &ShardSource, key: &str, detail: &ShardDetail) -> Vec<String> {
    match source {
        ShardSource::Glob(_) if detail.inputs.is_empty() => vec![key.to_owned()],
        ShardSource::Glob(_) | ShardSource::Manifest(_) => detail.inputs.clone(),
        ShardSource::Range { .. }
        | ShardSource::Dates { .. }
        | ShardSource::Values(_)
        | ShardSource::Matrix(_) => Vec::new(),
    }
}

/// The keys of a source, computed as they are asked for.
///
/// # Errors
/// [`ShardSourceError`]: a listed source, one that can't be read, one without shards or with too many.
pub fn keys(source: &ShardSource) -> Result<ShardKeys<'_>, ShardSourceError> {
    let computed = Computed::read(source)?;
    let count = computed.count();
    if count == 0 {
        return Err(ShardSourceError::Empty);
    }
    if count > MAX_SHARDS {
        return Err(ShardSourceError::TooMany(count));
    }
    Ok(ShardKeys {
        computed,
        next: 0,
        count,
    })
}

/// The computed keys of a source: looked up by index, or gone through in order.
#[derive(Clone, Debug)]
pub struct ShardKeys<'a> {
    computed: Computed<'a>,
    next: u64,
    count: u64,
}

impl ShardKeys<'_> {
    /// How many shards there are, however many have been gone through.
    #[must_use]
    pub fn count_all(&self) -> u64 {
        self.count
    }

    /// The key of one shard, in constant time.
    #[must_use]
    pub fn get(&self, index: u64) -> Option<String> {
        self.computed.key_at(index)
    }
}

impl Iterator for ShardKeys<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let key = self.computed.key_at(self.next)?;
        self.next += 1;
        Some(key)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.count.saturating_sub(self.next)).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

/// Which files of the input folder are shards.
#[derive(Clone, Debug)]
pub struct ShardGlob {
    set: GlobSet,
    of_folders: bool,
}

impl ShardGlob {
    /// Reads a pattern: `*` and `?` stay within a folder, `**` does not, `{a,b}` is either. With a `/` at its end it is
    /// of folders.
    ///
    /// # Errors
    /// [`ShardSourceError::Invalid`] with the reason.
    pub fn new(pattern: &str) -> Result<Self, ShardSourceError> {
        Self::below(pattern, "the input folder")
    }

    /// Reads a pattern of files below another folder than that of the inputs; `folder` is what messages call it.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn below(pattern: &str, folder: &str) -> Result<Self, ShardSourceError> {
        let invalid = |why: String| ShardSourceError::Invalid {
            value: shown(pattern),
            why,
        };
        if pattern.starts_with('/') {
            return Err(invalid(format!("a pattern is relative to {folder}")));
        }
        if pattern.split('/').any(|part| part == ".." || part == ".") {
            return Err(invalid("a pattern has no `.` or `..`".into()));
        }
        if pattern.contains('\\') {
            return Err(invalid(
                "a pattern has `/` between folders, and no `\\`".into(),
            ));
        }
        let folders = pattern.strip_suffix('/');
        let mut builder = GlobBuilder::new(folders.unwrap_or(pattern));
        builder.literal_separator(true).backslash_escape(false);
        let glob = builder
            .build()
            .map_err(|error| invalid(shown(&error.kind().to_string())))?;
        // A set of one: unlike a matcher, it answers a pattern that is too large with an error, not a panic.
        let set = GlobSetBuilder::new()
            .add(glob)
            .build()
            .map_err(|_| invalid("it is too large or too deep".into()))?;
        Ok(Self {
            set,
            of_folders: folders.is_some(),
        })
    }

    /// Says whether the file is a shard; the path is relative to the input folder, with `/`.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        !self.of_folders && self.set.is_match(path)
    }

    /// Says whether the folder is a shard: only patterns with a `/` at their end are of folders.
    #[must_use]
    pub fn matches_folder(&self, path: &str) -> bool {
        self.of_folders && self.set.is_match(path)
    }

    /// Whether it is a pattern of folders.
    #[must_use]
    pub fn is_of_folders(&self) -> bool {
        self.of_folders
    }
}

/// A source whose keys can be computed, read once.
#[derive(Clone, Debug)]
enum Computed<'a> {
    Range { start: u64, end: u64, width: usize },
    Dates { first: Date, step: Step, count: u64 },
    Values(&'a [String]),
    Matrix(Vec<(&'a str, Computed<'a>)>),
}

/// Reads an axis: anything that can be computed, and is no matrix itself.
fn read_axis(axis: &Axis) -> Result<(&str, Computed<'_>), ShardSourceError> {
    match &axis.source {
        ShardSource::Range { .. } | ShardSource::Dates { .. } | ShardSource::Values(_) => {
            Ok((&axis.name, Computed::read(&axis.source)?))
        }
        ShardSource::Glob(_) | ShardSource::Manifest(_) | ShardSource::Matrix(_) => {
            Err(ShardSourceError::Invalid {
                value: shown(&axis.name),
                why: "an axis is a list, a range or dates".into(),
            })
        }
    }
}

/// Where a shard stands on each axis; the last axis goes fastest.
fn coordinates(axes: &[(&str, Computed<'_>)], index: u64) -> Vec<u64> {
    let mut rest = index;
    let mut coordinates = vec![0; axes.len()];
    for ((_, axis), at) in axes.iter().zip(&mut coordinates).rev() {
        let count = axis.count().max(1);
        *at = rest % count;
        rest /= count;
    }
    coordinates
}

/// Why no key of a matrix could be the name of a folder for its length.
pub(crate) fn matrix_problem(axes: &[Axis]) -> Option<String> {
    let mut whole = axes.len().saturating_sub(1);
    for axis in axes {
        let (longest, component) = match &axis.source {
            ShardSource::Values(values) => {
                let first = |value: &String| value.split('/').next().map_or(0, str::len);
                (
                    values.iter().map(String::len).max().unwrap_or(0),
                    values.iter().map(first).max().unwrap_or(0),
                )
            }
            // Numbers of 64 bits and dates.
            ShardSource::Range { .. }
            | ShardSource::Dates { .. }
            | ShardSource::Glob(_)
            | ShardSource::Manifest(_)
            | ShardSource::Matrix(_) => (20, 20),
        };
        let name = axis.name.len() + 1;
        whole += name + longest;
        if name + component > MAX_COMPONENT_BYTES {
            let why = format!(
                "keys have the part `{}=...`, which would be longer than {MAX_COMPONENT_BYTES} bytes",
                shown(&axis.name)
            );
            return Some(why);
        }
    }
    (whole > MAX_KEY_BYTES).then(|| format!("its keys would be longer than {MAX_KEY_BYTES} bytes"))
}

impl<'a> Computed<'a> {
    fn read(source: &'a ShardSource) -> Result<Self, ShardSourceError> {
        match source {
            ShardSource::Glob(_) | ShardSource::Manifest(_) => Err(ShardSourceError::Listed),
            ShardSource::Matrix(axes) => {
                let axes = axes.iter().map(read_axis).collect::<Result<_, _>>()?;
                Ok(Self::Matrix(axes))
            }
            ShardSource::Range { start, end } => {
                let width = end.saturating_sub(1).checked_ilog10().unwrap_or(0) + 1;
                Ok(Self::Range {
                    start: *start,
                    end: *end,
                    width: usize::try_from(width).unwrap_or(1),
                })
            }
            ShardSource::Dates { first, last, step } => {
                let invalid = |value: &str, why| ShardSourceError::Invalid {
                    value: shown(value),
                    why,
                };
                let first_date = dates::parse_date(first).map_err(|why| invalid(first, why))?;
                let last_date = dates::parse_date(last).map_err(|why| invalid(last, why))?;
                let step = dates::parse_step(step).map_err(|why| invalid(step, why))?;
                Ok(Self::Dates {
                    first: first_date,
                    step,
                    count: dates::count(first_date, last_date, step),
                })
            }
            ShardSource::Values(values) => Ok(Self::Values(values)),
        }
    }

    fn count(&self) -> u64 {
        match self {
            Self::Range { start, end, .. } => end.saturating_sub(*start),
            Self::Dates { count, .. } => *count,
            Self::Values(values) => u64::try_from(values.len()).unwrap_or(u64::MAX),
            Self::Matrix(axes) if axes.is_empty() => 0,
            Self::Matrix(axes) => axes
                .iter()
                .map(|(_, axis)| axis.count())
                .fold(1, u64::saturating_mul),
        }
    }

    fn key_at(&self, index: u64) -> Option<String> {
        if index >= self.count() {
            return None;
        }
        match self {
            Self::Range { start, width, .. } => Some(format!("{:0width$}", start + index)),
            Self::Dates { first, step, .. } => {
                dates::at(*first, *step, i32::try_from(index).ok()?).map(|date| date.to_string())
            }
            Self::Values(values) => values.get(usize::try_from(index).ok()?).cloned(),
            Self::Matrix(axes) => {
                let mut key = String::new();
                for ((name, axis), at) in axes.iter().zip(coordinates(axes, index)) {
                    if !key.is_empty() {
                        key.push('/');
                    }
                    key.push_str(name);
                    key.push('=');
                    key.push_str(&axis.key_at(at)?);
                }
                Some(key)
            }
        }
    }
}

#[cfg(test)]
mod tests;
