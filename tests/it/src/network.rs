//! Hosts of their own on one machine: network namespaces, each with a cable to a switch.

use std::cell::Cell;
use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// How namespaces of these tests are called: this, the test's process, a number, the host.
const PREFIX: &str = "petctl-it";
/// Sets the name of the host that it runs on (which nobody can resolve), then becomes the program.
const NAMED: &str = r#"echo "$0" > /proc/sys/kernel/hostname && exec "$@""#;

/// Which addresses hosts have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// 10.77.0.1 and so on.
    V4,
    /// fd77::1 and so on, and no IPv4 at all.
    V6,
}

/// Hosts on a switch; gone when it is dropped.
#[derive(Debug)]
pub struct Network {
    name: String,
    family: Family,
    hosts: u32,
    gone: Cell<bool>,
}

/// One of the hosts, to run commands on.
#[derive(Clone, Debug)]
pub struct Host {
    namespace: String,
    /// Its address: `10.77.0.1`, `fd77::1`.
    pub address: String,
    /// Its own name, which is in no table of names.
    pub name: String,
}

impl Host {
    /// Its address in an URL or with a port.
    pub fn bracketed(&self) -> String {
        if self.address.contains(':') {
            format!("[{}]", self.address)
        } else {
            self.address.clone()
        }
    }

    /// The start of a command line that runs there.
    pub(crate) fn prefix(&self) -> Vec<String> {
        let name = self.name.as_str();
        let words = [
            "ip",
            "netns",
            "exec",
            &self.namespace,
            "unshare",
            "--uts",
            "sh",
            "-c",
            NAMED,
            name,
        ];
        words.map(str::to_owned).to_vec()
    }
}

impl Network {
    /// So many hosts; `None`, said loudly, where this user or this machine may have no namespaces.
    ///
    /// # Panics
    /// Where there may be some, and they can't be wired.
    pub(crate) fn new(hosts: u32, family: Family) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        remove_stale();
        let network = Self {
            name: format!(
                "{PREFIX}-{}-{}",
                std::process::id(),
                COUNT.fetch_add(1, Ordering::Relaxed)
            ),
            family,
            hosts,
            gone: Cell::new(false),
        };
        if let Err(why) = ip(&["netns", "add", &network.switch()]) {
            let text = format!(
                "\n!!! NOT TESTED: several machines; network namespaces (ip netns) as root are needed: {why}\n"
            );
            // Past the capturing of the test runner, so that it is seen.
            let _said = std::io::stderr().write_all(text.as_bytes());
            return None;
        }
        network.wire();
        Some(network)
    }

    fn switch(&self) -> String {
        format!("{}-switch", self.name)
    }

    fn namespace(&self, host: u32) -> String {
        format!("{}-{host}", self.name)
    }

    /// One of its hosts, counted from 0.
    ///
    /// # Panics
    /// Where there is none of that number.
    pub fn host(&self, host: u32) -> Host {
        assert!(host < self.hosts, "there are {} hosts", self.hosts);
        let number = host + 1;
        Host {
            namespace: self.namespace(host),
            address: match self.family {
                Family::V4 => format!("10.77.0.{number}"),
                Family::V6 => format!("fd77::{number}"),
            },
            name: format!("it-host-{number}"),
        }
    }

    fn wire(&self) {
        let switch = self.switch();
        let must = |arguments: &[&str]| {
            ip(arguments).unwrap_or_else(|why| panic!("ip {}: {why}", arguments.join(" ")));
        };
        must(&["-n", &switch, "link", "add", "br0", "type", "bridge"]);
        must(&["-n", &switch, "link", "set", "br0", "up"]);
        for number in 0..self.hosts {
            let (host, port) = (self.host(number), format!("h{number}"));
            let inside = host.namespace.as_str();
            must(&["netns", "add", inside]);
            let cable = ["type", "veth", "peer", "name", "eth0", "netns", inside];
            must(&[&["-n", &switch, "link", "add", &port], &cable[..]].concat());
            must(&["-n", &switch, "link", "set", &port, "master", "br0", "up"]);
            must(&["-n", inside, "link", "set", "lo", "up"]);
            match self.family {
                Family::V4 => {
                    let address = format!("{}/24", host.address);
                    must(&["-n", inside, "addr", "add", &address, "dev", "eth0"]);
                }
                Family::V6 => {
                    let address = format!("{}/64", host.address);
                    must(&[
                        "-n", inside, "addr", "add", &address, "dev", "eth0", "nodad",
                    ]);
                    must(&["-n", inside, "addr", "del", "127.0.0.1/8", "dev", "lo"]);
                }
            }
            must(&["-n", inside, "link", "set", "eth0", "up"]);
        }
    }

    /// Pulls a host's cable.
    pub fn cut(&self, host: u32) {
        self.set(host, "down");
    }

    /// Plugs it in again.
    pub fn heal(&self, host: u32) {
        self.set(host, "up");
    }

    fn set(&self, host: u32, state: &str) {
        let port = format!("h{host}");
        ip(&["-n", &self.switch(), "link", "set", &port, state])
            .unwrap_or_else(|why| panic!("cable of host {host} {state}: {why}"));
    }

    /// Takes it away; nothing where it is gone.
    pub(crate) fn remove(&self) {
        if !self.gone.replace(true) {
            for host in 0..self.hosts {
                let _gone = ip(&["netns", "del", &self.namespace(host)]);
            }
            let _gone = ip(&["netns", "del", &self.switch()]);
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Namespaces of tests that were killed before they could take them away.
fn remove_stale() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else {
        return;
    };
    for name in entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
    {
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').nth(1)?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !crate::is_alive(pid)) {
            let _gone = ip(&["netns", "del", &name]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let ran = Command::new("ip")
        .args(arguments)
        .output()
        .map_err(|error| format!("ip(8): {error}"))?;
    if ran.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&ran.stderr).trim().to_owned())
    }
}
