//! How long it takes from `petctl run` to the first shard.

use crate::figure::Rounds;
use crate::kube;
use crate::options::Options;
use crate::place::{Place, open_folder};
use crate::table::Row;
use crate::time::{LOOK, now, seconds, until};
use crate::work::Work;
use anyhow::{Context, Result, ensure};
use std::fs;

pub(super) const MEANS: &str = "\
From the start of `petctl run JOB` (connect, send the code, submit, make the pods) until the command of its first shard
runs, less the same of a bare Job: from the start of `kubectl create` until its container runs.";

const AIM_S: f64 = 1.0;

pub(super) fn first(options: &Options, place: &Place) -> Result<Vec<Row>> {
    let (mut own, mut bare) = (Vec::new(), Vec::new());
    for round in 0..=options.rounds {
        let (run, created) = (run(place, round)?, create(place, round)?);
        // The first one warms up.
        if round > 0 {
            own.push(run);
            bare.push(created);
        }
    }
    let more = own.iter().zip(&bare).map(|(own, bare)| own - bare);
    let more = Rounds::new(more.collect());
    let more_s = |value: f64| format!("{value:+.2} s");
    Ok(vec![Row {
        what: "run to the first shard's command, more than a bare Job".to_owned(),
        aim: format!("{AIM_S:+.1} s"),
        measured: more_s(more.median()),
        met: Some(more.median() <= AIM_S),
        beside: format!(
            "petctl {}, a bare Job of the same image {}; {}",
            seconds(Rounds::new(own).median()),
            seconds(Rounds::new(bare).median()),
            more.spread(more_s)
        ),
    }])
}

fn run(place: &Place, round: usize) -> Result<f64> {
    let work = Work::shards(place, &format!("first-{round}"), 1, "max = 1", false)?;
    let start = now();
    let run = place.command(&["run", &work.file()]).output();
    let run = run.context("start petctl")?;
    let said = String::from_utf8_lossy(&run.stderr);
    ensure!(run.status.success(), "petctl run: {}: {said}", run.status);
    let notes = work.notes();
    let note = notes.first().context("the shard has noted its start")?;
    place.until_no_pods(&work.name)?;
    Ok(note.at - start)
}

fn create(place: &Place, round: usize) -> Result<f64> {
    let name = format!("bare-{round}");
    let folder = place.data().join(&name);
    open_folder(&folder)?;
    let note = folder.join("note");
    let script = format!("date +%s.%N > '{}'", note.display());
    let job = kube::job(place, &name, 1, &script);
    let start = now();
    kube::create(place, &job)?;
    let at = until("a bare Job's container runs", LOOK, || {
        let text = fs::read_to_string(&note).unwrap_or_default();
        Ok(text.trim().parse::<f64>().ok())
    })?;
    kube::delete(place, &name)?;
    Ok(at - start)
}
