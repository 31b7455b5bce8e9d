//! What a shard's command is told of its shard: arguments, environment, and the file that says all of it.
//!
//! A pure function of the job, the shard and the paths: the worker starts processes by it, and whoever shows how to run
//! a shard by hand says the same by the same code.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use petctl_spec::{JobSpec, Placeholders, ShardSource, StageSpec, shards};
use serde::Serialize;

use crate::paths::AttemptPaths;

/// One attempt at one shard, as its command is told of it.
#[derive(Clone, Copy, Debug)]
pub struct ShardContext<'a> {
    /// The job.
    pub job: &'a JobSpec,
    /// The stage that the shard is of.
    pub stage: &'a StageSpec,
    /// The shard's key.
    pub key: &'a str,
    /// The shard's number in its stage.
    pub index: u32,
    /// 1 for the first.
    pub attempt: u32,
    /// Where it finds what it works on.
    pub paths: &'a AttemptPaths,
}

/// A shard, as its file and a warm process are told of it.
#[derive(Debug, Serialize)]
pub struct Description<'a> {
    job: &'a str,
    stage: &'a str,
    key: &'a str,
    index: u32,
    attempt: u32,
    input: Option<&'a str>,
    inputs: &'a [String],
    output: Cow<'a, str>,
    params: BTreeMap<&'a str, &'a str>,
    size: Option<u64>,
}

/// A shard for a warm process: one line of JSON on its stdin.
#[derive(Debug, Serialize)]
pub struct Request<'a> {
    /// The answer repeats it.
    pub id: u64,
    /// The shard.
    #[serde(flatten)]
    pub shard: Description<'a>,
}

impl<'a> ShardContext<'a> {
    /// The shard's parameters without the stage's.
    pub fn own_params(&self) -> Cow<'a, BTreeMap<String, String>> {
        let detail = &self.paths.detail;
        match self.stage.kind.source() {
            Some(source @ ShardSource::Matrix(_)) => {
                Cow::Owned(shards::own_params(source, self.index.into(), detail))
            }
            Some(_) | None => Cow::Borrowed(&detail.params),
        }
    }

    /// Whether the command is given the shard's file: its arguments name it (`is_named`), or there is something to say
    /// that is nowhere else.
    pub fn has_file(&self, is_named: bool) -> bool {
        let detail = &self.paths.detail;
        is_named
            || !detail.inputs.is_empty()
            || detail.size.is_some()
            || !self.own_params().is_empty()
    }

    /// What the file says, and what a warm process is told.
    pub fn describe<'b>(
        &'b self,
        output: Cow<'b, str>,
        own: &'b BTreeMap<String, String>,
    ) -> Description<'b> {
        let params = self.stage.params.iter().chain(own);
        Description {
            job: &self.job.name,
            stage: &self.stage.name,
            key: self.key,
            index: self.index,
            attempt: self.attempt,
            input: self.paths.input(),
            inputs: &self.paths.inputs,
            output,
            params: params
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect(),
            size: self.paths.detail.size,
        }
    }

    /// What the placeholders of the command stand for. `file` is the shard's file, where it has one.
    pub fn values<'b>(
        &'b self,
        output: &'b str,
        file: Option<&'b str>,
        own: &'b BTreeMap<String, String>,
    ) -> Placeholders<'b> {
        Placeholders {
            inputs: &self.paths.inputs,
            input: self.paths.input(),
            shard: file,
            output,
            key: self.key,
            index: u64::from(self.index),
            attempt: self.attempt,
            shard_params: Some(own),
            ..self.values_of_stage()
        }
    }

    /// The same for a warm process, which is started for no shard in particular.
    pub fn values_of_stage(&self) -> Placeholders<'_> {
        Placeholders {
            input: None,
            inputs: &[],
            shard: None,
            input_root: self.paths.input_root.as_deref(),
            output: "",
            output_root: &self.paths.output_root,
            key: "",
            index: 0,
            attempt: 0,
            job: &self.job.name,
            stage: &self.stage.name,
            params: &self.stage.params,
            shard_params: None,
            checkpoints: None,
        }
    }

    /// petctl's variables of the shard, on top of the stage's environment.
    pub fn environment(
        &self,
        output: &OsStr,
        file: Option<&OsStr>,
    ) -> Vec<(&'static str, OsString)> {
        let mut variables = self.of_stage();
        variables.extend([
            ("PETCTL_SHARD_KEY", self.key.into()),
            ("PETCTL_SHARD_INDEX", self.index.to_string().into()),
            ("PETCTL_ATTEMPT", self.attempt.to_string().into()),
            ("PETCTL_OUTPUT", output.into()),
        ]);
        if let Some(input) = self.paths.input() {
            variables.push(("PETCTL_INPUT", input.into()));
        }
        if let Some(file) = file {
            variables.push(("PETCTL_SHARD_FILE", file.into()));
        }
        variables
    }

    /// The same for a warm process, which is started for no shard in particular.
    pub fn environment_of_stage(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = self.of_stage();
        variables.push(("PETCTL_SERVE", "1".into()));
        variables
    }

    fn of_stage(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("PETCTL_JOB", (&self.job.name).into()),
            ("PETCTL_STAGE", (&self.stage.name).into()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use petctl_spec::ShardDetail;

    const JOB: &str = r#"
        [job]
        name = "j"
        [storage]
        input = "/in"
        output = "/out"
        [[stage]]
        name = "s"
        kind = "shards"
        shards = { glob = "*.xml" }
        command = ["replay", "{input}", "{output}", "{param.seed}", "{shard}"]
        params = { seed = "1", kept = "k" }
    "#;

    #[test]
    fn a_command_is_told_the_same_by_arguments_environment_and_file() {
        let job = petctl_spec::parse(JOB, "job.toml", "/", &[]).unwrap();
        let paths = AttemptPaths {
            detail: ShardDetail {
                params: BTreeMap::from([("seed".to_owned(), "7".to_owned())]),
                ..ShardDetail::default()
            },
            inputs: vec!["/in/a.xml".to_owned()],
            input_root: Some("/in".to_owned()),
            output_root: "/out".to_owned(),
        };
        let context = ShardContext {
            job: &job,
            stage: &job.stages[0],
            key: "a.xml",
            index: 3,
            attempt: 2,
            paths: &paths,
        };
        let own = context.own_params();
        let values = context.values("/o", Some("/o.json"), &own);
        let words = petctl_spec::render(&context.stage.command, &values).unwrap();
        assert_eq!(words, ["replay", "/in/a.xml", "/o", "7", "/o.json"]);

        let environment = context.environment("/o".as_ref(), Some("/o.json".as_ref()));
        let environment: Vec<String> = environment
            .iter()
            .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
            .collect();
        assert_eq!(
            environment,
            [
                "PETCTL_JOB=j",
                "PETCTL_STAGE=s",
                "PETCTL_SHARD_KEY=a.xml",
                "PETCTL_SHARD_INDEX=3",
                "PETCTL_ATTEMPT=2",
                "PETCTL_OUTPUT=/o",
                "PETCTL_INPUT=/in/a.xml",
                "PETCTL_SHARD_FILE=/o.json",
            ]
        );

        let file = serde_json::to_value(context.describe("/o".into(), &own)).unwrap();
        assert_eq!(
            file["params"],
            serde_json::json!({"seed": "7", "kept": "k"})
        );
        assert_eq!(file["input"], "/in/a.xml");
        assert!(context.has_file(false), "it has a parameter of its own");
    }
}
