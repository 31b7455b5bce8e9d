//! What petctl says of a job, read as a program would.

use crate::command::{Petctl, Ran};
use crate::network::Host;
use crate::wait::wait_for;
use crate::world::World;
use serde_json::Value;

/// Asks the coordinator of a job, or its state folder.
#[derive(Debug)]
pub struct Ask<'w> {
    world: &'w World,
    connect: Vec<String>,
    host: Option<Host>,
}

/// One line of the event log.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its number in the log.
    pub sequence: u64,
    /// When it happened, ms since 1970.
    pub at_ms: u64,
    /// Stable name of its kind.
    pub kind: String,
    /// For people.
    pub text: String,
    /// Its fields.
    pub fields: Value,
}

impl Event {
    /// A field that is a text; empty where it is none.
    pub fn text_of(&self, field: &str) -> &str {
        self.fields[field].as_str().unwrap_or_default()
    }

    /// A field that is a number; 0 where it is none.
    pub fn number_of(&self, field: &str) -> u64 {
        self.fields[field].as_u64().unwrap_or_default()
    }
}

impl<'w> Ask<'w> {
    pub(crate) fn new(world: &'w World, connect: Vec<String>, host: Option<Host>) -> Self {
        Self {
            world,
            connect,
            host,
        }
    }

    /// A command that asks the same coordinator.
    pub fn petctl(&self, command: &str) -> Petctl<'w> {
        let petctl = self.world.petctl().on(self.host.as_ref());
        petctl.arg(command).args(&self.connect)
    }

    /// `petctl status`, now; `None` where there is no such job yet, or nobody who could answer.
    pub fn try_status(&self, job: &str) -> Option<Value> {
        let ran = self.petctl("status").args([job, "-o", "json"]).run();
        serde_json::from_str(&ran.stdout).ok()
    }

    /// `petctl status`, now.
    ///
    /// # Panics
    /// Where it can't be told.
    pub fn status(&self, job: &str) -> Value {
        json(self.petctl("status").args([job, "-o", "json"]).run())
    }

    /// Polls the status until it is as wanted.
    ///
    /// # Panics
    /// Where it never is.
    pub fn status_when(&self, job: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, || {
            self.try_status(job).filter(|status| wanted(status))
        })
    }

    /// Shards that are done.
    pub fn done(&self, job: &str) -> u64 {
        self.try_status(job)
            .and_then(|status| status["done"].as_u64())
            .unwrap_or(0)
    }

    /// The job's state as one word; empty where there is no such job yet.
    pub fn state(&self, job: &str) -> String {
        let status = self.try_status(job);
        status
            .and_then(|status| status["state"].as_str().map(str::to_owned))
            .unwrap_or_default()
    }

    /// Living members: name, worker id, pid.
    pub fn members(&self, job: &str) -> Vec<(String, String, u32)> {
        let status = self.try_status(job).unwrap_or_default();
        let members = status["workers"]["members"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let text = |member: &Value, key: &str| member[key].as_str().unwrap_or_default().to_owned();
        let pid = |member: &Value| {
            member["pid"]
                .as_u64()
                .and_then(|pid| u32::try_from(pid).ok())
                .unwrap_or(0)
        };
        members
            .iter()
            .map(|member| {
                (
                    text(member, "worker"),
                    text(member, "worker_id"),
                    pid(member),
                )
            })
            .collect()
    }

    /// The pid of a member.
    ///
    /// # Panics
    /// Where no member has that name.
    pub fn pid_of(&self, job: &str, worker: &str) -> u32 {
        let found = self
            .members(job)
            .into_iter()
            .find(|(name, ..)| name == worker);
        found
            .map(|(.., pid)| pid)
            .unwrap_or_else(|| panic!("job {job} has no member {worker}"))
    }

    /// `petctl events`, now.
    ///
    /// # Panics
    /// Where they can't be told.
    pub fn events(&self, job: &str) -> Vec<Event> {
        let ran = self
            .petctl("events")
            .args([job, "-o", "json"])
            .run()
            .exits(0);
        ran.stdout.lines().map(event).collect()
    }

    /// The events of one kind.
    pub fn events_of(&self, job: &str, kind: &str) -> Vec<Event> {
        self.events(job)
            .into_iter()
            .filter(|event| event.kind == kind)
            .collect()
    }

    /// `petctl report`: a row for each shard.
    ///
    /// # Panics
    /// Where it can't be told.
    pub fn report(&self, job: &str) -> Vec<Value> {
        let report = json(self.petctl("report").args([job, "-o", "json"]).run());
        report["rows"]
            .as_array()
            .cloned()
            .expect("a report has rows")
    }

    /// The row of one shard.
    ///
    /// # Panics
    /// Where there is none.
    pub fn shard(&self, job: &str, key: &str) -> Value {
        let found = self.report(job).into_iter().find(|row| row["shard"] == key);
        found.unwrap_or_else(|| panic!("job {job} has no shard {key}"))
    }
}

fn json(ran: Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("no JSON ({error}) from {ran}"))
}

fn event(line: &str) -> Event {
    let value: Value =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("no event ({error}): {line}"));
    let number = |key: &str| value[key].as_u64().expect("an event has numbers");
    let text = |key: &str| value[key].as_str().expect("an event has texts").to_owned();
    Event {
        sequence: number("sequence"),
        at_ms: number("at_ms"),
        kind: text("kind"),
        text: text("message"),
        fields: value["fields"].clone(),
    }
}
