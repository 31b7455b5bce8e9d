//! How long it takes from the loss of a pod to new processes on the others.

use crate::figure::Rounds;
use crate::kube::{self, Pod};
use crate::options::Options;
use crate::place::Place;
use crate::table::Row;
use crate::time::{now, seconds};
use crate::work::{Note, Work};
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;

pub(super) const MEANS: &str = "\
A training of 3 workers, two lines. Deleted: from the start of `kubectl delete pod --grace-period=0 --force` of one of
them (its own time to start and to connect is in it) until the last of the new processes of the other two runs; its
worker still hears SIGTERM, and announces its leave. Killed: the same from SIGKILL of all of its processes at once, of
which nobody hears beforehand, as when memory is short.";

const AIM_S: f64 = 1.5;

pub(super) fn killed(options: &Options, place: &Place) -> Result<Vec<Row>> {
    let deleted = losses(options, place, "deleted", |pod| {
        let forced = ["--grace-period=0", "--force", "--wait=false"];
        let delete = [&["delete", "pod", &pod.name][..], &forced].concat();
        kube::done(place.namespace.kubectl(&delete)).map(drop)
    })?;
    Ok(vec![deleted, losses(options, place, "killed", kill)?])
}

fn losses(
    options: &Options,
    place: &Place,
    how: &str,
    lose: impl Fn(&Pod) -> Result<()>,
) -> Result<Row> {
    let (mut survivors, mut whole) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        let work = Work::training(place, &format!("{how}-{round}"))?;
        let group = work.start_training()?;
        let lost = group.get(round % 3).context("there are three")?;
        let pods = kube::pods(place, &format!("petctl.io/job={}", work.name))?;
        let mut pods = pods.iter();
        let pod = pods.find(|pod| {
            let host = pod.name.rsplit_once('-').map(|(host, _)| host);
            host == Some(&lost.host)
        });
        let pod = pod.with_context(|| format!("{} is no pod", lost.host))?;
        let start = now();
        lose(pod)?;
        let two = work.until_group(lost.epoch, 2)?;
        survivors.push(last(&two) - start);
        let epoch = two.first().context("there are two")?.epoch;
        whole.push(last(&work.until_group(epoch, 3)?) - start);
        place.end(&work.name)?;
    }
    let survivors = Rounds::new(survivors);
    Ok(Row {
        what: format!("pod of one of 3 {how} to new processes on the others"),
        aim: seconds(AIM_S),
        measured: seconds(survivors.median()),
        met: Some(survivors.median() <= AIM_S),
        beside: format!(
            "with a new pod in its place {}; {}",
            seconds(Rounds::new(whole).median()),
            survivors.spread(seconds)
        ),
    })
}

/// Kills all processes of a pod: nodes are namespaces of this machine, which sees into them.
fn kill(pod: &Pod) -> Result<()> {
    let mut killed = 0;
    for process in fs::read_dir("/proc").context("read /proc")?.flatten() {
        let pid = process
            .file_name()
            .to_str()
            .and_then(|pid| pid.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            continue;
        };
        // It may have ended meanwhile.
        let groups = fs::read_to_string(process.path().join("cgroup")).unwrap_or_default();
        if groups.contains(&pod.uid) && kill_process(pid, Signal::KILL).is_ok() {
            killed += 1;
        }
    }
    ensure!(killed > 0, "{} has no processes on this machine", pod.name);
    Ok(())
}

/// When the last of these started.
pub(super) fn last(notes: &[Note]) -> f64 {
    notes.iter().map(|note| note.at).fold(0.0, f64::max)
}
