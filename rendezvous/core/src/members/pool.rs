//! Who belongs to a pool: the one rule by which memberships are decided.

/// Sizes of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) wanted: u32,
    pub(crate) unit: u32,
}

/// What to do with the workers that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Keep the first `keep` members (the oldest), admit the first `admit` candidates.
    Form { keep: usize, admit: usize },
    /// Too few for any epoch: members stay as they are and wait.
    TooFew,
}

/// Decides from the count of members that can stay and of candidates that wait.
///
/// The size is the largest multiple of `unit` that is at most `wanted` (itself at most `max`) and at most what is
/// there; below `min` no epoch forms. Members come before candidates, so survivors keep their order and their ranks
/// only move down.
pub(crate) fn plan(sizes: Sizes, members: usize, candidates: usize) -> Plan {
    let unit = sizes.unit.max(1) as usize;
    let there = members + candidates;
    let size = there.min(sizes.wanted.min(sizes.max) as usize) / unit * unit;
    if size == 0 || size < sizes.min as usize {
        return Plan::TooFew;
    }
    let keep = members.min(size);
    Plan::Form {
        keep,
        admit: size - keep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line of the table: sizes, members, candidates, and what comes of them.
    #[test]
    fn membership_follows_the_table() {
        let table = include_str!("../../testdata/membership.txt");
        let mut cases = 0;
        for line in table
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
        {
            let (given, expected) = line.split_once("->").unwrap();
            let n: Vec<u32> = given
                .split_whitespace()
                .map(|w| w.parse().unwrap())
                .collect();
            let sizes = Sizes {
                min: n[0],
                max: n[1],
                wanted: n[2],
                unit: n[3],
            };
            let actual = match plan(sizes, n[4] as usize, n[5] as usize) {
                Plan::Form { keep, admit } => format!("keep {keep} admit {admit}"),
                Plan::TooFew => "too few".to_owned(),
            };
            assert_eq!(actual, expected.trim(), "{line}");
            cases += 1;
        }
        assert!(cases >= 15, "the table has {cases} cases");
    }

    #[test]
    fn every_size_obeys_min_max_and_unit() {
        for min in 1..5 {
            for max in min..7 {
                for wanted in min..=max {
                    for unit in 1..4 {
                        for members in 0..7 {
                            for candidates in 0..7 {
                                let sizes = Sizes {
                                    min,
                                    max,
                                    wanted,
                                    unit,
                                };
                                let Plan::Form { keep, admit } = plan(sizes, members, candidates)
                                else {
                                    continue;
                                };
                                let size = keep + admit;
                                assert!(
                                    size >= min as usize
                                        && size <= max as usize
                                        && size % unit as usize == 0
                                );
                                assert!(keep <= members && admit <= candidates);
                                assert!(
                                    admit == 0 || keep == members,
                                    "members stay before candidates come"
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}
