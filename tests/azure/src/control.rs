//! The service as a whole: one request after the other, each on the state as it is by then.

use crate::answer::{Answer, Reply, refuse};
use crate::request::{Asked, Target};
use crate::route;
use crate::signin;
use crate::state::{State, guid, now_ms};
use crate::world::World;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What answers.
#[derive(Debug)]
pub(crate) struct Control {
    inner: Mutex<Inner>,
    endpoint: String,
    folder: PathBuf,
}

#[derive(Debug)]
struct Inner {
    world: World,
    state: State,
    /// Requests to the control plane so far.
    asked: usize,
}

/// One request, and what it can read and change.
pub(crate) struct Call<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) state: &'a mut State,
    pub(crate) asked: &'a Asked,
    pub(crate) target: Target,
    pub(crate) endpoint: &'a str,
    pub(crate) now: u64,
    /// The api-version.
    pub(crate) version: String,
    /// Who signed in.
    pub(crate) client: String,
}

impl Control {
    pub(crate) fn new(world: World, endpoint: String, folder: PathBuf) -> Self {
        let state = State::load(&folder);
        Self {
            inner: Mutex::new(Inner {
                world,
                state,
                asked: 0,
            }),
            endpoint,
            folder,
        }
    }

    pub(crate) fn answer(&self, asked: &Asked) -> Reply {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let now = now_ms();
        let settled = inner.state.settle(now);
        let mut call = Call {
            world: &mut inner.world,
            state: &mut inner.state,
            asked,
            target: Target::default(),
            endpoint: &self.endpoint,
            now,
            version: String::new(),
            client: String::new(),
        };
        let reply = if signin::serves(asked) {
            signin::answer(&mut call).unwrap_or_else(|refusal| refusal)
        } else {
            inner.asked += 1;
            let throttles = call.world.throttle_every;
            let answer = match throttles {
                Some(every) if every > 0 && inner.asked.is_multiple_of(every) => Err(throttled()),
                _ => route::answer(&mut call),
            };
            finished(answer, call.world.letter_case)
        };
        if settled || asked.method != "GET" {
            inner.state.save(&self.folder);
        }
        reply
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.lock().world);
    }

    /// All resources, by their ids in small letters.
    pub(crate) fn resources(&self) -> std::collections::BTreeMap<String, Value> {
        let mut inner = self.lock();
        inner.state.settle(now_ms());
        let keys: Vec<String> = inner.state.resources.keys().cloned().collect();
        let shown = keys.into_iter().filter_map(|key| {
            let mut body = route::shown(&inner.state, &key)?;
            if inner.world.letter_case {
                recase(&mut body);
            }
            Some((key, body))
        });
        shown.collect()
    }

    /// Changes the state as somebody does who asks elsewhere.
    pub(crate) fn by_hand(&self, id: &str, body: Option<Value>) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let now = now_ms();
        inner.state.settle(now);
        match body {
            None => inner.state.remove(&id.to_ascii_lowercase()),
            Some(body) => {
                let segments: Vec<&str> = id.split('/').filter(|part| !part.is_empty()).collect();
                let mut call = Call {
                    target: Target::read(&segments).unwrap_or_default(),
                    world: &mut inner.world,
                    state: &mut inner.state,
                    asked: &Asked::nothing(),
                    endpoint: &self.endpoint,
                    now,
                    version: String::new(),
                    client: String::new(),
                };
                route::put_by_hand(&mut call, body);
            }
        }
        inner.state.save(&self.folder);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn throttled() -> Reply {
    let message = "Number of requests for subscription has exceeded the limit. Please try again after '1' seconds.";
    refuse(429, "SubscriptionRequestsThrottled", message).with("retry-after", "1")
}

fn finished(answer: Answer, letter_case: bool) -> Reply {
    let mut reply = answer.unwrap_or_else(|refusal| refusal);
    if letter_case {
        recase(&mut reply.body);
    }
    let (request, correlation) = (guid(), guid());
    reply
        .with("x-ms-request-id", request)
        .with("x-ms-correlation-request-id", correlation)
}

/// Ids of resources as they come back: the word for groups in small letters, the group's name in capital letters.
fn recase(value: &mut Value) {
    if let Some(object) = value.as_object_mut() {
        for (name, value) in object {
            let turned = value.as_str().and_then(recased);
            match turned {
                Some(turned) if name == "id" || name == "resourceId" => *value = json!(turned),
                _ => recase(value),
            }
        }
    } else if let Some(list) = value.as_array_mut() {
        list.iter_mut().for_each(recase);
    }
}

fn recased(id: &str) -> Option<String> {
    let (before, after) = id.split_once("/resourceGroups/")?;
    let (group, rest) = after.split_once('/')?;
    let group = group.to_ascii_uppercase();
    Some(format!("{before}/resourcegroups/{group}/{rest}"))
}

impl Call<'_> {
    /// The body, which must be an object.
    pub(crate) fn body(&self) -> Result<Value, Reply> {
        let body = self.asked.json().filter(Value::is_object);
        let body = body.ok_or_else(crate::answer::no_content)?;
        for part in ["identity", "properties", "sku", "tags"] {
            let is = body.get(part).unwrap_or(&Value::Null);
            if !is.is_null() && !is.is_object() {
                let message = format!(
                    "The request content was invalid and could not be deserialized: 'Error converting value at path '{part}'.'."
                );
                return Err(refuse(400, "InvalidRequestContent", message));
            }
        }
        Ok(body)
    }

    /// The same, or nothing where there is no body.
    pub(crate) fn body_or_empty(&self) -> Value {
        self.asked
            .json()
            .filter(Value::is_object)
            .unwrap_or_else(|| json!({}))
    }

    /// The resource that the path names, as it is kept.
    pub(crate) fn there(&self) -> Option<&Value> {
        self.state.resources.get(&self.target.key())
    }

    /// A page of a list.
    pub(crate) fn page(&self, all: Vec<Value>) -> Reply {
        let from = self.asked.parameter("$skiptoken");
        let from: usize = from.and_then(|text| text.parse().ok()).unwrap_or(0);
        let size = self.world.page_size.max(1);
        let page: Vec<Value> = all.into_iter().skip(from).take(size).collect();
        let mut body = json!({});
        if page.len() == size {
            // Whether there is more the service knows when it is asked, so the last page may be empty.
            let rest: Vec<&str> = self
                .asked
                .raw_query
                .split('&')
                .filter(|pair| !pair.to_ascii_lowercase().contains("skiptoken="))
                .collect();
            let query = rest.join("&");
            let path = self.asked.path.replace(' ', "%20");
            let next = from + size;
            let url = format!("{}{path}?{query}&%24skiptoken={next}", self.endpoint);
            body["nextLink"] = json!(url);
        }
        body["value"] = json!(page);
        Reply::new(200, body)
    }
}
