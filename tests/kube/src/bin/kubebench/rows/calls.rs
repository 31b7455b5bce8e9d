//! What an idle job asks of the API server.

use crate::audit;
use crate::figure::{Rounds, whole};
use crate::options::Options;
use crate::place::Place;
use crate::table::Row;
use crate::work::Work;
use anyhow::{Result, ensure};
use std::thread::sleep;
use std::time::Duration;

pub(super) const MEANS: &str = "\
Requests per minute of the coordinator to the API server while all workers of a job (20 by default) have a shard in hand
that sleeps: counted in the API server's audit log, by the coordinator's ServiceAccount. A watch is one request, at its
start.";

const AIM: f64 = 10.0;
const MINUTE: Duration = Duration::from_secs(60);
/// Events of the pods' starts come late.
const SETTLE: Duration = Duration::from_secs(20);

pub(super) fn calls(options: &Options, place: &Place) -> Result<Vec<Row>> {
    let count = options.idle;
    let workers = format!("max = {count}");
    let work = Work::shards(place, "idle", count, &workers, true)?;
    work.submit()?;
    work.until_started(count)?;
    place.until_members(&work.name, count)?;
    sleep(SETTLE);
    // None in a minute means something only where others are in the log.
    let before = audit::so_far(place)?;
    ensure!(before > 0, "WRONG: the audit log has no call of it at all");
    let (mut totals, mut kinds) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let calls = audit::calls(place, MINUTE)?;
        let total: usize = calls.values().sum();
        totals.push(f64::from(u32::try_from(total)?));
        kinds.push(audit::named(&calls));
    }
    place.end(&work.name)?;
    let totals = Rounds::new(totals);
    let kinds = kinds.pop().unwrap_or_default();
    Ok(vec![Row {
        what: format!("API calls per minute of an idle job of {count} workers"),
        aim: whole(AIM),
        measured: whole(totals.median()),
        met: Some(totals.median() <= AIM),
        beside: format!(
            "in the last minute: {kinds}; {before} from the coordinator's start on; {}",
            totals.spread(whole)
        ),
    }])
}
