//! A tree that is moved, whichever way it goes: looked at, shown, agreed to, moved.

use super::dry_run::DryRun;
use super::{Ended, Outcome, Words, refuse, say_resume, show_lost, watch};
use petctl_job::Context;
use petctl_storage::StorageError;
use petctl_transfer::{Transfer, TreePlan};
use petctl_ui::arguments::Format;
use petctl_ui::error::Result;
use petctl_ui::exit::Exit;
use petctl_ui::terminal::{Meter, count, printable};
use std::time::Instant;

/// How a tree is moved, and how that is told.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) words: Words,
    /// Where its files go.
    pub(super) target: String,
    /// The target as it was typed.
    pub(super) shown: String,
    pub(super) dry_run: bool,
    /// Nobody is asked before files are removed.
    pub(super) yes: bool,
    pub(super) format: Format,
    pub(super) start: Instant,
}

impl Tree {
    /// Plans, and does what was planned.
    pub(super) async fn carry_out<T: Transfer>(
        &self,
        context: &Context,
        planning: impl Future<Output = Result<TreePlan<T>, StorageError>>,
    ) -> Result<Exit> {
        let meter = Meter::default();
        let plan = match watch(context, &meter, planning).await? {
            Ended::Done(plan) => plan?,
            Ended::Stopped(exit) => return Ok(exit),
        };
        for note in plan.notes() {
            context.out.say(&printable(note));
        }
        if let Some(exit) = refuse(context, plan.faults()) {
            return Ok(exit);
        }
        if self.dry_run {
            self.show(context, &plan);
            return Ok(show_lost(context, plan.lost()));
        }
        let doomed = plan.doomed().count() as u64;
        if doomed > 0 {
            let files = count(doomed, "file", "files");
            let question = format!(
                "Remove {files} from {} that the source has no more?",
                self.target
            );
            context.confirm(self.yes, &question)?;
        }
        let moved = match watch(context, &meter, plan.run(&meter)).await? {
            Ended::Done(moved) => moved?,
            Ended::Stopped(exit) => {
                say_resume(context, self.words, meter.files(), meter.planned_files());
                return Ok(exit);
            }
        };
        let outcome = Outcome {
            words: self.words,
            target: self.shown.clone(),
            moved: &moved,
            planned: (plan.files().count() + plan.lost().len()) as u64,
            lost: plan.lost().len(),
            unchanged: plan.unchanged(),
            start: self.start,
        };
        Ok(outcome.show(context, self.format == Format::Json))
    }

    fn show<T: Transfer>(&self, context: &Context, plan: &TreePlan<T>) {
        let dry_run = DryRun {
            words: &self.words,
            target: self.target.clone(),
            files: plan.files().collect(),
            doomed: plan.doomed().collect(),
            folders: plan.folders(),
            links: plan.links(),
            unchanged: Some(plan.unchanged()),
        };
        dry_run.show(context, self.format);
    }
}
