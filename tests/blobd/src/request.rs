//! A request taken apart: which container, which blob, what is asked of it, and whether it is signed.

use crate::ACCOUNT;
use crate::refusal::Refusal;
use crate::store::Metadata;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName};
use hyper::http::request::Parts;
use percent_encoding::percent_decode_str;

/// What names of metadata begin with.
const METADATA: &str = "x-ms-meta-";
/// How an authorization begins that Azure knows.
const SCHEMES: [&str; 3] = ["SharedKey ", "SharedKeyLite ", "Bearer "];

/// A request without its body.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    /// Empty where the account itself is meant.
    pub(crate) container: String,
    /// Empty where the container itself is meant.
    pub(crate) blob: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    account: String,
}

impl Asked {
    pub(crate) fn read(parts: Parts) -> Result<Self, Refusal> {
        let path = parts.uri.path().trim_start_matches('/');
        let mut names = path.splitn(3, '/');
        let mut next = || decode(names.next().unwrap_or_default());
        let (account, container, blob) = (next()?, next()?, next()?);
        check_container(&container)?;
        let query = parts.uri.query().unwrap_or_default().split('&');
        let pairs = query.filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            // In a query a `+` stands for a space.
            let value = decode(&value.replace('+', "%20"))?;
            Ok((name.to_ascii_lowercase(), value))
        });
        Ok(Self {
            query: pairs.collect::<Result<_, _>>()?,
            method: parts.method,
            headers: parts.headers,
            account,
            container,
            // Azure takes the one for the other.
            blob: blob.replace('\\', "/"),
        })
    }

    /// A parameter; empty where it is not there.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        let pair = self.query.iter().find(|(key, _)| key == name);
        pair.map_or("", |(_, value)| value)
    }

    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What is to stand beside the bytes.
    pub(crate) fn metadata(&self) -> Result<Metadata, Refusal> {
        let mut metadata = Metadata::new();
        for (name, value) in &self.headers {
            let Some(key) = name.as_str().strip_prefix(METADATA) else {
                continue;
            };
            let begins = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            if !begins || key.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
                return Err(Refusal::invalid_metadata());
            }
            metadata.push((name.clone(), value.clone()));
        }
        Ok(metadata)
    }

    /// Refuses what carries no signature, and another account than the one there is. Which signature it is, nobody looks.
    pub(crate) fn check_signed(&self) -> Result<(), Refusal> {
        let by_header = self
            .header(&AUTHORIZATION)
            .is_some_and(|value| SCHEMES.iter().any(|scheme| value.starts_with(scheme)));
        if self.account != ACCOUNT {
            return Err(Refusal::unknown_account());
        }
        if by_header || !self.parameter("sig").is_empty() {
            return Ok(());
        }
        Err(Refusal::unsigned())
    }
}

/// The name of a piece of metadata as listings show it.
pub(crate) fn metadata_key(name: &HeaderName) -> &str {
    name.as_str().strip_prefix(METADATA).unwrap_or_default()
}

/// A block's id in base64, as it came: how many bytes it has.
pub(crate) fn block_id_length(id: &str) -> Option<usize> {
    STANDARD.decode(id).ok().map(|bytes| bytes.len())
}

fn decode(text: &str) -> Result<String, Refusal> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| Refusal::invalid_uri())?;
    Ok(decoded.into_owned())
}

fn check_container(name: &str) -> Result<(), Refusal> {
    if name.is_empty() || petctl_spec::is_container_name(name) {
        return Ok(());
    }
    Err(match name.len() {
        3..=63 => Refusal::invalid_resource_name(),
        _ => Refusal::out_of_range_name(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn asked(uri: &str) -> Asked {
        let (parts, ()) = Request::get(uri).body(()).unwrap().into_parts();
        Asked::read(parts).unwrap()
    }

    #[test]
    fn a_name_is_read_from_a_path_with_its_slashes_escaped_or_not() {
        for uri in ["/a/raw/b%2Fc%20%2B+%25?x", "/a/raw/b/c%20%2B+%25"] {
            let asked = asked(uri);
            assert_eq!((&*asked.container, &*asked.blob), ("raw", "b/c ++%"));
        }
        assert_eq!(asked("/a/raw/b//c/").blob, "b//c/");
        assert_eq!(asked("/a/raw?restype=container").blob, "");
        assert_eq!(asked("/a").container, "");
    }

    #[test]
    fn a_parameter_is_found_whatever_its_place_and_its_escapes() {
        let asked = asked("/a/raw?COMP=list&prefix=b+c%2B%20d&&marker");
        assert_eq!(asked.parameter("comp"), "list");
        assert_eq!(asked.parameter("prefix"), "b c+ d");
        assert_eq!(asked.parameter("marker"), "");
        assert_eq!(asked.parameter("delimiter"), "");
    }
}
