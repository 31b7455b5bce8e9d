//! What an upload or a download would do, for `--dry-run`.

use super::Words;
use petctl_job::Context;
use petctl_report::model::{self, Planned, PlannedFile};
use petctl_ui::arguments::Format;
use petctl_ui::terminal::{bytes, count, printable};

/// A transfer that was planned and does not take place.
#[derive(Debug)]
pub(super) struct DryRun<'a> {
    pub(super) words: &'a Words,
    /// Where to.
    pub(super) target: String,
    /// What would be moved, with its bytes.
    pub(super) files: Vec<(&'a str, u64)>,
    /// What would be removed, with its bytes.
    pub(super) doomed: Vec<(&'a str, u64)>,
    /// Empty folders that would be made.
    pub(super) folders: &'a [String],
    /// Files that are there already.
    pub(super) unchanged: u64,
}

impl DryRun<'_> {
    pub(super) fn show(&self, context: &Context, format: Format) {
        let total: u64 = self.files.iter().map(|(_, size)| size).sum();
        if format == Format::Json {
            let planned = Planned {
                transfer: self.words.transfer,
                dry_run: true,
                target: self.target.clone(),
                files: self.files.len() as u64,
                bytes: total,
                unchanged: Some(self.unchanged),
                folders: self.folders.len() as u64,
                deleted: self.doomed.len() as u64,
                to_move: list(&self.files),
                to_make: self.folders.to_vec(),
                to_delete: list(&self.doomed),
            };
            model::print(&context.out, planned);
            return;
        }
        for (_, line) in self.lines() {
            context.out.line(&line);
        }
        context.out.say(&format!(
            "would {} {} ({}) to {}; {} {} already",
            self.words.verb,
            count(self.files.len() as u64, "file", "files"),
            bytes(total),
            self.target,
            count(self.unchanged, "file is", "files are"),
            self.words.there
        ));
    }

    /// In the order of their names.
    fn lines(&self) -> Vec<(&str, String)> {
        let line = |verb: &str, size: String, name: &str| {
            format!("would {verb:<6}  {size:>10}  {}", printable(name))
        };
        let files = self
            .files
            .iter()
            .map(|(name, size)| (*name, line(self.words.verb, bytes(*size), name)));
        let folders = self
            .folders
            .iter()
            .map(|name| (name.as_str(), line("make", String::new(), name) + "/"));
        let doomed = self
            .doomed
            .iter()
            .map(|(name, size)| (*name, line("remove", bytes(*size), name)));
        let mut lines: Vec<_> = files.chain(folders).chain(doomed).collect();
        lines.sort();
        lines
    }
}

fn list(files: &[(&str, u64)]) -> Vec<PlannedFile> {
    let entry = |(name, size): &(&str, u64)| PlannedFile {
        name: (*name).to_owned(),
        bytes: *size,
    };
    files.iter().map(entry).collect()
}
