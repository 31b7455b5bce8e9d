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

pub(super) fn node(options: &Options, place: &Place) -> Result<Vec<Row>> {
    let (mut survivors, mut whole) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        let work = Work::training(place, &format!("node-{round}"))?;
        let group = work.start_training()?;
        let epoch = group.first().context("there are three")?.epoch;
        let coordinator = kube::coordinator(place)?.context("there is a coordinator")?;
        let pods = kube::pods(place, &format!("petctl.io/job={}", work.name))?;
        let lost = pods.iter().find(|pod| pod.node != coordinator.node);
        let lost = &lost.context("all are on the coordinator's node")?.node;
        let left = pods.iter().filter(|pod| pod.node != *lost).count();
        let node = found(place, lost)?;
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

fn found(place: &Place, name: &str) -> Result<Node> {
    let mut nodes = place.bed.nodes().into_iter();
    let node = nodes.find(|node| node.name() == name);
    node.with_context(|| format!("there is no node {name}"))
}
