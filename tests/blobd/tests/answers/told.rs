//! What an answer says to petctl, without what differs by nature: times, versions, numbers of requests.

use crate::wire::Reply;
use quick_xml::Reader;
use quick_xml::escape::unescape;
use quick_xml::events::Event;
use std::collections::BTreeMap;

/// Headers that must say the same.
const SAME: [&str; 6] = [
    "accept-ranges",
    "content-md5",
    "content-range",
    "x-ms-blob-content-md5",
    "x-ms-blob-type",
    "x-ms-error-code",
];
/// Headers that must be there or not be there, whatever they say.
const THERE: [&str; 4] = ["date", "etag", "last-modified", "x-ms-request-id"];
/// As [`THERE`]; Azurite's refusals lack it.
const VERSION: &str = "x-ms-version";
/// Elements whose text differs, or that only one of them writes: nobody reads them.
const LEFT_OUT: [&str; 5] = [
    "AccessTierChangeTime",
    "QueryParameterName",
    "QueryParameterValue",
    "Reason",
    "ServerEncrypted",
];
/// Elements that must be there, whatever they say.
const ELEMENTS_THERE: [&str; 3] = ["Creation-Time", "Last-Modified", "NextMarker"];

/// Comparable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) status: u16,
    headers: BTreeMap<String, String>,
    body: Said,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Bytes(Vec<u8>),
    /// Each text by the way to it.
    Xml(BTreeMap<String, String>),
}

impl Told {
    pub(crate) fn of(method: &str, reply: &Reply) -> Self {
        let mut headers = BTreeMap::new();
        for (name, value) in &reply.headers {
            let name = name.as_str();
            if SAME.contains(&name) || name.starts_with("x-ms-meta-") {
                headers.insert(name.to_owned(), value.clone());
            } else if THERE.contains(&name) || (name == VERSION && reply.status < 300) {
                headers.insert(name.to_owned(), "there".to_owned());
            }
        }
        let kind = reply.header("content-type");
        let is_ours = headers.contains_key("x-ms-blob-type");
        if is_ours {
            headers.insert("content-type".to_owned(), kind.to_owned());
            // Of what is not sent, only this tells how long it is.
            let length = reply.header("content-length").to_owned();
            headers.insert("content-length".to_owned(), length);
        }
        let body = if kind.starts_with("application/xml") && !is_ours && method != "HEAD" {
            Said::Xml(texts(&reply.body))
        } else {
            Said::Bytes(reply.body.clone())
        };
        Self {
            status: reply.status,
            headers,
            body,
        }
    }

    /// Takes a header out; whether it was there.
    pub(crate) fn forget(&mut self, header: &str) -> bool {
        self.headers.remove(header).is_some()
    }

    /// Azure's error code.
    pub(crate) fn code(&self) -> &str {
        let code = self.headers.get("x-ms-error-code");
        code.map_or("", String::as_str)
    }
}

/// The text of an element, where a document has it.
pub(crate) fn text_of(body: &[u8], name: &str) -> String {
    let texts = every_text(body);
    let found = texts.into_iter().find(|(way, _)| last(way) == name);
    found.map(|(_, text)| text).unwrap_or_default()
}

/// Texts that are compared.
fn texts(body: &[u8]) -> BTreeMap<String, String> {
    let mut texts = every_text(body);
    texts.retain(|way, _| !LEFT_OUT.contains(&last(way)));
    for (way, text) in &mut texts {
        if ELEMENTS_THERE.contains(&last(way)) {
            "there".clone_into(text);
        }
        // Without quotes in both.
        if last(way) == "Etag" {
            text.retain(|c| c == '"');
        }
        // Behind the first line stand the request's number and the time.
        if last(way) == "Message" {
            text.truncate(text.find('\n').unwrap_or(text.len()));
        }
    }
    texts
}

/// `Blobs/Blob.3/Name.0` and its text; what is empty is left out.
fn every_text(body: &[u8]) -> BTreeMap<String, String> {
    let mut reader = Reader::from_reader(body);
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    let mut way: Vec<String> = Vec::new();
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    let mut step = |way: &[String], name: &[u8]| {
        let name = String::from_utf8(name.to_vec()).unwrap();
        let number = count
            .entry(format!("{}/{name}", way.join("/")))
            .or_default();
        *number += 1;
        format!("{name}.{}", *number - 1)
    };
    loop {
        match reader.read_event().unwrap() {
            Event::Start(start) => way.push(step(&way, start.name().as_ref())),
            Event::Empty(_) | Event::Decl(_) => {}
            Event::End(_) => drop(way.pop()),
            Event::Text(part) => {
                let part = part.decode().unwrap().into_owned();
                texts.entry(way.join("/")).or_default().push_str(&part);
            }
            Event::GeneralRef(part) => {
                let part = format!("&{};", part.decode().unwrap());
                let part = unescape(&part).unwrap().into_owned();
                texts.entry(way.join("/")).or_default().push_str(&part);
            }
            Event::Eof => break,
            other @ (Event::CData(_) | Event::Comment(_) | Event::PI(_) | Event::DocType(_)) => {
                panic!("{other:?}")
            }
        }
    }
    texts.retain(|_, text| !text.trim().is_empty());
    texts
}

/// The element at the end of a way.
fn last(way: &str) -> &str {
    let step = way.rsplit('/').next().unwrap_or_default();
    step.rsplit_once('.').map_or(step, |(name, _)| name)
}
