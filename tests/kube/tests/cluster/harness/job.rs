//! Jobs of tests: their shards wait at gates.

use super::Installed;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Notes that it has started, waits until its gate or all gates are open, and writes its output.
const GATED: &str = r#"set -eu
host=$(cat /etc/hostname)
echo "$1 $host" >> "@NOTES@/started"
until [ -e "@NOTES@/open" ] || [ -e "@NOTES@/open.$1" ]; do sleep 0.05; done
echo "$1 on $host as $(id -u):$(id -g) in $PWD" > "$2/out.txt"
"#;

/// A job with a folder of its own.
pub(crate) struct Job<'i> {
    installed: &'i Installed,
    pub(crate) name: String,
    folder: PathBuf,
}

impl<'i> Job<'i> {
    /// A job of so many shards in stage `work`, which wait at their gates; `workers` are the lines of `[workers]`.
    pub(crate) fn gated(installed: &'i Installed, name: &str, shards: u32, workers: &str) -> Self {
        let stage = format!(
            "[[stage]]\nname = \"work\"\nkind = \"shards\"\nshards = {{ range = [0, {shards}] }}\n\
             command = [\"sh\", \"work.sh\", \"{{key}}\", \"{{output}}\"]\n"
        );
        Self::new(installed, name, workers, &stage).file("work.sh", GATED)
    }

    /// A job of these stages.
    pub(crate) fn new(installed: &'i Installed, name: &str, workers: &str, stages: &str) -> Self {
        let job = Self {
            installed,
            name: name.to_owned(),
            folder: installed.folder().join("jobs").join(name),
        };
        fs::create_dir_all(&job.folder).expect("a job's folder");
        open_folder(&job.notes());
        let text = format!(
            "[job]\nname = \"{name}\"\n\n[workers]\n{workers}\n\n[storage]\noutput = \"{}\"\n\n{stages}",
            job.output().display()
        );
        job.file("job.toml", &text)
    }

    /// Another file of its folder; `@NOTES@` in it becomes the folder of its notes.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        let text = text.replace("@NOTES@", &self.notes().display().to_string());
        fs::write(self.folder.join(name), text).expect("a file of a job");
        self
    }

    /// The job's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its job file, as a command takes it.
    pub(crate) fn path(&self) -> String {
        self.folder.join("job.toml").display().to_string()
    }

    /// Where its outputs are.
    pub(crate) fn output(&self) -> PathBuf {
        self.installed.data().join("out").join(&self.name)
    }

    /// The text of an output.
    #[track_caller]
    pub(crate) fn text(&self, path: &str) -> String {
        let path = self.output().join(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// A folder that its commands and the test see.
    pub(crate) fn notes(&self) -> PathBuf {
        self.installed.data().join("notes").join(&self.name)
    }

    /// Lines that its commands have noted in a file: whole ones.
    pub(crate) fn noted(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.notes().join(name)).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    /// Opens all gates.
    pub(crate) fn open(&self) {
        fs::write(self.notes().join("open"), "").expect("a gate");
    }

    /// Opens the gate of one shard.
    pub(crate) fn open_shard(&self, key: &str) {
        fs::write(self.notes().join(format!("open.{key}")), "").expect("a gate");
    }

    /// Waits until so many attempts have started.
    #[track_caller]
    pub(crate) fn until_started(&self, count: usize) {
        let what = format!("{count} attempts of {} have started", self.name);
        self.installed.wait(&what, || {
            (self.noted("started").len() >= count).then_some(())
        });
    }
}

/// A folder that everybody may write.
pub(crate) fn open_folder(path: &Path) {
    fs::create_dir_all(path).expect("a folder of the test");
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(path, open).expect("it is ours");
}
