//! A service principal that signs what it says with its certificate.
//!
//! Source: Microsoft identity platform, "Application authentication certificate credentials": a JWT with `PS256`, whose
//! header names the certificate by its SHA-256.

use azure_core::error::ErrorKind;
use azure_core::http::ClientMethodOptions;
use azure_identity::ClientAssertion;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use petctl_ui::error::{Code, Error, Result};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{RSA_PSS_SHA256, RsaKeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fmt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// How long what is signed is good for, in seconds.
const GOOD_FOR_S: u64 = 300;

pub(super) struct Certificate {
    key: RsaKeyPair,
    thumbprint: String,
    client_id: String,
    audience: String,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

impl Certificate {
    /// From a PEM file with the certificate and its private key.
    pub(super) fn read(path: &Path, client_id: &str, audience: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Error::new(
                Code::AzureSignIn,
                format!("can't sign in with {}: {why}", path.display()),
            )
            .fix("it must be a PEM file with a certificate and its RSA private key, not encrypted; openssl makes one of a PFX file")
        };
        let pem = std::fs::read(path).map_err(|error| wrong(&error.to_string()))?;
        let certificate =
            CertificateDer::from_pem_slice(&pem).map_err(|_| wrong("it has no certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|_| wrong("it has no private key that is not encrypted"))?;
        let key = match &key {
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
            PrivateKeyDer::Sec1(_) | _ => return Err(wrong("its private key is none of RSA")),
        };
        let key = key.map_err(|_| wrong("its private key is none of RSA, or too short"))?;
        Ok(Self {
            key,
            thumbprint: URL_SAFE_NO_PAD.encode(Sha256::digest(&certificate)),
            client_id: client_id.to_owned(),
            audience: audience.to_owned(),
        })
    }

    fn assertion(&self, now_s: u64) -> Result<String, ring::error::Unspecified> {
        let random = SystemRandom::new();
        let mut id = [0_u8; 16];
        random.fill(&mut id)?;
        let header = json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": self.thumbprint });
        let claims = json!({
            "aud": self.audience,
            "iss": self.client_id,
            "sub": self.client_id,
            "jti": URL_SAFE_NO_PAD.encode(id),
            "nbf": now_s,
            "exp": now_s + GOOD_FOR_S,
        });
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PSS_SHA256, &random, signed.as_bytes(), &mut signature)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[async_trait::async_trait]
impl ClientAssertion for Certificate {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_s = now.map_or(0, |since| since.as_secs());
        self.assertion(now_s).map_err(|_| {
            azure_core::Error::with_message(
                ErrorKind::Credential,
                "the certificate's key signs nothing",
            )
        })
    }
}
