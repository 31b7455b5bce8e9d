//! From the text of a job file to a checked [`JobSpec`], with all that is wrong said at once.

use crate::file::errors::JobFileErrors;
use crate::file::report::{Place, Report};
use crate::file::section::Section;
use crate::file::tree::Table;
use crate::file::{overrides, tree};
use crate::keys::ROOT;
use crate::model::JobSpec;
use crate::parts::job::{read_job_table, read_setup};
use crate::parts::stage::{Neighbours, read_stages};
use crate::parts::storage::read_storage;
use crate::parts::workers::read_workers;
use petctl_codes::Code;
use petctl_text::words::thousands;
use toml::de::DeTable;

/// Largest job file in bytes.
pub const MAX_JOB_FILE_BYTES: usize = 16 << 20;
/// Most errors of syntax that are shown; later ones often follow from the first.
const MAX_SYNTAX_ERRORS: usize = 5;

/// Largest text in which more than the first error of syntax is looked for, in bytes.
const MAX_RECOVERABLE_BYTES: usize = 64 * 1024;

/// Reads a job file.
///
/// `file_name` is what errors call the file. `folder` is the absolute folder of the job file, against which relative
/// paths are resolved. `overrides` are the pairs of `--set key=value`, in their order.
///
/// # Errors
/// [`JobFileErrors`]: everything that is wrong, in the order of the file, at most [`JobFileErrors::MAX`].
pub fn parse(
    text: &str,
    file_name: &str,
    folder: &str,
    overrides: &[(String, String)],
) -> Result<JobSpec, JobFileErrors> {
    let mut report = Report::new(text);
    let spec = read_text(text, folder, overrides, &mut report);
    match (report.finish(file_name, overrides), spec) {
        (Some(errors), _) => Err(errors),
        (None, Some(spec)) => Ok(spec),
        // No reader gives up without a word; should one, the file is not to be taken for a good one.
        (None, None) => Err(JobFileErrors::unexplained(file_name)),
    }
}

fn read_text(
    text: &str,
    folder: &str,
    overrides: &[(String, String)],
    report: &mut Report<'_>,
) -> Option<JobSpec> {
    if text.len() > MAX_JOB_FILE_BYTES {
        let message = format!(
            "the job file has {} bytes; it may have {}",
            thousands(text.len() as u128),
            thousands(MAX_JOB_FILE_BYTES as u128)
        );
        report.add(
            Code::JobFileValue,
            Place::Whole,
            "",
            message,
            "list many shards by `glob`, `range` or `manifest`",
        );
        return None;
    }
    let mut root = read_toml(text, report)?;
    overrides::apply(&mut root, overrides, report);
    read_job(&root, folder, report)
}

fn read_toml(text: &str, report: &mut Report<'_>) -> Option<Table> {
    let first = match DeTable::parse(text) {
        Ok(document) => return Some(tree::from_document(document.get_ref())),
        Err(first) => first,
    };
    // A large file that is not TOML has errors without end.
    let errors = if text.len() <= MAX_RECOVERABLE_BYTES {
        DeTable::parse_recoverable(text).1
    } else {
        vec![first]
    };
    let mut found = errors
        .iter()
        .map(|error| (Place::text(error.span().unwrap_or(0..0)), error.message()))
        .collect::<Vec<_>>();
    found.sort();
    found.truncate(100 * MAX_SYNTAX_ERRORS);
    // One a line: what else is said of it follows from the first.
    found.dedup_by_key(|(place, _)| report.line(*place));
    for (place, message) in found.into_iter().take(MAX_SYNTAX_ERRORS) {
        report.add(
            Code::JobFileSyntax,
            place,
            "",
            format!("not TOML: {message}"),
            syntax_fix(message),
        );
    }
    None
}

fn syntax_fix(message: &str) -> &'static str {
    if message.contains("duplicate key") {
        "take one of the two out"
    } else if message.contains("must be quoted") || message.contains("invalid basic string") {
        "put the text in \"quotes\""
    } else if message.contains("invalid date") || message.contains("invalid time") {
        "write a date that exists"
    } else if message.contains("key with no value") {
        "write `key = value`"
    } else if message.contains("unclosed") || message.contains("missing comma") {
        "close what is open, with commas between its items"
    } else {
        "write `key = value` under [table] or [[stage]]; texts stand in \"quotes\""
    }
}

fn read_job(root: &Table, folder: &str, report: &mut Report<'_>) -> Option<JobSpec> {
    let file = Section::open(
        ROOT,
        root,
        Place::Whole,
        String::new(),
        String::new(),
        report,
    );
    let job = file
        .table("job", "[job]".into(), report)
        .map(|job| read_job_table(&job, report));
    let setup = file
        .table("setup", "[setup]".into(), report)
        .and_then(|setup| read_setup(&setup, report));
    let workers_section = file.table_or_empty("workers", "[workers]".into(), report);
    let workers = workers_section
        .as_ref()
        .map(|section| read_workers(section, report));
    let storage_section = file.table("storage", "[storage]".into(), report);
    let storage = storage_section
        .as_ref()
        .and_then(|section| read_storage(section, folder, report));
    let neighbours = Neighbours {
        workers: workers_section.as_ref(),
        storage: storage_section.as_ref(),
        folder,
    };
    let stages = read_stages(&file, neighbours, report);
    let job = job?;
    Some(JobSpec {
        name: job.name?,
        folder: folder.to_owned(),
        image: job.image,
        code: job.code,
        setup,
        workers: workers?,
        storage: storage?,
        stages: stages?,
    })
}
