//! What a submission reuses, and why the rest runs again.

use petctl_core::Rerun;
use petctl_job::PreparedJob;
use petctl_proto::v1::{self, DroppedShard, Submission as Became, SubmitJobResponse};
use petctl_spec::ShardGlob;
use petctl_ui::terminal::{count, describe_submission, printable, shards, thousands};
use std::collections::{BTreeMap, BTreeSet};

/// Keys that are named for a reason.
const MAX_KEYS: usize = 5;
/// Reasons in the order in which they are told, with their words.
const REASONS: [(&str, &str); 10] = [
    ("missing", "whose output is gone"),
    ("input", "input changed"),
    ("params", "with other parameters"),
    ("command", "command changed"),
    ("code", "code changed"),
    ("image", "image changed"),
    ("needs", "needs what runs again"),
    ("asked", "asked for"),
    ("failed", "failed before"),
    ("new", "new"),
];

/// Reads `--rerun`: `failed`, `all`, or a pattern of keys.
pub fn parse_rerun(text: &str) -> Result<Rerun, String> {
    match text {
        "all" => Ok(Rerun::All),
        "failed" => Ok(Rerun::Failed),
        pattern => ShardGlob::new(pattern)
            .map(|_| Rerun::Keys(pattern.to_owned()))
            .map_err(|error| {
                format!("{error}; write failed, all, or a pattern of keys such as 'drives/*'")
            }),
    }
}

/// What became of a submission, or would become.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reuse {
    /// Shards of the job.
    pub all: u64,
    /// Shards that need not run again.
    pub reused: u64,
    /// Why shards run.
    pub reruns: Vec<v1::RerunReason>,
    /// Stages and keys that are no part of the job any more.
    pub dropped: Vec<(String, String)>,
    /// Names of the stages.
    stages: Vec<String>,
}

/// Adds what a look at the output has found of shards that are no part of the job any more to what the coordinator says
/// of them.
pub fn add_left(answer: &mut SubmitJobResponse, left: Vec<(String, String)>) {
    let known: BTreeSet<(String, String)> = answer
        .dropped
        .iter()
        .map(|shard| (shard.stage.clone(), shard.key.clone()))
        .collect();
    let new = left.into_iter().filter(|shard| !known.contains(shard));
    let new: Vec<DroppedShard> = new
        .map(|(stage, key)| DroppedShard { stage, key })
        .collect();
    answer.dropped.extend(new);
}

impl Reuse {
    /// Of the answer to a submission.
    pub fn of(job: &PreparedJob, answer: &SubmitJobResponse) -> Self {
        let dropped = answer.dropped.iter();
        Self {
            all: job.all_shards(),
            reused: answer.reused,
            reruns: answer.reruns.clone(),
            dropped: dropped
                .map(|shard| (shard.stage.clone(), shard.key.clone()))
                .collect(),
            stages: job
                .spec
                .stages
                .iter()
                .map(|stage| stage.name.clone())
                .collect(),
        }
    }

    /// What became of the submission, in words.
    pub fn describe(&self, answer: &SubmitJobResponse) -> String {
        let submission = answer.submission();
        let decided = match submission {
            Became::New | Became::Retried | Became::Unspecified => self.sentence(),
            // It has only to be gone on with.
            Became::Resumed | Became::Finished => None,
        };
        decided.unwrap_or_else(|| describe_submission(submission, answer.reused))
    }

    /// "98 of 100 shards reused; 2 run again: 1 input changed, 1 new". `None`: there was nothing to reuse.
    pub fn sentence(&self) -> Option<String> {
        let run: u64 = self.reruns.iter().map(|reason| reason.shards).sum();
        let only_new = self.reruns.iter().all(|reason| reason.reason == "new");
        if self.reused == 0 && only_new {
            return None;
        }
        let head = match self.reused {
            0 => "nothing is reused".to_owned(),
            reused if reused == self.all && run == 0 => {
                return Some(format!("all {} reused", shards(reused)));
            }
            reused => format!("{} of {} reused", thousands(reused), shards(self.all)),
        };
        let why: Vec<String> = totals(&self.reruns)
            .map(|(words, number)| format!("{} {words}", thousands(number)))
            .collect();
        if why.is_empty() {
            return Some(head);
        }
        let verb = match (run, self.reused) {
            (1, 0) => "1 shard runs".to_owned(),
            (1, _) => "1 runs again".to_owned(),
            (run, 0) => format!("{} run", shards(run)),
            (run, _) => format!("{} run again", thousands(run)),
        };
        Some(format!("{head}; {verb}: {}", why.join(", ")))
    }

    /// Per stage and reason how many run, and the first of them.
    pub fn explained(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (index, stage) in self.stages.iter().enumerate() {
            let of_stage = self
                .reruns
                .iter()
                .filter(|reason| usize::try_from(reason.stage) == Ok(index));
            let mut reasons: Vec<&v1::RerunReason> = of_stage.collect();
            reasons.sort_by_key(|reason| place(&reason.reason));
            for reason in reasons {
                let named: Vec<String> = reason
                    .keys
                    .iter()
                    .take(MAX_KEYS)
                    .map(|key| printable(key))
                    .collect();
                let more = reason.shards.saturating_sub(named.len() as u64);
                let more = if more > 0 && !named.is_empty() {
                    format!(" and {more} more")
                } else {
                    String::new()
                };
                let names = if named.is_empty() {
                    String::new()
                } else {
                    format!(": {}", named.join(", "))
                };
                lines.push(format!(
                    "  {stage}: {} {}{names}{more}",
                    reason.shards,
                    words(&reason.reason)
                ));
            }
        }
        if !self.dropped.is_empty() {
            let gone = count(
                self.dropped.len() as u64,
                "shard that is",
                "shards that are",
            );
            let first: Vec<String> = self
                .dropped
                .iter()
                .take(MAX_KEYS)
                .map(|(stage, key)| printable(&format!("{stage}/{key}")))
                .collect();
            let more = self.dropped.len().saturating_sub(first.len());
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            lines.push(format!(
                "  outputs of {gone} no part of the job any more are put aside: {}{more}",
                first.join(", ")
            ));
        }
        lines
    }
}

fn totals(reruns: &[v1::RerunReason]) -> impl Iterator<Item = (String, u64)> {
    let mut totals: BTreeMap<usize, (String, u64)> = BTreeMap::new();
    for reason in reruns {
        let total = totals
            .entry(place(&reason.reason))
            .or_insert_with(|| (words(&reason.reason), 0));
        total.1 += reason.shards;
    }
    totals.into_values()
}

fn place(reason: &str) -> usize {
    let place = REASONS.iter().position(|(known, _)| *known == reason);
    place.unwrap_or(REASONS.len())
}

/// Of a coordinator that knows more reasons, as it says them.
fn words(reason: &str) -> String {
    let known = REASONS.iter().find(|(known, _)| *known == reason);
    known.map_or_else(|| printable(reason), |(_, words)| (*words).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reuse(reused: u64, reruns: &[(u32, &str, u64, &[&str])]) -> Reuse {
        let reason = |(stage, reason, shards, keys): &(u32, &str, u64, &[&str])| v1::RerunReason {
            stage: *stage,
            reason: (*reason).to_owned(),
            shards: *shards,
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        };
        Reuse {
            all: 100,
            reused,
            reruns: reruns.iter().map(reason).collect(),
            dropped: Vec::new(),
            stages: vec!["a".to_owned(), "b".to_owned()],
        }
    }

    #[test]
    fn it_says_how_many_are_reused_and_why_the_others_are_not() {
        let some = reuse(98, &[(0, "new", 1, &["z"]), (0, "input", 1, &["x"])]);
        assert_eq!(
            some.sentence().unwrap(),
            "98 of 100 shards reused; 2 run again: 1 input changed, 1 new"
        );
        assert_eq!(
            some.explained(),
            ["  a: 1 input changed: x", "  a: 1 new: z"]
        );
        let all = reuse(100, &[]);
        assert_eq!(all.sentence().unwrap(), "all 100 shards reused");
        let none = reuse(0, &[(0, "code", 60, &["k"]), (1, "needs", 40, &[])]);
        assert_eq!(
            none.sentence().unwrap(),
            "nothing is reused; 100 shards run: 60 code changed, 40 needs what runs again"
        );
        assert_eq!(
            none.explained(),
            [
                "  a: 60 code changed: k and 59 more",
                "  b: 40 needs what runs again"
            ]
        );
        assert_eq!(
            reuse(0, &[(0, "new", 100, &[])]).sentence(),
            None,
            "a first run"
        );
    }

    #[test]
    fn what_runs_again_is_a_word_or_a_pattern() {
        assert_eq!(parse_rerun("all"), Ok(Rerun::All));
        assert_eq!(parse_rerun("failed"), Ok(Rerun::Failed));
        assert_eq!(
            parse_rerun("drives/*"),
            Ok(Rerun::Keys("drives/*".to_owned()))
        );
        assert!(
            parse_rerun("/x")
                .unwrap_err()
                .contains("write failed, all, or a pattern")
        );
    }
}
