//! What a shard's key may look like: it is the name of a folder below the output folder.

use crate::model::MAX_SHARDS;
use petctl_codes::Code;
use petctl_text::words::{shown, thousands};

/// Longest key in bytes.
pub const MAX_KEY_BYTES: usize = 512;
/// Longest part of a key between two `/`, in bytes.
pub const MAX_COMPONENT_BYTES: usize = 200;
/// Names that start with this are petctl's own.
pub const RESERVED_PREFIX: &str = ".petctl";

/// Why a key can't be the name of an output folder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// Nothing at all.
    #[error("it is empty")]
    Empty,
    /// More than [`MAX_KEY_BYTES`].
    #[error("it is longer than {MAX_KEY_BYTES} bytes")]
    TooLong,
    /// `/` in front.
    #[error("it starts with `/`; keys are relative")]
    Absolute,
    /// `a//b` or `a/`.
    #[error("it has an empty part between or behind its `/`")]
    EmptyComponent,
    /// `.` or `..`.
    #[error("it has the part `{0}`, which leads to another folder")]
    Dots(&'static str),
    /// A part with more than [`MAX_COMPONENT_BYTES`].
    #[error("it has a part that is longer than {MAX_COMPONENT_BYTES} bytes")]
    ComponentTooLong,
    /// A control character.
    #[error("it has the control character {}", .0.escape_unicode())]
    Control(char),
    /// `\`.
    #[error("it has a `\\`; folders are separated by `/`")]
    Backslash,
    /// A part that starts with [`RESERVED_PREFIX`].
    #[error(
        "it has a part that starts with `{RESERVED_PREFIX}`, a name that petctl keeps for itself"
    )]
    Reserved,
    /// The same key twice.
    #[error("it is there twice; every shard has a key of its own")]
    Duplicate,
    /// `a` and `a/b`.
    #[error("its folder would lie in that of the shard `{0}`")]
    Inside(String),
}

/// A key that can't be used, or too many of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// One key is the trouble.
    #[error("shard key `{}`: {problem}", shown(.key))]
    Invalid {
        /// The key.
        key: String,
        /// Its place in the list.
        index: usize,
        /// What is wrong with it.
        problem: KeyProblem,
    },
    /// More than [`MAX_SHARDS`].
    #[error("{} shards are more than the {} a job may have; split the job", thousands(*.0 as u128), thousands(u128::from(MAX_SHARDS)))]
    TooMany(usize),
    /// None at all.
    #[error("the stage has no shards")]
    None,
}

impl KeyError {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid { .. } => Code::InvalidShardKey,
            Self::TooMany(_) => Code::TooManyShards,
            Self::None => Code::NoShards,
        }
    }
}

/// Checks one key by itself.
///
/// # Errors
/// [`KeyProblem`]: the first thing that is wrong with it.
pub fn check_key(key: &str) -> Result<(), KeyProblem> {
    if key.is_empty() {
        return Err(KeyProblem::Empty);
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(KeyProblem::TooLong);
    }
    if key.starts_with('/') {
        return Err(KeyProblem::Absolute);
    }
    if key.contains('\\') {
        return Err(KeyProblem::Backslash);
    }
    if let Some(control) = key.chars().find(|c| c.is_control()) {
        return Err(KeyProblem::Control(control));
    }
    key.split('/').try_for_each(check_component)
}

fn check_component(component: &str) -> Result<(), KeyProblem> {
    match component {
        "" => Err(KeyProblem::EmptyComponent),
        "." => Err(KeyProblem::Dots(".")),
        ".." => Err(KeyProblem::Dots("..")),
        _ if component.len() > MAX_COMPONENT_BYTES => Err(KeyProblem::ComponentTooLong),
        _ if component.starts_with(RESERVED_PREFIX) => Err(KeyProblem::Reserved),
        _ => Ok(()),
    }
}

/// Checks the keys of one stage, each by itself and all together.
///
/// # Errors
/// [`KeyError`]: the first key that can't be used, a key that is there twice, one whose folder would lie in
/// another's, no keys at all or too many.
pub fn check_keys<S: AsRef<str>>(keys: &[S]) -> Result<(), KeyError> {
    if keys.is_empty() {
        return Err(KeyError::None);
    }
    if u64::try_from(keys.len()).is_ok_and(|count| count > MAX_SHARDS) {
        return Err(KeyError::TooMany(keys.len()));
    }
    for (index, key) in keys.iter().enumerate() {
        let key = key.as_ref();
        check_key(key).map_err(|problem| KeyError::Invalid {
            key: key.to_owned(),
            index,
            problem,
        })?;
    }
    let mut sorted = keys.iter().map(AsRef::as_ref).collect::<Vec<&str>>();
    if !sorted.is_sorted() {
        sorted.sort_unstable();
    }
    match find_clash(&sorted) {
        None => Ok(()),
        Some((key, problem)) => {
            // Of two equal keys the second is the one too many.
            let index = keys
                .iter()
                .rposition(|other| other.as_ref() == key)
                .unwrap_or(0);
            Err(KeyError::Invalid {
                key: key.to_owned(),
                index,
                problem,
            })
        }
    }
}

/// In sorted keys, one that is there twice or whose folder would lie in another's.
fn find_clash<'a>(sorted: &[&'a str]) -> Option<(&'a str, KeyProblem)> {
    let (key, other) = clashes(sorted).next()?;
    let problem = if sorted[key] == sorted[other] {
        KeyProblem::Duplicate
    } else {
        KeyProblem::Inside(shown(sorted[other]))
    };
    Some((sorted[key], problem))
}

/// In sorted keys, each that is there twice or whose folder would lie in another's, with that other.
pub(crate) fn clashes<'k>(sorted: &'k [&'k str]) -> impl Iterator<Item = (usize, usize)> + 'k {
    // The keys that the current one starts with: in sorted order they are the last ones not yet left behind.
    let mut starts: Vec<usize> = Vec::new();
    (0..sorted.len()).filter_map(move |at| {
        let key = sorted[at];
        while starts
            .last()
            .is_some_and(|start| !key.starts_with(sorted[*start]))
        {
            starts.pop();
        }
        if let Some(same) = starts.last().filter(|start| sorted[**start] == key) {
            return Some((at, *same));
        }
        let folder = |start: &&usize| key.as_bytes().get(sorted[**start].len()) == Some(&b'/');
        let inside = starts.iter().find(folder).copied();
        starts.push(at);
        inside.map(|other| (at, other))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn keys_that_are_no_folder_are_refused() {
        for (key, problem) in [
            ("", KeyProblem::Empty),
            (&"a/".repeat(257)[..513], KeyProblem::TooLong),
            ("/a", KeyProblem::Absolute),
            ("a//b", KeyProblem::EmptyComponent),
            ("a/", KeyProblem::EmptyComponent),
            ("..", KeyProblem::Dots("..")),
            ("a/../b", KeyProblem::Dots("..")),
            ("./a", KeyProblem::Dots(".")),
            (&"x".repeat(201), KeyProblem::ComponentTooLong),
            ("a\nb", KeyProblem::Control('\n')),
            ("a\u{85}b", KeyProblem::Control('\u{85}')),
            ("a\0", KeyProblem::Control('\0')),
            ("a\\b", KeyProblem::Backslash),
            ("a/.petctl", KeyProblem::Reserved),
            (".petctl-x/a", KeyProblem::Reserved),
        ] {
            assert_eq!(check_key(key), Err(problem), "{key}");
        }
        for key in [
            "a",
            "a/b.xml",
            "...",
            ".hidden",
            "a b",
            "ä/ö",
            "a..b",
            &"x".repeat(200),
        ] {
            assert_eq!(check_key(key), Ok(()), "{key}");
        }
    }

    #[test]
    fn keys_that_clash_are_refused() {
        let message = |keys: &[&str]| check_keys(keys).map_err(|error| error.to_string());
        assert_eq!(message(&["a", "b", "a-b", "ab", "a.b/c"]), Ok(()));
        assert_eq!(
            message(&["a", "b", "a"]),
            Err("shard key `a`: it is there twice; every shard has a key of its own".into())
        );
        assert_eq!(
            message(&["a/b", "a-b", "a.b", "a"]),
            Err("shard key `a/b`: its folder would lie in that of the shard `a`".into())
        );
        assert_eq!(
            message(&["x/y/z", "x/y0", "x-", "x/y"]),
            Err("shard key `x/y/z`: its folder would lie in that of the shard `x/y`".into())
        );
        assert_eq!(
            message(&["ok", "../etc"]),
            Err("shard key `../etc`: it has the part `..`, which leads to another folder".into())
        );
        assert_eq!(message(&[]), Err("the stage has no shards".into()));
        assert_eq!(
            check_keys(&["b", "a", "b"]).map_err(|error| error.code()),
            Err(Code::InvalidShardKey)
        );
    }

    #[test]
    fn a_million_keys_are_checked_with_one_sort() {
        // Backwards, so that they must be sorted.
        let keys = (0..1_000_000)
            .rev()
            .map(|n| format!("drives/{:03}/{n:07}.xml", n % 997))
            .collect::<Vec<_>>();
        let start = Instant::now();
        assert_eq!(check_keys(&keys), Ok(()));
        // It takes a quarter of a second; the room is for machines that have other work. Comparing pairs takes hours.
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{:?}",
            start.elapsed()
        );
    }

    #[test]
    fn the_clash_search_agrees_with_comparing_all_pairs() {
        let mut random = 7_u64;
        for _ in 0..3_000 {
            let mut keys = Vec::new();
            for _ in 0..6 {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let length = 1 + (random >> 60) % 5;
                let key = (0..length).map(|n| {
                    ["a", "b", "/", "-"][usize::try_from((random >> (20 + 2 * n)) % 4).unwrap()]
                });
                keys.push(key.collect::<String>());
            }
            keys.retain(|key| check_key(key).is_ok());
            if keys.is_empty() {
                continue;
            }
            let inside = |a: &String, b: &String| a == b || b.starts_with(&format!("{a}/"));
            let clash = keys
                .iter()
                .enumerate()
                .any(|(i, a)| keys.iter().enumerate().any(|(j, b)| i != j && inside(a, b)));
            assert_eq!(check_keys(&keys).is_err(), clash, "{keys:?}");
        }
    }
}
