//! Operations that take long: begun, under way, ended, whether anybody asks or not.

use crate::answer::{Answer, Reply, refuse};
use crate::control::Call;
use crate::state::{State, guid, time_text};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Operation {
    /// What it is about: locked against others meanwhile.
    pub(crate) about: String,
    pub(crate) begun_ms: u64,
    pub(crate) ends_ms: u64,
    /// `InProgress`, `Succeeded`, `Failed`, `Canceled`.
    pub(crate) status: String,
    pub(crate) effect: Effect,
    /// Why it failed.
    pub(crate) error: Option<Value>,
    /// How often it was asked for.
    pub(crate) asked: u32,
    /// What the answer at the address of the result is: the resource, or nothing.
    pub(crate) shows: Option<String>,
}

/// What happens at its end.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Effect {
    /// What is removed.
    pub(crate) remove: Option<String>,
    /// States of resources.
    pub(crate) states: Vec<(String, String)>,
    /// What is laid over resources.
    pub(crate) lays: Vec<(String, Value)>,
    /// The failure it ends with.
    pub(crate) error: Option<Value>,
}

/// How an operation is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// By `Azure-AsyncOperation`.
    Async,
    /// By both headers.
    Both,
    /// By `Location`.
    Location,
}

impl State {
    /// The operation that is under way on this resource.
    pub(crate) fn under_way(&self, about: &str) -> Option<(&String, &Operation)> {
        let mut all = self.operations.iter();
        all.find(|(_, operation)| operation.status == "InProgress" && operation.about == about)
    }

    /// Ends those whose time has come. Says whether any did.
    pub(crate) fn settle(&mut self, now: u64) -> bool {
        let mut due: Vec<(u64, String)> = self
            .operations
            .iter()
            .filter(|(_, operation)| operation.status == "InProgress" && operation.ends_ms <= now)
            .map(|(id, operation)| (operation.ends_ms, id.clone()))
            .collect();
        due.sort();
        for (_, id) in &due {
            let Some(operation) = self.operations.get_mut(id) else {
                continue;
            };
            let effect = operation.effect.clone();
            operation.error.clone_from(&effect.error);
            operation.status = match effect.error {
                Some(_) => "Failed".to_owned(),
                None => "Succeeded".to_owned(),
            };
            for (key, change) in &effect.lays {
                if let Some(body) = self.resources.get_mut(key) {
                    lay_over(body, change);
                }
            }
            for (key, state) in &effect.states {
                self.set_state(key, state);
            }
            if let Some(key) = &effect.remove {
                self.remove(key);
            }
        }
        !due.is_empty()
    }

    pub(crate) fn set_state(&mut self, key: &str, state: &str) {
        if let Some(body) = self.resources.get_mut(key) {
            body["properties"]["provisioningState"] = json!(state);
        }
    }

    /// Ends what is under way on a resource before its time.
    pub(crate) fn cancel(&mut self, about: &str) {
        let id = self.under_way(about).map(|(id, _)| id.clone());
        let Some(operation) = id.and_then(|id| self.operations.get_mut(&id)) else {
            return;
        };
        operation.status = "Canceled".to_owned();
        operation.error = Some(json!({
            "code": "OperationPreempted",
            "message": "The operation has been preempted by another operation.",
        }));
        let states = operation.effect.states.clone();
        for (key, _) in states {
            self.set_state(&key, "Canceled");
        }
    }
}

impl Call<'_> {
    /// Begins to remove what the request names, and says so; what is going already goes on.
    pub(crate) fn remove_slowly(&mut self, kind: &str) -> Reply {
        let key = self.target.key();
        let Some(there) = self.there() else {
            return Reply::empty(204);
        };
        let region = there["location"].as_str().unwrap_or_default().to_owned();
        let is_going = there["properties"]["provisioningState"] == json!("Deleting");
        let (delay, remove) = match self.state.under_way(&key) {
            Some((_, first)) if is_going => (first.ends_ms.saturating_sub(self.now), None),
            _ => (self.world.delay_ms(&["delete", kind]), Some(key.clone())),
        };
        if !is_going {
            // Its end comes before whatever else was to become of it.
            self.state.cancel(&key);
            self.state.set_state(&key, "Deleting");
        }
        let effect = Effect {
            remove,
            ..Effect::default()
        };
        self.begin(
            Reply::empty(202),
            (Told::Both, &region),
            (&key, delay),
            effect,
        )
    }

    /// Begins an operation of a provider in a region, and adds to the answer where to ask for it.
    pub(crate) fn begin(
        &mut self,
        reply: Reply,
        (told, location): (Told, &str),
        (about, delay): (&str, u64),
        effect: Effect,
    ) -> Reply {
        let id = guid();
        let namespace = self.target.namespace.clone();
        let place = format!(
            "{}/subscriptions/{}/providers/{namespace}/locations/{location}",
            self.endpoint, self.world.subscription,
        );
        // What stands behind the version is for the service to read: whoever asks repeats it as it is.
        let signed = format!("api-version=2016-03-30&t={}&h={}", self.now, guid());
        let shows = effect.remove.is_none().then(|| about.to_owned());
        self.state.operations.insert(
            id.clone(),
            Operation {
                about: about.to_owned(),
                begun_ms: self.now,
                ends_ms: self.now.saturating_add(delay),
                status: "InProgress".to_owned(),
                effect,
                error: None,
                asked: 0,
                shows,
            },
        );
        let mut reply = reply;
        if told != Told::Location {
            let url = format!("{place}/operations/{id}?{signed}");
            reply = reply.with("azure-asyncoperation", url);
        }
        if told != Told::Async {
            let url = match namespace.is_empty() {
                true => format!(
                    "{}/subscriptions/{}/operationresults/{id}?api-version={}",
                    self.endpoint, self.world.subscription, self.version
                ),
                false if namespace == "Microsoft.Storage" => {
                    format!("{place}/asyncoperations/{id}?monitor=true&{signed}")
                }
                false => format!("{place}/operationresults/{id}?{signed}"),
            };
            reply = reply.with("location", url);
        }
        self.with_retry_after(reply)
    }

    fn with_retry_after(&self, reply: Reply) -> Reply {
        match self.world.retry_after {
            Some(seconds) => reply.with("retry-after", seconds.to_string()),
            None => reply,
        }
    }

    /// How far an operation is.
    pub(crate) fn operation_status(&mut self, id: &str) -> Answer {
        let id = id.to_ascii_lowercase();
        let Some(operation) = self.state.operations.get_mut(&id) else {
            let message = format!("The entity was not found. Operation '{id}' is not known.");
            return Err(refuse(404, "NotFound", message));
        };
        operation.asked += 1;
        let mut body = json!({
            "name": other_order(&id),
            "status": operation.status,
            "startTime": time_text(operation.begun_ms),
        });
        let is_under_way = operation.status == "InProgress";
        if !is_under_way {
            body["endTime"] = json!(time_text(operation.ends_ms));
        }
        if let Some(error) = &operation.error {
            body["error"] = error.clone();
        } else if is_under_way && operation.asked % 3 == 2 {
            // The service tells of what it tries again, too.
            body["error"] = json!({
                "code": "ReconcileRetry",
                "message": "A step of the operation failed and is tried again.",
            });
        }
        let reply = Reply::new(200, body);
        Ok(match is_under_way {
            true => self.with_retry_after(reply),
            false => reply,
        })
    }

    /// What an operation has come to, at the address in `Location`.
    pub(crate) fn operation_result(&mut self, id: &str) -> Answer {
        let id = id.to_ascii_lowercase();
        let Some(operation) = self.state.operations.get(&id).cloned() else {
            let message = format!("The entity was not found. Operation '{id}' is not known.");
            return Err(refuse(404, "NotFound", message));
        };
        let again = format!(
            "{}{}?{}",
            self.endpoint, self.asked.path, self.asked.raw_query
        );
        if operation.status == "InProgress" {
            let reply = Reply::empty(202).with("location", again);
            return Ok(self.with_retry_after(reply));
        }
        if let Some(error) = operation.error {
            return Err(Reply::new(409, json!({ "error": error })));
        }
        let is_storage = operation.about.contains("/microsoft.storage/");
        if let Some(key) = operation.shows.filter(|_| is_storage) {
            let body = self.state.resources.get(&key).cloned();
            return Ok(Reply::new(200, body.unwrap_or_default()));
        }
        let is_group = self.target.namespace.is_empty();
        Ok(Reply::empty(if is_group { 200 } else { 204 }))
    }
}

/// The id of an operation as its answers have it: the bytes of the first three parts in the order of a little-endian
/// machine, as the service's own recordings show.
fn other_order(id: &str) -> String {
    let swap = |part: &str| {
        let bytes: Vec<&str> = (0..part.len() / 2)
            .filter_map(|at| part.get(at * 2..at * 2 + 2))
            .collect();
        bytes.into_iter().rev().collect::<String>()
    };
    let parts = id.split('-').enumerate();
    let turned: Vec<String> = parts
        .map(|(place, part)| {
            if place < 3 {
                swap(part)
            } else {
                part.to_owned()
            }
        })
        .collect();
    turned.join("-")
}

/// Puts a value over another: objects key by key, all else whole; `null` takes a key away.
pub(crate) fn lay_over(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                if value.is_null() {
                    under.remove(name);
                } else {
                    lay_over(under.entry(name.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (under, over) => *under = over.clone(),
    }
}
