//! The shards a source names: how many they are, and the key of each, without keeping a list of them.

use crate::dates::{self, Step};
use crate::model::{MAX_SHARDS, ShardSource, StageKind};
use crate::words::{shown, thousands};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use jiff::civil::Date;

/// The key of a `once` stage's only shard.
pub const ONCE_KEY: &str = "once";
/// The key of a `train` stage's only shard: its group.
pub const TRAIN_KEY: &str = "train";

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
    pub fn code(&self) -> &'static str {
        match self {
            Self::Listed => "SHARDS_ARE_LISTED",
            Self::Invalid { .. } => "INVALID_SHARD_SOURCE",
            Self::Empty => "NO_SHARDS",
            Self::TooMany(_) => "TOO_MANY_SHARDS",
        }
    }
}

/// How many shards a source names; `None` where the launcher must list them, or where its dates can't be read.
#[must_use]
pub fn count(source: &ShardSource) -> Option<u64> {
    match source {
        ShardSource::Glob(_) | ShardSource::Manifest(_) | ShardSource::Matrix(_) => None,
        ShardSource::Range { start, end } => Some(end.saturating_sub(*start)),
        ShardSource::Dates { .. } => Computed::read(source).ok().map(|computed| computed.count()),
        ShardSource::Values(values) => u64::try_from(values.len()).ok(),
    }
}

/// How many shards a stage has, as far as [`count`] can tell; a `once` stage has one.
#[must_use]
pub fn stage_count(kind: &StageKind) -> Option<u64> {
    match kind {
        StageKind::Shards(source) => count(source),
        StageKind::Once | StageKind::Train(_) => Some(1),
    }
}

/// The key of one shard, in constant time; `None` for listed sources and past the end.
#[must_use]
pub fn key_at(source: &ShardSource, index: u64) -> Option<String> {
    Computed::read(source).ok()?.key_at(index)
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
}

impl ShardGlob {
    /// Reads a pattern: `*` and `?` stay within a folder, `**` does not, `{a,b}` is either.
    ///
    /// # Errors
    /// [`ShardSourceError::Invalid`] with the reason.
    pub fn new(pattern: &str) -> Result<Self, ShardSourceError> {
        let invalid = |why: String| ShardSourceError::Invalid {
            value: shown(pattern),
            why,
        };
        if pattern.starts_with('/') {
            return Err(invalid("a pattern is relative to the input folder".into()));
        }
        if pattern.split('/').any(|part| part == ".." || part == ".") {
            return Err(invalid("a pattern has no `.` or `..`".into()));
        }
        if pattern.contains('\\') {
            return Err(invalid(
                "a pattern has `/` between folders, and no `\\`".into(),
            ));
        }
        let mut builder = GlobBuilder::new(pattern);
        builder.literal_separator(true).backslash_escape(false);
        let glob = builder
            .build()
            .map_err(|error| invalid(shown(&error.kind().to_string())))?;
        // A set of one: unlike a matcher, it answers a pattern that is too large with an error, not a panic.
        let set = GlobSetBuilder::new()
            .add(glob)
            .build()
            .map_err(|_| invalid("it is too large or too deep".into()))?;
        Ok(Self { set })
    }

    /// Says whether the file is a shard; the path is relative to the input folder, with `/`.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        self.set.is_match(path)
    }
}

/// A source whose keys can be computed, read once.
#[derive(Clone, Debug)]
enum Computed<'a> {
    Range { start: u64, end: u64, width: usize },
    Dates { first: Date, step: Step, count: u64 },
    Values(&'a [String]),
}

impl<'a> Computed<'a> {
    fn read(source: &'a ShardSource) -> Result<Self, ShardSourceError> {
        match source {
            ShardSource::Glob(_) | ShardSource::Manifest(_) | ShardSource::Matrix(_) => {
                Err(ShardSourceError::Listed)
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> ShardSource {
        ShardSource::Range { start, end }
    }

    #[test]
    fn range_keys_are_padded_to_one_width() {
        let all = |source: &ShardSource| keys(source).unwrap().collect::<Vec<_>>();
        assert_eq!(all(&range(8, 11)), ["08", "09", "10"]);
        assert_eq!(all(&range(0, 1)), ["0"]);
        assert_eq!(all(&range(0, 10)).last().unwrap(), "9");
        assert_eq!(key_at(&range(0, 1_000_000), 41), Some("000041".into()));
        assert_eq!(key_at(&range(0, 10), 10), None);
        assert_eq!(
            key_at(&range(u64::MAX - 1, u64::MAX), 0),
            Some((u64::MAX - 1).to_string())
        );
    }

    #[test]
    fn sources_without_shards_and_with_too_many_are_refused() {
        assert_eq!(keys(&range(5, 5)).unwrap_err(), ShardSourceError::Empty);
        assert_eq!(keys(&range(7, 5)).unwrap_err(), ShardSourceError::Empty);
        let error = keys(&range(0, 2_000_000)).unwrap_err();
        assert_eq!(error.code(), "TOO_MANY_SHARDS");
        assert_eq!(
            error.to_string(),
            "2,000,000 shards are more than the 1,000,000 a job may have; split the job"
        );
        assert_eq!(
            keys(&ShardSource::Glob("*".into())).unwrap_err(),
            ShardSourceError::Listed
        );
        let dates = ShardSource::Dates {
            first: "x".into(),
            last: "2024-01-01".into(),
            step: "1d".into(),
        };
        assert_eq!(keys(&dates).unwrap_err().code(), "INVALID_SHARD_SOURCE");
    }

    #[test]
    fn a_key_by_index_is_the_key_in_order() {
        let dates = ShardSource::Dates {
            first: "2024-01-31".into(),
            last: "2024-12-31".into(),
            step: "1mo".into(),
        };
        let values = ShardSource::Values(vec!["b".into(), "a/c".into()]);
        for source in [range(95, 105), dates, values] {
            let listed = keys(&source).unwrap();
            assert_eq!(Some(listed.count_all()), count(&source));
            assert_eq!(listed.size_hint().0, listed.clone().count());
            for (index, key) in listed.clone().enumerate() {
                let index = u64::try_from(index).unwrap();
                assert_eq!(listed.get(index), Some(key.clone()));
                assert_eq!(key_at(&source, index), Some(key));
            }
        }
    }

    #[test]
    fn globs_match_as_documented() {
        let deep = ShardGlob::new("**/*.xml").unwrap();
        assert!(deep.matches("a.xml") && deep.matches("x/y/a.xml") && !deep.matches("a.xmlx"));
        let flat = ShardGlob::new("*.{xml,json}").unwrap();
        assert!(flat.matches("a.json") && !flat.matches("x/a.json"));
        let deep = format!("{}a{}", "{x,".repeat(500), "}".repeat(500));
        let error = ShardGlob::new(&deep).unwrap_err().to_string();
        assert!(error.ends_with("it is too large or too deep"), "{error}");
        for bad in ["/abs/*.xml", "../*.xml", "a[", "{a", "a\\b"] {
            assert!(ShardGlob::new(bad).is_err(), "{bad}");
        }
    }
}
