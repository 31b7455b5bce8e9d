//! Signing requests with the account's key. The official crate leaves this to its users.

use crate::error::{StorageError, StorageProblem};
use async_trait::async_trait;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, Request};
use azure_core::time::{OffsetDateTime, to_rfc7231};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// An account's key, which signs: each try of a request anew, or a SAS.
pub struct SharedKey {
    account: String,
    key: Vec<u8>,
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedKey")
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

impl SharedKey {
    /// Signs as `account`, with its key in base64.
    ///
    /// # Errors
    /// [`StorageProblem::NoCredential`] where it is not base64.
    pub fn new(account: &str, key: &str) -> Result<Self, StorageError> {
        let key = STANDARD.decode(key.trim()).map_err(|_| {
            StorageError::new(
                StorageProblem::NoCredential,
                format!("what was given as key of the account {account} is not base64"),
            )
            .fix("an account key is 88 characters that end in `==`; copy it whole")
        })?;
        Ok(Self {
            account: account.to_owned(),
            key,
        })
    }

    /// HMAC-SHA256 of a text, in base64.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else {
            return String::new();
        };
        mac.update(text.as_bytes());
        STANDARD.encode(mac.finalize().into_bytes())
    }

    fn text_to_sign(&self, request: &Request) -> String {
        let mut headers = BTreeMap::new();
        for (name, value) in request.headers().iter() {
            headers.insert(
                name.as_str().to_lowercase(),
                value.as_str().trim().to_owned(),
            );
        }
        let header = |name: &str| headers.get(name).cloned().unwrap_or_default();
        let length = match request.body().len() {
            None | Some(0) => String::new(),
            Some(length) => length.to_string(),
        };
        let mut lines = vec![
            request.method().as_ref().to_owned(),
            header("content-encoding"),
            header("content-language"),
            length,
            header("content-md5"),
            header("content-type"),
            // `x-ms-date` is signed instead.
            String::new(),
            header("if-modified-since"),
            header("if-match"),
            header("if-none-match"),
            header("if-unmodified-since"),
            header("range"),
        ];
        for (name, value) in &headers {
            if name.starts_with("x-ms-") {
                lines.push(format!("{name}:{value}"));
            }
        }
        lines.push(self.canonical_resource(request));
        lines.join("\n")
    }

    /// The account, the path as it is sent (with an emulator's account in it once more), and the parameters by name.
    fn canonical_resource(&self, request: &Request) -> String {
        let mut parameters: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in request.url().query_pairs() {
            let values = parameters.entry(name.to_lowercase()).or_default();
            values.push(value.into_owned());
        }
        let mut resource = format!("/{}{}", self.account, request.url().path());
        for (name, mut values) in parameters {
            values.sort();
            resource.push_str(&format!("\n{name}:{}", values.join(",")));
        }
        resource
    }
}

#[async_trait]
impl Policy for SharedKey {
    async fn send(
        &self,
        ctx: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        request.insert_header("x-ms-date", to_rfc7231(&OffsetDateTime::now_utc()));
        let signature = self.sign(&self.text_to_sign(request));
        request.insert_header(
            "authorization",
            format!("SharedKey {}:{signature}", self.account),
        );
        let Some((first, rest)) = next.split_first() else {
            return Err(azure_core::Error::with_message(
                azure_core::error::ErrorKind::Other,
                "nothing sends the request",
            ));
        };
        first.send(ctx, request, rest).await
    }
}
