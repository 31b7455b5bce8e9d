//! TLS between a coordinator and those who call it.
//!
//! A coordinator has a CA of its own ([`Authority`]), which signs the certificates that it serves with ([`Server`]).
//! They last for a day and are renewed while it serves. Who calls it has the CA's certificate, and trusts that alone
//! ([`Trust`]), under one name ([`NAME`]) whatever address was dialled: coordinators move, and are reached through
//! tunnels, and none of that makes one another.

mod authority;
mod channel;
mod error;
mod server;
mod trust;

pub use authority::{Authority, NotMade};
pub use channel::{NotConnected, channel};
pub use error::TlsError;
pub use server::{LIFE, Server, ServerStream};
pub use trust::{Stream, Trust};

use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// The name by which every coordinator is known to those who trust its CA.
pub const NAME: &str = "petctl-coordinator";

/// What both sides speak within TLS.
const PROTOCOL: &[u8] = b"h2";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
