//! Answers to a `GroupPrepare`: a free port for rank 0, and which checkpoint is there.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::ops::RangeInclusive;

use petctl_proto::v1::{Checkpoint, GroupPrepare, MasterOffer};

/// Where the system gives outgoing connections their ports, unless it says otherwise.
const USUAL_EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;
/// Below this, ports belong to well-known services.
const LOWEST: u16 = 20_000;
/// Ports tried before the system is asked for any.
const TRIES: usize = 64;
/// Fewer ports than this on one side of the ephemeral range are too few to choose from.
const ENOUGH: u16 = 1_000;

/// The offer for an epoch. `used` was offered before, and some socket may linger there. Blocks on the disk.
///
/// # Errors
/// No port is free, or the system has no randomness.
pub fn offer(prepare: &GroupPrepare, used: &[u16]) -> std::io::Result<MasterOffer> {
    Ok(MasterOffer {
        job_id: prepare.job_id,
        epoch: prepare.epoch,
        port: free_port(used)?.into(),
        resume_step: newest(&prepare.checkpoints),
    })
}

/// The first of these, newest first, that is there.
fn newest(checkpoints: &[Checkpoint]) -> Option<u64> {
    let found = checkpoints
        .iter()
        .find(|checkpoint| fs::metadata(&checkpoint.path).is_ok());
    found.map(|checkpoint| checkpoint.step)
}

/// Ports that outgoing connections get are avoided: one could take the port before rank 0 listens there.
fn free_port(used: &[u16]) -> std::io::Result<u16> {
    let candidates = outside(&ephemeral());
    let span = u32::from(candidates.end() - candidates.start()) + 1;
    for _ in 0..TRIES {
        let random = getrandom::u32().map_err(std::io::Error::other)?;
        let offset = u16::try_from(random % span).unwrap_or(0);
        let port = candidates.start() + offset;
        if !used.contains(&port) && is_free(port) {
            return Ok(port);
        }
    }
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?
        .local_addr()
        .map(|address| address.port())
}

/// On all interfaces, of IPv4 and of IPv6 where the system has it.
fn is_free(port: u16) -> bool {
    if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_err() {
        return false;
    }
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)) {
        Ok(_) => true,
        Err(error) => error.kind() != std::io::ErrorKind::AddrInUse,
    }
}

fn ephemeral() -> RangeInclusive<u16> {
    let read = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
    let bounds = read.and_then(|text| {
        let mut numbers = text.split_ascii_whitespace().map(str::parse);
        Some(numbers.next()?.ok()?..=numbers.next()?.ok()?)
    });
    bounds.unwrap_or(USUAL_EPHEMERAL)
}

fn outside(ephemeral: &RangeInclusive<u16>) -> RangeInclusive<u16> {
    let below = LOWEST..=ephemeral.start().saturating_sub(1);
    let above = ephemeral.end().saturating_add(1)..=65_535;
    let enough = |range: &RangeInclusive<u16>| range.end().saturating_sub(*range.start()) >= ENOUGH;
    if enough(&below) {
        below
    } else if enough(&above) {
        above
    } else {
        LOWEST..=65_535
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_taken_where_no_outgoing_connection_gets_one() {
        assert_eq!(outside(&(32_768..=60_999)), 20_000..=32_767);
        assert_eq!(outside(&(1_024..=60_999)), 61_000..=65_535);
        assert_eq!(outside(&(1_024..=65_535)), 20_000..=65_535);
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_not_free() {
        for address in ["127.0.0.1:0", "[::]:0", "0.0.0.0:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            assert!(!is_free(listener.local_addr().unwrap().port()), "{address}");
        }
        let port = free_port(&[]).unwrap();
        assert!(port >= LOWEST && is_free(port));
    }

    #[test]
    fn the_newest_checkpoint_that_is_there_is_offered() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "").unwrap();
        let checkpoint = |step, name: &str| Checkpoint {
            step,
            path: folder.path().join(name).to_str().unwrap().to_owned(),
        };
        assert_eq!(
            newest(&[checkpoint(30, "c"), checkpoint(10, "a")]),
            Some(10)
        );
        assert_eq!(newest(&[checkpoint(30, "c")]), None);
    }
}
