//! One run at a time on one output: its record is taken, renewed and given back.

use super::blobs::get;
use super::unwritable;
use crate::home::{now_ms, read_bounded};
use petctl_output::layout::Layout;
use petctl_output::layout::blob::OWN_PREFIX;
use petctl_output::record;
use petctl_output::run::{FILE_NAME, RENEWED_EVERY_MS, RunRecord};
use petctl_output::write_whole_unsynced;
use petctl_spec::JobSpec;
use petctl_storage::{Condition, PutOutcome, SharedStore, StorageProblem};
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::terminal::ago;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// How often somebody else may change the record under our hands before we give up.
const MAX_ROUNDS: u32 = 20;

/// The record of a run at its output.
#[derive(Clone, Debug)]
pub struct Hold {
    /// Folders that were not there before.
    made: Vec<PathBuf>,
    place: Place,
    output: String,
    record: RunRecord,
}

#[derive(Clone, Debug)]
enum Place {
    Folder(Layout),
    Blobs(SharedStore),
}

/// Whose the output is, after an attempt to write the record.
enum Whose {
    Ours,
    Theirs(RunRecord),
    /// There is no record any more: whoever had the output meanwhile has given it back.
    Nobodys,
}

impl Hold {
    /// Takes the output for a run whose state `keeper` keeps. One that looks as if its run had died is watched for as
    /// long as a living run needs to renew it; `waiting` is told so.
    ///
    /// # Errors
    /// [`Code::OutputBusy`] where another run works on it, those of reading and writing.
    pub async fn take(spec: &JobSpec, keeper: &str, waiting: &dyn Fn(&str)) -> Result<Self> {
        let root = spec.storage.output_root();
        let place = match root.folder() {
            Some(folder) => Place::Folder(Layout::new(folder)),
            None => Place::Blobs(petctl_storage::open(&root, &spec.storage.access)?),
        };
        let now = now_ms();
        let mut hold = Self {
            made: Vec::new(),
            place,
            output: spec.storage.output.clone(),
            record: RunRecord {
                job: spec.name.clone(),
                keeper: keeper.to_owned(),
                who: who(),
                since_ms: now,
                renewed_ms: now,
            },
        };
        let mut seen: Option<RunRecord> = None;
        loop {
            let whose = hold
                .write(|found| seen.as_ref() == Some(found), false)
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

    /// Says that the run still lives. Only where its record stands: one that is gone was taken over, and whoever did that
    /// may have ended since.
    ///
    /// # Errors
    /// [`Code::OutputBusy`] where another run has taken the output over; those of writing, which may pass.
    pub async fn renew(&mut self) -> Result<()> {
        match self.write(|_| false, true).await? {
            Whose::Ours => Ok(()),
            Whose::Theirs(theirs) => Err(self.busy(&theirs)),
            Whose::Nobodys => Err(self.gone()),
        }
    }

    /// Gives the output back. What can't be removed grows stale.
    pub async fn release(self) {
        let ours = |found: Option<RunRecord>| {
            found.is_some_and(|found| found.keeper == self.record.keeper)
        };
        match &self.place {
            Place::Folder(layout) => {
                let path = layout.state().join(FILE_NAME);
                if ours(read_record(layout).ok().flatten()) {
                    let _stale = fs::remove_file(path);
                    // A start that was refused leaves nothing behind.
                    for folder in &self.made {
                        let _not_empty = fs::remove_dir(folder);
                    }
                }
            }
            Place::Blobs(store) => {
                let name = format!("{OWN_PREFIX}{FILE_NAME}");
                if let Ok(Some((text, etag))) = get(store, &name).await
                    && ours(record::from_bytes(&text))
                {
                    let _stale = store.delete(&name, Some(&etag)).await;
                }
            }
        }
    }

    /// Writes the record where it is free, or theirs and dead; else says whose it is. One that is renewed must be there.
    async fn write(&mut self, is_dead: impl Fn(&RunRecord) -> bool, renews: bool) -> Result<Whose> {
        self.record.renewed_ms = now_ms();
        // One of the same keeper is free: it lets nobody else run.
        let refused = |found: Option<RunRecord>| match found {
            None if renews => Some(Whose::Nobodys),
            Some(found) if found.keeper != self.record.keeper && !is_dead(&found) => {
                Some(Whose::Theirs(found))
            }
            Some(_) | None => None,
        };
        let text = record::to_bytes(&self.record).map_err(|error| {
            Error::new(Code::Bug, "can't write a record as JSON").because(&error)
        })?;
        match &self.place {
            Place::Folder(layout) => {
                let state = layout.state();
                let folders = [state.clone(), layout.root().to_owned()];
                let new = folders.into_iter().filter(|folder| !folder.exists());
                self.made.extend(new);
                fs::create_dir_all(&state)
                    .map_err(|error| unwritable(&state.display(), "make", &error))?;
                let path = state.join(FILE_NAME);
                let failed = |error: io::Error| unwritable(&path.display(), "write", &error);
                // Looked at and written under one lock.
                let lock = File::open(&state).map_err(failed)?;
                lock.lock().map_err(failed)?;
                if let Some(whose) = refused(read_record(layout).map_err(failed)?) {
                    return Ok(whose);
                }
                write_whole_unsynced(&path, &text).map_err(failed)?;
                Ok(Whose::Ours)
            }
            Place::Blobs(store) => {
                let name = format!("{OWN_PREFIX}{FILE_NAME}");
                for _ in 0..MAX_ROUNDS {
                    let (found, condition) = match get(store, &name).await? {
                        Some((text, etag)) => (record::from_bytes(&text), Condition::Match(etag)),
                        None => (None, Condition::Absent),
                    };
                    if let Some(whose) = refused(found) {
                        return Ok(whose);
                    }
                    let put = store.put(&name, text.clone().into(), &condition).await;
                    match put {
                        Ok(PutOutcome::Done(_)) => return Ok(Whose::Ours),
                        // Somebody was faster; or our own answer was lost, and the record is ours.
                        Ok(PutOutcome::Lost) => {}
                        Err(error) if error.problem == StorageProblem::NotFound => {
                            store.create().await?;
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                let what = format!(
                    "the record of who works on {} does not come to rest",
                    self.output
                );
                Err(Error::new(Code::OutputBusy, what).fix("run the job from one place at a time"))
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

fn read_record(layout: &Layout) -> io::Result<Option<RunRecord>> {
    let path: PathBuf = layout.state().join(FILE_NAME);
    let text = read_bounded(&path)?;
    Ok(text.and_then(|text| record::from_bytes(&text)))
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

    fn spec(output: &std::path::Path) -> JobSpec {
        let text = "[job]\nname = \"j\"\n[storage]\noutput = \"out\"\n[[stage]]\nname = \"s\"\nkind = \"once\"\n\
                    command = [\"true\"]\n";
        petctl_spec::parse(text, "job.toml", output.to_str().unwrap(), &[]).unwrap()
    }

    async fn take(spec: &JobSpec, keeper: &str) -> Result<Hold> {
        Hold::take(spec, keeper, &|_| panic!("nobody waits for a fresh record")).await
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
        first.release().await;
        assert!(take(&spec, "here:/a").await.is_err());
        second.release().await;
        // Nor does it go on when the other one has ended.
        assert_eq!(first.renew().await.unwrap_err().code(), "OUTPUT_BUSY");
        take(&spec, "here:/a").await.unwrap();
    }
}
