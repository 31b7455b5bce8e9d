//! What many idle jobs ask of the API server.

use crate::audit;
use crate::crowd::Crowd;
use crate::figure::{Rounds, megabytes, whole};
use crate::kwok::{self, Kwok};
use crate::options::Options;
use crate::place::Place;
use crate::server::{self, Processes};
use crate::table::Row;
use crate::time::{ASK, until_long};
use crate::work::Work;
use anyhow::{Context, Result, ensure};
use std::thread::sleep;
use std::time::Duration;

pub(super) const MEANS: &str = "\
Requests per minute of one coordinator to the API server while it keeps 100 jobs of which none gets on: counted in the
API server's audit log, by the coordinator's ServiceAccount. Once with all of them at rest: each has its worker (a
simulated one, for a pod on a simulated node), which holds a shard and does nothing. And once with all of them waiting:
each wants a pod for which no node has room, which is what a full cluster looks like. Beside it, what the coordinator
takes of a core and of memory.";

const AIM: f64 = 60.0;
const MINUTE: Duration = Duration::from_secs(60);
/// Events of the last changes come late.
const SETTLE: Duration = Duration::from_secs(30);
/// Simulated nodes: few, as little runs on each.
const NODES: usize = 20;
/// A place whose pods no node takes.
const NOWHERE: &str = "nowhere";

pub(super) fn resting(options: &Options, place: &Place) -> Result<Vec<Row>> {
    let _kwok = Kwok::start(place.bed, NODES.min(options.nodes))?;
    let nowhere = "node_selector = { \"petctl.test/nowhere\" = \"true\" }\n";
    let place = place.another(&[("kube", &kwok::place()), (NOWHERE, nowhere)])?;
    let count = options.jobs;
    let mut crowd = Crowd::start(options, &place)?;
    submit(&place, "rest", "kube", count)?;
    until_long("all jobs have a worker", ASK, || crowd.have_joined(count))?;
    let rest = minutes(
        options,
        &place,
        &format!("{count} idle jobs, a worker at rest each"),
    )?;
    crowd.have_joined(count)?;
    drop(crowd);
    place.ok(&["delete", "--all", "--on", "kube", "--yes"])?;
    submit(&place, "wait", NOWHERE, count)?;
    let waits = until_long("all pods wait", ASK, || {
        let pods = [
            "get",
            "pods",
            "--no-headers",
            "--field-selector=status.phase=Pending",
        ];
        let listed = place.namespace.kubectl(&pods);
        Ok(listed
            .is_ok_and(|listed| listed.lines().count() >= count)
            .then_some(()))
    });
    waits.with_context(|| place.bed.state())?;
    let wait = minutes(
        options,
        &place,
        &format!("{count} idle jobs, a pod each that no node takes"),
    )?;
    place.ok(&["delete", "--all", "--on", "kube", "--yes"])?;
    Ok(vec![rest, wait])
}

/// Submits so many jobs of one shard.
fn submit(place: &Place, name: &str, on: &str, count: usize) -> Result<()> {
    for index in 0..count {
        let work = Work::shards(place, &format!("{name}-{index}"), 1, "max = 1", true)?;
        work.submit_on(on)?;
    }
    Ok(())
}

fn minutes(options: &Options, place: &Place, what: &str) -> Result<Row> {
    sleep(SETTLE);
    // None in a minute means something only where others are in the log.
    let before = audit::so_far(place)?;
    ensure!(before > 0, "WRONG: the audit log has no call of it at all");
    let processes = Processes::find(place, &[])?;
    let (mut totals, mut kinds, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let cpu = |of: &Processes| -> Result<f64> {
            let all = of.cpu()?;
            all.get(server::COORDINATOR).copied().context("it is known")
        };
        let spent = cpu(&processes)?;
        let calls = audit::calls(place, MINUTE)?;
        shares.push((cpu(&processes)? - spent) / MINUTE.as_secs_f64());
        let total: usize = calls.values().sum();
        totals.push(f64::from(u32::try_from(total)?));
        kinds.push(audit::named(&calls));
    }
    let totals = Rounds::new(totals);
    Ok(Row {
        what: format!("API calls per minute of {what}"),
        aim: whole(AIM),
        measured: whole(totals.median()),
        met: Some(totals.median() <= AIM),
        beside: format!(
            "in the last minute: {}; {:.1} % of a core, at most {}; {}",
            kinds.pop().unwrap_or_default(),
            100.0 * Rounds::new(shares).median(),
            megabytes(processes.peak(server::COORDINATOR)?),
            totals.spread(whole)
        ),
    })
}
