//! What an interrupted upload sends again.

use super::dispatch::to_f64;
use crate::blobs::{ABSENT, Azcopy, Service, interrupted, timed, write_noise};
use crate::figure::Rounds;
use crate::meter::Meter;
use crate::options::Options;
use crate::table::Row;
use anyhow::{Result, bail};
use std::process::Command;
use std::time::Duration;

const MIB: usize = 1024 * 1024;
/// The size of petctl's blocks.
const BLOCK_MIB: f64 = 8.0;

/// Bytes that were sent twice, in MiB, and connections of the interrupted run.
struct Again {
    mib: f64,
    connections: u64,
}

/// An upload that is killed with -9 when three quarters are sent, and then goes on.
pub(crate) fn resume(options: &Options) -> Result<Vec<Row>> {
    let mib = options.quick_or(128, 256);
    let azcopy = Azcopy::find();
    let (mut ours, mut theirs, mut connections) = (Vec::new(), Vec::new(), 0);
    for round in 0..options.quick_or(1, 3) {
        let service = Service::start(options)?;
        let file = service.folder().join("large");
        write_noise(&file, mib * MIB, round + 1)?;
        let again = killed(&service, mib, |endpoint| {
            let place = format!("az://bench/ours-{round}");
            Ok(service.command(options, endpoint, &["upload", "large", &place]))
        })?;
        connections = again.connections;
        ours.push(again.mib);
        if let Some(azcopy) = &azcopy {
            let again = killed(&service, mib, |endpoint| {
                let url = service.url(endpoint, &format!("theirs-{round}"));
                let copy = ["copy", "large", &url, "--from-to", "LocalBlob", "--put-md5"];
                Ok(azcopy.command(service.folder(), &copy))
            })?;
            theirs.push(again.mib);
        }
    }
    let ours = Rounds::new(ours);
    let most = BLOCK_MIB * to_f64(connections);
    let show = |mib: f64| format!("{mib:.0} MiB");
    let beside = if theirs.is_empty() {
        ABSENT.to_owned()
    } else {
        format!("azcopy copy again: {}", show(Rounds::new(theirs).median()))
    };
    Ok(vec![Row {
        what: format!("upload of {mib} MiB, killed at three quarters: sent again"),
        aim: "at most one block per connection".to_owned(),
        measured: show(ours.median()),
        met: Some(ours.median() <= most),
        beside: format!(
            "{beside}; {connections} connections, blocks of 8 MiB; {}",
            ours.spread(show)
        ),
    }])
}

fn killed(
    service: &Service,
    mib: usize,
    command: impl Fn(&str) -> Result<Command>,
) -> Result<Again> {
    // Slow enough to be stopped in the middle.
    let slow = Meter::start(service.port(), Duration::from_millis(2))?;
    let size = (mib * MIB) as u64;
    let enough = size / 4 * 3;
    let mut first = command(&slow.endpoint(service.account()))?;
    if !interrupted(&mut first, service.folder(), || slow.sent() > enough)? {
        bail!("WRONG: it ended before it was killed");
    }
    let (sent, connections) = (slow.sent(), slow.connections());
    let fast = Meter::start(service.port(), Duration::ZERO)?;
    timed(
        &mut command(&fast.endpoint(service.account()))?,
        service.folder(),
    )?;
    let again = (sent + fast.sent()).saturating_sub(size);
    Ok(Again {
        mib: to_f64(again) / to_f64(MIB as u64),
        connections,
    })
}
