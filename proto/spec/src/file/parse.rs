//! From the text of a job file to a checked [`JobSpec`], with all that is wrong said at once.

use crate::file::overrides;
use crate::keys::ROOT;
use crate::model::JobSpec;
use crate::parts::job::{read_job_table, read_setup};
use crate::parts::stage::{Neighbours, read_stages};
use crate::parts::storage::read_storage;
use crate::parts::workers::read_workers;
use petctl_keyed::{FileErrors as JobFileErrors, Kind, Place, Report, Section, Table, read_toml};

/// Largest job file in bytes.
pub const MAX_JOB_FILE_BYTES: usize = 16 << 20;

static JOB_FILE: Kind = Kind {
    name: "the job file",
    root: ROOT,
    tables: "[table] or [[stage]]",
    code: None,
    max_bytes: MAX_JOB_FILE_BYTES,
    larger: "list many shards by `glob`, `range` or `manifest`",
};

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
    let mut report = Report::new(text, &JOB_FILE);
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
    let mut root = read_toml(text, report)?;
    overrides::apply(&mut root, overrides, report);
    read_job(&root, folder, report)
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
