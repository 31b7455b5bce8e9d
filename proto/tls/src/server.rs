//! The coordinator's side: a certificate that is renewed while it serves.

use crate::{Authority, NotMade, PROTOCOL, provider};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

/// How long a certificate lasts.
pub const LIFE: Duration = Duration::from_secs(24 * 3_600);
/// It is renewed when this part of its life is over.
const RENEWED_AFTER: u32 = 3;
/// Clocks jump, and machines sleep: the time is looked at this often.
const LOOK: Duration = Duration::from_secs(60);

/// A connection on which TLS is spoken.
pub type ServerStream<S> = tokio_rustls::server::TlsStream<S>;

/// Speaks TLS with whoever calls.
#[derive(Clone)]
pub struct Server {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
}

#[derive(Debug)]
struct Current {
    authority: Authority,
    names: Vec<String>,
    life: Duration,
    held: RwLock<Held>,
}

#[derive(Clone, Debug)]
struct Held {
    key: Arc<CertifiedKey>,
    since: SystemTime,
}

impl Server {
    /// With a first certificate of this CA, for these names and addresses beside [`crate::NAME`].
    ///
    /// # Errors
    /// Where no certificate can be made.
    pub fn new(authority: Authority, names: Vec<String>, life: Duration) -> Result<Self, NotMade> {
        let held = RwLock::new(Held {
            key: authority.issue(&names, life)?,
            since: SystemTime::now(),
        });
        let current = Arc::new(Current {
            authority,
            names,
            life,
            held,
        });
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13])?;
        let resolver = Arc::clone(&current) as Arc<dyn ResolvesServerCert>;
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            current,
        })
    }

    /// The certificate of its CA, as PEM.
    #[must_use]
    pub fn ca(&self) -> &str {
        self.current.authority.certificate()
    }

    /// Speaks TLS on a connection.
    ///
    /// # Errors
    /// Where whoever calls does not want to, or goes away.
    pub async fn accept<S>(&self, stream: S) -> std::io::Result<ServerStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.acceptor.accept(stream).await
    }

    /// Renews the certificate whenever it is time to; connections that are open keep theirs. Never ends.
    pub async fn renew(self) {
        let every = LOOK.min(self.current.life / RENEWED_AFTER);
        loop {
            tokio::time::sleep(every).await;
            if !self.current.is_due() {
                continue;
            }
            match self.current.renew() {
                Ok(()) => tracing::info!("the certificate was renewed"),
                // The one that holds has most of its life before it.
                Err(error) => {
                    tracing::warn!(%error, "the certificate can't be renewed; it is tried again");
                }
            }
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("names", &self.current.names)
            .finish_non_exhaustive()
    }
}

impl Current {
    /// Whether a part of its life is over, or the clock was set back before its start.
    fn is_due(&self) -> bool {
        let age = SystemTime::now().duration_since(self.held().since);
        age.map_or(true, |age| age >= self.life / RENEWED_AFTER)
    }

    fn renew(&self) -> Result<(), NotMade> {
        let new = Held {
            key: self.authority.issue(&self.names, self.life)?,
            since: SystemTime::now(),
        };
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    fn held(&self) -> Held {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.clone()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.held().key)
    }
}
