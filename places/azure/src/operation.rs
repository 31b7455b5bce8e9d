//! An operation that takes long: from the answer that began it to its end.
//!
//! Whoever was killed in the middle begins with [`Operation::of_resource`]: the resource itself tells how far it is.

use crate::answer::provisioning_state;
use crate::{Answer, Refused};
use serde_json::Value;
use std::time::Duration;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The resource is to be as the body says.
    Put,
    /// It is to be gone.
    Delete,
    /// Something is to be done with it.
    Post,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// GET this address as it is: it has its own api-version, and may be signed.
    Ask {
        /// The address.
        url: String,
        /// How long to wait before, where the service says so.
        after: Option<Duration>,
    },
    /// It has ended well. Of a PUT: the resource; of a POST: its result; of a DELETE: nothing.
    Done(Value),
    /// It has ended badly, or was refused.
    Failed(Refused),
}

/// An operation under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    method: Method,
    /// The address of the resource, with its api-version.
    resource: String,
    /// Where a POST leaves its result.
    result: Option<String>,
    watch: Watch,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Watch {
    /// The operation's own status (`Azure-AsyncOperation`).
    Status(String),
    /// Its result (`Location`): 202 until it is there.
    Result(String),
    /// The resource.
    Resource,
}

/// How far something is.
enum State {
    Goes,
    Succeeded,
    Failed,
}

fn state(word: &str) -> State {
    match word.to_ascii_lowercase().as_str() {
        "succeeded" => State::Succeeded,
        "failed" | "canceled" | "cancelled" => State::Failed,
        // Creating, Updating, Scaling, Stopping, InProgress, …: each provider has its own.
        _ => State::Goes,
    }
}

impl Operation {
    /// What somebody has begun on a resource and is not over, by the state that it tells.
    #[must_use]
    pub fn under_way(resource: &Value) -> Option<Method> {
        let word = provisioning_state(resource)?;
        match state(word) {
            State::Succeeded | State::Failed => None,
            State::Goes if word.eq_ignore_ascii_case("deleting") => Some(Method::Delete),
            State::Goes => Some(Method::Put),
        }
    }

    /// Whether the last one on a resource has ended badly.
    #[must_use]
    pub fn has_failed(resource: &Value) -> bool {
        matches!(provisioning_state(resource).map(state), Some(State::Failed))
    }

    /// After the answer to the request that began it. `resource`: the address of the resource, with its api-version.
    #[must_use]
    pub fn begun(method: Method, resource: &str, answer: &Answer) -> (Self, Next) {
        let mut operation = Self {
            method,
            resource: resource.to_owned(),
            result: answer.header("location").map(str::to_owned),
            watch: Watch::Resource,
        };
        let next = operation.first(answer);
        (operation, next)
    }

    /// One that somebody else began, or who was killed since: the resource tells.
    #[must_use]
    pub fn of_resource(method: Method, resource: &str) -> (Self, Next) {
        let operation = Self {
            method,
            resource: resource.to_owned(),
            result: None,
            watch: Watch::Resource,
        };
        let next = operation.ask(None);
        (operation, next)
    }

    fn first(&mut self, answer: &Answer) -> Next {
        if answer.status >= 400 {
            return match (self.method, answer.status) {
                (Method::Delete, 404) => Next::Done(Value::Null),
                _ => Next::Failed(Refused::of(answer)),
            };
        }
        if let Some(url) = answer.header("azure-asyncoperation") {
            self.watch = Watch::Status(url.to_owned());
            return self.ask(answer.retry_after());
        }
        if answer.status == 202
            && let Some(url) = self.result.clone()
        {
            self.watch = Watch::Result(url);
            return self.ask(answer.retry_after());
        }
        match self.method {
            Method::Put => self.resource_answered(answer),
            Method::Delete if answer.status == 202 => self.ask(answer.retry_after()),
            Method::Delete => Next::Done(Value::Null),
            Method::Post => Next::Done(answer.body.clone()),
        }
    }

    /// After the answer to what [`Next::Ask`] wanted.
    #[must_use]
    pub fn answered(&mut self, answer: &Answer) -> Next {
        match &self.watch {
            Watch::Status(_) => self.status_answered(answer),
            Watch::Result(_) => self.result_answered(answer),
            Watch::Resource => self.resource_answered(answer),
        }
    }

    fn status_answered(&mut self, answer: &Answer) -> Next {
        // What became of it is forgotten after a while; the resource is there.
        if matches!(answer.status, 404 | 410) {
            self.watch = Watch::Resource;
            return self.ask(None);
        }
        if answer.status >= 400 {
            return Next::Failed(Refused::of(answer));
        }
        let word = answer.body.get("status").and_then(Value::as_str);
        match word.map_or(State::Goes, state) {
            // An `error` beside it is of a try that the service makes again.
            State::Goes => self.ask(answer.retry_after()),
            State::Failed => Next::Failed(Refused::of(answer)),
            State::Succeeded => self.after_success(),
        }
    }

    fn after_success(&mut self) -> Next {
        self.watch = match (self.method, self.result.take()) {
            (Method::Post, None) => return Next::Done(Value::Null),
            (Method::Post, Some(result)) => Watch::Result(result),
            (Method::Put | Method::Delete, _) => Watch::Resource,
        };
        self.ask(None)
    }

    fn result_answered(&mut self, answer: &Answer) -> Next {
        match (self.method, answer.status) {
            (_, 202) => {
                if let Some(url) = answer.header("location") {
                    self.watch = Watch::Result(url.to_owned());
                }
                self.ask(answer.retry_after())
            }
            (Method::Delete, 404) => Next::Done(Value::Null),
            (_, 400..) => Next::Failed(Refused::of(answer)),
            (Method::Post, _) => Next::Done(answer.body.clone()),
            (Method::Put | Method::Delete, _) => {
                self.watch = Watch::Resource;
                self.ask(None)
            }
        }
    }

    fn resource_answered(&mut self, answer: &Answer) -> Next {
        if answer.status == 404 && self.method == Method::Delete {
            return Next::Done(Value::Null);
        }
        if answer.status >= 400 {
            return Next::Failed(Refused::of(answer));
        }
        match (self.method, answer.provisioning_state().map(state)) {
            (_, Some(State::Failed)) => Next::Failed(Refused::of_resource(answer)),
            (Method::Put | Method::Post, None | Some(State::Succeeded)) => {
                Next::Done(answer.body.clone())
            }
            // It is there still.
            (Method::Delete, _) | (_, Some(State::Goes)) => self.ask(answer.retry_after()),
        }
    }

    fn ask(&self, after: Option<Duration>) -> Next {
        let url = match &self.watch {
            Watch::Status(url) | Watch::Result(url) => url,
            Watch::Resource => &self.resource,
        };
        Next::Ask {
            url: url.clone(),
            after,
        }
    }
}

#[cfg(test)]
mod tests;
