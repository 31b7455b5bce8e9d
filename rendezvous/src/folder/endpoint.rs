//! Where the coordinator of a state folder listens.

use petctl_output::write_whole;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

const ENDPOINT: &str = "endpoint.json";
const PORT: &str = "port";
/// More than any endpoint.json is long.
const MAX_BYTES: u64 = 64 * 1024;

/// A living coordinator, as `endpoint.json` names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Where it can be reached from this machine.
    pub address: SocketAddr,
    /// Its process.
    pub pid: u32,
    /// When it started, ms since 1970.
    pub started_at_ms: u64,
    /// Version of its program.
    pub program_version: String,
    /// Whether it speaks TLS; its CA is beside this file then.
    #[serde(default)]
    pub tls: bool,
}

/// The coordinator that listens for this state folder. It may have died without taking the file away: only an
/// answer tells that it lives. `None` if there is no such file or it can't be understood.
///
/// # Errors
/// Where the file is there and can't be read.
pub fn read_endpoint(dir: &Path) -> io::Result<Option<Endpoint>> {
    let path = dir.join(ENDPOINT);
    let text = match fs::metadata(&path) {
        Ok(metadata) if metadata.len() > MAX_BYTES => return Ok(None),
        Ok(_) => fs::read(&path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(serde_json::from_slice(&text).ok())
}

/// Says where the coordinator listens.
pub(crate) fn publish(dir: &Path, endpoint: &Endpoint) -> io::Result<()> {
    let endpoint = Endpoint {
        address: reachable(endpoint.address),
        ..endpoint.clone()
    };
    let text = serde_json::to_vec_pretty(&endpoint)?;
    write_whole(&dir.join(ENDPOINT), &text)
}

/// Takes back what [`publish`] said.
pub(crate) fn withdraw(dir: &Path) {
    if let Err(error) = fs::remove_file(dir.join(ENDPOINT)) {
        tracing::debug!(%error, "endpoint.json was not there to be removed");
    }
}

/// So that workers that lost their coordinator find the next one.
pub(crate) fn remember_port(dir: &Path, port: u16) -> io::Result<()> {
    write_whole(&dir.join(PORT), format!("{port}\n").as_bytes())
}

pub(crate) fn remembered_port(dir: &Path) -> Option<u16> {
    fs::read_to_string(dir.join(PORT)).ok()?.trim().parse().ok()
}

/// "Every address" is none that one can call.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, publish, read_endpoint, remember_port, remembered_port, withdraw};
    use std::fs;

    #[test]
    fn an_endpoint_is_found_until_it_is_withdrawn() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_endpoint(dir.path()).unwrap(), None);
        let endpoint = Endpoint {
            address: "0.0.0.0:7000".parse().unwrap(),
            pid: 1,
            started_at_ms: 2,
            program_version: "0.1.0".to_owned(),
            tls: false,
        };
        publish(dir.path(), &endpoint).unwrap();
        let read = read_endpoint(dir.path()).unwrap().unwrap();
        assert_eq!(read.address, "127.0.0.1:7000".parse().unwrap());
        assert_eq!(read.pid, 1);
        withdraw(dir.path());
        assert_eq!(read_endpoint(dir.path()).unwrap(), None);
    }

    #[test]
    fn nonsense_is_no_endpoint_and_no_port() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("endpoint.json"), b"\xff{").unwrap();
        fs::write(dir.path().join("port"), b"99999").unwrap();
        assert_eq!(read_endpoint(dir.path()).unwrap(), None);
        assert_eq!(remembered_port(dir.path()), None);
        remember_port(dir.path(), 7000).unwrap();
        assert_eq!(remembered_port(dir.path()), Some(7000));
    }
}
