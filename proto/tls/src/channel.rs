//! A connection of gRPC to a coordinator, with TLS or without.

use crate::{TlsError, Trust};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::io;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};

/// How long an address may be silent: one repeated SYN. A cluster's service goes on leading a SYN that is repeated to
/// the pod where it led the first one, also when that pod has gone; a new try finds the pod of now.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum NotConnected {
    /// Whoever answers is not trusted, or speaks no TLS: the same won't work in a moment.
    #[error(transparent)]
    Tls(TlsError),
    /// Nobody answers.
    #[error(transparent)]
    Away(tonic::transport::Error),
}

/// Connects, and speaks TLS where there is somebody to trust. Later connections of the channel are made the same way.
///
/// # Errors
/// Where nobody answers, or whoever does is not trusted.
pub async fn channel(endpoint: &Endpoint, trust: Option<&Trust>) -> Result<Channel, NotConnected> {
    let connected = match trust {
        None => {
            let connector =
                tower::service_fn(|uri: Uri| async move { dial(&uri, 80).await.map(TokioIo::new) });
            endpoint.connect_with_connector(connector).await
        }
        Some(trust) => {
            let trust = trust.clone();
            let connector = tower::service_fn(move |uri: Uri| {
                let trust = trust.clone();
                async move {
                    let stream = dial(&uri, 443).await?;
                    trust.secure(stream).await.map(TokioIo::new)
                }
            });
            endpoint.connect_with_connector(connector).await
        }
    };
    connected.map_err(|error| match tls_error(&error) {
        Some(known) => NotConnected::Tls(known),
        None => NotConnected::Away(error),
    })
}

/// Tries each address of the name in turn.
async fn dial(uri: &Uri, default_port: u16) -> io::Result<TcpStream> {
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(default_port);
    let nobody = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut failure = None;
    for address in lookup_host((host, port)).await? {
        match timeout(ADDRESS_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => failure = Some(error),
            Err(_) => {
                let silence = format!("{address} does not answer");
                failure = Some(io::Error::new(io::ErrorKind::TimedOut, silence));
            }
        }
    }
    Err(failure.unwrap_or_else(nobody))
}

/// What TLS said, deep in what others made of it.
fn tls_error(error: &(dyn Error + 'static)) -> Option<TlsError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(known) = error.downcast_ref::<TlsError>() {
            return Some(known.clone());
        }
        // An error of the system passes over what it holds.
        let held = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        if let Some(known) = held.and_then(|held| tls_error(held)) {
            return Some(known);
        }
        next = error.source();
    }
    None
}
