//! Looks at blobs past petctl: requests written by hand, one connection each.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

/// One container.
#[derive(Clone, Debug)]
pub struct Blobs {
    port: u16,
    account: String,
    sas: String,
    container: String,
}

/// An answer of the service.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Blobs {
    pub(crate) fn new(port: u16, account: &str, sas: String, container: &str) -> Self {
        Self {
            port,
            account: account.to_owned(),
            sas,
            container: container.to_owned(),
        }
    }

    /// The container's name.
    pub fn container(&self) -> &str {
        &self.container
    }

    /// Makes the container.
    ///
    /// # Panics
    /// Where the service refuses.
    pub fn create(&self) {
        self.must("PUT", "", "restype=container", &[]);
    }

    /// Removes the container with all that is in it.
    ///
    /// # Panics
    /// Where the service refuses.
    pub fn delete_container(&self) {
        self.must("DELETE", "", "restype=container", &[]);
    }

    /// Writes a blob.
    ///
    /// # Panics
    /// Where the service refuses.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        self.must("PUT", name, "", bytes);
    }

    /// Writes the marker of an empty folder, as mounts and Azure's own tools do.
    ///
    /// # Panics
    /// Where the service refuses.
    pub fn mark_folder(&self, name: &str) {
        let mark = "x-ms-meta-hdi_isfolder: true\r\n";
        let answer = self.ask_with("PUT", name, "", mark, &[]);
        assert_eq!(answer.status, 201, "{name}: {}", said(&answer.body));
    }

    /// Writes a page blob, as disks of virtual machines are; so many times 512 bytes.
    ///
    /// # Panics
    /// Where the service refuses.
    pub fn put_pages(&self, name: &str, bytes: &[u8]) {
        let made = format!(
            "x-ms-blob-type: PageBlob\r\nx-ms-blob-content-length: {}\r\n",
            bytes.len()
        );
        let answer = self.ask_with("PUT", name, "", &made, &[]);
        assert_eq!(answer.status, 201, "{name}: {}", said(&answer.body));
        let range = format!(
            "x-ms-page-write: update\r\nx-ms-range: bytes=0-{}\r\n",
            bytes.len() - 1
        );
        let answer = self.ask_with("PUT", name, "comp=page", &range, bytes);
        assert_eq!(answer.status, 201, "{name}: {}", said(&answer.body));
    }

    /// Writes an append blob, as services write their logs.
    ///
    /// # Panics
    /// Where the service refuses.
    pub fn put_appended(&self, name: &str, bytes: &[u8]) {
        let answer = self.ask_with("PUT", name, "", "x-ms-blob-type: AppendBlob\r\n", &[]);
        assert_eq!(answer.status, 201, "{name}: {}", said(&answer.body));
        self.must("PUT", name, "comp=appendblock", bytes);
    }

    /// Moves a blob to the archive: it is listed, and can't be read.
    ///
    /// # Panics
    /// Where the service refuses.
    pub fn archive(&self, name: &str) {
        let tier = "x-ms-access-tier: Archive\r\n";
        let answer = self.ask_with("PUT", name, "comp=tier", tier, &[]);
        assert_eq!(answer.status, 200, "{name}: {}", said(&answer.body));
    }

    /// The bytes of a blob; `None` where there is none.
    ///
    /// # Panics
    /// Where the service answers something else.
    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        let answer = self.ask("GET", name, "", &[]);
        match answer.status {
            200 => Some(answer.body),
            404 => None,
            status => panic!("{status} for {name}: {}", said(&answer.body)),
        }
    }

    /// Removes a blob.
    ///
    /// # Panics
    /// Where the service refuses.
    pub fn delete(&self, name: &str) {
        self.must("DELETE", name, "", &[]);
    }

    /// The blobs under a prefix, with their sizes. Empty where there is no container.
    ///
    /// # Panics
    /// Where the service answers something else.
    pub fn list(&self, prefix: &str) -> BTreeMap<String, u64> {
        let (mut found, mut mark) = (BTreeMap::new(), String::new());
        loop {
            let query = format!(
                "restype=container&comp=list&maxresults=5000&prefix={}&marker={}",
                escaped(prefix),
                escaped(&mark)
            );
            let answer = self.ask("GET", "", &query, &[]);
            if answer.status == 404 {
                return found;
            }
            let text = said(&answer.body);
            assert_eq!(answer.status, 200, "listing of {prefix}: {text}");
            for blob in text.split("<Blob>").skip(1) {
                let name = between(blob, "<Name>", "</Name>").expect("a blob has a name");
                let size = between(blob, "<Content-Length>", "</Content-Length>");
                let size = size.and_then(|size| size.parse().ok()).unwrap_or(0);
                found.insert(unescaped(name), size);
            }
            match between(&text, "<NextMarker>", "</NextMarker>") {
                Some(next) if !next.is_empty() => mark = next.to_owned(),
                Some(_) | None => return found,
            }
        }
    }

    fn must(&self, method: &str, name: &str, query: &str, body: &[u8]) {
        let answer = self.ask(method, name, query, body);
        assert!(
            (200..300).contains(&answer.status),
            "{method} {name}: {} {}",
            answer.status,
            said(&answer.body)
        );
    }

    fn ask(&self, method: &str, name: &str, query: &str, body: &[u8]) -> Answer {
        self.ask_with(method, name, query, "", body)
    }

    fn ask_with(
        &self,
        method: &str,
        name: &str,
        query: &str,
        headers: &str,
        body: &[u8],
    ) -> Answer {
        let path = match name {
            "" => self.container.clone(),
            name => format!("{}/{}", self.container, escaped(name)),
        };
        let and = if query.is_empty() { "" } else { "&" };
        let kind = if headers.contains("x-ms-blob-type") {
            ""
        } else {
            "x-ms-blob-type: BlockBlob\r\n"
        };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("Azurite listens");
        // In HTTP 1.0 an answer ends with its connection.
        let head = format!(
            "{method} /{}/{path}?{query}{and}{} HTTP/1.0\r\nHost: 127.0.0.1:{}\r\nx-ms-version: 2021-12-02\r\n\
             {kind}{headers}Content-Length: {}\r\n\r\n",
            self.account,
            self.sas,
            self.port,
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("Azurite reads");
        stream.write_all(body).expect("Azurite reads");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("Azurite answers");
        let end = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .expect("an answer has a head");
        let head = said(&bytes[..end]);
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        Answer {
            status: status.expect("an answer has a status"),
            body: bytes.split_off(end + 4),
        }
    }
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inside, _)| inside)
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    text.bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}
