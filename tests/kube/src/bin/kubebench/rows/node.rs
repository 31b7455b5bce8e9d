//! How long it takes from the loss of a node to a group of those that are left.

use super::killed::last;
use crate::figure::Rounds;
use crate::kube;
use crate::options::Options;
use crate::place::Place;
use crate::table::Row;
use crate::time::{ASK, now, seconds, until};
use crate::work::Work;
use anyhow::{Context, Result};
use petctl_test_kube::Node;

pub(super) const MEANS: &str = "\
A training of 3 workers on 3 nodes: one that has a worker and not the coordinator loses its power, kubelet and all. From
then until the last of the new processes of the other workers runs. Beside it, when a new pod has taken the lost one's
place; Kubernetes itself waits for 5 minutes before it replaces one, which petctl's pods tell it not to.";

const AIM_S: f64 = 10.0;
/// Pods that are moved until the group is spread over nodes.
const TRIES: usize = 6;

pub(super) fn node(options: &Options, place: &Place) -> Result<Vec<Row>> {
    let (mut survivors, mut whole) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        let Spread {
            work,
            epoch,
            lost,
            left,
        } = spread(place, round)?;
        let node = found(place, &lost)?;
        let start = now();
        node.power_off();
        let formed = work.until_group(epoch, left);
        let formed = formed.and_then(|formed| {
            let epoch = formed.first().context("somebody is left")?.epoch;
            Ok((last(&formed), last(&work.until_group(epoch, 3)?)))
        });
        // Whatever came of it: the next row wants it.
        node.power_on();
        until("the node is ready again", ASK, || {
            Ok(node.is_ready().then_some(()))
        })?;
        let (formed, replaced) = formed?;
        survivors.push(formed - start);
        whole.push(replaced - start);
        place.end(&work.name)?;
    }
    let survivors = Rounds::new(survivors);
    Ok(vec![Row {
        what: "node of one of 3 lost to a group of the others".to_owned(),
        aim: seconds(AIM_S),
        measured: seconds(survivors.median()),
        met: Some(survivors.median() <= AIM_S),
        beside: format!(
            "with a new pod in its place {}, by Kubernetes' own default after 300 s and more; {}",
            seconds(Rounds::new(whole).median()),
            survivors.spread(seconds)
        ),
    }])
}

/// A training of which some lose their node, and some don't.
struct Spread<'p> {
    work: Work<'p>,
    epoch: u64,
    /// The node that is lost.
    lost: String,
    /// Workers elsewhere.
    left: usize,
}

/// Where the scheduler puts pods is its own affair: where it leaves nobody over, one of them moves.
fn spread(place: &Place, round: usize) -> Result<Spread<'_>> {
    let work = Work::training(place, &format!("node-{round}"))?;
    let mut group = work.start_training()?;
    let coordinator = kube::coordinator(place)?.context("there is a coordinator")?;
    for _ in 0..TRIES {
        let epoch = group.first().context("there are three")?.epoch;
        let pods = kube::pods(place, &format!("petctl.io/job={}", work.name))?;
        let lost = pods.iter().find(|pod| {
            pod.node != coordinator.node && pods.iter().any(|other| other.node != pod.node)
        });
        if let Some(lost) = lost.map(|pod| pod.node.clone()) {
            let left = pods.iter().filter(|pod| pod.node != lost).count();
            return Ok(Spread {
                work,
                epoch,
                lost,
                left,
            });
        }
        let moved = pods.first().context("there are three")?;
        let kubectl = |arguments: &[&str]| {
            let said = place.bed.kubectl(arguments);
            said.map_err(|error| anyhow::anyhow!("kubectl {arguments:?}: {error}"))
        };
        kubectl(&["cordon", &moved.node])?;
        let pod = [
            "-n",
            place.namespace.name(),
            "delete",
            "pod",
            &moved.name,
            "--wait=false",
        ];
        let gone = kubectl(&pod);
        let again = gone.and_then(|_| work.until_group(epoch, 3));
        kubectl(&["uncordon", &moved.node])?;
        group = again?;
    }
    anyhow::bail!("{TRIES} times all workers were on one node, or on the coordinator's")
}

fn found(place: &Place, name: &str) -> Result<Node> {
    let mut nodes = place.bed.nodes().into_iter();
    let node = nodes.find(|node| node.name() == name);
    node.with_context(|| format!("there is no node {name}"))
}
