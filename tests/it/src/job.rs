//! Job files of tests.

use crate::world::{World, quoted};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// Notes its start, waits until its gate or `all` is open, writes its output.
const GATED: &str = r#"echo "$PETCTL_SHARD_KEY $$ $PETCTL_ATTEMPT" >> starts
while [ ! -e gates/all ] && [ ! -e "gates/$PETCTL_SHARD_KEY" ] && [ ! -e "gates/$PETCTL_SHARD_KEY.$PETCTL_ATTEMPT" ]; do sleep 0.02; done
echo "outputs of $PETCTL_SHARD_KEY" > "$PETCTL_OUTPUT/data.txt""#;

/// A job file to be written.
#[derive(Clone, Debug)]
pub struct Job {
    name: String,
    workers: String,
    output: Option<PathBuf>,
    storage: Option<String>,
    head: String,
    stages: Vec<Stage>,
}

/// One stage of it.
#[derive(Clone, Debug)]
pub struct Stage {
    name: String,
    /// `None`: a stage that runs once.
    keys: Option<String>,
    script: Option<String>,
    command: Vec<String>,
    more: String,
}

impl Job {
    /// A job of one worker with one slot.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            workers: String::new(),
            output: None,
            storage: None,
            head: String::new(),
            stages: Vec::new(),
        }
        .workers(1, 1, 1)
    }

    /// The pool.
    #[must_use]
    pub fn workers(mut self, min: u32, max: u32, slots: u32) -> Self {
        self.workers = format!("min = {min}\nmax = {max}\nslots = {slots}\n");
        self
    }

    /// Where outputs go, instead of `out` in the job folder.
    #[must_use]
    pub fn output(mut self, folder: PathBuf) -> Self {
        self.output = Some(folder);
        self
    }

    /// Other lines of `[storage]`, such as [`crate::Cloud::storage`].
    #[must_use]
    pub fn storage(mut self, lines: String) -> Self {
        self.storage = Some(lines);
        self
    }

    /// More lines of the file, before its stages: `[setup]`, or more of `[job]`.
    #[must_use]
    pub fn with(mut self, lines: &str) -> Self {
        self.head = format!("{}{lines}\n", self.head);
        self
    }

    /// One more stage.
    #[must_use]
    pub fn stage(mut self, stage: Stage) -> Self {
        self.stages.push(stage);
        self
    }

    /// Writes the job file, and the scripts of its stages, into the job folder: `NAME.toml`, whose name is answered.
    ///
    /// # Panics
    /// Where they can't be written.
    pub fn write(&self, world: &World) -> String {
        let output = self.output.clone().unwrap_or_else(|| world.output());
        let storage = self.storage.clone();
        let storage = storage.unwrap_or_else(|| format!("output = {}\n", quoted(&output)));
        let mut text = format!(
            "[job]\nname = {:?}\n{}\n[workers]\n{}\n[storage]\n{storage}\n",
            self.name, self.head, self.workers
        );
        for stage in &self.stages {
            let script = format!("{}-{}.sh", self.name, stage.name);
            if let Some(body) = &stage.script {
                world.script(&script, body);
            }
            let mut command = stage.command.clone();
            if stage.script.is_some() {
                command.insert(0, format!("./{script}"));
            }
            let kind = match &stage.keys {
                Some(keys) => format!("kind = \"shards\"\nshards = {keys}"),
                None => "kind = \"once\"".to_owned(),
            };
            let _infallible = write!(
                text,
                "\n[[stage]]\nname = {:?}\n{kind}\ncommand = {command:?}\n{}\n",
                stage.name, stage.more
            );
        }
        let file = format!("{}.toml", self.name);
        fs::write(world.job_folder().join(&file), text).expect("a job file can be written");
        file
    }
}

impl Stage {
    /// A stage `work` of so many shards, each of which waits at its gate.
    pub fn gated(shards: u32) -> Self {
        Self::script(shards, GATED)
    }

    /// A stage `work` of so many shards, each of which runs this shell script.
    pub fn script(shards: u32, body: &str) -> Self {
        Self {
            name: "work".to_owned(),
            keys: Some(format!("{{ range = [0, {shards}] }}")),
            script: Some(body.to_owned()),
            command: Vec::new(),
            more: String::new(),
        }
    }

    /// A stage `work` of one shard that runs a command.
    pub fn command(command: &[&str]) -> Self {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        Self {
            script: None,
            command,
            ..Self::script(1, "")
        }
    }

    /// A stage `work` that runs this shell script once.
    pub fn once(body: &str) -> Self {
        Self {
            keys: None,
            ..Self::script(1, body)
        }
    }

    /// Another name than `work`.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Other shards: `{ glob = "*" }`.
    #[must_use]
    pub fn shards(mut self, source: &str) -> Self {
        self.keys = Some(source.to_owned());
        self
    }

    /// Arguments for the script: `{input}`.
    #[must_use]
    pub fn args(mut self, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|word| (*word).to_owned());
        self.command.extend(arguments);
        self
    }

    /// More lines of the stage: `retries = 0`.
    #[must_use]
    pub fn with(mut self, lines: &str) -> Self {
        self.more = format!("{}{lines}\n", self.more);
        self
    }

    /// The keys of a stage of so many shards.
    pub fn keys(shards: u32) -> Vec<String> {
        let width = shards.saturating_sub(1).to_string().len();
        (0..shards)
            .map(|number| format!("{number:0width$}"))
            .collect()
    }
}
