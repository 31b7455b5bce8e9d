//! Making account SAS tokens. For the emulator and for tests: who has an account's key needs no SAS of it.

use azure_core::http::Url;
use azure_core::time::{OffsetDateTime, to_rfc3339};
use petctl_storage::SharedKey;
use std::time::SystemTime;

/// The version of the signature; it decides which lines are signed.
const SIGNED_VERSION: &str = "2024-11-04";

/// What an account SAS allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountSas {
    /// Letters of `rwdlacup`.
    pub permissions: String,
    /// `b` for blobs, `f`, `q`, `t`.
    pub services: String,
    /// `s` for the service, `c` for containers, `o` for blobs.
    pub resource_types: String,
    /// From when on; `None`: from now on.
    pub starts: Option<SystemTime>,
    /// Until when.
    pub expires: SystemTime,
}

impl AccountSas {
    /// For all of the blob service.
    #[must_use]
    pub fn new(permissions: &str, expires: SystemTime) -> Self {
        Self {
            permissions: permissions.to_owned(),
            services: "b".to_owned(),
            resource_types: "sco".to_owned(),
            starts: None,
            expires,
        }
    }

    /// The token, signed with the account's key (base64). Without a `?`.
    #[must_use]
    pub fn sign(&self, account: &str, key: &str) -> String {
        let starts = self.starts.map(time).unwrap_or_default();
        let expires = time(self.expires);
        let text = format!(
            "{account}\n{}\n{}\n{}\n{starts}\n{expires}\n\nhttps,http\n{SIGNED_VERSION}\n\n",
            self.permissions, self.services, self.resource_types
        );
        let signature = match SharedKey::new(account, key) {
            Ok(key) => key.sign(&text),
            Err(_) => String::new(),
        };
        let Ok(mut url) = Url::parse("http://sas/") else {
            return String::new();
        };
        let mut pairs = url.query_pairs_mut();
        pairs
            .append_pair("sv", SIGNED_VERSION)
            .append_pair("ss", &self.services)
            .append_pair("srt", &self.resource_types)
            .append_pair("sp", &self.permissions);
        if !starts.is_empty() {
            pairs.append_pair("st", &starts);
        }
        pairs
            .append_pair("se", &expires)
            .append_pair("spr", "https,http")
            .append_pair("sig", &signature);
        drop(pairs);
        url.query().unwrap_or_default().to_owned()
    }
}

/// Whole seconds, as Azure wants them.
fn time(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    to_rfc3339(&time.replace_nanosecond(0).unwrap_or(time))
}
