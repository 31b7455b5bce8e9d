//! One run at a time on one output: its record is taken, renewed and given back.

use super::unwritable;
use crate::home::now_ms;
use petctl_commit::{CommitError, RunPlace, RunRecordError, Whose};
use petctl_output::run::{RENEWED_EVERY_MS, RunRecord};
use petctl_spec::StorageSpec;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::terminal::ago;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// The record of a run at its output.
#[derive(Clone, Debug)]
pub struct Hold {
    /// Folders that were not there before.
    made: Vec<PathBuf>,
    place: RunPlace,
    output: String,
    record: RunRecord,
    lineage: u64,
}

impl Hold {
    /// Takes the output of a job for a run whose state `keeper` keeps, and whose leases are of `lineage` (0: nobody knows
    /// yet). One that looks as if its run had died is watched for as long as a living run needs to renew it; `waiting` is
    /// told so.
    ///
    /// # Errors
    /// [`Code::OutputBusy`] where another run works on it, those of reading and writing.
    pub async fn take(
        (job, storage): (&str, &StorageSpec),
        keeper: &str,
        lineage: u64,
        waiting: &dyn Fn(&str),
    ) -> Result<Self> {
        let place = RunPlace::of(storage)?;
        let mut made = Vec::new();
        if let RunPlace::Folder(layout) = &place {
            let folders = [layout.state(), layout.root().to_owned()];
            made.extend(folders.into_iter().filter(|folder| !folder.exists()));
        }
        let now = now_ms();
        let mut hold = Self {
            made,
            place,
            output: storage.output.clone(),
            record: RunRecord {
                job: job.to_owned(),
                keeper: keeper.to_owned(),
                lineage: String::new(),
                who: who(),
                since_ms: now,
                renewed_ms: now,
                left: false,
            },
            lineage: 0,
        };
        hold.name(lineage);
        let mut seen: Option<RunRecord> = None;
        loop {
            let whose = hold
                .write(false, |found| seen.as_ref() == Some(found))
                .await?;
            let Whose::Theirs(theirs) = whose else {
                return Ok(hold);
            };
            if theirs.is_fresh(now_ms()) || seen.as_ref().is_some_and(|seen| *seen != theirs) {
                return Err(hold.busy(&theirs));
            }
            waiting(&format!(
                "{} is marked as in use by {}, last heard of {}; looking whether that still lives",
                hold.output,
                theirs.who,
                ago(now_ms(), theirs.renewed_ms)
            ));
            tokio::time::sleep(Duration::from_millis(RENEWED_EVERY_MS * 3 / 2)).await;
            seen = Some(theirs);
        }
    }

    /// Says where the run's leases are from, from the next renewal on: its workers renew the record too, by that.
    pub fn name(&mut self, lineage: u64) {
        if lineage != 0 {
            self.lineage = lineage;
            self.record.lineage = format!("{lineage:016x}");
        }
    }

    /// Says that the run still lives. Only where its record stands: one that is gone was taken over, and whoever did that
    /// may have ended since.
    ///
    /// # Errors
    /// [`Code::OutputBusy`] where another run has taken the output over; those of writing, which may pass.
    pub async fn renew(&mut self) -> Result<()> {
        match self.write(true, |_| false).await? {
            Whose::Ours => Ok(()),
            Whose::Theirs(theirs) => Err(self.busy(&theirs)),
            Whose::Nobodys => Err(self.gone()),
        }
    }

    /// Leaves the record to the run's workers: this process says no more that the run lives.
    ///
    /// # Errors
    /// As [`Self::renew`].
    pub async fn leave(mut self) -> Result<()> {
        self.record.left = true;
        self.renew().await
    }

    /// Gives the output back. What can't be removed grows stale.
    pub async fn release(self) {
        let removed = self
            .place
            .remove(|found| found.is_of(&self.record.keeper, self.lineage));
        if removed.await.unwrap_or(false) {
            // A start that was refused leaves nothing behind.
            for folder in &self.made {
                let _not_empty = fs::remove_dir(folder);
            }
        }
    }

    /// Writes the record where it is free, or theirs and dead; else says whose it is. One that is renewed must be there.
    async fn write(&mut self, renews: bool, is_dead: impl Fn(&RunRecord) -> bool) -> Result<Whose> {
        self.record.renewed_ms = now_ms();
        // One of the same keeper is free: it lets nobody else run.
        let (keeper, lineage) = (&self.record.keeper, self.lineage);
        let is_free = |found: &RunRecord| found.is_of(keeper, lineage) || is_dead(found);
        match self.place.put(&self.record, renews, is_free).await {
            Ok(whose) => Ok(whose),
            Err(RunRecordError::Storage(error)) => Err(error.into()),
            Err(RunRecordError::Folder(CommitError::Folder { verb, path, reason })) => {
                Err(unwritable(&path.display(), verb, &reason))
            }
            Err(RunRecordError::Folder(CommitError::DiskFull { verb, path })) => {
                let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
                Err(unwritable(&path.display(), verb, &full))
            }
            Err(RunRecordError::Folder(error)) => Err(unwritable(&self.output, "write to", &error)),
            Err(error @ RunRecordError::Restless) => {
                let what = format!("can't take {}", self.output);
                Err(Error::new(Code::OutputBusy, what)
                    .because(&error)
                    .fix("run the job from one place at a time"))
            }
        }
    }

    fn gone(&self) -> Error {
        let what = format!(
            "another run had {} while this one stood still, or its record was removed",
            self.output
        );
        Error::new(Code::OutputBusy, what).fix("run the job again: it goes on where it is")
    }

    fn busy(&self, theirs: &RunRecord) -> Error {
        let now = now_ms();
        let what = format!(
            "{} is in use by another run of job `{}`: {}, with its state in {}, started {}, last heard of {}",
            self.output,
            theirs.job,
            theirs.who,
            theirs.keeper,
            ago(now, theirs.since_ms),
            ago(now, theirs.renewed_ms)
        );
        Error::new(Code::OutputBusy, what).fix(
            "wait for its end, or stop it there; one that died without a word is noticed after a minute",
        )
    }
}

fn who() -> String {
    let user = ["USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    format!(
        "{}@{}",
        user.unwrap_or_else(|| "somebody".to_owned()),
        host()
    )
}

/// This machine's name.
#[must_use]
pub fn host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use petctl_spec::JobSpec;

    fn spec(output: &std::path::Path) -> JobSpec {
        let text = "[job]\nname = \"j\"\n[storage]\noutput = \"out\"\n[[stage]]\nname = \"s\"\nkind = \"once\"\n\
                    command = [\"true\"]\n";
        petctl_spec::parse(text, "job.toml", output.to_str().unwrap(), &[]).unwrap()
    }

    async fn take(spec: &JobSpec, keeper: &str) -> Result<Hold> {
        Hold::take((&spec.name, &spec.storage), keeper, 0, &|_| {
            panic!("nobody waits for a fresh record")
        })
        .await
    }

    #[tokio::test]
    async fn of_two_runs_one_has_the_output_until_it_gives_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let spec = spec(folder.path());
        let mut first = take(&spec, "here:/a").await.unwrap();
        let busy = take(&spec, "there:/b").await.unwrap_err();
        assert_eq!(busy.code(), "OUTPUT_BUSY");
        assert!(
            busy.to_string().contains("with its state in here:/a"),
            "{busy}"
        );
        first.renew().await.unwrap();
        // A run that goes on with the same state: its lock says that the one before is gone.
        let again = take(&spec, "here:/a").await.unwrap();
        again.release().await;
        let second = take(&spec, "there:/b").await.unwrap();
        let lost = first.renew().await.unwrap_err();
        assert_eq!(lost.code(), "OUTPUT_BUSY");
        // Whoever lost it takes nothing back.
        first.clone().release().await;
        assert!(take(&spec, "here:/a").await.is_err());
        second.release().await;
        // Nor does it go on when the other one has ended.
        assert_eq!(first.renew().await.unwrap_err().code(), "OUTPUT_BUSY");
        take(&spec, "here:/a").await.unwrap();
    }
}
