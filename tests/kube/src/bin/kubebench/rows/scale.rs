//! How long it takes to grow from a few workers to many.

use crate::figure::Rounds;
use crate::kube;
use crate::options::Options;
use crate::place::{Place, open_folder};
use crate::table::Row;
use crate::time::{ASK, LOOK, now, seconds, until};
use crate::work::Work;
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;

pub(super) const MEANS: &str = "\
From the return of `petctl scale JOB --workers 64` until the last of 64 workers is a member of the job, as its event log
says, from 4 workers on; over the same of a bare Indexed Job: from the return of `kubectl patch` (parallelism and
completions) until the command of the last of its containers runs. Beside it, that Job with petctl's init container, which
does nothing but bring the program in. Fewer than 64 where the nodes have no room for them.";

const AIM: f64 = 1.2;
const FEW: usize = 4;

pub(super) fn scale(options: &Options, place: &Place) -> Result<Vec<Row>> {
    let (mut own, mut bare, mut with) = (Vec::new(), Vec::new(), Vec::new());
    let mut many = options.workers;
    for round in 0..options.rounds {
        let (took, reached) = grow(place, round, many)?;
        many = reached;
        own.push(took);
        bare.push(grow_bare(place, round, many, false)?);
        with.push(grow_bare(place, round, many, true)?);
    }
    let ratios = Rounds::ratios(&own, &bare);
    let times = |value: f64| format!("{value:.2} of it");
    let short = if many < options.workers {
        format!("no room here for {}; ", options.workers)
    } else {
        String::new()
    };
    Ok(vec![Row {
        what: format!("scale {FEW} to {many} workers, all members, over a bare Job"),
        aim: times(AIM),
        measured: times(ratios.median()),
        met: Some(ratios.median() <= AIM),
        beside: format!(
            "{short}petctl {}, a bare Indexed Job {}, with petctl's init container {}; {}",
            seconds(Rounds::new(own).median()),
            seconds(Rounds::new(bare).median()),
            seconds(Rounds::new(with).median()),
            ratios.spread(times)
        ),
    }])
}

/// How long it took, and how many there are now.
fn grow(place: &Place, round: usize, many: usize) -> Result<(f64, usize)> {
    let workers = format!("min = 1\nmax = {many}\nwanted = {FEW}");
    let work = Work::shards(place, &format!("scale-{round}"), many, &workers, true)?;
    work.submit()?;
    work.until_started(FEW)?;
    place.until_members(&work.name, FEW)?;
    let many = many.min(kube::room(place, &work.name)?);
    place.ok(&["scale", &work.name, "--workers", &many.to_string()])?;
    let start = now();
    // Asking costs the machine something: first by what costs least.
    work.until_started(many)?;
    place.until_members(&work.name, many)?;
    let events = place.ok(&["events", &work.name, "-o", "json"])?;
    let took = joined(&events, many)? - start;
    place.end(&work.name)?;
    Ok((took, many))
}

/// When the last of so many workers became a member, in seconds since 1970.
fn joined(events: &str, many: usize) -> Result<f64> {
    let mut here = 0_usize;
    for line in events.lines() {
        let event: Value = serde_json::from_str(line).context("an event")?;
        if event["kind"] != "epoch_formed" {
            continue;
        }
        let count = |name: &str| event["fields"][name].as_array().map_or(0, Vec::len);
        here = (here + count("joined")).saturating_sub(count("left"));
        if here >= many {
            let at = event["at_ms"].as_f64().context("an event without a time")?;
            return Ok(at / 1e3);
        }
    }
    anyhow::bail!("only {here} of {many} workers are in the event log:\n{events}")
}

fn grow_bare(place: &Place, round: usize, many: usize, with_program: bool) -> Result<f64> {
    let with = if with_program { "with" } else { "bare" };
    let name = format!("{with}-scale-{round}");
    let folder = place.data().join(&name);
    open_folder(&folder)?;
    let notes = folder.join("notes");
    let script = format!("date +%s.%N >> '{}'; exec sleep 1000000", notes.display());
    let mut job = kube::job(place, &name, FEW, &script);
    if with_program {
        job = kube::with_program(place, job);
    }
    kube::create(place, &job)?;
    let started = |count: usize| {
        until("a bare Job's containers run", LOOK, || {
            let text = fs::read_to_string(&notes).unwrap_or_default();
            let mut noted: Vec<f64> = text.lines().filter_map(|at| at.parse().ok()).collect();
            noted.sort_by(f64::total_cmp);
            Ok((noted.len() >= count).then_some(noted))
        })
    };
    started(FEW)?;
    // As with petctl, they are there for the API server too.
    let label = format!("batch.kubernetes.io/job-name={name}");
    until("a bare Job's pods are ready", ASK, || {
        let pods = kube::pods(place, &label)?;
        Ok((pods.iter().filter(|pod| pod.ready).count() == FEW).then_some(()))
    })?;
    let patch = format!("{{\"spec\":{{\"parallelism\":{many},\"completions\":{many}}}}}");
    let patched = place
        .namespace
        .kubectl(&["patch", "job", &name, "-p", &patch]);
    kube::done(patched)?;
    let start = now();
    let last = started(many)?.pop().context("a time")?;
    kube::delete(place, &name)?;
    Ok(last - start)
}
