//! How long thousands of pods take until they are members, and what that costs.

use crate::audit;
use crate::crowd::Crowd;
use crate::figure::{megabytes, whole};
use crate::kube;
use crate::kwok::{self, Kwok};
use crate::options::Options;
use crate::place::{Place, members};
use crate::running::Running;
use crate::server::{self, Processes};
use crate::table::Row;
use crate::time::{ASK, now, seconds, until_long};
use crate::work::Work;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const MEANS: &str = "\
From the submission of a job that wants 2,000 workers until all of them are its members, both as its event log says. The
nodes are simulated (500, by KWOK, beside the real ones): what the API server, the controllers and the scheduler do is
real, and pods run as soon as they are bound. For each that runs a worker joins over the network, by the pod's name and
token; it takes a shard and does nothing. Beside it, what a bare Indexed Job of as many pods takes there until all of
them run: that share of the time is the cluster's own. One round. Requests are those that the API server has counted,
whoever sent them, and of the coordinator those of the audit log; memory is the most that was resident in that time;
processor time is that of all who take part.";

/// Kinds of requests that are named; the others are summed.
const KINDS: usize = 6;

pub(super) fn pods(options: &Options, place: &Place) -> Result<Vec<Row>> {
    let count = options.pods;
    let kwok = Kwok::start(place.bed, options.nodes)?;
    let place = place.another(&[("kube", &kwok::place())])?;
    let own = grow(options, &place, &kwok, count)?;
    let bare = bare(&place, count)?;
    let total = own.members_s;
    let share = |part: f64| format!("{:.0} %", 100.0 * part / total);
    let row = |what: String, measured: String, beside: String| Row {
        what,
        aim: String::new(),
        measured,
        met: None,
        beside,
    };
    let nodes = whole(whole_of(options.nodes)?);
    let pods = whole(whole_of(count)?);
    Ok(vec![
        Row {
            aim: "bound by the cluster".to_owned(),
            ..row(
                format!("{pods} pods wanted on {nodes} simulated nodes, to {pods} members"),
                seconds(total),
                format!(
                    "a bare Job's pods all run after {}, {} of it; petctl's after {}; the last of them is a member {} later",
                    seconds(bare),
                    share(bare),
                    seconds(own.running_s),
                    seconds(total - own.running_s),
                ),
            )
        },
        row(
            "the same: requests to the API server".to_owned(),
            whole(own.requests.iter().map(|(_, count)| count).sum()),
            format!(
                "{}; of the coordinator: {}",
                kinds(&own.requests),
                own.own_requests
            ),
        ),
        row(
            "the same: most memory of the coordinator".to_owned(),
            megabytes(own.coordinator_bytes),
            format!("API server {}", megabytes(own.api_bytes)),
        ),
        row(
            "the same: processor time".to_owned(),
            seconds(own.cpu.values().sum()),
            own.cpu
                .iter()
                .map(|(called, time)| format!("{called} {}", seconds(*time)))
                .collect::<Vec<_>>()
                .join(", "),
        ),
    ])
}

/// What it came to with petctl.
struct Own {
    running_s: f64,
    members_s: f64,
    requests: Vec<(String, f64)>,
    own_requests: String,
    coordinator_bytes: f64,
    api_bytes: f64,
    cpu: BTreeMap<String, f64>,
}

fn grow(options: &Options, place: &Place, kwok: &Kwok, count: usize) -> Result<Own> {
    let work = Work::shards(place, "pods", count, &format!("max = {count}"), true)?;
    let mut crowd = Crowd::start(options, place)?;
    let others = [("kwok", kwok.pid()), ("simulated workers", crowd.pid())];
    let processes = Processes::find(place, &others)?;
    processes.forget_peaks()?;
    let (requests, ids, cpu) = (
        server::requests(place.bed)?,
        audit::ids(place)?,
        processes.cpu()?,
    );
    work.submit()?;
    let joined = until_long("all pods have workers", ASK, || crowd.have_joined(count));
    joined.with_context(|| said(place, &work.name))?;
    let status = place.until_members(&work.name, count)?;
    let requests = server::more(&requests, &server::requests(place.bed)?);
    let own_requests = audit::named(&audit::since(place, &ids)?);
    let spent = processes.cpu()?.into_iter();
    let spent = spent.map(|(called, time)| {
        let before = cpu.get(&called).copied().unwrap_or(0.0);
        (called, time - before)
    });
    let events = place.ok(&["events", &work.name, "-o", "json"])?;
    let (submitted, last) = times(&events, count)?;
    let running = crowd.running.last_of(count).context("all of them run")?;
    check(&status, &crowd)?;
    let own = Own {
        running_s: running - submitted,
        members_s: last - submitted,
        requests,
        own_requests,
        coordinator_bytes: processes.peak(server::COORDINATOR)?,
        api_bytes: processes.peak(server::API)?,
        cpu: spent.collect(),
    };
    drop(crowd);
    place.end(&work.name)?;
    Ok(own)
}

/// The members are the workers that joined, and each of those has a pod of its name.
fn check(status: &Value, crowd: &Crowd) -> Result<()> {
    let names = members(status)
        .iter()
        .filter_map(|member| member["worker"].as_str());
    let names: BTreeSet<String> = names.map(str::to_owned).collect();
    let pods: BTreeSet<String> = crowd.running.seen().into_keys().collect();
    ensure!(
        names == crowd.names() && names.is_subset(&pods),
        "WRONG: {} members, {} workers, {} pods, and they are not the same",
        names.len(),
        crowd.names().len(),
        pods.len()
    );
    Ok(())
}

/// When the job was submitted, and when the last of so many workers became a member, in seconds since 1970.
fn times(events: &str, count: usize) -> Result<(f64, f64)> {
    let (mut submitted, mut here) = (None, 0_usize);
    for line in events.lines() {
        let event: Value = serde_json::from_str(line).context("an event")?;
        let at = event["at_ms"].as_f64().context("an event without a time")? / 1e3;
        let submitted = *submitted.get_or_insert(at);
        let number = |name: &str| event["fields"][name].as_array().map_or(0, Vec::len);
        if event["kind"] == "epoch_formed" {
            here = (here + number("joined")).saturating_sub(number("left"));
            if here >= count {
                return Ok((submitted, at));
            }
        }
    }
    anyhow::bail!("only {here} of {count} workers are in the event log")
}

fn bare(place: &Place, count: usize) -> Result<f64> {
    let job = kwok::on_simulated(kube::job(place, "bare-pods", count, "exec sleep 1000000"));
    let label = "batch.kubernetes.io/job-name=bare-pods";
    let running = Running::watch(place, label, |_| {})?;
    kube::create(place, &job)?;
    let start = now();
    let last = until_long("all pods of a bare Job run", ASK, || {
        Ok(running.last_of(count))
    })?;
    kube::delete(place, "bare-pods")?;
    Ok(last - start)
}

fn kinds(requests: &[(String, f64)]) -> String {
    let (named, others) = requests.split_at(KINDS.min(requests.len()));
    let mut parts: Vec<String> = named
        .iter()
        .map(|(what, count)| format!("{} {what}", whole(*count)))
        .collect();
    let others: f64 = others.iter().map(|(_, count)| count).sum();
    parts.push(format!("{} others", whole(others)));
    parts.join(", ")
}

/// What the coordinator has to say where not all come.
fn said(place: &Place, job: &str) -> String {
    let status = place.command(&["status", job]).output();
    let text = status.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default().chars().take(2_000).collect()
}

fn whole_of(count: usize) -> Result<f64> {
    Ok(f64::from(u32::try_from(count)?))
}
