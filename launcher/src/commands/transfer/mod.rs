//! What uploads and downloads share: which files are meant, how it goes, how it ended.

pub(crate) mod download;
mod dry_run;
mod tree;
pub(crate) mod upload;

pub(crate) use petctl_job::watch::{Ended, watch};

use clap::Args;
use petctl_job::Context;
use petctl_job::home::{Lock, make_private, state_error};
use petctl_report::model::{self, FileError, Stopped, Transfer, Transferred};
use petctl_storage::{StorageError, StorageProblem};
use petctl_text::hex;
use petctl_transfer::{Fault, Filter, TreeOutcome};
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use petctl_ui::shell::quote;
use petctl_ui::terminal::{bytes, count, printable, thousands};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Errors of single files that are printed.
const MAX_ERRORS: usize = 20;

/// Which files of a tree are meant.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct FilterArgs {
    /// Only what fits: a name (*.png), a folder (images) or a path (resim/*/out.csv); may be given again.
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,

    /// Not what fits; counts more than --include; may be given again.
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
}

impl FilterArgs {
    /// Whether everything is meant.
    pub(crate) fn is_empty(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    pub(crate) fn read(&self) -> Result<Filter> {
        Filter::new(&self.include, &self.exclude).map_err(|error| {
            Error::new(Code::Usage, error.to_string())
                .fix("quote patterns, so that the shell leaves them alone: --include '*.png'")
        })
    }
}

/// The journal of one transfer, held by this process.
pub(crate) struct HeldJournal {
    pub(crate) path: PathBuf,
    _lock: Lock,
}

impl HeldJournal {
    /// The journal of what goes from one location to another.
    pub(crate) fn hold(context: &Context, kind: &str, from: &str, to: &str) -> Result<Self> {
        let folder = context.home()?.root().join("transfers");
        make_private(&folder).map_err(|error| state_error(&folder, "make", &error))?;
        let digest = Sha256::digest(format!("{kind}\0{from}\0{to}").as_bytes());
        let name = hex(&digest[..16]);
        let path = folder.join(format!("{name}.jsonl"));
        let lock = folder.join(format!("{name}.lock"));
        let held = Lock::try_take(&lock).map_err(|error| state_error(&lock, "lock", &error))?;
        let Some(lock) = held else {
            return Err(Error::new(
                Code::TransferRunning,
                format!("another petctl is at it: {kind} from {from} to {to}"),
            )
            .fix("wait until it has ended, or stop it"));
        };
        Ok(Self { path, _lock: lock })
    }
}

/// Prints all that stands against a transfer; `None` where nothing does.
pub(crate) fn refuse(context: &Context, faults: &[Fault]) -> Option<Exit> {
    let first = faults.first()?;
    show_faults(context, faults, how_to_go_on);
    context.out.say("nothing was moved");
    Some(fault_error(first, how_to_go_on).exit())
}

/// Prints the first faults as errors, and how many more there are. `fix`: what to do about one of a kind.
pub(crate) fn show_faults(
    context: &Context,
    faults: &[Fault],
    fix: fn(StorageProblem) -> &'static str,
) {
    for fault in faults.iter().take(MAX_ERRORS) {
        context.out.error(&fault_error(fault, fix));
    }
    if faults.len() > MAX_ERRORS {
        context.out.say_always(&format!(
            "… and {} more",
            thousands((faults.len() - MAX_ERRORS) as u64)
        ));
    }
}

/// Prints the first of the names that did not come, and how many more there are; answers how petctl ends by them: 75
/// where the same command may bring some of them later, 65 where it will not. `None` where there are none.
/// Of the first `lost` it was known before.
pub(crate) fn show_failed(
    context: &Context,
    failed: &[(String, StorageError)],
    lost: usize,
) -> Option<Exit> {
    for (_, error) in failed.iter().take(MAX_ERRORS) {
        let mut error = copy(error);
        if error.fix.is_empty() {
            how_to_go_on(error.problem).clone_into(&mut error.fix);
        }
        error.message = printable(&error.message);
        context.out.error(&error.into());
    }
    if failed.len() > MAX_ERRORS {
        context.out.say_always(&format!(
            "… and {} more; -o json lists them all",
            thousands((failed.len() - MAX_ERRORS) as u64)
        ));
    }
    let mut tried = failed.iter().skip(lost);
    let may_pass = tried.any(|(_, error)| error.may_pass());
    (!failed.is_empty()).then_some(match may_pass {
        true => Exit::TryAgain,
        false => Exit::BadJobFile,
    })
}

/// What would not come: the dry run ends as the transfer would.
pub(crate) fn show_lost(context: &Context, lost: &[Fault]) -> Exit {
    let failed: Vec<_> = lost.iter().map(Fault::error).collect();
    show_failed(context, &failed, failed.len()).unwrap_or(Exit::Success)
}

fn fault_error(fault: &Fault, fix: fn(StorageProblem) -> &'static str) -> Error {
    let text = format!("{}: {}", printable(&fault.name), fault.why);
    StorageError::new(fault.problem, text)
        .fix(fix(fault.problem))
        .into()
}

fn how_to_go_on(problem: StorageProblem) -> &'static str {
    match problem {
        StorageProblem::BadName => "rename it, or leave it out by --exclude",
        StorageProblem::Local => "make it a file that you may read, or leave it out by --exclude",
        StorageProblem::Blocked => "have it freed, or leave it out by --exclude",
        StorageProblem::NotFound
        | StorageProblem::Denied
        | StorageProblem::Expired
        | StorageProblem::NoCredential
        | StorageProblem::Changed
        | StorageProblem::Corrupt
        | StorageProblem::Full
        | StorageProblem::Unavailable
        | StorageProblem::Unexpected => "leave it out by --exclude, or have it made again",
    }
}

/// What a transfer of a tree is called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    /// Which way it goes.
    pub(crate) transfer: Transfer,
    /// `send` or `fetch`.
    pub(crate) verb: &'static str,
    /// `sent` or `fetched`.
    pub(crate) done: &'static str,
    /// `there` or `here`: as one says it of the target.
    pub(crate) there: &'static str,
}

/// A transfer that has ended.
pub(crate) struct Outcome<'a> {
    pub(crate) words: Words,
    pub(crate) target: String,
    pub(crate) moved: &'a TreeOutcome,
    pub(crate) planned: u64,
    /// Names of which it was known before that they can't come.
    pub(crate) lost: usize,
    pub(crate) unchanged: u64,
    pub(crate) start: Instant,
}

impl Outcome<'_> {
    /// Says how it ended, and answers how petctl ends.
    pub(crate) fn show(&self, context: &Context, json: bool) -> Exit {
        if json {
            model::print(&context.out, self.transferred());
        }
        let failed = show_failed(context, &self.moved.failed, self.lost);
        if let Some(stopped) = &self.moved.stopped {
            context.out.error(&copy(stopped).into());
            say_resume(context, self.words, self.moved.files, self.planned);
            return Error::from(copy(stopped)).exit();
        }
        let Some(exit) = failed else {
            if !json {
                context.out.line(&self.line());
            }
            return Exit::Success;
        };
        let files = self.moved.failed.len() as u64;
        let done = self.words.done;
        let how = if exit == Exit::TryAgain {
            "the same command tries them again"
        } else {
            "the same command will not bring them; all others are there"
        };
        context.out.say_always(&format!(
            "{} {done}, {} not: {how}",
            count(self.moved.files, "file", "files"),
            count(files, "name", "names"),
        ));
        exit
    }

    fn line(&self) -> String {
        let moved = self.moved;
        let elapsed = self.start.elapsed();
        let mut parts = vec![format!(
            "{} {} ({}{})",
            count(moved.files, "file", "files"),
            self.words.done,
            bytes(moved.bytes),
            rate(moved.moved_bytes, elapsed)
        )];
        if moved.moved_bytes < moved.bytes {
            let there = bytes(moved.bytes - moved.moved_bytes);
            parts.push(format!("{there} of it were there already"));
        }
        if self.unchanged > 0 {
            parts.push(format!("{} unchanged", thousands(self.unchanged)));
        }
        if moved.links > 0 {
            parts.push(count(moved.links, "link", "links"));
        }
        if moved.folders > 0 {
            parts.push(count(moved.folders, "empty folder", "empty folders"));
        }
        if moved.deleted > 0 {
            parts.push(format!("{} removed", thousands(moved.deleted)));
        }
        format!("{}: {}", self.target, parts.join(", "))
    }

    fn transferred(&self) -> Transferred {
        let moved = self.moved;
        let failed = |(name, error): &(String, StorageError)| FileError {
            name: name.clone(),
            code: error.code().as_str().to_owned(),
            message: error.message.clone(),
        };
        let stopped = |error: &StorageError| Stopped {
            code: error.code().as_str().to_owned(),
            message: error.message.clone(),
        };
        Transferred {
            transfer: self.words.transfer,
            dry_run: false,
            target: self.target.clone(),
            whole: moved.is_whole(),
            files: moved.files,
            bytes: moved.bytes,
            moved_bytes: moved.moved_bytes,
            unchanged: self.unchanged,
            folders: moved.folders,
            links: moved.links,
            deleted: moved.deleted,
            errors: moved.failed.iter().map(failed).collect(),
            stopped: moved.stopped.as_ref().map(stopped),
            duration_ms: ms_since(self.start),
        }
    }
}

/// How long it is since then.
pub(crate) fn ms_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn rate(moved: u64, elapsed: Duration) -> String {
    let ms = elapsed.as_millis();
    if ms < 500 || moved == 0 {
        return String::new();
    }
    let per_s = u64::try_from(u128::from(moved) * 1_000 / ms).unwrap_or(u64::MAX);
    format!(", {}/s", bytes(per_s))
}

/// Says how much is there after a stop, and how to go on.
pub(crate) fn say_resume(context: &Context, words: Words, files: u64, planned: u64) {
    context.out.say_always(&format!(
        "{} of {} {}; what is there stays, and the same command goes on with the rest: {}",
        thousands(files),
        count(planned, "file", "files"),
        words.done,
        this_command()
    ));
}

/// This process's own command line; secrets never stand in it.
fn this_command() -> String {
    let words = std::env::args().skip(1).map(|word| quote(&word));
    std::iter::once("petctl".to_owned())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

fn copy(error: &StorageError) -> StorageError {
    StorageError {
        problem: error.problem,
        message: error.message.clone(),
        fix: error.fix.clone(),
        service_code: error.service_code.clone(),
    }
}
