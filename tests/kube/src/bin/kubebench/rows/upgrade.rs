//! How long no shard is granted while the coordinator is upgraded.

use crate::figure::Rounds;
use crate::image;
use crate::kube;
use crate::options::Options;
use crate::place::Place;
use crate::table::Row;
use crate::time::{ASK, now, seconds, until};
use crate::work::Work;
use anyhow::{Context, Result, ensure};

pub(super) const MEANS: &str = "\
A job of 10,000 shards on 2 pods with the release before (tests/upgrade/install), and in its middle `petctl setup` of
this petctl: the longest time in which no shard's command has started. Fails where a shard was started twice, or a pod
was made anew. Beside it, the longest such time before the upgrade, and how long `petctl setup` took.";

const AIM_S: f64 = 5.0;
const SHARDS: usize = 10_000;

pub(super) fn upgrade(options: &Options, other: &Place) -> Result<Vec<Row>> {
    let before = options.before.as_ref();
    let before = before.context("--before PROGRAM is missing; benches/run passes it")?;
    let (mut pauses, mut usual, mut took) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..options.rounds {
        let (program, image) = image::load(other.bed, before)?;
        let place = Place::set_up(other.bed, program, &image)?;
        let workers = "max = 2\nwanted = 2\nslots = 2";
        let work = Work::shards(&place, &format!("upgrade-{round}"), SHARDS, workers, false)?;
        work.submit()?;
        work.until_started(SHARDS / 4)?;
        let pods = pods(&place, &work.name)?;
        let start = now();
        let image = format!("place.kube.petctl_image={}", other.image);
        place.ok_of(other, &["setup", "--on", "kube", "--yes", "--set", &image])?;
        took.push(now() - start);
        let since = self::pods(&place, &work.name)?;
        ensure!(
            pods == since,
            "WRONG: pods were made anew: {pods}, then {since}"
        );
        let notes = until("the job is done", ASK, || {
            let notes = work.notes();
            Ok((notes.len() >= SHARDS).then_some(notes))
        })?;
        place.until_no_pods(&work.name)?;
        ensure!(
            work.notes().len() == SHARDS,
            "WRONG: a shard was started twice"
        );
        let mut starts: Vec<f64> = notes.iter().map(|note| note.at).collect();
        starts.sort_by(f64::total_cmp);
        let (before, since) = starts.split_at(starts.partition_point(|at| *at < start));
        ensure!(!since.is_empty(), "the job had ended before the upgrade");
        usual.push(longest(before));
        pauses.push(longest(since));
    }
    let pauses = Rounds::new(pauses);
    Ok(vec![Row {
        what: "coordinator's upgrade amid 10,000 shards: pause in grants".to_owned(),
        aim: seconds(AIM_S),
        measured: seconds(pauses.median()),
        met: Some(pauses.median() <= AIM_S),
        beside: format!(
            "before it {}; setup took {}; {}",
            seconds(Rounds::new(usual).median()),
            seconds(Rounds::new(took).median()),
            pauses.spread(seconds)
        ),
    }])
}

/// Which ones they are.
fn pods(place: &Place, job: &str) -> Result<String> {
    let label = format!("petctl.io/job={job}");
    let uids = "jsonpath={.items[*].metadata.uid}";
    kube::done(
        place
            .namespace
            .kubectl(&["get", "pods", "-l", &label, "-o", uids]),
    )
}

/// The longest time between two that follow each other.
fn longest(starts: &[f64]) -> f64 {
    let pauses = starts.windows(2).map(|pair| pair[1] - pair[0]);
    pauses.fold(0.0, f64::max)
}
