//! Below which folders a pattern could fit.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Tells folders that may hold what fits a pattern from those that can't.
#[derive(Debug)]
pub(super) struct Reach {
    /// The beginnings of the pattern; `None`: any folder may.
    folders: Option<GlobSet>,
}

impl Reach {
    pub(super) fn new(pattern: &str) -> Self {
        Self {
            folders: folders(pattern),
        }
    }

    /// Whether something below the folder could fit.
    pub(super) fn holds(&self, folder: &str) -> bool {
        self.folders
            .as_ref()
            .is_none_or(|folders| folders.is_match(folder))
    }
}

fn folders(pattern: &str) -> Option<GlobSet> {
    let pattern = pattern.trim_end_matches('/');
    // Braces may have slashes in them: then their parts are no folders.
    let mut depth = 0_usize;
    for character in pattern.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            '/' if depth > 0 => return None,
            _ => {}
        }
    }
    let parts: Vec<&str> = pattern.split('/').collect();
    let mut set = GlobSetBuilder::new();
    for end in 1..parts.len() + 1 {
        let open = parts[end - 1] == "**";
        if end == parts.len() && !open {
            break;
        }
        let beginning = parts[..end].join("/");
        let mut glob = GlobBuilder::new(&beginning);
        glob.literal_separator(true).backslash_escape(false);
        set.add(glob.build().ok()?);
        if open {
            // `a/**/x` fits `a/x` too.
            set.add(globset::Glob::new(&parts[..end - 1].join("/")).ok()?);
            break;
        }
    }
    set.build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_on_the_way_hold_what_fits() {
        for (pattern, holds, not) in [
            ("*.xml", vec![], vec!["a", "a/b"]),
            ("a/*.xml", vec!["a"], vec!["b", "a/b"]),
            ("a/*/c/*.xml", vec!["a", "a/x", "a/x/c"], vec!["b", "a/x/d"]),
            ("**/*.xml", vec!["a", "a/b/c"], vec![]),
            ("a/**/*.xml", vec!["a", "a/b", "a/b/c"], vec!["b"]),
            ("a/**", vec!["a", "a/b"], vec!["b"]),
            ("{a,b}/*.xml", vec!["a", "b"], vec!["c"]),
            ("{a/b,c}/*.xml", vec!["a", "x"], vec![]),
            ("bags/*/", vec!["bags"], vec!["bags/a"]),
        ] {
            let reach = Reach::new(pattern);
            for folder in holds {
                assert!(reach.holds(folder), "{pattern}: {folder}");
            }
            for folder in not {
                assert!(!reach.holds(folder), "{pattern}: {folder}");
            }
        }
    }
}
