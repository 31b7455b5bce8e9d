//! An event for people and programs, with the names that the state knows.

use super::{About, Event};
use crate::{Epoch, Job, JobId, Record, ShardId, State};
use serde_json::{Map, Value, json};

/// A record for people and programs.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// The job it is about.
    pub job: Option<JobId>,
    /// The epoch it speaks of; 0 where it does not.
    pub epoch: Epoch,
    /// Stable name of the kind.
    pub kind: &'static str,
    /// One line.
    pub text: String,
    /// One JSON object. Ids that people see are texts as people see them; a job's keys and its commands' environment
    /// stay out.
    pub fields: Value,
}

impl State {
    /// Describes a record. What has no name any more, because its job was deleted, has none.
    #[must_use]
    pub fn describe(&self, record: &Record) -> Description {
        let About {
            kind,
            job,
            epoch,
            show,
            ..
        } = record.event.about();
        let names = Names(job.and_then(|job| self.jobs.get(&job)));
        let shown = show(&record.event, &names);
        debug_assert!(shown.is_some(), "nothing is said of `{kind}`");
        let Shown { text, mut fields } = shown.unwrap_or_default();
        if let Some(job) = job {
            fields.entry("job").or_insert_with(|| json!(names.job()));
            fields.insert("job_id".into(), json!(job.0));
        }
        Description {
            job,
            epoch,
            kind,
            text,
            fields: Value::Object(fields),
        }
    }
}

/// Says what events of one group say; `None` for those of another.
pub(super) type Show = fn(&Event, &Names<'_>) -> Option<Shown>;

/// What an event says.
#[derive(Debug, Default)]
pub(super) struct Shown {
    text: String,
    fields: Map<String, Value>,
}

/// A sentence, and the same as the fields of a JSON object; those of every event about a job are there anyway.
pub(super) fn shown(text: impl Into<String>, fields: Value) -> Option<Shown> {
    let fields = match fields {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    };
    Some(Shown {
        text: text.into(),
        fields,
    })
}

/// The names that a job's state knows; nothing is known of a job that was deleted.
pub(super) struct Names<'a>(Option<&'a Job>);

impl<'a> Names<'a> {
    /// The job's name.
    fn job(&self) -> Option<&'a str> {
        self.0.map(|job| job.spec.name.as_str())
    }

    /// All shards of the job.
    pub(super) fn shards(&self) -> usize {
        let stages = self.0.map_or(&[][..], |job| &job.stages);
        stages.iter().map(|stage| stage.shards.len()).sum()
    }

    /// A stage's name.
    pub(super) fn stage(&self, stage: u32) -> Option<&'a str> {
        let stage = self.0?.spec.stages.get(stage as usize)?;
        Some(stage.name.as_str())
    }

    /// A shard's key.
    pub(super) fn key(&self, shard: ShardId) -> Option<String> {
        let (stage, index) = (shard.stage as usize, shard.index as usize);
        let job = self.0?;
        let is_there = index < job.stages.get(stage)?.shards.len();
        is_there.then(|| job.key(stage, index))
    }

    /// A worker's name, by its place among those of the job.
    pub(super) fn worker(&self, index: u32) -> Option<&'a str> {
        let name = self.0?.worker_names.get(index as usize)?;
        Some(name.as_str())
    }

    /// "fit", for people.
    pub(super) fn stage_name(&self, stage: u32) -> &'a str {
        self.stage(stage).unwrap_or("?")
    }

    /// "resim/scene-7", for people.
    pub(super) fn shard_name(&self, shard: ShardId) -> String {
        match self.0 {
            None => format!("{}/{}", shard.stage, shard.index),
            Some(_) => {
                let key = self.key(shard).unwrap_or_default();
                format!("{}/{key}", self.stage_name(shard.stage))
            }
        }
    }
}
