//! Where nodes meet, and whether that is this machine.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};

/// torchrun's c10d port.
pub(super) const C10D_PORT: u16 = 29_400;
/// torchrun's static port.
pub(super) const STATIC_PORT: u16 = 29_500;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// A name or an address; IPv6 without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Endpoint {
    /// Reads `host`, `host:port`, `[::1]` or `[::1]:port`.
    pub(super) fn read(text: &str, default_port: u16) -> Result<Self, String> {
        let bad = |why: &str| {
            Err(format!(
                "`{}` is no endpoint: {why}; write it like head:{default_port}",
                petctl_ui::terminal::printable(text)
            ))
        };
        let text = text.trim();
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => match rest.split_once(']') {
                Some((host, "")) => (host, None),
                Some((host, rest)) => (host, rest.strip_prefix(':')),
                None => return bad("a bracket is not closed"),
            },
            // Several colons without brackets: an IPv6 address alone.
            None if text.parse::<std::net::Ipv6Addr>().is_ok() => (text, None),
            None => match text.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let allowed =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if host.is_empty() || !host.chars().all(allowed) {
            return bad("it has no host name or address");
        }
        let port = match port.map(str::parse) {
            None => default_port,
            Some(Ok(port)) => port,
            Some(Err(_)) => return bad("its port is not a number from 0 to 65535"),
        };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }

    /// The address of this machine to listen on; `None`: the endpoint is another's.
    pub(super) fn own_address(&self) -> Option<SocketAddr> {
        let resolved: Vec<SocketAddr> = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map(Iterator::collect)
            .unwrap_or_default();
        // Only addresses of one's own can be listened on.
        let own = resolved
            .iter()
            .find(|address| TcpListener::bind((address.ip(), 0)).is_ok());
        own.copied().or_else(|| {
            // A name of this machine that others resolve to an address that it does not see: a container's host.
            let name = rustix::system::uname();
            (name.nodename().to_bytes() == self.host.as_bytes())
                .then(|| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), self.port))
        })
    }

    /// Where to listen if this node was told to be the host, whatever the name resolves to here.
    pub(super) fn any_address(&self) -> SocketAddr {
        self.own_address().unwrap_or(SocketAddr::new(
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            self.port,
        ))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(String, u16), String> {
        Endpoint::read(text, 29_400).map(|read| (read.host, read.port))
    }

    #[test]
    fn hosts_have_a_port_or_get_the_usual_one() {
        for (text, host, port) in [
            ("head", "head", 29_400),
            ("head:1", "head", 1),
            ("10.0.0.1:65535", "10.0.0.1", 65_535),
            ("[fd00::1]:7", "fd00::1", 7),
            ("[fd00::1]", "fd00::1", 29_400),
            ("fd00::1", "fd00::1", 29_400),
            (" a-b.c_d:7 ", "a-b.c_d", 7),
        ] {
            assert_eq!(read(text), Ok((host.to_owned(), port)), "{text}");
        }
        for bad in [
            "",
            ":1",
            "a:b",
            "a:70000",
            "[::1",
            "a b",
            "http://a:1",
            "a:",
        ] {
            assert!(read(bad).unwrap_err().contains("head:29400"), "{bad}");
        }
    }

    #[test]
    fn a_machine_knows_its_own_addresses() {
        let own = |text: &str| Endpoint::read(text, 1).unwrap().own_address();
        assert!(own("localhost").unwrap().ip().is_loopback());
        assert_eq!(own("127.0.0.1:9").unwrap().port(), 9);
        // An address of documentation: nobody has it.
        assert_eq!(own("192.0.2.1"), None);
    }
}
