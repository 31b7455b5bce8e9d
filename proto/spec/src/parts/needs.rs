//! `needs`: which stages come before which.

use crate::model::{Need, StageKind, StageSpec};
use petctl_codes::Code;
use petctl_keyed::{Place, Report, Section};
use petctl_text::words::{nearest, shown};
use std::collections::BTreeMap;

/// Most stages of a cycle that a message names.
const MAX_NAMED: usize = 12;
/// Most circles that are looked for.
const MAX_CYCLES: usize = 10;

/// A stage as far as its neighbours need it.
pub(crate) struct Named<'a, 's> {
    /// `None` where it has no usable one.
    pub(crate) name: Option<&'a str>,
    /// `None` where it could not be read.
    pub(crate) kind: Option<&'s StageKind>,
    pub(crate) section: &'s Section<'a>,
}

/// Says whether `needs` between the two stages is shard by shard: both have shards, of the same source.
#[must_use]
pub fn per_shard(a: &StageSpec, b: &StageSpec) -> bool {
    same_keys(&a.kind, &b.kind)
}

fn same_keys(a: &StageKind, b: &StageKind) -> bool {
    a.source().is_some() && a.source() == b.source()
}

/// Reads what each stage needs, in the order of the stages.
pub(crate) fn read_needs(stages: &[Named<'_, '_>], report: &mut Report<'_>) -> Vec<Vec<Need>> {
    let by_name = index_names(stages, report);
    let mut edges = Vec::new();
    for (index, stage) in stages.iter().enumerate() {
        edges.push(read_edges(index, stage, &by_name, report));
    }
    for cycle in cycles(&edges) {
        report_cycle(&cycle, &edges, stages, report);
    }
    let need = |from: usize, to: usize| {
        let kinds = stages[from].kind.zip(stages[to].kind);
        Some(Need {
            stage: u32::try_from(to).ok()?,
            per_shard: kinds.is_some_and(|(a, b)| same_keys(a, b)),
        })
    };
    edges
        .iter()
        .enumerate()
        .map(|(from, edges)| edges.iter().filter_map(|(to, _)| need(from, *to)).collect())
        .collect()
}

fn index_names<'a>(stages: &[Named<'a, '_>], report: &mut Report<'_>) -> BTreeMap<&'a str, usize> {
    let mut by_name = BTreeMap::new();
    for (index, stage) in stages.iter().enumerate() {
        let Some(name) = stage.name else { continue };
        let Some(earlier) = by_name.insert(name, index) else {
            continue;
        };
        by_name.insert(name, earlier);
        if report.is_full() {
            report.leave_out(1);
            continue;
        }
        let place = stage.section.place_of("name");
        let first = stages[earlier].section.place_of("name");
        let at = report
            .line(first)
            .map_or_else(String::new, |line| format!(", the first on line {line}"));
        let message = format!("two stages are called `{name}`{at}");
        report.add(
            Code::JobFileValue,
            place,
            stage.section.path_of("name"),
            message,
            "give one of them another name",
        );
    }
    by_name
}

type Edges = Vec<(usize, Place)>;

fn read_edges(
    index: usize,
    stage: &Named<'_, '_>,
    by_name: &BTreeMap<&str, usize>,
    report: &mut Report<'_>,
) -> Edges {
    let title = &stage.section.title;
    let mut edges = Edges::new();
    for (name, place) in stage.section.texts("needs") {
        let mut code = Code::JobFileValue;
        let (message, fix) = match by_name.get(name) {
            Some(to) if *to == index => {
                code = Code::JobFileCycle;
                (
                    format!("{title} needs itself"),
                    format!("take `{name}` out of `needs`"),
                )
            }
            Some(to) if edges.iter().any(|(other, _)| other == to) => (
                format!("`needs` in {title} names `{name}` twice"),
                "take one of the two out".to_owned(),
            ),
            Some(to) => {
                edges.push((*to, place));
                continue;
            }
            None if report.is_full() => {
                report.leave_out(1);
                continue;
            }
            None => {
                let fix = nearest(name, by_name.keys().copied()).map_or_else(
                    || {
                        let others = by_name
                            .keys()
                            .take(10)
                            .map(|name| format!("`{name}`"))
                            .collect::<Vec<_>>();
                        format!("stages of this file: {}", others.join(", "))
                    },
                    |near| format!("did you mean `{near}`?"),
                );
                (
                    format!("`needs` in {title}: there is no stage `{}`", shown(name)),
                    fix,
                )
            }
        };
        report.add(code, place, stage.section.path_of("needs"), message, fix);
    }
    edges
}

fn report_cycle(
    cycle: &[usize],
    edges: &[Edges],
    stages: &[Named<'_, '_>],
    report: &mut Report<'_>,
) {
    let (Some(first), Some(second)) = (cycle.first(), cycle.get(1).or(cycle.first())) else {
        return;
    };
    let mut names = cycle
        .iter()
        .take(MAX_NAMED)
        .map(|index| stages[*index].name.unwrap_or_default())
        .collect::<Vec<_>>();
    if cycle.len() > MAX_NAMED {
        names.push("...");
    }
    names.push(stages[*first].name.unwrap_or_default());
    let edge = edges[*first].iter().find(|(to, _)| to == second);
    let place = edge.map_or(stages[*first].section.place, |(_, place)| *place);
    let message = format!(
        "stages need one another in a circle: {}",
        names.join(" -> ")
    );
    report.add(
        Code::JobFileCycle,
        place,
        stages[*first].section.path_of("needs"),
        message,
        "take one of these `needs` out",
    );
}

/// Circles among the stages, each as the indexes it goes through; at least one of every knot.
fn cycles(edges: &[Edges]) -> Vec<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; edges.len()];
    let mut found = Vec::new();
    for root in 0..edges.len() {
        if marks[root] != Mark::New {
            continue;
        }
        marks[root] = Mark::Open;
        // The way from the root to here, each with its next edge.
        let mut way = vec![(root, 0)];
        while let Some((at, next)) = way.last_mut() {
            let Some((to, _)) = edges[*at].get(*next) else {
                marks[*at] = Mark::Done;
                way.pop();
                continue;
            };
            *next += 1;
            match marks[*to] {
                Mark::New => {
                    marks[*to] = Mark::Open;
                    way.push((*to, 0));
                }
                Mark::Open if found.len() == MAX_CYCLES => return found,
                Mark::Open => {
                    let start = way.iter().position(|(on, _)| on == to).unwrap_or(0);
                    found.push(way[start..].iter().map(|(on, _)| *on).collect());
                }
                Mark::Done => {}
            }
        }
    }
    found
}

/// Whether the stages of a finished job need one another in a circle.
pub(crate) fn has_cycle(stages: &[StageSpec]) -> bool {
    let edge = |need: &Need| {
        Some((
            usize::try_from(need.stage)
                .ok()
                .filter(|to| *to < stages.len())?,
            Place::Whole,
        ))
    };
    let edges = stages
        .iter()
        .map(|stage| stage.needs.iter().filter_map(edge).collect())
        .collect::<Vec<Edges>>();
    !cycles(&edges).is_empty()
}
