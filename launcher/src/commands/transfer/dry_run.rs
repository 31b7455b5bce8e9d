//! What an upload or a download would do, for `--dry-run`.

use super::Words;
use petctl_job::Context;
use petctl_output::manifest::ManifestLink;
use petctl_report::model::{self, Planned, PlannedFile, PlannedLink};
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
    /// Links that would be made.
    pub(super) links: &'a [ManifestLink],
    /// Files that are there already; `None`: nobody looked.
    pub(super) unchanged: Option<u64>,
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
                unchanged: self.unchanged,
                folders: self.folders.len() as u64,
                links: self.links.len() as u64,
                deleted: self.doomed.len() as u64,
                to_move: list(&self.files),
                to_make: self.folders.to_vec(),
                to_link: to_link(self.links),
                to_delete: list(&self.doomed),
            };
            model::print(&context.out, planned);
            return;
        }
        for (_, line) in self.lines() {
            context.out.line(&line);
        }
        let there = self.unchanged.map_or_else(String::new, |unchanged| {
            let files = count(unchanged, "file is", "files are");
            format!("; {files} {} already", self.words.there)
        });
        context.out.say(&format!(
            "would {} {} ({}) to {}{there}",
            self.words.verb,
            count(self.files.len() as u64, "file", "files"),
            bytes(total),
            self.target,
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
        let links = self.links.iter().map(|link| {
            let line = line("link", String::new(), &link.name);
            let line = format!("{line} -> {}", printable(&link.target));
            (link.name.as_str(), line)
        });
        let mut lines: Vec<_> = files.chain(folders).chain(links).chain(doomed).collect();
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

fn to_link(links: &[ManifestLink]) -> Vec<PlannedLink> {
    let entry = |link: &ManifestLink| PlannedLink {
        name: link.name.clone(),
        target: link.target.clone(),
    };
    links.iter().map(entry).collect()
}
