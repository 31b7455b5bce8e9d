//! How this machine and its coordinator reach one another.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, UdpSocket, lookup_host};

/// How long one of several addresses may take to answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Both ends of a connection to the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// Our address on the way there.
    pub(super) own: IpAddr,
    /// The coordinator's, as we reach it.
    pub(super) coordinator: IpAddr,
}

impl Route {
    /// `None` where there is no way. `host` may be in brackets.
    pub(super) async fn find(host: &str, port: u16) -> Option<Self> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let addresses: Vec<SocketAddr> = lookup_host((host, port)).await.ok()?.collect();
        match addresses.as_slice() {
            [] => None,
            [only] => Self::to(*only).await,
            several => Self::through(several).await,
        }
    }

    /// The system chooses our address; nothing is sent.
    async fn to(address: SocketAddr) -> Option<Self> {
        let any: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await.ok()?;
        socket.connect(address).await.ok()?;
        Some(Self {
            own: socket.local_addr().ok()?.ip().to_canonical(),
            coordinator: address.ip().to_canonical(),
        })
    }

    /// A name may stand for addresses where nobody listens: the first that answers is it.
    async fn through(addresses: &[SocketAddr]) -> Option<Self> {
        for address in addresses {
            let probe = tokio::time::timeout(PROBE_TIMEOUT, TcpStream::connect(address)).await;
            if let Ok(Ok(stream)) = probe {
                return Some(Self {
                    own: stream.local_addr().ok()?.ip().to_canonical(),
                    coordinator: address.ip().to_canonical(),
                });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn the_way_to_a_loopback_address_is_loopback() {
        for host in ["127.0.0.1", "[::1]"] {
            let Some(route) = Route::find(host, 1).await else {
                continue;
            };
            assert!(
                route.own.is_loopback() && route.coordinator.is_loopback(),
                "{route:?}"
            );
        }
        assert_eq!(Route::find("no-such-host.invalid", 1).await, None);
    }

    #[tokio::test]
    async fn of_several_addresses_the_one_that_answers_counts() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = listener.local_addr().unwrap();
        let closed: SocketAddr = "127.0.0.2:1".parse().unwrap();
        let route = Route::through(&[closed, there]).await.unwrap();
        assert_eq!(route.coordinator, there.ip());
    }
}
