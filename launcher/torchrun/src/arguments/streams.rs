//! `--redirects` and `--tee`: which streams of which local ranks.

use std::collections::BTreeMap;

/// Which of a process's streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Which {
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

/// For all local ranks, or for some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Streams {
    All(Which),
    Some(BTreeMap<u32, Which>),
}

impl Streams {
    /// Reads `3` or `0:1,1:2`.
    pub(crate) fn read(flag: &str, text: &str) -> Result<Self, String> {
        if let Some(which) = which(text) {
            return Ok(Self::All(which));
        }
        let part = |part: &str| {
            let (rank, streams) = part.split_once(':')?;
            Some((rank.parse().ok()?, which(streams)?))
        };
        text.split(',')
            .map(part)
            .collect::<Option<_>>()
            .map(Self::Some)
            .ok_or_else(|| {
                format!(
                    "--{flag} `{}` is neither 0, 1 (stdout), 2 (stderr) or 3 (both), nor a list by local rank such as \
                     0:1,1:2",
                    petctl_ui::terminal::printable(text)
                )
            })
    }

    /// Those of one local rank.
    pub(crate) fn of(&self, local_rank: u32) -> Which {
        match self {
            Self::All(which) => *which,
            Self::Some(map) => map.get(&local_rank).copied().unwrap_or_default(),
        }
    }
}

fn which(text: &str) -> Option<Which> {
    let (stdout, stderr) = match text {
        "0" => (false, false),
        "1" => (true, false),
        "2" => (false, true),
        "3" => (true, true),
        _ => return None,
    };
    Some(Which { stdout, stderr })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_given_for_all_ranks_or_by_rank() {
        let both = Which {
            stdout: true,
            stderr: true,
        };
        assert_eq!(Streams::read("tee", "3").unwrap().of(7), both);
        let some = Streams::read("tee", "0:3,12:1").unwrap();
        assert_eq!(some.of(0), both);
        assert!(some.of(12).stdout && !some.of(12).stderr);
        assert_eq!(some.of(1), Which::default());
        for bad in ["4", "", "0:4", "0:1,", "a:1", "0=1", "-1:1"] {
            assert!(
                Streams::read("tee", bad).unwrap_err().contains("--tee"),
                "{bad}"
            );
        }
    }
}
