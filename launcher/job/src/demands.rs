//! What a job file demands of its shards that can only be told once they are listed.

use crate::listing::Listed;
use petctl_spec::{JobSpec, MinDone, ShardSource};
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::terminal::shards;

/// Refuses stages of which more shards must be done than were listed: they would run, and fail the job at its end.
pub(crate) fn check(spec: &JobSpec, listed: &[Listed]) -> Result<()> {
    for (stage, listed) in spec.stages.iter().zip(listed) {
        let MinDone::Shards(min) = stage.dispatch.min_done else {
            continue;
        };
        let count = listed.keys.len() as u64;
        let place = match stage.kind.source() {
            Some(ShardSource::Glob(pattern)) => format!("listed by `{pattern}`"),
            Some(ShardSource::Manifest(path)) => format!("listed in {path}"),
            // Of what is computed the job file alone says it.
            Some(_) | None => continue,
        };
        if min > count {
            let what = format!(
                "stage `{}`: min_done is {min}, and {} {} {place}",
                stage.name,
                shards(count),
                if count == 1 { "is" } else { "are" }
            );
            return Err(Error::new(Code::JobFileValue, what).fix(format!(
                "use a number from 1 to {count}, or a percentage such as \"80%\"; or look why shards are missing"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A job with these shards, of which so many are to be done.
    fn job(source: &str, min: &str) -> JobSpec {
        let text = format!(
            "[job]\nname = \"j\"\n[storage]\ninput = \"in\"\noutput = \"out\"\n[[stage]]\nname = \"s\"\n\
             kind = \"shards\"\nshards = {source}\nmin_done = {min}\ncommand = [\"cat\", \"{{input}}\"]\n"
        );
        petctl_spec::parse(&text, "job.toml", "/job", &[]).unwrap()
    }

    fn checked(source: &str, min: &str, keys: usize) -> Result<()> {
        let listed = Listed {
            keys: (0..keys).map(|key| key.to_string()).collect(),
            ..Listed::default()
        };
        check(&job(source, min), &[listed])
    }

    #[test]
    fn more_than_were_listed_can_not_be_done() {
        let glob = "{ glob = \"*.xml\" }";
        checked(glob, "9", 9).unwrap();
        checked(glob, "\"100%\"", 9).unwrap();
        let error = checked(glob, "12", 9).unwrap_err();
        assert_eq!(error.code(), "JOB_FILE_VALUE");
        let said = "stage `s`: min_done is 12, and 9 shards are listed by `*.xml`";
        assert!(error.to_string().contains(said), "{error}");
        let manifest = "{ manifest = \"m.jsonl\" }";
        let error = checked(manifest, "2", 1).unwrap_err().to_string();
        assert!(
            error.contains("min_done is 2, and 1 shard is listed in"),
            "{error}"
        );
    }
}
