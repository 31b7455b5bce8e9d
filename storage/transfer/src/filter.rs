//! Which files of a tree are meant.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Patterns of names that are taken and of names that are left out.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// `None`: everything.
    include: Option<GlobSet>,
    exclude: GlobSet,
}

/// A pattern that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is no pattern: {why}")]
pub struct BadPattern {
    /// As it was given.
    pub pattern: String,
    /// What is wrong with it.
    pub why: String,
}

impl Filter {
    /// Takes what fits one of `include` (everything, where there are none) and none of `exclude`. A pattern without `/`
    /// is for the name of a file or folder, wherever it is; one with `/` for the whole path. A folder that fits stands
    /// for everything in it. `*` does not go over a `/`, `**` does.
    ///
    /// # Errors
    /// [`BadPattern`]
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, BadPattern> {
        let include = if include.is_empty() {
            None
        } else {
            Some(set(include)?)
        };
        Ok(Self {
            include,
            exclude: set(exclude)?,
        })
    }

    /// Whether a path, with `/` between its parts, is meant.
    #[must_use]
    pub fn takes(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let included = self.include.as_ref().is_none_or(|set| set.is_match(path));
        included && !self.exclude.is_match(path)
    }
}

fn set(patterns: &[String]) -> Result<GlobSet, BadPattern> {
    let bad = |pattern: &str, why: &globset::Error| BadPattern {
        pattern: pattern.to_owned(),
        why: why.kind().to_string(),
    };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let trimmed = pattern.trim_end_matches('/');
        let anchored = match trimmed.strip_prefix('/') {
            Some(anchored) => anchored.to_owned(),
            None if trimmed.contains('/') => trimmed.to_owned(),
            None => format!("**/{trimmed}"),
        };
        for glob in [format!("{anchored}/**"), anchored] {
            let glob = GlobBuilder::new(&glob)
                .literal_separator(true)
                .backslash_escape(true)
                .build()
                .map_err(|why| bad(pattern, &why))?;
            set.add(glob);
        }
    }
    set.build()
        .map_err(|why| bad(why.glob().unwrap_or_default(), &why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> Filter {
        let owned = |patterns: &[&str]| -> Vec<String> {
            patterns.iter().map(|text| (*text).to_owned()).collect()
        };
        Filter::new(&owned(include), &owned(exclude)).unwrap()
    }

    #[test]
    fn a_pattern_without_a_slash_is_for_names_at_any_depth_and_folders_stand_for_what_is_in_them() {
        let png = filter(&["*.png", "results_summary.json"], &["thumbs"]);
        for taken in ["a.png", "resim/k/a.png", "resim/results_summary.json"] {
            assert!(png.takes(taken), "{taken}");
        }
        for left in ["a.txt", "thumbs/a.png", "x/thumbs/y/a.png", "a.png.txt"] {
            assert!(!png.takes(left), "{left}");
        }
        let deep = filter(&["resim/*/out", "/top.txt"], &[]);
        for taken in ["resim/k/out", "resim/k/out/b.bin", "top.txt"] {
            assert!(deep.takes(taken), "{taken}");
        }
        for left in ["resim/k/l/out", "x/resim/k/out", "x/top.txt"] {
            assert!(!deep.takes(left), "{left}");
        }
        assert!(filter(&[], &[]).takes("anything/é"));
    }

    #[test]
    fn a_pattern_that_is_none_is_named() {
        let error = Filter::new(&["a[".to_owned()], &[]).unwrap_err();
        assert!(error.to_string().contains("\"a[\""), "{error}");
    }
}
