//! How long it takes from the loss of a pod to new processes on the others.

use crate::figure::Rounds;
use crate::kube;
use crate::options::Options;
use crate::place::Place;
use crate::table::Row;
use crate::time::{now, seconds};
use crate::work::{Note, Work};
use anyhow::{Context, Result};

pub(super) const MEANS: &str = "\
A training of 3 workers: from the start of `kubectl delete pod --grace-period=0 --force` of one of them (its own time to
start and to connect is in it) until the last of the new processes of the other two runs.";

const AIM_S: f64 = 1.5;

pub(super) fn killed(options: &Options, place: &Place) -> Result<Vec<Row>> {
    let (mut survivors, mut whole) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        let work = Work::training(place, &format!("killed-{round}"))?;
        let group = work.start_training()?;
        let lost = group.get(round % 3).context("there are three")?;
        let pods = kube::pods(place, &format!("petctl.io/job={}", work.name))?;
        let mut pods = pods.iter().map(|pod| &pod.name);
        let pod = pods.find(|name| {
            name.rsplit_once('-')
                .is_some_and(|(host, _)| host == lost.host)
        });
        let pod = pod.with_context(|| format!("{} is no pod", lost.host))?;
        let start = now();
        kube::done(place.namespace.kubectl(&[
            "delete",
            "pod",
            pod,
            "--grace-period=0",
            "--force",
            "--wait=false",
        ]))?;
        let two = work.until_group(lost.epoch, 2)?;
        survivors.push(last(&two) - start);
        let epoch = two.first().context("there are two")?.epoch;
        whole.push(last(&work.until_group(epoch, 3)?) - start);
        place.end(&work.name)?;
    }
    let survivors = Rounds::new(survivors);
    Ok(vec![Row {
        what: "pod of one of 3 killed to new processes on the others".to_owned(),
        aim: seconds(AIM_S),
        measured: seconds(survivors.median()),
        met: Some(survivors.median() <= AIM_S),
        beside: format!(
            "with a new pod in its place {}; {}",
            seconds(Rounds::new(whole).median()),
            survivors.spread(seconds)
        ),
    }])
}

/// When the last of these started.
pub(super) fn last(notes: &[Note]) -> f64 {
    notes.iter().map(|note| note.at).fold(0.0, f64::max)
}
