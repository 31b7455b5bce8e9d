//! A connection of gRPC to a coordinator, with TLS or without.

use crate::{TlsError, Trust};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::io;
use tokio::net::TcpStream;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};

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
        None => endpoint.connect().await,
        Some(trust) => {
            let trust = trust.clone();
            let connector = tower::service_fn(move |uri: Uri| {
                let trust = trust.clone();
                async move { dial(&trust, &uri).await.map(TokioIo::new) }
            });
            endpoint.connect_with_connector(connector).await
        }
    };
    connected.map_err(|error| match tls_error(&error) {
        Some(known) => NotConnected::Tls(known),
        None => NotConnected::Away(error),
    })
}

async fn dial(trust: &Trust, uri: &Uri) -> io::Result<crate::Stream<TcpStream>> {
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(443);
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    trust.secure(stream).await
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
