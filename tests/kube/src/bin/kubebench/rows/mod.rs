//! The rows of the table, and how they are measured.

mod calls;
mod coordinator;
mod first;
mod killed;
mod node;
mod pods;
mod resting;
mod scale;
mod upgrade;

use crate::options::Options;
use crate::place::Place;
use crate::table::{self, Row};
use crate::{image, machine};
use anyhow::{Context, Result};
use petctl_test_kube::Bed;
use std::fs;

/// A row: its name, how it is measured, and what it means.
type Known = (
    &'static str,
    fn(&Options, &Place) -> Result<Vec<Row>>,
    &'static str,
);

/// In the order of the table.
const ROWS: [Known; 9] = [
    ("first", first::first, first::MEANS),
    ("scale", scale::scale, scale::MEANS),
    ("killed", killed::killed, killed::MEANS),
    ("node", node::node, node::MEANS),
    ("calls", calls::calls, calls::MEANS),
    ("coordinator", coordinator::coordinator, coordinator::MEANS),
    ("upgrade", upgrade::upgrade, upgrade::MEANS),
    (PODS, pods::pods, pods::MEANS),
    (RESTING, resting::resting, resting::MEANS),
];

const PODS: &str = "pods";
const RESTING: &str = "idle-requests";
/// Rows with simulated nodes, which are built for them: measured only where they are named.
const NAMED_ONLY: [&str; 2] = [PODS, RESTING];

/// What can be chosen on the command line.
pub(crate) fn names() -> Vec<&'static str> {
    ROWS.iter().map(|(name, _, _)| *name).collect()
}

pub(crate) fn is_name(name: &str) -> bool {
    names().contains(&name)
}

/// What the rows mean.
pub(crate) fn help() -> String {
    let mut text = HELP.to_owned();
    for (name, _, means) in ROWS {
        text.push_str(&format!("\n{name}\n"));
        for line in means.lines() {
            text.push_str(&format!("    {line}\n"));
        }
    }
    text
}

const HELP: &str = "\
Measures petctl on a real Kubernetes of three nodes, which are namespaces of this machine (tests/kube; wants root), and
prints one table of medians. Never fails on time; fails where something is broken.

usage: benches/run kube [--quick] [--rounds N] [--workers N] [--idle-workers N] [ROW...]
       benches/run kube [--pods N] [--nodes N] pods
       benches/run kube [--quick] [--jobs N] idle-requests

--quick          one round of each row, instead of 3
--rounds N       so many
--workers N      what row `scale` scales to (64)
--idle-workers N the workers of row `calls` (20)
--pods N         what row `pods` wants (2000), on
--nodes N        so many simulated nodes (500)
--jobs N         the jobs of row `idle-requests` (100)
PETCTL_BIN=FILE  the program to measure, instead of a release built now
PETCTL_TEST_BED=FILE  a cluster that runs (`kubebed up`), instead of one that is brought up and taken down

Rows; by default all but the last two, which simulate nodes with KWOK (wants Go; built at first use, a few minutes):
";

const NOTES: &str = "\
A cluster of three nodes on the cores named above, with everything else of Kubernetes beside them: both sides of a pair
share them, in turns. Images are on the nodes, and one round before those that count warms up. Times are of this
machine's clock, which pods share: a command notes the time as the first thing that it does. What a row means:
`benches/run kube --help`.
";

/// Measures what was asked for and prints the table. `false` where something is broken; being slow is not.
pub(crate) fn measure(options: &Options) -> Result<bool> {
    fs::create_dir_all(&options.folder)
        .with_context(|| format!("make {}", options.folder.display()))?;
    let head = machine::describe(&options.commit, &options.folder);
    table::say("brings up a cluster, and petctl in it");
    let bed = Bed::get();
    let (petctl, image) = image::load(bed, &options.petctl)?;
    let place = Place::set_up(bed, petctl, &image)?;
    let (mut rows, mut broken) = (Vec::new(), Vec::new());
    for (name, row, _) in ROWS {
        let chosen = if options.names.is_empty() {
            !NAMED_ONLY.contains(&name)
        } else {
            options.names.iter().any(|chosen| chosen == name)
        };
        if !chosen {
            continue;
        }
        table::say(&format!("measures {name}"));
        match row(options, &place) {
            Ok(measured) => rows.extend(measured),
            Err(error) => {
                broken.push(format!("BROKEN {name}: {error:#}\n"));
                place.clear();
            }
        }
    }
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    table::print(&format!(
        "{head}load at the end, of 1, 5 and 15 minutes: {}\n\n{}\n{}",
        load.split(' ').take(3).collect::<Vec<_>>().join(" "),
        table::render(&rows),
        broken.concat()
    ));
    table::print(NOTES);
    Ok(broken.is_empty())
}
