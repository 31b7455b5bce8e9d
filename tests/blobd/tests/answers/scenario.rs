//! Requests as data: one after the other to both services, each answer compared.

use crate::service::{azurite, blobd, fresh, sas};
use crate::told::{Told, text_of};
use crate::wire::{Reply, escaped, send};
use petctl_test_blobd::ACCOUNT;
use std::collections::BTreeMap;

/// One request. In its query and headers `{NAME}` stands for what [`Step::keep`] kept, and `{next}` for the mark of the
/// listing before, of the service that is asked.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    method: &'static str,
    /// Not escaped; empty: the container.
    name: String,
    /// Escaped.
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    signed: bool,
    kept: Option<&'static str>,
    expected: u16,
    lacks: &'static [&'static str],
    differs: Option<Differs>,
}

/// Where this service does not follow Azurite.
#[derive(Clone, Debug)]
struct Differs {
    status: u16,
    code: &'static str,
}

pub(crate) fn step(method: &'static str, name: &str, query: &str, expected: u16) -> Step {
    Step {
        method,
        name: name.to_owned(),
        query: query.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
        signed: true,
        kept: None,
        expected,
        lacks: &[],
        differs: None,
    }
}

/// Writes a blob.
pub(crate) fn put(name: &str, body: impl AsRef<[u8]>, expected: u16) -> Step {
    let step = step("PUT", name, "", expected).body(body);
    step.header("x-ms-blob-type", "BlockBlob")
}

pub(crate) fn get(name: &str, expected: u16) -> Step {
    step("GET", name, "", expected)
}

pub(crate) fn head(name: &str, expected: u16) -> Step {
    step("HEAD", name, "", expected)
}

pub(crate) fn delete(name: &str, expected: u16) -> Step {
    step("DELETE", name, "", expected)
}

/// Lists the container; `query` goes on after `comp=list`.
pub(crate) fn list(query: &str, expected: u16) -> Step {
    step(
        "GET",
        "",
        &format!("restype=container&comp=list{query}"),
        expected,
    )
}

impl Step {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    pub(crate) fn unsigned(mut self) -> Self {
        self.signed = false;
        self
    }

    /// Keeps the ETag of the answer under that name.
    pub(crate) fn keep(mut self, name: &'static str) -> Self {
        self.kept = Some(name);
        self
    }

    /// Azurite sends these headers as well; all else is the same.
    pub(crate) fn lacks(mut self, headers: &'static [&'static str]) -> Self {
        self.lacks = headers;
        self
    }

    /// Azurite answers as expected, and this service like this: as Azure's own does, or for the reason that stands
    /// beside it.
    pub(crate) fn but_ours(mut self, status: u16, code: &'static str) -> Self {
        self.differs = Some(Differs { status, code });
        self
    }
}

/// A service and what it said before.
struct Side {
    who: &'static str,
    port: u16,
    kept: BTreeMap<&'static str, String>,
}

impl Side {
    fn ask(&mut self, container: &str, step: &Step) -> Reply {
        let path = match step.name.as_str() {
            "" => container.to_owned(),
            name => format!("{container}/{}", escaped(name)),
        };
        let mut query = self.fill(&step.query, escaped);
        if step.signed {
            query = format!("{query}&{}", sas());
        }
        let target = format!("/{ACCOUNT}/{path}?{query}");
        let headers = step.headers.iter();
        let headers: Vec<(String, String)> = headers
            .map(|(name, value)| (name.clone(), self.fill(value, str::to_owned)))
            .collect();
        let reply = send(self.port, step.method, &target, &headers, &step.body);
        if let Some(name) = step.kept {
            let etag = reply.header("etag").to_owned();
            assert!(!etag.is_empty(), "{} names no version: {step:?}", self.who);
            let others: Vec<&String> = self.kept.values().collect();
            assert!(
                !others.contains(&&etag),
                "{} names it twice: {step:?}",
                self.who
            );
            self.kept.insert(name, etag);
        }
        if step.query.contains("comp=list") && reply.status == 200 {
            self.kept.insert("next", text_of(&reply.body, "NextMarker"));
        }
        reply
    }

    fn fill(&self, text: &str, write: impl Fn(&str) -> String) -> String {
        let mut filled = text.to_owned();
        for (name, value) in &self.kept {
            filled = filled.replace(&format!("{{{name}}}"), &write(value));
        }
        filled
    }
}

/// Asks both, in a new container each, and compares.
pub(crate) fn same(steps: &[Step]) {
    let container = fresh("same");
    let mut all = vec![step("PUT", "", "restype=container", 201)];
    all.extend_from_slice(steps);
    same_in(&container, &all);
}

/// Asks both, in this container, and compares.
pub(crate) fn same_in(container: &str, steps: &[Step]) {
    let side = |who, port| Side {
        who,
        port,
        kept: BTreeMap::new(),
    };
    let mut theirs = side("Azurite", azurite().port());
    let mut ours = side("blobd", blobd().port());
    for step in steps {
        let (their_reply, our_reply) = (theirs.ask(container, step), ours.ask(container, step));
        let mut their = Told::of(step.method, &their_reply);
        let our = Told::of(step.method, &our_reply);
        for header in step.lacks {
            assert!(
                their.forget(header),
                "Azurite does not send {header}: {step:?}"
            );
        }
        let shown = String::from_utf8_lossy(&their_reply.body).into_owned();
        assert_eq!(their.status, step.expected, "Azurite: {step:?}\n{shown}");
        match &step.differs {
            None => assert_eq!(our, their, "{step:?}"),
            Some(differs) => {
                assert_ne!(our, their, "there is no difference any more: {step:?}");
                assert_eq!(
                    (our.status, our.code()),
                    (differs.status, differs.code),
                    "{step:?}"
                );
            }
        }
    }
}
