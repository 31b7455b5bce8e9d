//! A request taken apart, and what its path names.

use hyper::header::HeaderMap;
use hyper::http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::Value;

/// A request with its body.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// As it came, without the query.
    pub(crate) path: String,
    pub(crate) raw_query: String,
    /// Names in small letters.
    query: Vec<(String, String)>,
    headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Asked {
    pub(crate) fn new(parts: &Parts, bytes: Vec<u8>) -> Self {
        let raw_query = parts.uri.query().unwrap_or_default().to_owned();
        Self {
            method: parts.method.as_str().to_owned(),
            path: decode(parts.uri.path()),
            query: pairs(&raw_query),
            raw_query,
            headers: parts.headers.clone(),
            bytes,
        }
    }

    /// For changes that nobody asked for.
    pub(crate) fn nothing() -> Self {
        Self {
            method: String::new(),
            path: String::new(),
            raw_query: String::new(),
            query: Vec::new(),
            headers: HeaderMap::new(),
            bytes: Vec::new(),
        }
    }

    /// A parameter of the query; the last, where it stands there twice.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let mut all = self.query.iter().rev();
        let (_, value) = all.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(value)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.bytes).ok()
    }

    /// The body as a form.
    pub(crate) fn form(&self) -> Vec<(String, String)> {
        pairs(&String::from_utf8_lossy(&self.bytes))
    }

    /// The body for the record: JSON, else text, else nothing.
    pub(crate) fn shown(&self) -> Option<Value> {
        if self.bytes.is_empty() {
            return None;
        }
        let text = || Value::String(String::from_utf8_lossy(&self.bytes).into_owned());
        Some(self.json().unwrap_or_else(text))
    }

    /// Parts of the path.
    pub(crate) fn segments(&self) -> Vec<&str> {
        let parts = self.path.split('/');
        parts.filter(|part| !part.is_empty()).collect()
    }
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn pairs(text: &str) -> Vec<(String, String)> {
    let all = text.split('&').filter(|pair| !pair.is_empty());
    all.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // In a query a `+` stands for a space.
        let read = |text: &str| decode(&text.replace('+', "%20"));
        (read(name).to_ascii_lowercase(), read(value))
    })
    .collect()
}

/// What a path beneath a subscription names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Target {
    pub(crate) subscription: String,
    pub(crate) group: Option<String>,
    /// What stands before the provider: a subscription, a group, or a resource that is extended.
    pub(crate) scope: String,
    /// Empty for groups and subscriptions themselves.
    pub(crate) namespace: String,
    pub(crate) kinds: Vec<String>,
    pub(crate) names: Vec<String>,
    /// What stands after the last name: a kind that is listed, or an action.
    pub(crate) tail: Option<String>,
}

impl Target {
    /// From the parts of a path that begins with `subscriptions/S`.
    pub(crate) fn read(segments: &[&str]) -> Option<Self> {
        let (first, rest) = segments.split_first()?;
        let (subscription, rest) = rest.split_first()?;
        if !first.eq_ignore_ascii_case("subscriptions") {
            return None;
        }
        let mut target = Self {
            subscription: (*subscription).to_owned(),
            scope: format!("/subscriptions/{subscription}"),
            ..Self::default()
        };
        let mut rest = rest;
        if let [kind, group, more @ ..] = rest
            && kind.eq_ignore_ascii_case("resourceGroups")
        {
            target.group = Some((*group).to_owned());
            target.scope = format!("{}/resourceGroups/{group}", target.scope);
            rest = more;
        }
        let is_providers = |part: &&str| part.eq_ignore_ascii_case("providers");
        if let Some(last) = rest.iter().rposition(is_providers) {
            for part in &rest[..last] {
                target.scope = format!("{}/{part}", target.scope);
            }
            let mut after = rest[last + 1..].iter();
            target.namespace = (*after.next()?).to_owned();
            while let Some(kind) = after.next() {
                if let Some(name) = after.next() {
                    target.kinds.push((*kind).to_owned());
                    target.names.push((*name).to_owned());
                } else {
                    target.tail = Some((*kind).to_owned());
                }
            }
        } else if let [tail] = rest {
            target.tail = Some((*tail).to_owned());
        } else if !rest.is_empty() {
            target.kinds = vec![rest[0].to_owned()];
            target.names = rest[1..].iter().map(|part| (*part).to_owned()).collect();
        }
        Some(target)
    }

    /// The type in small letters, without what stands after the last name.
    pub(crate) fn kind(&self) -> String {
        let mut kind = self.namespace.clone();
        for part in &self.kinds {
            kind = format!("{kind}/{part}");
        }
        kind.to_ascii_lowercase()
    }

    /// The type, or the type of what is listed.
    pub(crate) fn listed_kind(&self) -> String {
        let kind = self.kind();
        match &self.tail {
            Some(tail) => format!("{kind}/{tail}").to_ascii_lowercase(),
            None => kind,
        }
    }

    /// The id, in the letter case in which the request had it.
    pub(crate) fn id(&self) -> String {
        let mut id = self.scope.clone();
        if !self.namespace.is_empty() {
            id = format!("{id}/providers/{}", self.namespace);
        }
        for (kind, name) in self.kinds.iter().zip(&self.names) {
            id = format!("{id}/{kind}/{name}");
        }
        id
    }

    /// The id by which it is kept.
    pub(crate) fn key(&self) -> String {
        self.id().to_ascii_lowercase()
    }

    /// The id of what it is a part of.
    pub(crate) fn parent_key(&self) -> Option<String> {
        (self.kinds.len() > 1).then(|| {
            let key = self.key();
            let mut parts: Vec<&str> = key.split('/').collect();
            parts.truncate(parts.len().saturating_sub(2));
            parts.join("/")
        })
    }

    /// The last name.
    pub(crate) fn name(&self) -> &str {
        let own = self.names.last().or(self.group.as_ref());
        own.unwrap_or(&self.subscription)
    }

    pub(crate) fn tail_is(&self, word: &str) -> bool {
        let tail = self.tail.as_deref().unwrap_or_default();
        tail.eq_ignore_ascii_case(word)
    }
}
