//! Who trains: the rules by which a training group forms, grows and shrinks.

use crate::members::pool::Sizes;
use petctl_spec::Grow;

/// Who is there while no process runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Present {
    /// Members that stay.
    pub(crate) members: usize,
    /// Workers that wait outside.
    pub(crate) candidates: usize,
    /// Of either kind, on top of them: those that failed too often.
    pub(crate) left_out: usize,
}

/// What a group without processes does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forming {
    /// Form an epoch of `size`, with so many of the left out among them.
    Form { size: usize, left_out: usize },
    /// Enough are there; the others that are wanted may still come.
    Settle,
    /// Too few are there.
    TooFew,
}

/// What a running group does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resizing {
    /// It goes on.
    Stay,
    /// It stops, to form again with those who came.
    Grow,
    /// It stops when the next checkpoint is complete.
    GrowLater,
    /// It stops, to form again with fewer.
    Shrink,
}

/// How many are wanted: the largest multiple of `unit` that is at most `wanted`, itself at most `max`.
pub(crate) fn target(sizes: Sizes) -> usize {
    multiple(sizes.wanted.min(sizes.max) as usize, sizes)
}

/// The fewest that may train.
pub(crate) fn fewest(sizes: Sizes) -> usize {
    let unit = sizes.unit.max(1) as usize;
    (sizes.min.max(1) as usize).div_ceil(unit) * unit
}

fn multiple(count: usize, sizes: Sizes) -> usize {
    let unit = sizes.unit.max(1) as usize;
    count / unit * unit
}

/// Decides whether an epoch forms now. `fresh`: this group has not trained yet, so that those who were promised are
/// on their way; `settled`: they have had their time.
pub(crate) fn form(sizes: Sizes, present: Present, fresh: bool, settled: bool) -> Forming {
    let (target, fewest) = (target(sizes), fewest(sizes));
    let good = present.members + present.candidates;
    if good + present.left_out < fewest || target < fewest {
        return Forming::TooFew;
    }
    let size = multiple(good.min(target), sizes);
    if fresh && !settled && size < target {
        return Forming::Settle;
    }
    if size < fewest {
        let left_out = fewest - good;
        return Forming::Form {
            size: fewest,
            left_out,
        };
    }
    Forming::Form { size, left_out: 0 }
}

/// Decides whether a running group of `size` goes on, with so many good candidates waiting. `checkpoint`: one has
/// just been completed.
pub(crate) fn resize(
    sizes: Sizes,
    size: usize,
    candidates: usize,
    grow: Grow,
    checkpoint: bool,
) -> Resizing {
    let target = target(sizes);
    if target < size && target >= fewest(sizes) {
        return Resizing::Shrink;
    }
    if multiple((size + candidates).min(target), sizes) <= size {
        return Resizing::Stay;
    }
    match grow {
        Grow::Now => Resizing::Grow,
        Grow::Checkpoint if checkpoint => Resizing::Grow,
        Grow::Checkpoint => Resizing::GrowLater,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str) -> Vec<u32> {
        text.split_whitespace()
            .map(|w| w.parse().unwrap())
            .collect()
    }

    fn sizes(n: &[u32]) -> Sizes {
        Sizes {
            min: n[0],
            max: n[1],
            wanted: n[2],
            unit: n[3],
        }
    }

    fn rows(table: &str) -> impl Iterator<Item = (&str, Vec<&str>, &str)> {
        table
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
            .map(|line| {
                let (given, expected) = line.split_once("->").unwrap();
                (line, given.split('|').collect(), expected.trim())
            })
    }

    #[test]
    fn forming_follows_the_table() {
        let mut cases = 0;
        for (line, given, expected) in rows(include_str!("../../testdata/forming.txt")) {
            let there = numbers(given[1]);
            let present = Present {
                members: there[0] as usize,
                candidates: there[1] as usize,
                left_out: there[2] as usize,
            };
            let (fresh, settled) = match given[2].trim() {
                "first" => (true, false),
                "settled" => (true, true),
                "again" => (false, false),
                other => panic!("{other}"),
            };
            let actual = match form(sizes(&numbers(given[0])), present, fresh, settled) {
                Forming::Form { size, left_out: 0 } => format!("form {size}"),
                Forming::Form { size, left_out } => format!("form {size} with {left_out} left out"),
                Forming::Settle => "settle".to_owned(),
                Forming::TooFew => "too few".to_owned(),
            };
            assert_eq!(actual, expected, "{line}");
            cases += 1;
        }
        assert!(cases >= 20, "the table has {cases} cases");
    }

    #[test]
    fn resizing_follows_the_table() {
        let mut cases = 0;
        for (line, given, expected) in rows(include_str!("../../testdata/resizing.txt")) {
            let there = numbers(given[1]);
            let (grow, checkpoint) = match given[2].trim() {
                "now" => (Grow::Now, false),
                "checkpoint" => (Grow::Checkpoint, false),
                "checkpoint complete" => (Grow::Checkpoint, true),
                other => panic!("{other}"),
            };
            let actual = match resize(
                sizes(&numbers(given[0])),
                there[0] as usize,
                there[1] as usize,
                grow,
                checkpoint,
            ) {
                Resizing::Stay => "stay",
                Resizing::Grow => "grow",
                Resizing::GrowLater => "grow at the next checkpoint",
                Resizing::Shrink => "shrink",
            };
            assert_eq!(actual, expected, "{line}");
            cases += 1;
        }
        assert!(cases >= 15, "the table has {cases} cases");
    }

    #[test]
    fn every_size_obeys_min_max_and_unit_and_takes_nobody_twice() {
        for min in 1..5 {
            for max in min..7 {
                for wanted in min..=max {
                    for unit in 1..4 {
                        for there in 0..343_usize {
                            let sizes = Sizes {
                                min,
                                max,
                                wanted,
                                unit,
                            };
                            let present = Present {
                                members: there % 7,
                                candidates: there / 7 % 7,
                                left_out: there / 49,
                            };
                            for (fresh, settled) in [(true, false), (true, true), (false, false)] {
                                let Forming::Form { size, left_out } =
                                    form(sizes, present, fresh, settled)
                                else {
                                    continue;
                                };
                                assert!(size >= min as usize && size <= wanted as usize);
                                assert_eq!(size % unit as usize, 0);
                                assert!(left_out <= present.left_out);
                                let good = size - left_out;
                                assert!(good <= present.members + present.candidates);
                            }
                        }
                    }
                }
            }
        }
    }
}
