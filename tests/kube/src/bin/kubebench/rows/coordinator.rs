//! How long workers take to find a coordinator again.

use crate::figure::Rounds;
use crate::kube;
use crate::options::Options;
use crate::place::{Place, all_active, members};
use crate::table::Row;
use crate::time::{now, seconds, until};
use crate::work::Work;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::time::Duration;

pub(super) const MEANS: &str = "\
A training of 3 workers, and the coordinator's pod is deleted: from the moment that its new pod is ready until the first
answer of `petctl status` that has all three workers connected again. Fails where a process has started anew, or the
group's epoch has changed. Beside it, from the deletion on.";

const AIM_S: f64 = 2.0;
const OFTEN: Duration = Duration::from_millis(50);

pub(super) fn coordinator(options: &Options, place: &Place) -> Result<Vec<Row>> {
    let work = Work::training(place, "coordinator")?;
    let group = work.start_training()?;
    let epoch = group.first().context("there are three")?.epoch;
    let names = workers(&place.until_members(&work.name, 3)?);
    let (mut attached, mut away) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let old = kube::coordinator(place)?.context("there is a coordinator")?;
        let start = now();
        let delete = ["delete", "pod", &old.name, "--wait=false"];
        kube::done(place.namespace.kubectl(&delete))?;
        until("another coordinator is ready", OFTEN, || {
            let pod = kube::coordinator(place)?;
            Ok(pod.filter(|pod| pod.ready && pod.uid != old.uid))
        })?;
        let ready = now();
        let what = "all workers are connected again";
        let status = until(what, OFTEN, || {
            let status = place.status(&work.name)?;
            Ok(status.filter(|status| members(status).len() == 3 && all_active(status)))
        })?;
        let seen = status["at_ms"].as_f64().context("a status has a time")? / 1e3;
        attached.push((seen - ready).max(0.0));
        away.push(seen - start);
        ensure!(workers(&status) == names, "WRONG: other workers: {status}");
        let notes = work.notes();
        ensure!(
            notes.len() == 3 && notes.iter().all(|note| note.epoch == epoch),
            "WRONG: processes have started anew: {notes:?}"
        );
    }
    place.end(&work.name)?;
    let attached = Rounds::new(attached);
    Ok(vec![Row {
        what: "coordinator's pod ready again to all 3 workers connected".to_owned(),
        aim: seconds(AIM_S),
        measured: seconds(attached.median()),
        met: Some(attached.median() <= AIM_S),
        beside: format!(
            "from the deletion on {}, nothing restarted; {}",
            seconds(Rounds::new(away).median()),
            attached.spread(seconds)
        ),
    }])
}

/// Who they are: chosen anew at each start of a worker.
fn workers(status: &Value) -> Vec<String> {
    let ids = members(status).iter().map(|member| &member["worker_id"]);
    let mut ids: Vec<String> = ids.map(ToString::to_string).collect();
    ids.sort();
    ids
}
