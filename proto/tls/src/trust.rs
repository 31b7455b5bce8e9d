//! Whom those who call a coordinator trust.

use crate::{NAME, PROTOCOL, TlsError, provider};
use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

/// A connection that was begun with TLS.
pub type Stream<S> = tokio_rustls::client::TlsStream<S>;

/// Most bytes of a file with a CA.
const MAX_CA_BYTES: u64 = 256 * 1024;

/// A coordinator's CA, and nobody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    from: From,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum From {
    /// Read again for each connection: a CA may be replaced.
    File(PathBuf),
    Pem(Arc<str>),
}

impl Trust {
    /// The CA in a file. It is read now, to say at once what is wrong with it, and again for each connection.
    ///
    /// # Errors
    /// Where it can't be read, or holds no certificate.
    pub fn file(path: impl Into<PathBuf>) -> Result<Self, TlsError> {
        let trust = Self {
            from: From::File(path.into()),
        };
        trust.roots().map(|_roots| trust)
    }

    /// The CA as PEM.
    ///
    /// # Errors
    /// Where there is no certificate in it.
    pub fn pem(text: &str) -> Result<Self, TlsError> {
        let trust = Self {
            from: From::Pem(text.into()),
        };
        trust.roots().map(|_roots| trust)
    }

    /// The file, where it is from one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.from {
            From::File(path) => Some(path),
            From::Pem(_) => None,
        }
    }

    /// Speaks TLS on a connection to the coordinator.
    ///
    /// # Errors
    /// Where whoever answers is not the coordinator of this CA, speaks no TLS, or goes away.
    pub async fn secure<S>(&self, stream: S) -> Result<Stream<S>, io::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.config().map_err(io::Error::other)?;
        let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::new(config));
        let secured = connector.connect(name, stream).await;
        secured.map_err(|error| match of_io(&error) {
            Some(known) => io::Error::other(known),
            None => error,
        })
    }

    fn config(&self) -> Result<ClientConfig, TlsError> {
        let roots = self.roots()?;
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| of(&error))?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(config)
    }

    /// Whether a certificate would be taken now.
    pub(crate) fn check(&self, chain: &[CertificateDer<'static>]) -> Result<(), TlsError> {
        let roots = Arc::new(self.roots()?);
        let built = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
        let verifier = built.map_err(|error| TlsError::Other(error.to_string()))?;
        let name = ServerName::try_from(NAME).map_err(|_| TlsError::NotItsCa)?;
        let Some((first, rest)) = chain.split_first() else {
            return Err(TlsError::NotItsCa);
        };
        let checked = verifier.verify_server_cert(first, rest, &name, &[], UnixTime::now());
        checked.map(|_checked| ()).map_err(|error| of(&error))
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let (text, bad) = match &self.from {
            From::Pem(text) => (text.as_bytes().to_vec(), TlsError::NoCa),
            From::File(path) => {
                let failed = |why: String| TlsError::CaFile {
                    path: path.clone(),
                    why,
                };
                let text = read(path).map_err(|error| failed(error.to_string()))?;
                (text, failed("it holds no certificate".to_owned()))
            }
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate = certificate.map_err(|_| bad.clone())?;
            roots.add(certificate).map_err(|_| bad.clone())?;
        }
        if roots.is_empty() {
            return Err(bad);
        }
        Ok(roots)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?
        .take(MAX_CA_BYTES)
        .read_to_end(&mut text)?;
    Ok(text)
}

/// What TLS itself says of a connection that did not come about.
fn of_io(error: &io::Error) -> Option<TlsError> {
    let inner = error.get_ref()?;
    inner.downcast_ref::<rustls::Error>().map(of)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "errors of others, which may grow: what is not known by name is told in its own words"
)]
fn of(error: &rustls::Error) -> TlsError {
    let at = |time: &UnixTime| {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
    };
    match error {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::NotValidYetContext { time, not_before } => TlsError::NotYet {
                from: at(not_before),
                now: at(time),
            },
            CertificateError::ExpiredContext { time, not_after } => TlsError::Over {
                until: at(not_after),
                now: at(time),
            },
            CertificateError::UnknownIssuer
            | CertificateError::BadSignature
            | CertificateError::NotValidForName
            | CertificateError::NotValidForNameContext { .. } => TlsError::NotItsCa,
            other => TlsError::Other(other.to_string()),
        },
        // Not even the frame of a message of TLS.
        rustls::Error::InvalidMessage(_) => TlsError::PlainText,
        other => TlsError::Other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Authority;

    #[test]
    fn a_file_without_a_ca_is_named_with_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let missing = Trust::file(&path).unwrap_err();
        assert_eq!(missing.code(), petctl_codes::Code::CaFile);
        assert!(missing.to_string().contains("ca.pem"), "{missing}");
        for text in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n"] {
            std::fs::write(&path, text).unwrap();
            let error = Trust::file(&path).unwrap_err().to_string();
            assert!(error.ends_with("it holds no certificate"), "{error}");
            assert_eq!(Trust::pem(text), Err(TlsError::NoCa));
        }
        let (authority, key) = Authority::make().unwrap();
        std::fs::write(&path, key.expose()).unwrap();
        let error = Trust::file(&path).unwrap_err().to_string();
        assert!(error.ends_with("it holds no certificate"), "{error}");
        std::fs::write(&path, authority.certificate()).unwrap();
        assert_eq!(Trust::file(&path).unwrap().path(), Some(path.as_path()));
    }
}
