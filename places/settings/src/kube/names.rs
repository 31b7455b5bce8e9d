//! How Kubernetes and registries want names to look.

/// What is wrong, and the fix.
pub(super) type Wrong = (String, String);

/// A name that may be part of a host's: of namespaces.
pub(super) fn label(text: &str) -> Result<(), Wrong> {
    if is_label(text) {
        return Ok(());
    }
    Err((
        "is no name that Kubernetes takes".into(),
        "use 1 to 63 characters of a-z, 0-9 and `-`, none of them `-` at an end".into(),
    ))
}

/// A name that may be a host's: of most objects.
pub(super) fn object(text: &str) -> Result<(), Wrong> {
    if is_subdomain(text) {
        return Ok(());
    }
    Err((
        "is no name of a Kubernetes object".into(),
        "use at most 253 characters of a-z, 0-9, `-` and `.`, a letter or digit at each end".into(),
    ))
}

/// The key of a label, annotation, taint or resource: `name` or `domain/name`.
pub(super) fn key(text: &str) -> Result<(), Wrong> {
    let (domain, name) = match text.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, text),
    };
    if domain.is_none_or(is_subdomain) && is_word(name) {
        return Ok(());
    }
    Err((
        "is no key that Kubernetes takes".into(),
        "write `name` or `example.com/name`: at most 63 letters, digits, `-`, `_` and `.` behind the `/`, a letter or \
         digit at each end"
            .into(),
    ))
}

/// The value of a label or taint.
pub(super) fn value(text: &str) -> Result<(), Wrong> {
    if text.is_empty() || is_word(text) {
        return Ok(());
    }
    Err((
        "is no value of a label".into(),
        "use at most 63 letters, digits, `-`, `_` and `.`, a letter or digit at each end; other text goes into \
         `annotations`"
            .into(),
    ))
}

/// An image with a tag or a digest.
pub(super) fn image(text: &str) -> Result<(), Wrong> {
    let form =
        || "write `registry.example/name:tag` or `registry.example/name@sha256:…`".to_owned();
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    // A colon before the last slash is that of a port.
    let slash = rest.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match rest.get(slash..).and_then(|last| last.split_once(':')) {
        Some((last, tag)) => (rest.get(..slash + last.len()).unwrap_or(rest), Some(tag)),
        None => (rest, None),
    };
    if !is_repository(name) {
        return Err(("is no name of an image".into(), form()));
    }
    if !tag.is_none_or(is_tag) {
        return Err(("has a tag that is none".into(), form()));
    }
    if !digest.is_none_or(is_digest) {
        let fix = "write `@sha256:` and the 64 digits that `docker images --digests` shows";
        return Err(("has a digest that is none".into(), fix.into()));
    }
    if tag.is_none() && digest.is_none() {
        let what = "has neither a tag nor a digest, so what it stands for changes unseen";
        let fix = format!("write `{text}:TAG`, or better `{text}@sha256:…`");
        return Err((what.into(), fix));
    }
    Ok(())
}

fn is_label(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(good)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_subdomain(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(good) && !part.starts_with('-') && !part.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(part)
}

fn is_word(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let end = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    text.len() <= 63
        && text.bytes().all(good)
        && end(text.bytes().next())
        && end(text.bytes().next_back())
}

fn is_repository(name: &str) -> bool {
    let (host, path) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
            (Some(first), rest)
        }
        Some(_) | None => (None, name),
    };
    let good =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
    let end = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let part = |part: &str| {
        part.bytes().all(good) && end(part.bytes().next()) && end(part.bytes().next_back())
    };
    name.len() <= 255 && host.is_none_or(is_host) && path.split('/').all(part)
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    is_subdomain(&name.to_ascii_lowercase()) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn is_tag(tag: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=128).contains(&tag.len()) && tag.bytes().all(good) && !tag.starts_with(['-', '.'])
}

fn is_digest(digest: &str) -> bool {
    let digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    digest
        .strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_a_tag_or_a_digest() {
        let digest = format!("a@sha256:{}", "0".repeat(64));
        for good in [
            "a:1",
            "registry.example/train:v1.2",
            "localhost:5000/a/b:latest",
            "Registry.Example:443/a_b/c-d:T",
            &digest,
            &format!("r.io/b:1{}", &digest[1..]),
        ] {
            assert_eq!(image(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "a",
            "localhost:5000/a",
            "A:1",
            "a:",
            "a:-x",
            "a b:1",
            "a@sha256:12",
            "a@md5:1",
            "/a:1",
            "a//b:1",
            "host:99999/a:1",
            "a:1:2",
            "-a:1",
        ] {
            assert!(image(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_and_values_are_those_of_kubernetes() {
        for good in ["a", "A.b_c-D", "example.com/role", "9"] {
            assert_eq!(key(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "-a",
            "a-",
            "A.com/x",
            "a/b/c",
            "ä",
            &"a".repeat(64),
        ] {
            assert!(key(bad).is_err(), "{bad}");
        }
        assert_eq!(value(""), Ok(()));
        assert!(value("a b").is_err());
        assert!(label("-a").is_err() && label(&"a".repeat(64)).is_err() && label("a.b").is_err());
        assert!(object("a.b-c").is_ok() && object("a..b").is_err() && object("").is_err());
    }
}
