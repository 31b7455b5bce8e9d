//! Whether a job may start, and what that would do to what is there. One look answers with a plan; one step carries it
//! out. A dry run shows the plan and stops there.

use crate::changes::changes;
use petctl_client::{Client, Look, seen};
use petctl_core::{Rerun, Seen};
use petctl_job::home::{JobCard, JobFolder, now_ms};
use petctl_job::outputs::{self, Looked};
use petctl_job::owner::{self, Owner};
use petctl_job::watch::{Ended, watch};
use petctl_job::{Context, PreparedJob};
use petctl_proto::v1::JobStatus;
use petctl_ui::error::Result;
use petctl_ui::exit::Exit;
use petctl_ui::terminal::{Meter, count};
use std::fmt;
use std::sync::Arc;

/// What is known of the job's earlier version.
#[derive(Clone, Debug)]
pub enum Before {
    /// What is kept here of a job of this machine; `None`: it was never run.
    Here(Option<Box<JobCard>>),
    /// Where the coordinator elsewhere has its outputs; `None`: it does not know the job.
    There(Option<String>),
}

impl Before {
    /// Whether an output that is not marked with this job's fingerprint is its own all the same.
    fn knows(&self, owner: &Owner, output: &str) -> bool {
        match self {
            Self::Here(card) => card.as_ref().is_some_and(|card| card.knows(owner, output)),
            // Its coordinator decides what of it still holds. It has accepted the job for this output, which nobody else had
            // used then: one that is not marked was made since, by a run that could not mark it any more.
            Self::There(_) => {
                matches!(owner, Owner::EarlierJob(_) | Owner::Strange(_)) && self.has_output(output)
            }
        }
    }

    fn has_output(&self, output: &str) -> bool {
        match self {
            Self::Here(card) => card.as_ref().is_some_and(|card| card.output == output),
            Self::There(before) => before.as_deref() == Some(output),
        }
    }
}

/// How a job may start: what is done before it is submitted, and what holds then.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Nothing of it was here before, or nothing of that is to be left.
    pub(crate) first: bool,
    /// What changed since it was here before: keys of the job file and lists of files.
    pub(crate) changes: Vec<String>,
    /// Its output is that of before: what is no part of the job any more can be taken out of it.
    pub(crate) same_output: bool,
    /// Its output has an owner's record: results that are said to be there can be there.
    pub(crate) output_marked: bool,
    /// To be kept of a job of this machine.
    pub(crate) card: Option<JobCard>,
    /// All of it runs again, whatever is there.
    rerun_all: bool,
    /// Workers of the version before may still run.
    stop_orphans: bool,
    /// Training stages whose checkpoints are taken away.
    clear: Option<Clear>,
    /// The output may be marked before the job is submitted: that says nothing about results that may be missing.
    mark_first: bool,
}

/// Checkpoints that are taken away: a training that begins anew must not go on from them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Clear {
    stages: Vec<String>,
    question: String,
}

impl Admission {
    /// What is found of the job's outputs, where there may be some: whoever made them. `known`: how the job stood before
    /// that.
    ///
    /// # Errors
    /// Where they can't be listed.
    pub async fn find_outputs(
        &self,
        job: &PreparedJob,
        known: Option<&JobStatus>,
    ) -> Result<Looked> {
        if self.output_marked {
            let mut looked = outputs::look(job).await?;
            if let Some(known) = known {
                self.miss_checkpoints(job, known, &mut looked.outputs);
            }
            Ok(looked)
        } else if self.same_output {
            // What is remembered may be missing, which is said before anything of it runs again.
            Ok(Looked::default())
        } else {
            Ok(outputs::none(job))
        }
    }

    /// [`Self::find_outputs`] for a coordinator, which may hear of more results in the meantime; and what is committed and
    /// no part of the job any more.
    ///
    /// # Errors
    /// As there, and where the coordinator does not answer.
    pub async fn look_for(
        &self,
        client: &mut Client,
        job: &PreparedJob,
    ) -> Result<(Look, Vec<(String, String)>)> {
        let known = client.known(&job.spec.name).await?;
        let seen = known.as_ref().map_or_else(Seen::default, seen);
        let Looked { outputs, left } = self.find_outputs(job, known.as_ref()).await?;
        let look = Look {
            outputs,
            seen,
            new_output: !self.output_marked && !self.same_output,
        };
        Ok((look, left))
    }

    /// Looks at what is there, once.
    ///
    /// # Errors
    /// Where the output is another's, or can't be looked at.
    pub async fn look(job: &PreparedJob, before: Before, rerun: &Rerun) -> Result<Self> {
        let fingerprint = job.fingerprint_hex();
        let output = &job.spec.storage.output;
        let rerun_all = *rerun == Rerun::All;
        let owner = owner::look(&job.spec, &fingerprint).await?;
        let known = before.knows(&owner, output);
        match &owner {
            Owner::OtherJob(record) => return Err(owner::in_use(&job.spec, record)),
            Owner::Strange(path) if !known => return Err(owner::strange(path)),
            // Of what another version has made, or another home, what is made of the same is taken over.
            Owner::Nobody | Owner::ThisJob | Owner::EarlierJob(_) | Owner::Strange(_) => {}
        }
        let same_output = before.has_output(output);
        let output_marked = owner != Owner::Nobody;
        let clear = clear(job, &owner, rerun_all);
        let Before::Here(earlier) = before else {
            return Ok(Self {
                first: false,
                changes: Vec::new(),
                same_output,
                output_marked,
                card: None,
                rerun_all,
                stop_orphans: false,
                clear,
                mark_first: false,
            });
        };
        let earlier = earlier.map(|card| *card);
        let same = earlier
            .as_ref()
            .is_some_and(|card| card.fingerprint == fingerprint);
        Ok(Self {
            first: earlier.is_none() || rerun_all,
            changes: match &earlier {
                Some(card) if !same => changes(card, job)?,
                Some(_) | None => Vec::new(),
            },
            same_output,
            output_marked,
            // What still runs is of the version before, or could commit into the cleared folder.
            stop_orphans: rerun_all || (!same && earlier.is_some()),
            rerun_all,
            clear,
            mark_first: output_marked || !same || rerun_all,
            card: Some(card(job, earlier, same && !rerun_all)),
        })
    }

    /// Does it, up to the submission. `yes`: nobody is asked before results are taken away. Answers how petctl ends where
    /// a signal stopped it.
    ///
    /// # Errors
    /// Where nobody says yes, and where something can't be changed.
    pub(crate) async fn carry_out(
        &self,
        context: &Context,
        folder: Option<&JobFolder>,
        job: &PreparedJob,
        yes: bool,
    ) -> Result<Option<Exit>> {
        if let (true, Some(folder)) = (self.stop_orphans, folder) {
            petctl_local::stop_orphans(folder).await?;
        }
        if let Some(clear) = &self.clear {
            context.confirm(yes, &clear.question)?;
        }
        // Where the coordinator is this run's, they go when the job was accepted, before any worker is started.
        if let (Some(clear), None) = (&self.clear, folder)
            && let Some(exit) = clear_stages(context, job, &clear.stages).await?
        {
            return Ok(Some(exit));
        }
        if let (true, Some(folder), Some(card)) = (self.same_output, folder, &self.card) {
            // Before the owner's record: an output that is marked with neither fingerprint of the card is nobody's here.
            folder.write_card(card)?;
        }
        if self.mark_first {
            owner::mark(&job.spec, &job.fingerprint_hex()).await?;
        }
        Ok(None)
    }

    /// Training stages whose checkpoints are taken away.
    pub(crate) fn cleared_stages(&self) -> &[String] {
        self.clear.as_ref().map_or(&[], |clear| &clear.stages)
    }

    /// Marks the output of a job that was accepted, where that had to wait until then.
    ///
    /// # Errors
    /// Where the output can't be written.
    pub(crate) async fn mark_accepted(&self, job: &PreparedJob) -> Result<()> {
        if self.mark_first {
            return Ok(());
        }
        owner::mark(&job.spec, &job.fingerprint_hex()).await
    }

    /// Whether all of it runs again, whatever is there.
    #[must_use]
    pub fn forgets_all(&self) -> bool {
        self.rerun_all
    }
}

/// Takes the checkpoints of training stages away; an exit where the user has stopped that.
pub(crate) async fn clear_stages(
    context: &Context,
    job: &PreparedJob,
    stages: &[String],
) -> Result<Option<Exit>> {
    let meter = Arc::new(Meter::default());
    let clearing = owner::clear(&job.spec, stages, false, &meter);
    match watch(context, &meter, clearing).await? {
        Ended::Done(cleared) => cleared?,
        Ended::Stopped(exit) => {
            context.out.say_always(&format!(
                "stopped while earlier checkpoints were removed: {} are gone; nothing was started",
                count(meter.gone(), "file", "files")
            ));
            return Ok(Some(exit));
        }
    }
    context.out.say(&format!(
        "{} of earlier checkpoints removed",
        count(meter.gone(), "file", "files")
    ));
    Ok(None)
}

/// What a dry run says that it would do, where that is more than to submit the job.
impl fmt::Display for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rerun_all {
            f.write_str("would run all of it; earlier results give way one by one")?;
            if let Some(clear) = &self.clear {
                write!(
                    f,
                    "; would delete the checkpoints of {}",
                    clear.stages.join(", ")
                )?;
            }
        }
        Ok(())
    }
}

fn clear(job: &PreparedJob, owner: &Owner, rerun_all: bool) -> Option<Clear> {
    let trainings = job.spec.stages.iter();
    let trainings = trainings.filter(|stage| stage.kind.training().is_some());
    let stages: Vec<String> = trainings.map(|stage| stage.name.clone()).collect();
    let needed = rerun_all && *owner != Owner::Nobody && !stages.is_empty();
    needed.then(|| Clear {
        question: format!(
            "Delete the checkpoints of {} of job `{}` in {}?",
            stages.join(", "),
            job.spec.name,
            job.spec.storage.output
        ),
        stages,
    })
}

fn card(job: &PreparedJob, earlier: Option<JobCard>, same: bool) -> JobCard {
    let now = now_ms();
    let fingerprint = job.fingerprint_hex();
    let accepted_at_ms = earlier
        .as_ref()
        .filter(|_| same)
        .map(|card| card.accepted_at_ms);
    JobCard {
        version: JobCard::VERSION,
        name: job.spec.name.clone(),
        job_file: job.file.path.display().to_string(),
        set: job.file.set.clone(),
        output: job.spec.storage.output.clone(),
        spec: job.spec.clone(),
        listed: job.listed(),
        accepted_at_ms: accepted_at_ms.unwrap_or(now),
        started_at_ms: now,
        pid: std::process::id(),
        before: earlier.and_then(|card| {
            if card.fingerprint == fingerprint {
                card.before
            } else {
                Some(card.fingerprint)
            }
        }),
        fingerprint,
        date: job.date.clone(),
    }
}
