//! `[storage] dated`: the date behind a job's output, so that each day's results have a place of their own.

use crate::home::JobCard;
use petctl_output::timestamp;
use petctl_spec::{JobSpec, ShardSource, StorageRoot};
use petctl_ui::error::{Code, Error, Result};
use std::time::SystemTime;

/// The date for a job: the one that was asked for; else that of the earlier start, while the job has not succeeded;
/// else today's, in UTC. `None`: the job is not dated.
pub fn choose(
    spec: &JobSpec,
    asked: Option<&str>,
    earlier: Option<&JobCard>,
    succeeded: bool,
) -> Result<Option<String>> {
    if !spec.storage.dated {
        return match asked {
            None => Ok(None),
            Some(date) => Err(Error::new(
                Code::Usage,
                format!(
                    "--date {date}: the output of job `{}` is not dated",
                    spec.name
                ),
            )
            .fix("leave --date out, or say `dated = true` in [storage]")),
        };
    }
    if let Some(date) = asked {
        check(date)?;
        return Ok(Some(date.to_owned()));
    }
    let kept = earlier
        .filter(|_| !succeeded)
        .and_then(|card| card.date.clone());
    Ok(Some(kept.unwrap_or_else(today)))
}

/// Puts the date behind the output.
pub fn put(spec: &mut JobSpec, date: &str) -> Result<()> {
    let output = spec.storage.output_root().dated(date);
    if StorageRoot::read(&output).is_none() {
        let what = format!("the dated output {output} is no name that Azure takes");
        return Err(Error::new(Code::OutputUnwritable, what)
            .fix("use a shorter container, or a prefix below it: az://CONTAINER/PREFIX"));
    }
    spec.storage.output = output;
    Ok(())
}

/// The date that an output of this job has.
pub fn of_output(spec: &JobSpec, output: &str) -> Option<String> {
    let date = output.get(output.len().checked_sub(10)?..)?;
    check(date).ok()?;
    let mut dated = spec.clone();
    put(&mut dated, date).ok()?;
    (dated.storage.output == output).then(|| date.to_owned())
}

fn check(date: &str) -> Result<()> {
    let day = ShardSource::Dates {
        first: date.to_owned(),
        last: date.to_owned(),
        step: "1d".to_owned(),
    };
    petctl_spec::shards::keys(&day).map(drop).map_err(|error| {
        Error::new(Code::Usage, format!("--date {date}: {error}"))
            .fix("write it like --date 2026-11-21")
    })
}

fn today() -> String {
    timestamp::rfc3339(SystemTime::now())
        .chars()
        .take(10)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dated(output: &str) -> Result<String> {
        let mut spec = job();
        output.clone_into(&mut spec.storage.output);
        put(&mut spec, "2026-11-21")?;
        Ok(spec.storage.output)
    }

    fn job() -> JobSpec {
        let text = "[job]\nname = \"j\"\n[storage]\noutput = \"out\"\n[[stage]]\nname = \"s\"\nkind = \"once\"\ncommand = [\"true\"]\n";
        petctl_spec::parse(text, "job.toml", "/", &[]).unwrap()
    }

    #[test]
    fn the_date_stands_behind_the_output() {
        assert_eq!(dated("/out").unwrap(), "/out_2026-11-21");
        assert_eq!(dated("az://con/a/b").unwrap(), "az://con/a/b_2026-11-21");
        assert_eq!(dated("az://nightly").unwrap(), "az://nightly-2026-11-21");
        let long = format!("az://{}", "c".repeat(60));
        assert_eq!(dated(&long).unwrap_err().code(), "OUTPUT_UNWRITABLE");
    }

    #[test]
    fn only_dates_that_exist_are_taken() {
        assert!(check("2024-02-29").is_ok());
        for bad in ["2026-02-29", "2026-13-01", "yesterday", "2026-1-1"] {
            assert_eq!(check(bad).unwrap_err().code(), "USAGE", "{bad}");
        }
    }
}
